#include "unit_test.h"

#include "fail_nth.h"
#include "json.h"
#include "replica_story.h"

/* WRAP: malloc calloc realloc aligned_alloc */

static struct replica_story story_of(const char *id, uint32_t preemptions)
{
    struct replica_story story = {.start_ns = 5,
                                  .finish = "length",
                                  .is_over = true,
                                  .moments_ns = {1, 2, 3, 4, 5, 6},
                                  .prompt_tokens = 300,
                                  .cached_tokens = 16,
                                  .chunk_count = 40,
                                  .chunk_tokens = 284,
                                  .preemption_count = preemptions,
                                  .drafted_tokens = 8,
                                  .accepted_tokens = 3,
                                  .flight_number = 17,
                                  .busy_ns = 1u << 30};

    (void)snprintf(story.request_id, sizeof(story.request_id), "%s", id);
    for (uint32_t i = 0; i < REPLICA_STORY_CHUNKS_MAX; i++)
        story.chunks[i] = (struct replica_story_chunk){i + 1, i + 2, i + 3, i + 4};
    return story;
}

static json_t *ask(replica_stories *stories, const char *id)
{
    struct buffer out;
    json_t *json = NULL;

    buffer_init(&out, REPLICA_STORY_ANSWER_BYTES);
    if (replica_stories_write(stories, text_slice_of(id), &out)) {
        assert_int_equal(out.failed, STATUS_OK);
        json = json_loadb(out.data, out.bytes, 0, NULL);
        assert_non_null(json);
    }
    buffer_deinit(&out);
    return json;
}

static void what_is_written_is_read_back(void **state)
{
    replica_stories *stories;
    struct replica_story in = story_of("a/b@c", 2), out;
    json_t *json;

    (void)state;
    assert_int_equal(replica_stories_create(4, &stories), STATUS_OK);
    (void)replica_stories_begin(stories, &in);
    json = ask(stories, "a/b@c");
    assert_int_equal(replica_story_read(json, &out), STATUS_OK);
    assert_string_equal(out.finish, in.finish);
    out.finish = in.finish; /* the word lies elsewhere */
    assert_memory_equal(&in, &out, sizeof(in));
    json_decref(json);
    assert_null(ask(stories, "a/b"));
    replica_stories_destroy(stories);
}

static void the_newest_of_a_name_comes_first_and_old_ones_go(void **state)
{
    replica_stories *stories;
    uint64_t numbers[3];
    struct replica_story story = story_of("x", 1), told;
    json_t *json;

    (void)state;
    assert_int_equal(replica_stories_create(2, &stories), STATUS_OK);
    for (uint32_t i = 0; i < 3; i++)
        numbers[i] = replica_stories_begin(stories, &story);
    story.preemption_count = 7;
    replica_stories_put(stories, numbers[2], &story);
    story.preemption_count = 9;
    replica_stories_put(stories, numbers[0], &story); /* its place is another's by now */
    json = ask(stories, "x");
    assert_int_equal(json_array_size(json_object_get(json, "stories")), 2);
    assert_int_equal(replica_story_read(json, &told), STATUS_OK);
    assert_int_equal(told.preemption_count, 7);
    json_decref(json);
    replica_stories_destroy(stories);
}

static void none_are_kept_where_none_are_wanted(void **state)
{
    replica_stories *stories;
    struct replica_story story = story_of("x", 1);

    (void)state;
    assert_int_equal(replica_stories_create(0, &stories), STATUS_OK);
    replica_stories_put(stories, replica_stories_begin(stories, &story), &story);
    assert_null(ask(stories, "x"));
    replica_stories_destroy(stories);
    fail_nth_begin(1);
    assert_int_equal(replica_stories_create(8, &stories), STATUS_NO_MEMORY);
    assert_true(fail_nth_end());
}

static void what_is_no_answer_is_refused(void **state)
{
    static const struct {
        const char *text;
        status expected;
    } rows[] = {
        {"{}", STATUS_INVALID},
        {"{\"stories\":3}", STATUS_INVALID},
        {"{\"stories\":[]}", STATUS_NOT_FOUND},
        {"{\"stories\":[4]}", STATUS_INVALID},
        {"{\"stories\":[{\"request_id\":\"a\",\"trace_id\":\"\"}]}", STATUS_INVALID},
        {"{\"stories\":[{\"request_id\":\"a\",\"trace_id\":\"123456789012345678901234567890123\","
         "\"parent_span_id\":\"\"}]}",
         STATUS_INVALID},
    };
    struct replica_story story;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        json_t *json = json_loads(rows[i].text, 0, NULL);

        assert_int_equal(replica_story_read(json, &story), rows[i].expected);
        json_decref(json);
    }
    /* Numbers of no sense are 0, and no more chunks are there than were told. */
    json_t *json =
        json_loads("{\"stories\":[{\"request_id\":\"a\",\"trace_id\":\"\",\"parent_span_id\":\"\","
                   "\"chunk_count\":9,\"chunks\":[{\"tokens\":-4,\"step_ns\":12}],"
                   "\"prompt_tokens\":99999999999,\"finish\":\"made up\"}]}",
                   0, NULL);
    assert_int_equal(replica_story_read(json, &story), STATUS_OK);
    assert_int_equal(story.chunk_count, 1);
    assert_int_equal(story.chunks[0].tokens, 0);
    assert_int_equal(story.chunks[0].step_ns, 12);
    assert_int_equal(story.prompt_tokens, 0);
    assert_string_equal(story.finish, "");
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(the_newest_of_a_name_comes_first_and_old_ones_go),
        cmocka_unit_test(none_are_kept_where_none_are_wanted),
        cmocka_unit_test(what_is_no_answer_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
