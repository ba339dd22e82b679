/* The worker's half of a Slurm member: jobs are submitted and ended.
 *
 * Slurm has no idempotency key. What keeps an order from becoming two jobs is the uid in the comment: before a submission all of our
 * jobs are known from a list, and one whose answer was lost makes the next start wait for a new list. */
#include <stdio.h>

#include "clock.h"
#include "memory.h"
#include "slurm_internal.h"
#include "slurm_json.h"

static const struct text_slice no_body = {NULL, 0};

/* After a loss of the connection the other side may be another version, its partition another. */
static status opened(struct slurm_member *member, struct error_note *note)
{
    status result;

    if (member->working.api.version != 0)
        return STATUS_OK;
    result = slurm_client_open(&member->working, note);
    if (result == STATUS_OK)
        result = slurm_partition_ask(&member->working, &member->partition, note);
    if (result != STATUS_OK)
        member->working.api.version = 0;
    return result;
}

static status ask(struct slurm_member *member, const char *method, const char *path,
                  struct text_slice body, json_t **out, struct error_note *note)
{
    status result = slurm_client_ask(&member->working, method, path, body, out, note);

    if (result == STATUS_CLOSED || result == STATUS_TIMEOUT)
        member->working.api.version = 0;
    return result;
}

static status list_jobs(struct slurm_member *member, struct error_note *note)
{
    uint64_t list = slurm_table_begin(&member->table);
    json_t *answer = NULL, *jobs;
    status result = ask(member, NULL, "jobs", no_body, &answer, note);

    if (result != STATUS_OK)
        return result;
    jobs = json_object_get(answer, "jobs");
    if (!json_is_array(jobs)) {
        error_note_set(note, "the answer has no list of jobs");
        result = STATUS_INVALID;
    }
    for (size_t i = 0; i < json_array_size(jobs) && result == STATUS_OK; i++) {
        struct slurm_job job;

        if (slurm_job_read(json_array_get(jobs, i), &member->config, &job) && job.is_ours)
            result = slurm_table_put(&member->table, list, &job);
    }
    if (result == STATUS_OK)
        slurm_table_end(&member->table, list);
    json_decref(answer);
    return result;
}

static status known(struct slurm_member *member, struct error_note *note)
{
    status result = opened(member, note);

    if (result == STATUS_OK && !slurm_table_is_listed(&member->table))
        result = list_jobs(member, note);
    return result;
}

/* --- start --- */

static status sizes_find(struct slurm_member *member, const struct member_order *order,
                         struct slurm_slice_size *sizes, struct error_note *note)
{
    for (uint32_t i = 0; i < order->part_count; i++) {
        if (!slurm_table_size(&member->table, order->parts[i].slice_id, &sizes[i])) {
            error_note_set(note, "there is no slice \"%s\" now", order->parts[i].slice_id);
            return STATUS_FULL;
        }
    }
    return STATUS_OK;
}

static status submit(struct slurm_member *member, const struct member_order *order,
                     struct text_slice body, struct error_note *note)
{
    json_t *answer = NULL;
    uint64_t job_id;
    status result = ask(member, NULL, "job/submit", body, &answer, note);

    if (result == STATUS_CLOSED || result == STATUS_TIMEOUT)
        slurm_table_doubt(&member->table);
    if (result == STATUS_NOT_FOUND)
        return STATUS_INVALID;
    if (result != STATUS_OK)
        return result;
    if (!slurm_number(answer, "job_id", &job_id) || job_id == 0) {
        slurm_table_doubt(&member->table);
        error_note_set(note, "the answer to a submission has no job");
        result = STATUS_CLOSED;
    } else if (slurm_table_submitted(&member->table, order, job_id) != STATUS_OK) {
        slurm_table_doubt(&member->table);
    }
    json_decref(answer);
    return result;
}

status slurm_start(void *driver, const struct member_order *order, struct error_note *note)
{
    struct slurm_member *member = driver;
    struct slurm_slice_size *sizes;
    struct slurm_row row;
    struct buffer body;
    status result = known(member, note);

    if (result != STATUS_OK)
        return result;
    /* One that was refused has never run: it may be tried again, elsewhere. */
    if (slurm_table_find(&member->table, order->uid, &row) &&
        !(row.is_over && row.cause == MEMBER_CAUSE_REFUSED))
        return STATUS_OK;
    sizes = memory_allocate_array(order->part_count, sizeof(*sizes));
    if (sizes == NULL)
        return STATUS_NO_MEMORY;
    buffer_init(&body, SLURM_ORDER_BYTES_MAX);
    result = sizes_find(member, order, sizes, note);
    if (result == STATUS_OK)
        result = slurm_order_write(&body, &member->config, member->working.api, &member->partition,
                                   order, sizes, note);
    if (result == STATUS_OK)
        result = submit(member, order, buffer_slice(&body), note);
    buffer_deinit(&body);
    memory_release(sizes);
    return result;
}

/* --- stop --- */

static status kill_job(struct slurm_client *client, uint64_t job_id, const char *query,
                       struct error_note *note)
{
    char path[64];
    status result;

    (void)snprintf(path, sizeof(path), "job/%llu%s", (unsigned long long)job_id, query);
    result = slurm_client_ask(client, "DELETE", path, no_body, NULL, note);
    return result == STATUS_NOT_FOUND ? STATUS_OK : result;
}

/* From v0.0.40 on a signal reaches only a job's steps, unless it says otherwise. */
static status ask_to_end(struct slurm_client *client, const struct slurm_row *row,
                         struct error_note *note)
{
    char query[48];

    (void)snprintf(query, sizeof(query), "?signal=%s%s", row->is_gang ? SLURM_GANG_SIGNAL : "TERM",
                   client->api.version >= 40 ? "&flags=FULL_JOB" : "");
    return kill_job(client, row->job_id, query, note);
}

status slurm_cancel(struct slurm_client *client, uint64_t job_id, struct error_note *note)
{
    return kill_job(client, job_id, "", note);
}

/* A signal first, so that the time between it and the end is ours and not the cluster's; the watcher ends it when that is over. */
status slurm_stop(void *driver, uint64_t uid, uint64_t grace_ns, struct error_note *note)
{
    struct slurm_member *member = driver;
    struct slurm_row row;
    status result = known(member, note);

    if (result != STATUS_OK)
        return result;
    if (!slurm_table_find(&member->table, uid, &row) || row.is_over)
        return STATUS_OK;
    if (grace_ns > 0 && row.phase != MEMBER_REPLICA_PENDING &&
        ask_to_end(&member->working, &row, note) == STATUS_OK) {
        slurm_table_cancel_at(&member->table, row.job_id, clock_now_ns() + grace_ns);
        return STATUS_OK;
    }
    result = slurm_cancel(&member->working, row.job_id, note);
    if (result == STATUS_CLOSED || result == STATUS_TIMEOUT)
        member->working.api.version = 0;
    return result;
}
