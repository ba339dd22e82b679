/* The replica's flight recorder (flight_recorder.h): beside its socket there is a file with its last steps, which is still there when it was
 * killed, and which whoever reaches the socket may have. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "log.h"
#include "replica_life.h"
#include "reply.h"

_Static_assert((int)FLIGHT_SEQUENCES == (int)ENGINE_STEP_REQUESTS_MAX, "all fit");

void replica_open_flight(struct replica *replica, const char *listen)
{
    const struct config_requests *wanted = &replica->config->observability.requests;
    char path[256];
    struct flight_options options = {.model = replica->model->name,
                                     .step_count = (uint32_t)wanted->flight_steps};
    if (wanted->flight_steps == 0 || !replica->is_trusted)
        return;
    /* On another machine there is no folder that is its gateway's: that is asked for while the process is there. */
    if (replica->link == NULL) {
        int bytes = snprintf(path, sizeof path, "%s" FLIGHT_ENDING, listen + strlen("unix:"));
        if (bytes < 0 || (size_t)bytes >= sizeof path)
            return;
        options.path = path;
    }
    status s = flight_recorder_open(&options, &replica->flight);
    if (s == STATUS_NOT_FOUND) { /* no gateway has made one: it can be asked for */
        options.path = NULL;
        s = flight_recorder_open(&options, &replica->flight);
    }
    if (s != STATUS_OK)
        log_warn("gateway/serving", "the last steps are not kept: %s: %s",
                 options.path != NULL ? options.path : "memory", strerror(errno));
}

static uint16_t small(uint32_t count)
{
    return count < UINT16_MAX ? (uint16_t)count : UINT16_MAX;
}

void replica_note_step(void *context, const struct engine_step *step)
{
    struct replica *replica = context;
    struct flight_step flight = {
        .end_ns = step->at_ns,
        .step_ns = step->step_ns,
        .device_wait_ns = step->device_wait_ns,
        .rows = step->rows,
        .decodes = step->decodes,
        .drafts = step->drafts,
        .sequences_total = step->sequence_count,
        .running = step->running,
        .waiting = step->waiting,
        .blocks_free = step->blocks_free,
        .blocks_cached = step->blocks_cached,
        .preempted = small(step->preempted),
        .admitted = small(step->admitted),
        .state = step->is_over ? FLIGHT_COMPUTED : FLIGHT_BEGUN,
    };
    memcpy(flight.sequences, step->requests, sizeof flight.sequences);
    flight_recorder_note(replica->flight, &flight);
}

void flight_get(struct replica *replica, http_request *request)
{
    struct api_error error;
    struct buffer body;
    if (replica->flight == NULL) {
        api_error_set(&error, 404, "invalid_request_error", "no_flight_recorder", "",
                      "The replica keeps no steps (observability.requests.flight_steps).");
        reply_error(request, &wire_format_chat, &error);
        return;
    }
    buffer_init(&body, FLIGHT_BYTES_MAX);
    flight_recorder_copy(replica->flight, &body);
    if (body.failed == STATUS_OK) {
        http_reply(request, 200, NULL, 0, "application/octet-stream", buffer_slice(&body));
    } else {
        api_error_from_status(&error, body.failed, NULL);
        reply_error(request, &wire_format_chat, &error);
    }
    buffer_deinit(&body);
}
