#include "slurm_partition.h"

#include <string.h>

#include "slurm_json.h"

/* Minutes in v0.0.38, where none is null and no limit -1; objects within "maximums" and "defaults" from v0.0.39 on. */
static void times_read(const json_t *partition, struct slurm_partition *out)
{
    const json_t *maximums = json_object_get(partition, "maximums");
    const json_t *defaults = json_object_get(partition, "defaults");
    uint64_t minutes;

    out->has_limit = slurm_number(maximums, "time", &out->limit_minutes) ||
                     slurm_number(partition, "max_time_limit", &out->limit_minutes);
    out->has_default = slurm_number(defaults, "time", &minutes) ||
                       slurm_number(partition, "default_time_limit", &minutes);
}

bool slurm_partition_read(const json_t *answer, const char *name, struct slurm_partition *out)
{
    const json_t *partitions = json_object_get(answer, "partitions"), *one;
    size_t i;

    *out = (struct slurm_partition){.has_limit = false};
    json_array_foreach(partitions, i, one)
    {
        if (strcmp(slurm_text(one, "name"), name) != 0)
            continue;
        times_read(one, out);
        return true;
    }
    return false;
}

status slurm_partition_ask(struct slurm_client *client, struct slurm_partition *out,
                           struct error_note *note)
{
    const struct text_slice none = {NULL, 0};
    json_t *answer = NULL;
    status result = slurm_client_ask(client, NULL, "partitions", none, &answer, note);

    if (result == STATUS_OK && !slurm_partition_read(answer, client->config->partition, out)) {
        error_note_set(note, "the cluster has no partition \"%s\"", client->config->partition);
        result = STATUS_INVALID;
    }
    json_decref(answer);
    return result;
}
