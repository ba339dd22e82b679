/* Weights: laid out on the host piece by piece, by the whole team, and copied to the device while the next pieces are laid
 * out; and the rows that products read. */

#include <string.h>

#include "check.h"
#include "cpu/team.h"
#include "cuda_backend.h"
#include "memory.h"
#include "products.h"
#include "tile_product.h"

/* --- staging --- */

#define STAGING_PIECES_MAX 16u

void staging_close(struct cuda_backend *b)
{
    struct staging *staging = &b->staging;
    device_release_pinned(b->device, staging->memory);
    for (uint32_t i = 0; i < 2; i++)
        device_event_destroy(staging->copied[i]);
    *staging = (struct staging){.memory = NULL};
}

static status staging_reserve(struct cuda_backend *b, uint64_t piece_bytes)
{
    struct staging *staging = &b->staging;
    if (piece_bytes <= staging->piece_bytes)
        return STATUS_OK;
    (void)device_stream_synchronize(b->stream);
    staging_close(b);
    uint32_t size = team_size(b->team);
    staging->pieces = size < STAGING_PIECES_MAX ? size : STAGING_PIECES_MAX;
    staging->piece_bytes = piece_bytes;
    staging->memory = device_allocate_pinned(b->device, 2 * staging->pieces * piece_bytes);
    if (staging->memory == NULL) {
        staging->piece_bytes = 0;
        return STATUS_NO_MEMORY;
    }
    for (uint32_t i = 0; i < 2; i++) {
        status result = device_event_create(b->device, &staging->copied[i]);
        if (result != STATUS_OK)
            return result;
    }
    return STATUS_OK;
}

/* One group's pieces. */
struct packing {
    const struct weight_layout *layout;
    const struct tensor_source *sources;
    uint8_t *out; /* piece i at i * piece_bytes */
    uint64_t piece_bytes;
    uint32_t first_piece;
};

static void pack_pieces(void *context, uint32_t member, uint32_t first, uint32_t count)
{
    const struct packing *packing = context;
    (void)member;
    for (uint32_t i = first; i < first + count; i++)
        weight_piece_pack(packing->layout, packing->sources, packing->first_piece + i,
                          packing->out + i * packing->piece_bytes);
}

static status upload_pieces(struct cuda_backend *b, const struct tensor_source *sources,
                            const weight *w)
{
    struct staging *staging = &b->staging;
    const struct weight_layout *layout = &w->layout;
    uint32_t group = 0;
    for (uint32_t done = 0; done < layout->piece_count; group ^= 1) {
        uint32_t left = layout->piece_count - done;
        uint32_t count = left < staging->pieces ? left : staging->pieces;
        struct packing packing = {
            .layout = layout,
            .sources = sources,
            .out = staging->memory + group * staging->pieces * staging->piece_bytes,
            .piece_bytes = staging->piece_bytes,
            .first_piece = done,
        };
        status result = device_event_synchronize(staging->copied[group]);
        if (result != STATUS_OK)
            return result;
        team_run(b->team, count, 1, pack_pieces, &packing);
        for (uint32_t i = 0; i < count; i++) {
            struct weight_piece piece = weight_layout_piece(layout, done + i);
            device_copy_to_device(b->stream, (uint8_t *)w->memory + piece.offset,
                                  packing.out + i * staging->piece_bytes, piece.bytes);
        }
        device_event_record(staging->copied[group], b->stream);
        done += count;
    }
    return device_status(b->device);
}

/* --- weights --- */

static bool is_widened(const struct weight_view *view)
{
    for (uint32_t i = 0; i < view->part_count; i++)
        if (!weight_form_is_rows(view->parts[i].form))
            return true;
    return false;
}

/* Scratch of the products of rows that this weight, or an activation beside it, made possible. */
static status reserve_gated(struct cuda_backend *b)
{
    return scratch_reserve(b, &b->gated, 4 * b->gated_outputs_max * b->activation_rows_max);
}

static status reserve_for(struct cuda_backend *b, const weight *w)
{
    status result = STATUS_OK;
    if (w->takes_tiles)
        result = scratch_reserve(b, &b->tiles, tile_workspace_bytes(&w->view, TILE_ROWS_MAX));
    if (result == STATUS_OK && w->takes_tiles && is_widened(&w->view))
        result = scratch_reserve(b, &b->wide_weight, WIDE_WEIGHT_BYTES);
    if (result == STATUS_OK && w->layout.is_gated && w->view.n_outputs > b->gated_outputs_max) {
        b->gated_outputs_max = w->view.n_outputs;
        result = reserve_gated(b);
    }
    return result;
}

/* Halves that read different forms are multiplied one after the other. */
static void find_tiles(weight *w)
{
    w->takes_tiles = tile_product_takes(&w->view);
    w->takes_gated_tiles = tile_gated_takes(&w->view);
}

static status create(struct cuda_backend *b, const struct tensor_source *sources, uint32_t count,
                     bool is_gated, weight **out)
{
    weight *w = memory_allocate_array(1, sizeof(*w));
    if (w == NULL)
        return STATUS_NO_MEMORY;
    status result = weight_layout_plan(sources, count, is_gated, &w->layout);
    if (result == STATUS_OK)
        result = staging_reserve(b, w->layout.piece_bytes_max);
    if (result == STATUS_OK) {
        w->memory = device_allocate(b->device, w->layout.bytes);
        w->view = weight_layout_view(&w->layout, w->memory);
        find_tiles(w);
        result = w->memory != NULL ? reserve_for(b, w) : STATUS_NO_MEMORY;
    }
    if (result == STATUS_OK)
        result = upload_pieces(b, sources, w);
    if (result != STATUS_OK) {
        cuda_weight_destroy(&b->base, w);
        return result;
    }
    *out = w;
    return STATUS_OK;
}

status cuda_weight_create(backend *b, const struct tensor_source *sources, uint32_t source_count,
                          weight **out)
{
    return create(of_cuda(b), sources, source_count, false, out);
}

status cuda_weight_create_gated(backend *b, const struct tensor_source *gate,
                                const struct tensor_source *up, weight **out)
{
    const struct tensor_source sources[2] = {*gate, *up};
    if (gate->n_outputs != up->n_outputs)
        return STATUS_INVALID;
    return create(of_cuda(b), sources, 2, true, out);
}

void cuda_weight_destroy(backend *base, weight *w)
{
    struct cuda_backend *b = of_cuda(base);
    if (w == NULL)
        return;
    graphs_drop(b);
    expert_tables_clear(b);
    device_release(b->device, w->memory);
    memory_release(w);
}

uint64_t cuda_weight_bytes(const weight *w)
{
    return w->layout.bytes;
}

/* --- activations --- */

/* Offsets of the forms in one block of memory. */
static uint64_t place_forms(activation *a, struct weight_reads reads, uint8_t *memory)
{
    uint64_t rows = a->rows_max, cols = a->view.n_cols, used = 0;
    uint64_t coded_rows = a->takes_tiles && rows > PRODUCT_FEW_ROWS ? PRODUCT_FEW_ROWS : rows;
    uint64_t groups = (cols + ACTIVATION_GROUP - 1) / ACTIVATION_GROUP;
    struct {
        bool is_wanted;
        void **form;
        uint64_t bytes;
    } forms[] = {
        {reads.f32, (void **)&a->view.f32, 4 * rows * cols},
        {reads.f16, (void **)&a->view.f16, 2 * rows * cols},
        {reads.bf16 || (reads.codes && a->takes_tiles), (void **)&a->view.bf16, 2 * rows * cols},
        {reads.codes, (void **)&a->view.codes, coded_rows * cols},
        {reads.codes, (void **)&a->view.scales, 4 * coded_rows * groups},
        {reads.codes, (void **)&a->view.sums, 4 * coded_rows * groups},
    };
    for (size_t i = 0; i < ARRAY_COUNT(forms); i++) {
        if (!forms[i].is_wanted)
            continue;
        *forms[i].form = memory != NULL ? memory + used : NULL;
        used += (forms[i].bytes + 255) / 256 * 256;
    }
    return used;
}

status cuda_activation_create(backend *base, const weight *w, uint32_t rows_max, activation **out)
{
    struct cuda_backend *b = of_cuda(base);
    activation *a = memory_allocate_array(1, sizeof(*a));
    if (a == NULL)
        return STATUS_NO_MEMORY;
    struct weight_reads reads = weight_view_reads(&w->view);
    a->view.n_cols = w->view.n_cols;
    a->rows_max = rows_max;
    a->takes_tiles = w->takes_tiles;
    a->reads_bf16 = reads.bf16;
    a->memory = device_allocate(b->device, place_forms(a, reads, NULL));
    status result = a->memory != NULL ? STATUS_OK : STATUS_NO_MEMORY;
    if (result == STATUS_OK && rows_max > b->activation_rows_max) {
        b->activation_rows_max = rows_max;
        result = reserve_gated(b);
    }
    if (result != STATUS_OK) {
        cuda_activation_destroy(base, a);
        return result;
    }
    (void)place_forms(a, reads, a->memory);
    *out = a;
    return STATUS_OK;
}

void cuda_activation_destroy(backend *base, activation *a)
{
    struct cuda_backend *b = of_cuda(base);
    if (a == NULL)
        return;
    graphs_drop(b);
    device_release(b->device, a->memory);
    memory_release(a);
}

bool activation_is_few(const activation *a)
{
    return a->n_rows <= PRODUCT_FEW_ROWS;
}

struct activation_view activation_read(const activation *a)
{
    struct activation_view view = a->view;
    if (!a->takes_tiles || view.codes == NULL)
        return view;
    if (!activation_is_few(a)) {
        view.codes = NULL;
        view.scales = view.sums = NULL;
    } else if (!a->reads_bf16) {
        view.bf16 = NULL;
    }
    return view;
}

struct activation_view activation_write(activation *a, uint32_t n_rows)
{
    CHECK(n_rows <= a->rows_max);
    a->n_rows = n_rows;
    return activation_read(a);
}

/* Experts are multiplied by tiles, however few rows there are. */
struct activation_view activation_write_slots(activation *a)
{
    a->n_rows = PRODUCT_FEW_ROWS + 1;
    return activation_read(a);
}

void cuda_activation_discard(backend *base, activation *a)
{
    device_forget(of_cuda(base)->device, a->memory);
}
