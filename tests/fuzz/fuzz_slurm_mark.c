/* What anybody may have written into a job's comment: its parts are read to the end or refused, within the bounds of a gang, and a mark that is
 * written from what was read says the same again. */
#include <stdlib.h>

#include "slurm_parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static char text[4096];
static struct slurm_parts parts, again;

static void parts_check(void)
{
    for (uint32_t i = 0; i < parts.count; i++) {
        struct text_slice id = text_slice_of(parts.list[i].slice_id);

        if (slurm_slice_node(id).bytes == 0 || id.bytes > SLICE_NAME_BYTES_MAX ||
            parts.list[i].compute_milli > SLICE_COMPUTE_MILLI_MAX)
            abort();
    }
}

static void round_trip(uint64_t uid)
{
    const struct member_order order = {.uid = uid, .parts = parts.list, .part_count = parts.count};
    struct slurm_mark mark;
    struct buffer out;

    buffer_init(&out, sizeof(text));
    slurm_mark_write(&out, "p", &order);
    buffer_append_byte(&out, '\0');
    if (out.failed == STATUS_OK &&
        (!slurm_mark_read(out.data, "p", &mark) || mark.uid != uid ||
         slurm_parts_read(&again, &mark) != STATUS_OK || again.count != parts.count))
        abort();
    buffer_deinit(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct slurm_mark mark;

    if (bytes >= sizeof(text))
        return 0;
    memcpy(text, data, bytes);
    text[bytes] = '\0';
    if (!slurm_mark_read(text, "p", &mark))
        return 0;
    slurm_parts_init(&parts);
    slurm_parts_init(&again);
    if (slurm_parts_read(&parts, &mark) != STATUS_OK)
        abort();
    parts_check();
    if (parts.count > 0)
        round_trip(mark.uid);
    slurm_parts_deinit(&parts);
    slurm_parts_deinit(&again);
    return 0;
}
