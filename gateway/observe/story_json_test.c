#include "unit_test.h"

#include "json.h"
#include "story_json.h"

static struct request_story story_of(void)
{
    struct request_story story = {
        .number = 9,
        .loop = 1,
        .start_ns = 1000000,
        .start_wall_ns = 1700000000123000000,
        .moments_ns = {[STORY_BODY_READ] = 1000000,
                       [STORY_ADMITTED] = 2000000,
                       [STORY_QUEUED] = 2500000,
                       [STORY_SLOT] = 50000000,
                       [STORY_DISPATCHED] = 51000000,
                       [STORY_FIRST_BYTE] = 91000000,
                       [STORY_FIRST_TOKEN] = 92000000,
                       [STORY_LAST_TOKEN] = 192000000,
                       [STORY_ENDED] = 193000000},
        .request_id = "r\"1",
        .route = "/v1/chat/completions",
        .model = "m",
        .organisation = "acme",
        .is_stream = true,
        .is_over = true,
        .status_code = 200,
        .finish = "stop",
        .attempt_count = 9,
        .policy = "predicted_ttft",
        .candidate_total = 20,
        .candidate_count = 2,
        .place_count = 1,
        .places = {{.at_ns = 3000000, .ahead = 4, .eta_ms = -1}},
        .usage_is_known = true,
        .prompt_tokens = 12,
        .cost_nano = 2500000000,
    };

    for (uint32_t i = 0; i < STORY_ATTEMPTS_MAX; i++)
        story.attempts[i] =
            (struct story_attempt){.model = "m", .member = "", .result = STORY_LOST};
    story.candidates[0] = (struct story_candidate){
        .replica = 3, .pass = STORY_CHOSEN, .is_told = true, .score_ns = 40e6, .cached_tokens = 8};
    story.candidates[1] = (struct story_candidate){.replica = 1, .pass = STORY_NOT_READY};
    return story;
}

static json_t *written(const struct request_story *story, uint64_t now_ns,
                       const struct story_attempt_addition *addition)
{
    struct buffer out;
    json_t *json;

    buffer_init(&out, 1u << 20);
    request_story_write(story, now_ns, addition, &out);
    assert_int_equal(out.failed, STATUS_OK);
    json = json_loadb(out.data, out.bytes, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(json);
    buffer_deinit(&out);
    return json;
}

static double number_at(const json_t *object, const char *key)
{
    assert_true(json_is_number(json_object_get(object, key)));
    return json_number_value(json_object_get(object, key));
}

static double phases_sum(const json_t *json)
{
    const json_t *phases = json_object_get(json, "phases");
    double sum = 0;

    for (size_t i = 0; i < json_array_size(phases); i++)
        sum += number_at(json_array_get(phases, i), "ms");
    return sum;
}

static void all_that_has_happened_is_told(void **state)
{
    struct request_story story = story_of();
    json_t *json = written(&story, 0, NULL);
    const json_t *candidates = json_object_get(json_object_get(json, "decision"), "candidates");

    (void)state;
    assert_string_equal(json_string_value(json_object_get(json, "id")), "r\"1");
    assert_string_equal(json_string_value(json_object_get(json, "state")), "ended");
    assert_true(json_is_null(json_object_get(json, "team")));
    assert_true(number_at(json, "cost") == 2.5);
    assert_true(number_at(json, "start_ms") == 1700000000123.0);
    assert_true(number_at(json_object_get(json, "moments_ms"), "slot") == 50);
    assert_int_equal(json_array_size(json_object_get(json, "attempts")), STORY_ATTEMPTS_MAX);
    assert_true(number_at(json, "attempts_made") == 9);
    assert_true(number_at(json_array_get(candidates, 0), "score_ms") == 40);
    assert_string_equal(
        json_string_value(json_object_get(json_array_get(candidates, 1), "outcome")), "not_ready");
    assert_true(json_is_null(json_object_get(json_array_get(candidates, 1), "score_ms")));
    assert_true(
        json_is_null(json_object_get(json_array_get(json_object_get(json, "queue"), 0), "eta_ms")));
    assert_true(phases_sum(json) > 192.999 && phases_sum(json) < 193.001);
    json_decref(json);
}

static void phases_of_one_under_way_go_up_to_now(void **state)
{
    struct request_story story = story_of();
    json_t *json;
    size_t count;

    (void)state;
    story.is_over = false;
    story.status_code = 0;
    for (unsigned i = STORY_SLOT; i < STORY_MOMENT_COUNT; i++)
        story.moments_ns[i] = 0;
    json = written(&story, story.start_ns + 40000000, NULL);
    count = json_array_size(json_object_get(json, "phases"));
    assert_string_equal(json_string_value(json_object_get(
                            json_array_get(json_object_get(json, "phases"), count - 1), "name")),
                        "waiting for a slot");
    assert_string_equal(json_string_value(json_object_get(json, "phase")), "queued");
    assert_true(json_is_null(json_object_get(json, "status")));
    assert_true(phases_sum(json) > 39.999 && phases_sum(json) < 40.001);
    json_decref(json);
}

/* Each token moves the moment of the last one. */
static void one_under_way_with_tokens_generates(void **state)
{
    struct request_story story = story_of();
    json_t *json;

    (void)state;
    story.is_over = false;
    story.moments_ns[STORY_ENDED] = 0;
    json = written(&story, story.start_ns + 300000000, NULL);
    assert_string_equal(json_string_value(json_object_get(json, "phase")), "generating");
    json_decref(json);
}

static void add(void *context, uint32_t attempt, struct buffer *out)
{
    (void)context;
    json_write_key(out, "told");
    buffer_append_u64(out, attempt);
}

static void attempts_get_what_others_tell(void **state)
{
    struct request_story story = story_of();
    const struct story_attempt_addition addition = {add, NULL};
    json_t *json;

    (void)state;
    story.attempt_count = 2;
    story.policy = "";
    json = written(&story, 0, &addition);
    assert_true(number_at(json_array_get(json_object_get(json, "attempts"), 1), "told") == 1);
    assert_true(json_is_null(json_object_get(json, "decision")));
    json_decref(json);
}

static void rows_are_apart_by_commas(void **state)
{
    struct request_story story = story_of();
    struct buffer out;
    json_t *json;

    (void)state;
    buffer_init(&out, 1u << 16);
    buffer_append_byte(&out, '[');
    request_story_write_row(&story, 0, &out);
    request_story_write_row(&story, 0, &out);
    buffer_append_byte(&out, ']');
    json = json_loadb(out.data, out.bytes, 0, NULL);
    assert_int_equal(json_array_size(json), 2);
    json_decref(json);
    buffer_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_that_has_happened_is_told),
        cmocka_unit_test(phases_of_one_under_way_go_up_to_now),
        cmocka_unit_test(one_under_way_with_tokens_generates),
        cmocka_unit_test(attempts_get_what_others_tell),
        cmocka_unit_test(rows_are_apart_by_commas),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
