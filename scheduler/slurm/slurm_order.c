#include "slurm_order.h"

#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "json.h"
#include "pool.h"
#include "slurm_mark.h"

#define MIB        (1ull << 20)
#define MILLI      1000u
#define PATH_THERE "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* A job that was put back is not what was ordered any more: its token is spent. */
#define SCRIPT_HEAD "#!/bin/bash\n[ \"${SLURM_RESTART_COUNT:-0}\" = 0 ] || exit 1\n"
/* One task a part: of the node's devices the one of its number there.
 *
 * srun answers SIGTERM by killing its tasks, and a signal to a job reaches it too; any other it only passes on. So a gang is asked to end
 * by SLURM_GANG_SIGNAL, which a task makes SIGTERM of, and its program never sees. SIGTERM itself, which Slurm sends before
 * it takes the nodes, reaches the program as it is. */
#define SCRIPT_GANG                                                                                \
    "exec srun --kill-on-bad-exit=1 bash -c 'IFS=, read -ra d <<<\"${CUDA_VISIBLE_DEVICES:-}\"; "  \
    "[ ${#d[@]} -le 1 ] || export CUDA_VISIBLE_DEVICES=${d[$SLURM_LOCALID]}; "                     \
    "export PENSTOCK_PART=$SLURM_PROCID PENSTOCK_PARTS=$SLURM_NTASKS; "                            \
    "trap : TERM; trap \"kill -TERM \\$p\" " SLURM_GANG_SIGNAL "; "                                \
    "(trap \"\" " SLURM_GANG_SIGNAL "; trap - TERM; exec \"$@\") & p=$!; "                         \
    "while wait $p; s=$?; kill -0 $p 2>/dev/null; do :; done; exit $s' part"

/* What all nodes of a job have in common. */
struct layout {
    struct text_slice nodes[POOL_GANG_MAX];
    uint32_t node_count, parts_per_node;
    bool is_cpu, is_shared;
    char gres[SLICE_NAME_BYTES_MAX + 1]; /* "gpu:h100:2", "shard:4"; "" of cores */
    uint64_t cores_per_part, memory_mib; /* of main memory, a node */
};

static status refuse(struct error_note *note, const char *why)
{
    error_note_set(note, "%s", why);
    return STATUS_INVALID;
}

/* Other slices would do. */
static status decline(struct error_note *note, const char *why)
{
    error_note_set(note, "%s", why);
    return STATUS_FULL;
}

/* Counts the parts of each node; all must have as many. */
static status nodes_count(const struct member_order *order, struct layout *layout,
                          struct error_note *note)
{
    uint32_t counts[POOL_GANG_MAX] = {0};

    for (uint32_t i = 0; i < order->part_count; i++) {
        struct text_slice node = slurm_slice_node(text_slice_of(order->parts[i].slice_id));
        uint32_t at = 0;

        if (node.bytes == 0)
            return refuse(note, "no slice of this cluster");
        while (at < layout->node_count && !text_slice_equals(layout->nodes[at], node))
            at++;
        if (at == layout->node_count)
            layout->nodes[layout->node_count++] = node;
        counts[at]++;
    }
    layout->parts_per_node = counts[0];
    for (uint32_t i = 1; i < layout->node_count; i++)
        if (counts[i] != counts[0])
            return decline(note, "a gang of one job needs as many slices on each of its nodes");
    return STATUS_OK;
}

static status parts_compare(const struct member_order *order, const struct slurm_slice_size *sizes,
                            struct error_note *note)
{
    struct text_slice first = slurm_slice_kind(text_slice_of(order->parts[0].slice_id));

    for (uint32_t i = 1; i < order->part_count; i++) {
        const struct member_part *part = &order->parts[i];

        /* Shards are counted; a whole is a whole with steps and without. */
        if (!text_slice_equals(slurm_slice_kind(text_slice_of(part->slice_id)), first) ||
            part->compute_milli != order->parts[0].compute_milli ||
            part->memory_bytes != order->parts[0].memory_bytes ||
            sizes[i].compute_milli != sizes[0].compute_milli ||
            (part->compute_milli < sizes[i].compute_milli &&
             sizes[i].step_milli != sizes[0].step_milli))
            return decline(note, "a gang of one job needs the same of each of its slices");
    }
    return STATUS_OK;
}

static status gres_choose(const struct slurm_member_config *config,
                          const struct member_order *order, struct slurm_slice_size size,
                          struct layout *layout, struct error_note *note)
{
    struct text_slice gres = slurm_slice_kind(text_slice_of(order->parts[0].slice_id));
    uint32_t milli = order->parts[0].compute_milli, count = layout->parts_per_node;

    layout->is_cpu = text_slice_is(gres, "cpu");
    if (layout->is_cpu) {
        layout->cores_per_part = (milli + MILLI - 1) / MILLI;
        layout->memory_mib = (order->parts[0].memory_bytes + MIB - 1) / MIB * count;
        return layout->cores_per_part > 0 ? STATUS_OK : refuse(note, "no cores are asked for");
    }
    layout->cores_per_part = config->cores_per_gpu;
    layout->memory_mib = (config->host_memory_bytes + MIB - 1) / MIB * count;
    layout->is_shared = size.step_milli > 0 && milli < size.compute_milli;
    if (layout->is_shared && count > 1)
        return refuse(note, "a gang cannot have several shares of GPUs on one node");
    if (!layout->is_shared && milli != size.compute_milli)
        return refuse(note, "this slice cannot be cut");
    if (layout->is_shared)
        (void)snprintf(layout->gres, sizeof(layout->gres), "shard:%u",
                       (milli + size.step_milli - 1) / size.step_milli);
    else
        (void)snprintf(layout->gres, sizeof(layout->gres), "%.*s:%u", (int)gres.bytes, gres.data,
                       count);
    return STATUS_OK;
}

/* --- the script and its environment --- */

static void quoted_append(struct buffer *out, const char *text)
{
    buffer_append_text(out, " '");
    for (; *text != '\0'; text++) {
        if (*text == '\'')
            buffer_append_text(out, "'\\''");
        else
            buffer_append_byte(out, *text);
    }
    buffer_append_byte(out, '\'');
}

static void script_write(struct buffer *out, const struct member_order *order)
{
    struct buffer script;

    buffer_init(&script, SLURM_ORDER_BYTES_MAX);
    buffer_append_text(&script, SCRIPT_HEAD);
    buffer_append_text(&script, order->part_count > 1 ? SCRIPT_GANG : "exec");
    for (const char *const *argument = order->arguments; *argument != NULL; argument++)
        quoted_append(&script, *argument);
    buffer_append_byte(&script, '\n');
    json_write_key(out, "script");
    json_write_string(out, buffer_slice(&script));
    if (script.failed != STATUS_OK)
        out->failed = script.failed;
    buffer_deinit(&script);
}

static void variable_write(struct buffer *out, const char *variable, enum slurm_family family)
{
    const char *equals = strchr(variable, '=');

    if (family != SLURM_API_38) {
        json_write_comma(out);
        json_write_text(out, variable);
        return;
    }
    json_write_comma(out);
    json_write_string(out, (struct text_slice){variable, (size_t)(equals - variable)});
    buffer_append_byte(out, ':');
    json_write_text(out, equals + 1);
}

static status environment_write(struct buffer *out, const struct member_order *order,
                                enum slurm_family family, struct error_note *note)
{
    bool has_path = false;

    json_write_key(out, "environment");
    buffer_append_byte(out, family == SLURM_API_38 ? '{' : '[');
    for (const char *const *variable = order->environment; *variable != NULL; variable++) {
        if (strchr(*variable, '=') == NULL || (*variable)[0] == '=')
            return refuse(note, "a variable of the environment has no name or no '='");
        has_path = has_path || strncmp(*variable, "PATH=", 5) == 0;
        variable_write(out, *variable, family);
    }
    if (!has_path)
        variable_write(out, PATH_THERE, family);
    buffer_append_byte(out, family == SLURM_API_38 ? '}' : ']');
    return STATUS_OK;
}

/* --- the job --- */

static void number_write(struct buffer *out, const char *name, uint64_t value, bool is_object)
{
    json_write_key(out, name);
    if (is_object)
        buffer_append_text(out, "{\"set\":true,\"infinite\":false,\"number\":");
    buffer_append_u64(out, value);
    if (is_object)
        buffer_append_byte(out, '}');
}

static void text_write(struct buffer *out, const char *name, const char *value)
{
    json_write_key(out, name);
    json_write_text(out, value);
}

static void nodes_write(struct buffer *out, const struct layout *layout, enum slurm_family family)
{
    struct buffer features;

    if (family != SLURM_API_38) {
        number_write(out, "minimum_nodes", layout->node_count, false);
        number_write(out, "maximum_nodes", layout->node_count, false);
        json_write_key(out, "required_nodes");
        buffer_append_byte(out, '[');
        for (uint32_t i = 0; i < layout->node_count; i++) {
            json_write_comma(out);
            json_write_string(out, layout->nodes[i]);
        }
        buffer_append_byte(out, ']');
        return;
    }
    json_write_key(out, "nodes");
    buffer_append_format(out, "[%u,%u]", layout->node_count, layout->node_count);
    buffer_init(&features, SLURM_ORDER_BYTES_MAX);
    for (uint32_t i = 0; i < layout->node_count; i++)
        buffer_append_format(&features, "%snode_%.*s", i > 0 ? "|" : "",
                             (int)layout->nodes[i].bytes, layout->nodes[i].data);
    json_write_key(out, "constraints");
    json_write_string(out, buffer_slice(&features));
    if (features.failed != STATUS_OK)
        out->failed = features.failed;
    buffer_deinit(&features);
}

static status comment_write(struct buffer *out, const char *pool, const struct member_order *order,
                            struct error_note *note)
{
    struct buffer comment;
    status result;

    buffer_init(&comment, SLURM_MARK_BYTES_MAX);
    slurm_mark_write(&comment, pool, order);
    json_write_key(out, "comment");
    json_write_string(out, buffer_slice(&comment));
    result = comment.failed == STATUS_TOO_LARGE
                 ? decline(note, "the names of these slices are too long for a job's comment")
                 : comment.failed;
    buffer_deinit(&comment);
    return result;
}

/* Without a word of it a job would get the partition's default, which is meant for those that forget it. */
static void time_write(struct buffer *out, const struct slurm_partition *partition,
                       const struct member_order *order, enum slurm_family family)
{
    bool is_object = family != SLURM_API_38;
    uint64_t minutes = (order->time_limit_ns + 60 * NS_PER_SECOND - 1) / (60 * NS_PER_SECOND);

    if (minutes > 0 || partition->has_limit) {
        number_write(out, "time_limit", minutes > 0 ? minutes : partition->limit_minutes,
                     is_object);
    } else if (partition->has_default) {
        json_write_key(out, "time_limit");
        buffer_append_text(out, is_object ? "{\"set\":true,\"infinite\":true,\"number\":0}"
                                          : "\"UNLIMITED\"");
    }
}

static void place_write(struct buffer *out, const struct slurm_member_config *config,
                        const struct layout *layout, enum slurm_family family)
{
    bool is_object = family != SLURM_API_38;
    char tres[sizeof(layout->gres) + sizeof("gres/")];

    text_write(out, "partition", config->partition);
    if (config->account != NULL)
        text_write(out, "account", config->account);
    nodes_write(out, layout, family);
    number_write(out, "tasks", (uint64_t)layout->node_count * layout->parts_per_node, false);
    number_write(out, "tasks_per_node", layout->parts_per_node, false);
    number_write(out, "cpus_per_task", layout->cores_per_part, false);
    if (layout->memory_mib > 0)
        number_write(out, "memory_per_node", layout->memory_mib, is_object);
    (void)snprintf(tres, sizeof(tres), "%s%s", is_object ? "gres/" : "", layout->gres);
    if (layout->gres[0] != '\0')
        text_write(out, is_object ? "tres_per_node" : "gres", tres);
}

static status job_write(struct buffer *out, const struct slurm_member_config *config,
                        struct slurm_api api, const struct slurm_partition *partition,
                        const struct member_order *order, const struct layout *layout,
                        struct error_note *note)
{
    char output[4096];
    status result;

    (void)snprintf(output, sizeof(output), "%s/penstock-%016llx.out", config->working_directory,
                   (unsigned long long)order->uid);
    json_write_key(out, "job");
    buffer_append_byte(out, '{');
    text_write(out, "name", order->name);
    result = comment_write(out, config->pool, order, note);
    if (result != STATUS_OK)
        return result;
    place_write(out, config, layout, api.family);
    text_write(out, "current_working_directory", config->working_directory);
    text_write(out, "standard_output", output);
    json_write_key(out, "requeue");
    json_write_bool(out, false);
    time_write(out, partition, order, api.family);
    if (api.family == SLURM_API_41)
        script_write(out, order);
    if (environment_write(out, order, api.family, note) != STATUS_OK)
        return STATUS_INVALID;
    buffer_append_byte(out, '}');
    return out->failed;
}

status slurm_order_write(struct buffer *out, const struct slurm_member_config *config,
                         struct slurm_api api, const struct slurm_partition *partition,
                         const struct member_order *order, const struct slurm_slice_size *sizes,
                         struct error_note *note)
{
    struct layout layout = {.node_count = 0};
    status result;

    if (order->part_count == 0 || order->part_count > POOL_GANG_MAX)
        return refuse(note, "no parts, or too many");
    if (order->image != NULL && order->image[0] != '\0')
        return refuse(note, "this member runs programs, not images");
    result = nodes_count(order, &layout, note);
    if (result == STATUS_OK)
        result = parts_compare(order, sizes, note);
    if (result == STATUS_OK)
        result = gres_choose(config, order, sizes[0], &layout, note);
    if (result != STATUS_OK)
        return result;
    buffer_append_byte(out, '{');
    if (api.family != SLURM_API_41)
        script_write(out, order);
    result = job_write(out, config, api, partition, order, &layout, note);
    buffer_append_byte(out, '}');
    return result != STATUS_OK ? result : out->failed;
}
