/* Weights that outlive the process: their bytes out of one, and into a later one in place.
 *
 * A weight is one piece of memory that holds no pointers and no machine's choices (all kernel paths
 * read one layout), so its image is that piece as it is. */

#include <string.h>

#include "check.h"
#include "cpu_backend.h"
#include "hash.h"
#include "memory.h"

/* --- which layout this is --- */

/* Seen from outside, a layout is what becomes of known sources. So a change of repack.c or layout.h
 * cannot be forgotten: files of another layout are not taken, whoever built the program. Two groups,
 * the second padded; columns for two of the longest blocks. Half a millisecond. */
#define PROBE_OUTPUTS     (GROUP_OUTPUTS + 1)
#define PROBE_COLS        512u
#define PROBE_BYTES_MAX   (PROBE_OUTPUTS * PROBE_COLS * sizeof(float))
#define Q6_K_SCALE_OFFSET 208u

/* Any codes, and scales that are ordinary numbers: in quantised blocks the halves at byte 0 and 2 or, in Q6_K, at 208; in
 * tensors of floats every element. 0x20 to 0x3b as the upper byte is finite and positive in f16, bf16 and f32. */
static void fill_probe(enum tensor_type type, uint8_t *data, size_t bytes, size_t block_bytes)
{
    uint64_t random = 0x70656e73746f636b;
    bool is_float = tensor_type_is_float(type);
    for (size_t i = 0; i < bytes; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        data[i] = (uint8_t)(random >> 56);
        size_t at = i % block_bytes;
        if (is_float ? at % 2 == 1 : at == 1 || at == 3 || at == Q6_K_SCALE_OFFSET + 1)
            data[i] = 0x20 | (data[i] & 0x1b);
    }
}

static status checksum_type(backend *b, enum tensor_type type, uint8_t *data, uint64_t *out)
{
    uint32_t elements, block_bytes;
    *out = 0;
    if (!tensor_type_block(type, &elements, &block_bytes))
        return STATUS_OK;
    fill_probe(type, data, (size_t)PROBE_OUTPUTS * PROBE_COLS / elements * block_bytes,
               block_bytes);
    static const float scales[2 * 2] = {1.5f, 0.25f, 3.0f, 0.75f};
    struct tensor_source source = {.type = type,
                                   .data = data,
                                   .n_outputs = PROBE_OUTPUTS,
                                   .n_cols = PROBE_COLS,
                                   .scales = scales,
                                   .scale_outputs = GROUP_OUTPUTS,
                                   .scale_cols = PROBE_COLS / 2};
    weight *w;
    status result = b->operations->weight_create(b, &source, 1, &w);
    if (result != STATUS_OK)
        return result;
    *out = checksum64(w->segments[0].data, w->segments[0].n_groups * w->segments[0].group_bytes);
    b->operations->weight_destroy(b, w);
    return STATUS_OK;
}

status cpu_layout_checksum(backend *b, uint64_t *out)
{
    uint64_t sums[TENSOR_TYPE_COUNT];
    uint8_t *data = memory_allocate(PROBE_BYTES_MAX);
    status result = data != NULL ? STATUS_OK : STATUS_NO_MEMORY;
    for (uint32_t type = 0; type < TENSOR_TYPE_COUNT && result == STATUS_OK; type++)
        result = checksum_type(b, (enum tensor_type)type, data, &sums[type]);
    memory_release(data);
    if (result == STATUS_OK)
        *out = checksum64(sums, sizeof sums);
    return result;
}

/* --- images --- */

void cpu_weight_save(backend *b, const weight *w, uint64_t first, uint64_t bytes, void *out)
{
    (void)b;
    CHECK(first <= w->bytes && bytes <= w->bytes - first);
    memcpy(out, w->segments[0].data + first, bytes);
}

status cpu_weight_restore(backend *b, const struct weight_image *image, weight **out)
{
    (void)b;
    CHECK(image->source_count >= 1 && image->source_count <= SOURCE_COUNT_MAX);
    CHECK((uintptr_t)image->data % 64 == 0);
    weight *w = memory_allocate_array(1, sizeof(*w));
    if (w == NULL)
        return STATUS_NO_MEMORY;
    status result = cpu_weight_plan(w, image->sources, image->source_count);
    if (result == STATUS_OK && w->bytes != image->bytes)
        result = STATUS_INVALID;
    if (result != STATUS_OK) {
        memory_release(w);
        return result;
    }
    cpu_weight_place(w, (uint8_t *)(uintptr_t)image->data); /* kernels only read weights */
    if (image->is_gated)
        cpu_weight_set_gated(w);
    *out = w;
    return STATUS_OK;
}
