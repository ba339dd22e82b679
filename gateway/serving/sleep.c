/* Sleep and wake of the replica, under vLLM's names: POST /sleep?level=1|2, POST /wake_up, GET /is_sleeping. Who may let it
 * sleep is who may speak for clients: the gateway, on the replica's Unix socket; elsewhere there are no such paths, as in
 * vLLM without its development mode. Both take as long as the system needs to take or give memory, so they are jobs of the
 * workers. */

#include <string.h>

#include "clock.h"
#include "job.h"
#include "log.h"

#define AREA             "gateway/serving"
#define ANSWER_BYTES_MAX 256u

static uint32_t level_of(const struct replica *replica)
{
    return replica_phase(replica) != REPLICA_LOADING && replica->engine != NULL
               ? engine_sleep_level(replica->engine)
               : 0;
}

bool replica_is_asleep(const struct replica *replica)
{
    return level_of(replica) > 0;
}

static void write_state(const struct replica *replica, struct buffer *out)
{
    uint32_t level = level_of(replica);
    buffer_append_format(out, "{\"is_sleeping\":%s,\"level\":%u}", level > 0 ? "true" : "false",
                         level);
}

void probe_sleeping(struct replica *replica, http_request *request)
{
    struct buffer body;
    buffer_init(&body, ANSWER_BYTES_MAX);
    write_state(replica, &body);
    reply_json(request, 200, &body);
    buffer_deinit(&body);
}

static bool is_allowed(struct job *job)
{
    if (!job->replica->is_trusted)
        api_error_set(&job->error, 404, "invalid_request_error", "not_found", "",
                      "A replica is put to sleep and woken on its Unix socket only.");
    else if (job->replica->engine == NULL)
        api_error_set(&job->error, 400, "invalid_request_error", "unsupported_model", "",
                      "This model encodes: it holds no cache that sleep could give back.");
    else
        return true;
    return false;
}

/* Of "level=1"; nothing is level 1. 0: neither. */
static uint32_t parse_level(struct text_slice query)
{
    if (query.bytes == 0 || text_slice_is(query, "level=1"))
        return 1;
    return text_slice_is(query, "level=2") ? 2 : 0;
}

static status fall_asleep(struct job *job)
{
    uint32_t level = parse_level(buffer_slice(&job->body));
    status s = level > 0 ? engine_sleep(job->replica->engine, level) : STATUS_INVALID;
    if (s == STATUS_INVALID)
        api_error_set(&job->error, 400, "invalid_request_error", "invalid_value", "level",
                      "The query may be level=1 (weights stay in memory) or level=2, no other.");
    else if (s == STATUS_AGAIN)
        api_error_set(&job->error, 409, "invalid_request_error", "busy", "",
                      "The replica has requests, or is falling asleep or waking: end them first.");
    else if (s != STATUS_OK)
        api_error_from_status(&job->error, s, NULL);
    return s;
}

static status wake(struct job *job)
{
    struct error_note note = {""};
    status s = STATUS_INVALID;
    if (job->body.bytes >
        0) { /* vLLM wakes parts by tags; what is said of them must not be taken for done */
        api_error_set(&job->error, 400, "invalid_request_error", "unsupported_parameter", "",
                      "A replica wakes as a whole: /wake_up takes no query.");
        return s;
    }
    s = engine_wake(job->replica->engine, &note);
    if (s == STATUS_AGAIN)
        api_error_set(&job->error, 409, "invalid_request_error", "busy", "",
                      "The replica is falling asleep or waking already.");
    else if (s != STATUS_OK)
        api_error_set(&job->error, 500, "server_error", "wake_failed", "", "%s", note.text);
    return s;
}

enum job_stage sleep_answer(struct job *job)
{
    uint64_t start_ns = clock_now_ns();
    bool sleeps = job->kind == JOB_SLEEP;
    if (!is_allowed(job))
        return JOB_FAILED;
    if ((sleeps ? fall_asleep(job) : wake(job)) != STATUS_OK) {
        log_warn(AREA, "%s: %s", sleeps ? "sleep" : "wake", job->error.message);
        return JOB_FAILED;
    }
    log_info(AREA, "%s in %.3f s", sleeps ? "asleep" : "awake",
             (double)(clock_now_ns() - start_ns) / (double)NS_PER_SECOND);
    buffer_deinit(&job->body);
    buffer_init(&job->body, ANSWER_BYTES_MAX);
    write_state(job->replica, &job->body);
    return JOB_ANSWERED;
}
