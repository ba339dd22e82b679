#include <string.h>

#include "slurm_gres.h"
#include "slurm_job.h"
#include "slurm_json.h"
#include "slurm_node.h"

status slurm_holds_init(struct slurm_holds *holds)
{
    *holds = (struct slurm_holds){json_object(), json_object(), json_object(), json_object()};
    if (holds->milli != NULL && holds->mib != NULL && holds->cores != NULL &&
        holds->foreign_shards != NULL)
        return STATUS_OK;
    slurm_holds_deinit(holds);
    return STATUS_NO_MEMORY;
}

void slurm_holds_deinit(struct slurm_holds *holds)
{
    json_decref(holds->milli);
    json_decref(holds->mib);
    json_decref(holds->cores);
    json_decref(holds->foreign_shards);
    *holds = (struct slurm_holds){.milli = NULL};
}

static bool sum_add(json_t *sums, struct text_slice name, uint64_t amount)
{
    char key[SLICE_NAME_BYTES_MAX + 1];
    json_int_t before;

    if (name.bytes == 0 || name.bytes >= sizeof(key))
        return true; /* nothing we have told */
    memcpy(key, name.data, name.bytes);
    key[name.bytes] = '\0';
    before = json_integer_value(json_object_get(sums, key));
    return json_object_set_new(sums, key, json_integer(before + (json_int_t)amount)) == 0;
}

struct ours {
    struct slurm_holds *holds;
    const struct slurm_member_config *config;
    bool has_failed;
};

static bool ours_add(void *context, const struct member_part *part)
{
    struct ours *ours = context;
    struct text_slice id = text_slice_of(part->slice_id);
    bool is_cpu = text_slice_is(slurm_slice_kind(id), "cpu");
    uint32_t cores = is_cpu ? part->compute_milli / 1000 : ours->config->cores_per_gpu;

    ours->has_failed =
        !sum_add(ours->holds->milli, id, part->compute_milli) ||
        !sum_add(ours->holds->mib, id, (part->memory_bytes + (1u << 20) - 1) >> 20) ||
        !sum_add(ours->holds->cores, slurm_slice_node(id), cores);
    return !ours->has_failed;
}

/* The nodes of a job in the order of its list `gres_detail`. */
struct foreign {
    struct slurm_holds *holds;
    const json_t *details;
    size_t at;
    bool has_failed;
};

static bool foreign_host(void *context, const char *name)
{
    struct foreign *foreign = context;
    const char *detail = json_string_value(json_array_get(foreign->details, foreign->at++));
    struct text_slice rest = text_slice_of(detail);
    struct slurm_gres gres;
    status result;

    while ((result = slurm_gres_next(&rest, &gres)) != STATUS_NOT_FOUND)
        if (result == STATUS_OK && text_slice_is(gres.name, "shard") &&
            !sum_add(foreign->holds->foreign_shards, text_slice_of(name), gres.count))
            foreign->has_failed = true;
    return !foreign->has_failed && foreign->at < json_array_size(foreign->details);
}

status slurm_holds_add(struct slurm_holds *holds, const struct slurm_member_config *config,
                       const json_t *object)
{
    struct foreign foreign = {holds, json_object_get(object, "gres_detail"), 0, false};
    struct ours ours = {holds, config, false};
    struct slurm_job job;

    if (!slurm_job_read(object, config, &job) || !job.is_holding)
        return STATUS_OK;
    if (job.is_ours) {
        (void)slurm_mark_parts(&job.mark, ours_add,
                               &ours); /* what is not of this form holds nothing */
        return ours.has_failed ? STATUS_NO_MEMORY : STATUS_OK;
    }
    if (json_array_size(foreign.details) > 0)
        (void)slurm_hostlist_expand(text_slice_of(slurm_text(object, "nodes")), foreign_host,
                                    &foreign);
    return foreign.has_failed ? STATUS_NO_MEMORY : STATUS_OK;
}
