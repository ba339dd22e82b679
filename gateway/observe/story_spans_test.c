#include "story_spans.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "clock.h"

#define TRACE     "4bf92f3577b34da6a3ce929d0e0e4736"
#define OWN       "00f067aa0ba902b7"
#define PARENT    "1111111111111111"
#define ATTEMPT   "2222222222222222"
#define WALL_NS   (1700000000ull * NS_PER_SECOND)
#define SPANS_MAX 64

/* What spans point to lives as long as they are told: the text that is made for one is copied. */
struct seen {
    struct span spans[SPANS_MAX];
    char error_types[SPANS_MAX][STORY_CODE_BYTES];
    uint32_t count;
};

static const struct attribute *attribute_of(const struct span *span, const char *key)
{
    for (uint32_t i = 0; i < span->attribute_count; i++) {
        if (strcmp(span->attributes[i].key, key) == 0)
            return &span->attributes[i];
    }
    return NULL;
}

static void take(void *context, const struct span *span)
{
    const struct attribute *error = attribute_of(span, "error.type");
    struct seen *seen = context;

    assert_true(seen->count < SPANS_MAX);
    (void)snprintf(seen->error_types[seen->count], STORY_CODE_BYTES, "%s",
                   error != NULL ? error->text : "");
    seen->spans[seen->count++] = *span;
}

static const struct span *find(const struct seen *seen, const char *name)
{
    for (uint32_t i = 0; i < seen->count; i++) {
        if (strcmp(seen->spans[i].name, name) == 0)
            return &seen->spans[i];
    }
    fail_msg("there is no span \"%s\"", name);
    return NULL;
}

static const char *error_of(const struct seen *seen, const char *name)
{
    return seen->error_types[find(seen, name) - seen->spans];
}

static void id_is(const uint8_t id[SPAN_ID_BYTES], const char *wanted)
{
    char hex[SPAN_ID_HEX_BYTES];

    span_id_hex(id, hex);
    assert_string_equal(hex, wanted);
}

static void story_make(struct request_story *story)
{
    memset(story, 0, sizeof(*story));
    story->start_wall_ns = WALL_NS;
    story->route = "/v1/chat/completions";
    story->model = "small";
    story->policy = "predicted_ttft";
    story->finish = "stop";
    story->is_stream = true;
    story->status_code = 200;
    story->cost_nano = STORY_NO_COST;
    (void)snprintf(story->trace_id, sizeof(story->trace_id), TRACE);
    (void)snprintf(story->span_id, sizeof(story->span_id), OWN);
    (void)snprintf(story->asked_model, sizeof(story->asked_model), "alias");
    for (int i = 0; i < STORY_MOMENT_COUNT; i++)
        story->moments_ns[i] = (uint64_t)(i + 1) * 100;
    story->attempt_count = 1;
    story->attempts[0] = (struct story_attempt){
        .model = "small", .member = "", .start_ns = 500, .end_ns = 900, .result = STORY_ANSWERED};
    (void)snprintf(story->attempts[0].span_id, sizeof(story->attempts[0].span_id), ATTEMPT);
    story->usage_is_known = true;
    story->prompt_tokens = 7;
    story->completion_tokens = 3;
}

static void a_story_is_a_server_span_with_its_parts(void **state)
{
    struct request_story story;
    struct seen seen = {.count = 0};
    const struct span *server, *attempt;

    (void)state;
    story_make(&story);
    story_spans_emit(&story, take, &seen);
    assert_int_equal(seen.count, 6);
    server = find(&seen, "chat small");
    assert_int_equal(server->kind, SPAN_SERVER);
    id_is(server->span_id, OWN);
    assert_false(span_id_is_set(server->parent_id));
    assert_int_equal(server->start_ns, WALL_NS);
    assert_int_equal(server->end_ns, WALL_NS + story.moments_ns[STORY_ENDED]);
    assert_false(server->is_error);
    assert_string_equal(attribute_of(server, "gen_ai.request.model")->text, "alias");
    assert_string_equal(attribute_of(server, "gen_ai.response.model")->text, "small");
    assert_int_equal(attribute_of(server, "gen_ai.usage.output_tokens")->number, 3);
    assert_null(attribute_of(server, "error.type"));
    assert_null(attribute_of(server, "penstock.cost"));
    attempt = find(&seen, "attempt 1");
    assert_int_equal(attempt->kind, SPAN_CLIENT);
    id_is(attempt->span_id, ATTEMPT);
    id_is(attempt->parent_id, OWN);
    for (uint32_t i = 0; i < seen.count; i++) {
        for (uint32_t j = 0; j < i; j++)
            assert_memory_not_equal(seen.spans[i].span_id, seen.spans[j].span_id, SPAN_ID_BYTES);
        assert_true(seen.spans[i].start_ns <= seen.spans[i].end_ns);
        assert_int_equal(seen.spans[i].attributes_dropped, 0);
    }
}

static void a_failure_has_its_kind_and_a_refusal_is_no_error_of_ours(void **state)
{
    struct request_story story;
    struct seen seen = {.count = 0};

    (void)state;
    story_make(&story);
    story.status_code = 502;
    (void)snprintf(story.error_code, sizeof(story.error_code), "replica_lost");
    story.attempts[0].result = STORY_LOST;
    story_spans_emit(&story, take, &seen);
    assert_true(find(&seen, "chat small")->is_error);
    assert_string_equal(error_of(&seen, "chat small"), "replica_lost");
    assert_true(find(&seen, "attempt 1")->is_error);
    assert_string_equal(error_of(&seen, "attempt 1"), "lost");
    seen.count = 0;
    story.status_code = 429;
    story.error_code[0] = '\0';
    story_spans_emit(&story, take, &seen);
    assert_false(find(&seen, "chat small")->is_error);
    assert_string_equal(error_of(&seen, "chat small"), "429");
}

static void what_has_not_happened_makes_no_span(void **state)
{
    struct request_story story;
    struct seen seen = {.count = 0};

    (void)state;
    story_make(&story);
    memset(story.moments_ns, 0, sizeof(story.moments_ns));
    story.moments_ns[STORY_QUEUED] = 100;
    story.moments_ns[STORY_ENDED] = 400;
    story.policy = "";
    story.attempt_count = 0;
    story_spans_emit(&story, take, &seen);
    assert_int_equal(seen.count, 2);
    /* It waited until it was over. */
    assert_int_equal(find(&seen, "queue")->end_ns, WALL_NS + 400);
    seen.count = 0;
    story.trace_id[0] = '\0';
    story_spans_emit(&story, take, &seen);
    assert_int_equal(seen.count, 0);
    story_make(&story);
    story.route = "/v1/models";
    story_spans_emit(&story, take, &seen);
    assert_int_equal(seen.count, 0);
}

/* All that a story can hold, and more of it than is kept. */
static void a_full_story_fits(void **state)
{
    struct request_story story;
    struct seen seen = {.count = 0};

    (void)state;
    story_make(&story);
    story.attempt_count = 100;
    for (uint32_t i = 0; i < STORY_ATTEMPTS_MAX; i++) {
        story.attempts[i] = story.attempts[0];
        (void)snprintf(story.attempts[i].span_id, sizeof(story.attempts[i].span_id), "%016x",
                       i + 1);
    }
    story.place_count = STORY_PLACES_MAX;
    story.candidate_total = 1000;
    story.candidate_count = STORY_CANDIDATES_MAX;
    story.candidates[3].pass = STORY_CHOSEN;
    story.retries = story.hedges = story.continuations = story.fallbacks = 1;
    story.reasoning_tokens = 1;
    story.cost_nano = 1500000000;
    story.usage_is_estimated = true;
    memset(story.request_id, 'x', sizeof(story.request_id) - 1);
    memset(story.key_name, 'x', sizeof(story.key_name) - 1);
    memset(story.organisation, 'x', sizeof(story.organisation) - 1);
    memset(story.team, 'x', sizeof(story.team) - 1);
    story.status_code = 500;
    story_spans_emit(&story, take, &seen);
    assert_int_equal(seen.count, 5 + STORY_ATTEMPTS_MAX);
    assert_int_equal(find(&seen, "queue")->event_count, STORY_PLACES_MAX);
    for (uint32_t i = 0; i < seen.count; i++) {
        assert_int_equal(seen.spans[i].attributes_dropped, 0);
        assert_int_equal(seen.spans[i].events_dropped, 0);
    }
    assert_true(attribute_of(find(&seen, "chat small"), "penstock.cost")->real == 1.5);
}

static void replica_story_make(struct replica_story *story)
{
    memset(story, 0, sizeof(*story));
    (void)snprintf(story->trace_id, sizeof(story->trace_id), TRACE);
    (void)snprintf(story->parent_span_id, sizeof(story->parent_span_id), ATTEMPT);
    story->start_wall_ns = WALL_NS;
    story->finish = "stop";
    for (int i = 0; i < REPLICA_STORY_MOMENT_COUNT; i++)
        story->moments_ns[i] = (uint64_t)(i + 1) * NS_PER_SECOND;
    story->chunk_count = 2;
    story->chunks[0] = (struct replica_story_chunk){3 * NS_PER_SECOND, NS_PER_SECOND / 2, 5, 1};
    story->chunks[1] = (struct replica_story_chunk){4 * NS_PER_SECOND, NS_PER_SECOND / 2, 6, 0};
}

static void a_replicas_story_is_a_span_under_the_attempt(void **state)
{
    struct replica_story story;
    struct seen seen = {.count = 0};
    const struct span *server;
    uint32_t chunks = 0;

    (void)state;
    replica_story_make(&story);
    replica_story_spans_emit(&story, "chat", "small", take, &seen);
    server = find(&seen, "chat small");
    id_is(server->parent_id, ATTEMPT);
    assert_true(attribute_of(server, "gen_ai.latency.time_in_queue")->real == 1);
    assert_true(attribute_of(server, "gen_ai.latency.time_in_model_prefill")->real == 1);
    assert_true(attribute_of(server, "gen_ai.latency.time_in_model_decode")->real == 1);
    for (uint32_t i = 0; i < seen.count; i++) {
        if (&seen.spans[i] != server)
            assert_memory_equal(seen.spans[i].parent_id, server->span_id, SPAN_ID_BYTES);
        chunks += strcmp(seen.spans[i].name, "prefill") == 0;
    }
    assert_int_equal(chunks, 2);
    assert_int_equal(seen.count, 1 + 2 + 2 + 1);
    /* Told twice, it is the same. */
    const struct span first = *server;
    seen.count = 0;
    replica_story_spans_emit(&story, "chat", "small", take, &seen);
    assert_memory_equal(find(&seen, "chat small")->span_id, first.span_id, SPAN_ID_BYTES);
}

static void more_chunks_than_are_kept_do_no_harm(void **state)
{
    struct replica_story story;
    struct seen seen = {.count = 0};

    (void)state;
    replica_story_make(&story);
    story.chunk_count = 1000;
    story.parent_span_id[0] = '\0';
    replica_story_spans_emit(&story, "chat", "small", take, &seen);
    assert_int_equal(seen.count, 1 + 2 + REPLICA_STORY_CHUNKS_MAX + 1);
    assert_false(span_id_is_set(find(&seen, "chat small")->parent_id));
    assert_true(span_id_is_set(find(&seen, "chat small")->span_id));
}

static void samples_are_seconds_and_tokens(void **state)
{
    static struct genai_metrics metrics;
    struct genai_sample sample;
    struct request_story story;

    (void)state;
    story_make(&story);
    story.moments_ns[STORY_FIRST_TOKEN] = NS_PER_SECOND;
    story.moments_ns[STORY_LAST_TOKEN] = 2 * NS_PER_SECOND;
    story.moments_ns[STORY_ENDED] = 3 * NS_PER_SECOND;
    assert_true(story_sample_make(&story, &sample));
    assert_true(sample.duration_s == 3 && sample.first_token_s == 1 && sample.per_token_s == 0.5);
    genai_metrics_add(&metrics, &sample);
    genai_metrics_add(&metrics, &sample);
    assert_int_equal(metrics.series_count, 5);
    for (uint32_t i = 0; i < metrics.series_count; i++) {
        const struct genai_series *series = &metrics.series[i];
        const struct genai_definition *definition = &genai_definitions[series->metric];
        uint64_t sum = 0;

        assert_int_equal(series->count, 2);
        for (uint32_t j = 0; j <= definition->bound_count; j++)
            sum += series->counts[j];
        assert_int_equal(sum, 2);
        for (uint32_t j = 1; j < definition->bound_count; j++)
            assert_true(definition->bounds[j - 1] < definition->bounds[j]);
    }
    /* 0.5 s is in the bucket that ends with it. */
    assert_int_equal(metrics.series[2].metric, GENAI_TIME_PER_OUTPUT_TOKEN);
    assert_int_equal(metrics.series[2].counts[9], 2);
}

static void series_are_bounded(void **state)
{
    static struct genai_metrics metrics;
    struct genai_sample sample = {.operation = "chat", .first_token_s = -1, .per_token_s = -1};

    (void)state;
    for (uint32_t i = 0; i < GENAI_SERIES_MAX + 10; i++) {
        (void)snprintf(sample.error_type, sizeof(sample.error_type), "e%u", i);
        genai_metrics_add(&metrics, &sample);
    }
    assert_int_equal(metrics.series_count, GENAI_SERIES_MAX);
    assert_int_equal(metrics.lost, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_story_is_a_server_span_with_its_parts),
        cmocka_unit_test(a_failure_has_its_kind_and_a_refusal_is_no_error_of_ours),
        cmocka_unit_test(what_has_not_happened_makes_no_span),
        cmocka_unit_test(a_full_story_fits),
        cmocka_unit_test(a_replicas_story_is_a_span_under_the_attempt),
        cmocka_unit_test(more_chunks_than_are_kept_do_no_harm),
        cmocka_unit_test(samples_are_seconds_and_tokens),
        cmocka_unit_test(series_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
