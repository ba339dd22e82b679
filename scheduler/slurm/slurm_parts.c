#include "slurm_parts.h"

#include <string.h>

void slurm_parts_init(struct slurm_parts *parts)
{
    parts->count = 0;
    buffer_init(&parts->ids, POOL_GANG_MAX * (SLICE_NAME_BYTES_MAX + 1));
}

void slurm_parts_deinit(struct slurm_parts *parts)
{
    buffer_deinit(&parts->ids);
}

static bool part_add(void *context, const struct member_part *part)
{
    struct slurm_parts *parts = context;

    parts->list[parts->count++] = *part;
    buffer_append(&parts->ids, part->slice_id, strlen(part->slice_id) + 1);
    return parts->ids.failed == STATUS_OK;
}

status slurm_parts_read(struct slurm_parts *parts, const struct slurm_mark *mark)
{
    const char *id;

    parts->count = 0;
    buffer_clear(&parts->ids);
    if (slurm_mark_parts(mark, part_add, parts) != STATUS_OK)
        parts->count = 0;
    if (parts->ids.failed != STATUS_OK)
        return STATUS_NO_MEMORY;
    id = parts->ids.data;
    for (uint32_t i = 0; i < parts->count; i++) {
        parts->list[i].slice_id = id; /* the buffer has moved while it grew */
        id += strlen(id) + 1;
    }
    return STATUS_OK;
}
