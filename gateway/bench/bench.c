/* The run: one thread, as many streams as there are slots. A slot is free, or has one request under way; what is due takes the first free one.
 * Events count as come when the poll that brought them returns. */
#include "bench.h"

#include <stdio.h>
#include <string.h>

#include "answer.h"
#include "clock.h"
#include "http_stream.h"
#include "json.h"
#include "memory.h"

#define ANSWER_BYTES_MAX  (8u << 20) /* not yet read of one answer */
#define REQUEST_BYTES_MAX (16u << 20)
#define MODELS_BYTES_MAX  (4u << 20)
#define URL_BYTES         1024u
#define KEY_BYTES         4200u
#define CONNECT_NS        (30 * NS_PER_SECOND)
#define WAIT_MS_MAX       100

struct slot {
    struct http_stream *stream; /* owned; NULL: free */
    struct buffer request;      /* read while the stream is open */
    struct buffer body;
    struct answer answer;
    uint64_t due_ns;
};

struct run {
    const struct bench_order *order;
    struct bench_result *result;
    struct http_streams *streams;
    workload *workload;
    struct slot *slots; /* [order->concurrency] */
    struct workload_request next;
    bool has_next;
    uint32_t busy;
    char url[URL_BYTES], authorization[KEY_BYTES];
    struct http_header header;
};

static status fetch_make(const struct bench_order *order, const char *path, char url[URL_BYTES],
                         char authorization[KEY_BYTES], struct http_header *header,
                         struct http_fetch *out, struct error_note *note)
{
    bool has_key = order->key != NULL && order->key[0] != '\0';

    if (snprintf(url, URL_BYTES, "%s%s", order->url, path) >= (int)URL_BYTES ||
        (has_key &&
         snprintf(authorization, KEY_BYTES, "Bearer %s", order->key) >= (int)KEY_BYTES)) {
        error_note_set(note, "the URL or the key is too long");
        return STATUS_TOO_LARGE;
    }
    *header = (struct http_header){text_slice_of("authorization"), text_slice_of(authorization)};
    *out = (struct http_fetch){.url = url,
                               .ca_file = order->ca_file,
                               .headers = header,
                               .header_count = has_key ? 1 : 0,
                               .uses_proxy = true,
                               .timeout_ns = CONNECT_NS};
    return STATUS_OK;
}

status bench_find_model(const struct bench_order *order, struct buffer *out,
                        struct error_note *note)
{
    static const struct json_limits limits = {.depth_max = 16, .value_count_max = 1u << 20};
    char url[URL_BYTES], authorization[KEY_BYTES];
    struct http_header header;
    struct http_fetch fetch;
    struct buffer body;
    json_t *answer = NULL;
    const char *id;
    int code = 0;
    status result = fetch_make(order, "/v1/models", url, authorization, &header, &fetch, note);

    buffer_init(&body, MODELS_BYTES_MAX);
    if (result == STATUS_OK)
        result = http_fetch(&fetch, &code, &body, note);
    if (result == STATUS_OK && code != 200) {
        error_note_set(note, "%s answers %d%s", url, code,
                       code == 401 ? " (a key goes into PENSTOCK_API_KEY)" : "");
        result = STATUS_NOT_FOUND;
    }
    if (result == STATUS_OK)
        result = json_load_limited(buffer_slice(&body), &limits, &answer, note);
    id = json_string_value(
        json_object_get(json_array_get(json_object_get(answer, "data"), 0), "id"));
    if (result == STATUS_OK && id == NULL) {
        error_note_set(note, "%s lists no model", url);
        result = STATUS_NOT_FOUND;
    }
    if (result == STATUS_OK)
        buffer_append_text(out, id);
    json_decref(answer);
    buffer_deinit(&body);
    return result;
}

/* --- one request --- */

static status slot_send(struct run *run, struct slot *slot, uint64_t now_ns,
                        struct error_note *note)
{
    struct buffer history, question;
    struct http_fetch fetch;
    status result;

    buffer_init(&history, 1);
    buffer_init(&question, REQUEST_BYTES_MAX);
    buffer_clear(&slot->request);
    buffer_clear(&slot->body);
    slot->answer = (struct answer){0};
    slot->due_ns =
        run->next.arrival_ns > 0 ? run->result->started_ns + run->next.arrival_ns : now_ns;
    workload_write_body(run->workload, &run->next, &history, &question, &slot->request);
    result = slot->request.failed != STATUS_OK
                 ? slot->request.failed
                 : fetch_make(run->order, "/v1/chat/completions", run->url, run->authorization,
                              &run->header, &fetch, note);
    if (result == STATUS_OK) {
        fetch.body = buffer_slice(&slot->request);
        result = http_stream_open(run->streams, &fetch, &slot->body, &slot->stream);
    }
    if (result == STATUS_OK) {
        run->busy++;
        run->result->sent++;
        run->has_next = run->result->sent < run->order->request_count &&
                        workload_next(run->workload, &run->next);
    }
    buffer_deinit(&question);
    buffer_deinit(&history);
    return result;
}

static void failure_note(struct run *run, const struct slot *slot, status how,
                         const struct error_note *why)
{
    if (run->result->failed++ > 0)
        return;
    if (how != STATUS_OK)
        error_note_set(&run->result->first_failure, "%s", why->text);
    else if (http_stream_code(slot->stream) != 200)
        error_note_set(&run->result->first_failure, "status %d: %.*s",
                       http_stream_code(slot->stream),
                       (int)(slot->body.bytes < 500 ? slot->body.bytes : 500),
                       slot->body.bytes > 0 ? slot->body.data : "");
    else
        error_note_set(&run->result->first_failure,
                       "the stream ended early, with an error or without any text");
}

static status success_note(struct run *run, const struct slot *slot, uint64_t now_ns)
{
    const struct bench_order *order = run->order;
    const struct answer *answer = &slot->answer;
    struct bench_result *result = run->result;
    uint32_t tokens = answer->output_tokens > 0 ? answer->output_tokens : answer->event_count;
    double ttft = (double)(answer->first_ns - slot->due_ns) / 1e6;
    double gap = tokens > 1 ? (double)(answer->last_ns - answer->first_ns) / 1e6 / (tokens - 1) : 0;
    uint64_t ended = result->sent - run->busy - result->failed; /* with this one */
    double context = answer->prompt_tokens + tokens / 2.0;
    status added = bench_samples_add(&result->ttft, ttft);

    if (added == STATUS_OK)
        added = bench_samples_add(&result->end_to_end, (double)(now_ns - slot->due_ns) / 1e6);
    result->prompt_tokens += answer->prompt_tokens;
    result->cached_tokens += answer->cached_tokens;
    result->output_tokens += tokens;
    result->context_tokens_mean +=
        (context - result->context_tokens_mean) / (double)(ended > 0 ? ended : 1);
    result->good += (order->ttft_slo_ms <= 0 || ttft <= order->ttft_slo_ms) &&
                    (order->gap_slo_ms <= 0 || gap <= order->gap_slo_ms);
    return added;
}

static status slot_look(struct run *run, struct slot *slot, uint64_t now_ns)
{
    struct error_note why = {""};
    status how = STATUS_OK, result = STATUS_OK;

    if (http_stream_code(slot->stream) == 200)
        result = answer_read(&slot->answer, &slot->body, now_ns, &run->result->gap);
    if (result != STATUS_OK || !http_stream_has_ended(slot->stream, &how, &why))
        return result;
    run->busy--;
    if (how == STATUS_OK && slot->answer.is_complete && !slot->answer.has_error &&
        slot->answer.event_count > 0)
        result = success_note(run, slot, now_ns);
    else
        failure_note(run, slot, how, &why);
    http_stream_close(slot->stream);
    slot->stream = NULL;
    return result;
}

/* --- all of them --- */

/* Sends what is due where a slot is free. `wait_ms` gets how long there is nothing to send. */
static status send_due(struct run *run, int *wait_ms, struct error_note *note)
{
    *wait_ms = WAIT_MS_MAX;
    for (uint32_t i = 0; i < run->order->concurrency && run->has_next; i++) {
        uint64_t now_ns = clock_now_ns(), elapsed_ns = now_ns - run->result->started_ns;
        status result;

        if (run->slots[i].stream != NULL)
            continue;
        if (run->order->duration_ns > 0 && elapsed_ns >= run->order->duration_ns) {
            run->has_next = false;
            break;
        }
        if (run->next.arrival_ns > elapsed_ns) {
            uint64_t ms = (run->next.arrival_ns - elapsed_ns) / NS_PER_MS;

            *wait_ms = ms < WAIT_MS_MAX ? (int)ms : WAIT_MS_MAX;
            break;
        }
        result = slot_send(run, &run->slots[i], now_ns, note);
        if (result != STATUS_OK)
            return result;
    }
    return STATUS_OK;
}

static status run_all(struct run *run, struct error_note *note)
{
    status result = STATUS_OK;
    int wait_ms;

    run->result->started_ns = clock_now_ns();
    run->has_next = workload_next(run->workload, &run->next);
    while (result == STATUS_OK && (run->has_next || run->busy > 0)) {
        result = send_due(run, &wait_ms, note);
        http_streams_poll(run->streams, wait_ms);
        uint64_t now_ns = clock_now_ns();

        for (uint32_t i = 0; i < run->order->concurrency && result == STATUS_OK; i++) {
            if (run->slots[i].stream != NULL)
                result = slot_look(run, &run->slots[i], now_ns);
        }
    }
    run->result->ended_ns = clock_now_ns();
    return result;
}

status bench_run(const struct bench_order *order, struct bench_result *result,
                 struct error_note *note)
{
    struct run run = {.order = order, .result = result};
    status outcome = workload_create(&order->load, &run.workload, note);

    *result = (struct bench_result){.first_failure = {""}};
    run.streams = http_streams_create();
    run.slots = memory_allocate_array(order->concurrency, sizeof(*run.slots));
    if (outcome == STATUS_OK && (run.streams == NULL || run.slots == NULL))
        outcome = STATUS_NO_MEMORY;
    for (uint32_t i = 0; run.slots != NULL && i < order->concurrency; i++) {
        buffer_init(&run.slots[i].request, REQUEST_BYTES_MAX);
        buffer_init(&run.slots[i].body, ANSWER_BYTES_MAX);
    }
    if (outcome == STATUS_OK)
        outcome = run_all(&run, note);
    for (uint32_t i = 0; run.slots != NULL && i < order->concurrency; i++) {
        http_stream_close(run.slots[i].stream);
        buffer_deinit(&run.slots[i].body);
        buffer_deinit(&run.slots[i].request);
    }
    memory_release(run.slots);
    http_streams_destroy(run.streams);
    workload_destroy(run.workload);
    explicit_bzero(run.authorization, sizeof(run.authorization));
    return outcome;
}

void bench_result_deinit(struct bench_result *result)
{
    bench_samples_deinit(&result->ttft);
    bench_samples_deinit(&result->gap);
    bench_samples_deinit(&result->end_to_end);
}
