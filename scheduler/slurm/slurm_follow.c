/* The watcher's half of a Slurm member.
 *
 * slurmrestd has no watch. It answers 304, without a body, where nothing has changed since a second that the request names; where
 * something has, all of it comes back: 13 MB and seconds of work at 10,000 nodes. So:
 *   - a look costs a 304 each poll_ns, while nothing changes;
 *   - after a full answer none is asked for until list_ns is over; meanwhile a ping tells that it is there;
 *   - our own jobs that are about to change (waiting, starting, ending) are asked about one by one, which is cheap.
 * The second is of the cluster's clock, one earlier than the request's: times come in whole seconds, and what happens
 * within the same one must not be missed. In 22.05 such a request may answer 500 right after a change; it is asked again without.
 *
 * A failure of any kind ends this function, and nothing is told to be gone: slices and replicas go only by a complete list. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "slurm_follow.h"
#include "slurm_json.h"

#define MOVING_MAX                                                                                 \
    32u /* jobs that are asked about in one round: at 3 ms each, a tenth of a second */
#define NAP_NS (100 * NS_PER_MS)

static const struct text_slice no_body = {NULL, 0};

/* --- lists --- */

/* STATUS_AGAIN: nothing has changed. */
static status list_ask(struct slurm_follow *follow, const char *what, uint64_t since, json_t **out)
{
    char path[64];
    status result;

    if (since > 0) {
        (void)snprintf(path, sizeof(path), "%s?update_time=%llu", what, (unsigned long long)since);
        result = slurm_client_ask(follow->client, NULL, path, no_body, out, follow->note);
        if (result != STATUS_CLOSED && result != STATUS_INVALID)
            return result;
    }
    return slurm_client_ask(follow->client, NULL, what, no_body, out, follow->note);
}

static const json_t *list_of(struct slurm_follow *follow, const json_t *answer, const char *what)
{
    const json_t *list = json_object_get(answer, what);

    if (json_is_array(list))
        return list;
    error_note_set(follow->note, "the answer has no list of %s", what);
    return NULL;
}

static status jobs_look(struct slurm_follow *follow, uint64_t now_ns)
{
    uint64_t since = slurm_client_now(follow->client) - 1;
    uint64_t list = slurm_table_begin(&follow->member->table);
    json_t *answer = NULL;
    const json_t *jobs;
    status result = list_ask(follow, "jobs", follow->jobs_since, &answer);

    if (result != STATUS_OK)
        return result;
    jobs = list_of(follow, answer, "jobs");
    result = jobs != NULL ? slurm_follow_jobs(follow, list, jobs) : STATUS_INVALID;
    json_decref(answer);
    follow->jobs_since = since;
    follow->jobs_next_ns = now_ns + follow->member->config.list_ns;
    return result;
}

static void slice_tell(void *context, const struct slice_report *report)
{
    struct slurm_follow *follow = context;
    uint64_t packed = (uint64_t)report->compute_milli << 32 | report->step_milli;

    if (json_object_set_new(follow->sizes, report->id, json_integer((json_int_t)packed)) != 0)
        follow->has_failed = true;
    follow->sink->slice(follow->sink->context, report);
}

static status nodes_take(struct slurm_follow *follow, const json_t *nodes)
{
    const struct member_sink *sink = follow->sink;

    follow->sizes = json_object();
    if (follow->sizes == NULL)
        return STATUS_NO_MEMORY;
    follow->has_failed = false;
    sink->list_begin(sink->context);
    for (size_t i = 0; i < json_array_size(nodes); i++)
        slurm_node_report(json_array_get(nodes, i), &follow->member->config, &follow->holds,
                          slice_tell, follow);
    /* The sizes before the end, so that no order comes for a slice whose size is not known. */
    slurm_table_sizes_set(&follow->member->table, follow->sizes);
    follow->sizes = NULL;
    sink->list_end(sink->context);
    return follow->has_failed ? STATUS_NO_MEMORY : STATUS_OK;
}

static status nodes_look(struct slurm_follow *follow, uint64_t now_ns)
{
    uint64_t since = slurm_client_now(follow->client) - 1;
    json_t *answer = NULL;
    const json_t *nodes;
    status result = list_ask(follow, "nodes", follow->nodes_since, &answer);

    if (result != STATUS_OK)
        return result;
    nodes = list_of(follow, answer, "nodes");
    result = nodes != NULL ? nodes_take(follow, nodes) : STATUS_INVALID;
    json_decref(answer);
    follow->nodes_since = since;
    follow->nodes_next_ns = now_ns + follow->member->config.list_ns;
    return result;
}

/* --- between lists --- */

static status moving_look(struct slurm_follow *follow)
{
    uint64_t horizon =
        slurm_client_now(follow->client) + follow->member->config.end_notice_ns / NS_PER_SECOND;
    uint64_t job_id;

    for (unsigned i = 0; i < MOVING_MAX; i++) {
        uint64_t list;
        json_t *answer = NULL;
        char path[48];
        status result;

        if (!slurm_table_moving(&follow->member->table, horizon, &follow->moving_at, &job_id)) {
            follow->moving_at = 0;
            return STATUS_OK;
        }
        (void)snprintf(path, sizeof(path), "job/%llu", (unsigned long long)job_id);
        list = slurm_table_begin(&follow->member->table);
        result = slurm_client_ask(follow->client, NULL, path, no_body, &answer, follow->note);
        if (result == STATUS_OK)
            result =
                slurm_follow_job(follow, list, json_array_get(json_object_get(answer, "jobs"), 0));
        json_decref(answer);
        if (result != STATUS_OK && result != STATUS_NOT_FOUND)
            return result;
    }
    return STATUS_OK;
}

/* One of the controllers must answer. */
static status ping(struct slurm_follow *follow)
{
    json_t *answer = NULL, *one, *pings;
    bool is_up = false;
    size_t i;
    status result = slurm_client_ask(follow->client, NULL, "ping", no_body, &answer, follow->note);

    if (result != STATUS_OK)
        return result;
    pings = json_object_get(answer, "pings");
    json_array_foreach(pings, i, one)
    {
        is_up = is_up || strcmp(slurm_text(one, "ping"), "UP") == 0 ||
                strcmp(slurm_text(one, "pinged"), "UP") == 0 ||
                json_is_true(json_object_get(one, "responding"));
    }
    json_decref(answer);
    if (!is_up)
        error_note_set(follow->note, "slurmctld does not answer slurmrestd");
    return is_up ? STATUS_OK : STATUS_CLOSED;
}

static status due_cancel(struct slurm_follow *follow)
{
    status result = STATUS_OK;
    uint64_t job_id;

    while (result == STATUS_OK &&
           slurm_table_due(&follow->member->table, clock_now_ns(), &job_id)) {
        result = slurm_cancel(follow->client, job_id, follow->note);
        if (result == STATUS_CLOSED || result == STATUS_TIMEOUT)
            slurm_table_cancel_at(&follow->member->table, job_id, clock_now_ns());
    }
    return result;
}

static status round_run(struct slurm_follow *follow)
{
    uint64_t now_ns = clock_now_ns();
    bool asks_jobs = now_ns >= follow->jobs_next_ns, asks_nodes = now_ns >= follow->nodes_next_ns;
    status result = due_cancel(follow);

    if (result == STATUS_OK && asks_jobs)
        result = jobs_look(follow, now_ns);
    if ((result == STATUS_OK || result == STATUS_AGAIN) && asks_nodes)
        result = nodes_look(follow, now_ns);
    if (result == STATUS_OK || result == STATUS_AGAIN)
        result = moving_look(follow);
    if (result == STATUS_OK && !asks_jobs && !asks_nodes)
        result = ping(follow);
    if (result == STATUS_OK)
        follow->sink->heard(follow->sink->context);
    return result;
}

static bool is_stopping(const struct slurm_follow *follow)
{
    return atomic_load_explicit(follow->is_stopping, memory_order_relaxed);
}

static void rest(const struct slurm_follow *follow)
{
    uint64_t end_ns = clock_now_ns() + follow->member->config.poll_ns, now_ns;

    while (!is_stopping(follow) && (now_ns = clock_now_ns()) < end_ns) {
        uint64_t left_ns = end_ns - now_ns < NAP_NS ? end_ns - now_ns : NAP_NS;
        struct timespec nap = {.tv_nsec = (long)left_ns};

        (void)nanosleep(&nap, NULL);
    }
}

status slurm_follow(void *driver, const struct member_sink *sink, const _Atomic bool *stopping,
                    struct error_note *note)
{
    struct slurm_member *member = driver;
    struct slurm_partition partition;
    struct slurm_follow follow = {.member = member,
                                  .client = &member->watching,
                                  .sink = sink,
                                  .is_stopping = stopping,
                                  .note = note};
    status result = slurm_holds_init(&follow.holds);

    if (result != STATUS_OK)
        return result;
    slurm_parts_init(&follow.parts);
    member->watching.is_stopping = stopping;
    result = slurm_client_open(&member->watching, note);
    if (result == STATUS_OK)
        result = slurm_partition_ask(&member->watching, &partition, note);
    while (result == STATUS_OK && !is_stopping(&follow)) {
        result = round_run(&follow);
        if (result == STATUS_OK)
            rest(&follow);
    }
    member->watching.is_stopping = NULL;
    slurm_parts_deinit(&follow.parts);
    slurm_holds_deinit(&follow.holds);
    return is_stopping(&follow) ? STATUS_OK : result;
}
