#include "request_story.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "clock.h"

static void the_first_note_of_a_moment_counts(void **state)
{
    struct request_story story = {.start_ns = 1000};

    (void)state;
    request_story_note(&story, STORY_FIRST_TOKEN, 1500);
    request_story_note(&story, STORY_FIRST_TOKEN, 1700);
    request_story_note(&story, STORY_LAST_TOKEN, 1500);
    request_story_note(&story, STORY_LAST_TOKEN, 1700);
    request_story_note(&story, STORY_BODY_READ, 1000);
    request_story_note(NULL, STORY_BODY_READ, 1000);
    assert_int_equal(story.moments_ns[STORY_FIRST_TOKEN], 500);
    assert_int_equal(story.moments_ns[STORY_LAST_TOKEN], 700);
    assert_int_equal(story.moments_ns[STORY_BODY_READ], 1);
    assert_int_equal(story.moments_ns[STORY_ENDED], 0);
}

static void attempts_beyond_the_last_are_counted_and_not_kept(void **state)
{
    struct request_story story = {.start_ns = 1000};

    (void)state;
    assert_null(request_story_attempt(NULL, 1000));
    for (uint32_t i = 0; i < STORY_ATTEMPTS_MAX; i++)
        assert_ptr_equal(request_story_attempt(&story, 2000 + i), &story.attempts[i]);
    assert_null(request_story_attempt(&story, 3000));
    assert_int_equal(story.attempt_count, STORY_ATTEMPTS_MAX + 1);
    assert_int_equal(story.attempts[STORY_ATTEMPTS_MAX - 1].start_ns,
                     1000 + STORY_ATTEMPTS_MAX - 1);
}

static void places_are_sampled_further_and_further_apart(void **state)
{
    struct request_story story = {.start_ns = NS_PER_SECOND};
    uint64_t now_ns = 2 * NS_PER_SECOND;

    (void)state;
    assert_int_equal(request_story_place_due_ns(NULL), UINT64_MAX);
    request_story_place(&story, 7, -1, now_ns);
    request_story_place(&story, 6, 20, now_ns + 99 * NS_PER_MS); /* not due yet */
    assert_int_equal(story.place_count, 1);
    assert_int_equal(request_story_place_due_ns(&story), now_ns + 100 * NS_PER_MS);
    request_story_place(&story, 5, 20, now_ns + 100 * NS_PER_MS);
    assert_int_equal(request_story_place_due_ns(&story), now_ns + 200 * NS_PER_MS);
    while (request_story_place_due_ns(&story) != UINT64_MAX)
        request_story_place(&story, 1, 10, request_story_place_due_ns(&story));
    assert_int_equal(story.place_count, STORY_PLACES_MAX);
    request_story_place(&story, 0, 0, UINT64_MAX);
    assert_int_equal(story.place_count, STORY_PLACES_MAX);
    assert_int_equal(story.places[0].ahead, 7);
    assert_int_equal(story.places[0].at_ns, NS_PER_SECOND);
    assert_int_equal(story.places[STORY_PLACES_MAX - 1].at_ns - story.places[0].at_ns,
                     100 * NS_PER_MS << (STORY_PLACES_MAX - 2));
}

static void tell(void *context, const struct request_story *story)
{
    uint64_t *sum = context;

    *sum = *sum * 10 + story->number;
}

static void every_sink_is_told_in_order(void **state)
{
    struct story_sinks sinks = {0};
    const struct request_story story = {.number = 3};
    uint64_t first = 1, second = 2;

    (void)state;
    request_story_ended(&sinks, &story);
    story_sinks_add(&sinks, tell, &first);
    story_sinks_add(&sinks, tell, &second);
    request_story_ended(&sinks, &story);
    assert_int_equal(first, 13);
    assert_int_equal(second, 23);
}

static void everything_has_a_name(void **state)
{
    (void)state;
    for (unsigned i = 0; i < STORY_MOMENT_COUNT; i++)
        assert_true(strlen(story_moment_name(i)) > 0);
    for (unsigned i = 0; i < STORY_REASON_COUNT; i++)
        assert_true(strlen(story_reason_name(i)) > 0);
    for (unsigned i = 0; i < STORY_RESULT_COUNT; i++)
        assert_true(strlen(story_result_name(i)) > 0);
    for (unsigned i = 0; i < STORY_PASS_COUNT; i++)
        assert_true(strlen(story_pass_name(i)) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_note_of_a_moment_counts),
        cmocka_unit_test(attempts_beyond_the_last_are_counted_and_not_kept),
        cmocka_unit_test(places_are_sampled_further_and_further_apart),
        cmocka_unit_test(every_sink_is_told_in_order),
        cmocka_unit_test(everything_has_a_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
