/* Our jobs as replicas.
 *
 * A replica is one job, and is told as that. Where a submission's answer was lost and its job came late, there may be two:
 * the first that is not over is the replica, and a later one is ended. */
#include <stdio.h>

#include "clock.h"
#include "slurm_follow.h"
#include "slurm_json.h"

static const struct text_slice no_body = {NULL, 0};

/* When the member ends it, if that is soon or came without being asked for. */
static uint64_t ends_notice(const struct slurm_follow *follow, const struct slurm_job *job)
{
    uint64_t now = slurm_client_now(follow->client);
    uint64_t left_ns = job->ends_seconds > now ? (job->ends_seconds - now) * NS_PER_SECOND : 0;

    if (job->ends_seconds == 0 ||
        (!job->is_preempted && left_ns > follow->member->config.end_notice_ns))
        return 0;
    return clock_now_ns() + left_ns;
}

static status replica_tell(struct slurm_follow *follow, const struct slurm_job *job)
{
    char handle[32];
    status result = slurm_parts_read(&follow->parts, &job->mark);

    if (result != STATUS_OK)
        return result;
    (void)snprintf(handle, sizeof(handle), "job %llu", (unsigned long long)job->id);
    follow->sink->replica(follow->sink->context,
                          &(struct member_replica){.uid = job->mark.uid,
                                                   .phase = job->phase,
                                                   .cause = job->cause,
                                                   .handle = handle,
                                                   .node = job->node,
                                                   .endpoint = "",
                                                   .reason = job->reason,
                                                   .ends_notice_ns = ends_notice(follow, job),
                                                   .name = job->name,
                                                   .parts = follow->parts.list,
                                                   .part_count = follow->parts.count});
    return STATUS_OK;
}

/* A job that is in the queue again says nothing of why. If the node that it was on is sound, its place was taken. */
static void put_back_explain(struct slurm_follow *follow, struct slurm_job *job)
{
    char path[sizeof(job->node) + sizeof("node/")];
    json_t *answer = NULL, *node;

    if (job->cause != MEMBER_CAUSE_NODE ||
        !slurm_table_node(&follow->member->table, job->id, job->node))
        return;
    (void)snprintf(path, sizeof(path), "node/%s", job->node);
    if (slurm_client_ask(follow->client, NULL, path, no_body, &answer, follow->note) != STATUS_OK)
        return; /* the node is what we know */
    node = json_array_get(json_object_get(answer, "nodes"), 0);
    if (node != NULL && slurm_node_health(node) != SLICE_BAD &&
        slurm_node_health(node) != SLICE_UNKNOWN)
        job->cause = MEMBER_CAUSE_PREEMPTED;
    json_decref(answer);
}

/* Of a job that the table has. */
static status job_tell(struct slurm_follow *follow, struct slurm_job *job)
{
    struct slurm_row chosen;
    status result;

    if (!slurm_table_find(&follow->member->table, job->mark.uid, &chosen))
        return STATUS_OK; /* forgotten just now */
    if (chosen.job_id != job->id)
        return job->is_over ? STATUS_OK : slurm_cancel(follow->client, job->id, follow->note);
    if (job->is_put_back)
        put_back_explain(follow, job);
    if (chosen.is_asked && job->phase == MEMBER_REPLICA_FAILED) {
        job->phase = MEMBER_REPLICA_ENDED; /* whatever it said at its end */
        job->cause = MEMBER_CAUSE_NONE;
    }
    result = replica_tell(follow, job);
    if (result == STATUS_OK && job->is_put_back)
        result = slurm_cancel(follow->client, job->id, follow->note);
    return result;
}

static bool is_ours(const struct slurm_follow *follow, const json_t *object, struct slurm_job *job)
{
    return slurm_job_read(object, &follow->member->config, job) && job->is_ours;
}

status slurm_follow_job(struct slurm_follow *follow, uint64_t list, const json_t *object)
{
    struct slurm_job job;
    status result;

    if (!is_ours(follow, object, &job))
        return STATUS_OK;
    result = slurm_table_put(&follow->member->table, list, &job);
    return result == STATUS_OK ? job_tell(follow, &job) : result;
}

status slurm_follow_jobs(struct slurm_follow *follow, uint64_t list, const json_t *jobs)
{
    struct slurm_holds holds;
    struct slurm_job job;
    const json_t *object;
    size_t i;
    status result = slurm_holds_init(&holds);

    for (i = 0; i < json_array_size(jobs) && result == STATUS_OK; i++) {
        object = json_array_get(jobs, i);
        if (is_ours(follow, object, &job))
            result = slurm_table_put(&follow->member->table, list, &job);
        if (result == STATUS_OK)
            result = slurm_holds_add(&holds, &follow->member->config, object);
    }
    if (result == STATUS_OK)
        slurm_table_end(&follow->member->table, list);
    for (i = 0; i < json_array_size(jobs) && result == STATUS_OK; i++)
        if (is_ours(follow, json_array_get(jobs, i), &job))
            result = job_tell(follow, &job);
    if (result != STATUS_OK) {
        slurm_holds_deinit(&holds);
        return result;
    }
    follow->sink->replicas_listed(follow->sink->context);
    slurm_holds_deinit(&follow->holds);
    follow->holds = holds;
    return STATUS_OK;
}
