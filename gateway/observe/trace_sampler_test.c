#include "trace_sampler.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "clock.h"

/* Of an id whose random part is far below each share's threshold. */
#define LOW_ID  "4bf92f3577b34da6a300000000000001"
#define HIGH_ID "4bf92f3577b34da6a3ffffffffffffff"

static struct config_tracing settings_of(double share)
{
    return (struct config_tracing){.sample_ratio = share,
                                   .follow_parent = true,
                                   .keep_errors = true,
                                   .slow_ns = 10 * NS_PER_SECOND};
}

static struct request_story story_of(const char *trace_id)
{
    struct request_story story = {.status_code = 200,
                                  .moments_ns = {[STORY_ENDED] = NS_PER_SECOND}};

    (void)snprintf(story.trace_id, sizeof(story.trace_id), "%s", trace_id);
    return story;
}

static void the_share_is_what_is_asked_for(void **state)
{
    enum { COUNT = 100000 };
    struct trace_ids ids = {0};
    unsigned tenth = 0, half = 0, none = 0, all = 0, odd = 0;

    (void)state;
    for (int i = 0; i < COUNT; i++) {
        uint8_t id[TRACE_ID_BYTES];

        trace_ids_make_trace(&ids, id);
        tenth += trace_is_in_share(id, 0.1);
        half += trace_is_in_share(id, 0.5);
        none += trace_is_in_share(id, 0);
        all += trace_is_in_share(id, 1);
        /* Who is in the smaller share is in the larger one. */
        odd += trace_is_in_share(id, 0.1) && !trace_is_in_share(id, 0.5);
    }
    assert_in_range(tenth, COUNT / 10 - 1000, COUNT / 10 + 1000); /* ten standard deviations */
    assert_in_range(half, COUNT / 2 - 1600, COUNT / 2 + 1600);
    assert_int_equal(none, 0);
    assert_int_equal(all, COUNT);
    assert_int_equal(odd, 0);
}

static void the_threshold_is_that_of_opentelemetry(void **state)
{
    uint8_t id[TRACE_ID_BYTES];

    (void)state;
    /* OTEP 235: a share of 1/4 has the threshold c0000000000000. */
    assert_true(trace_id_read("000000000000000000c0000000000000", id));
    assert_true(trace_is_in_share(id, 0.25));
    assert_true(trace_id_read("ffffffffffffffffffbfffffffffffff", id));
    assert_false(trace_is_in_share(id, 0.25));
}

static void errors_and_slow_requests_are_kept(void **state)
{
    struct config_tracing settings = settings_of(0);
    struct request_story story = story_of(LOW_ID);

    (void)state;
    assert_false(trace_story_is_wanted(&settings, &story));
    story.status_code = 500;
    assert_true(trace_story_is_wanted(&settings, &story));
    settings.keep_errors = false;
    assert_false(trace_story_is_wanted(&settings, &story));
    story.status_code = 404;
    settings.keep_errors = true;
    assert_false(trace_story_is_wanted(&settings, &story));
    story.moments_ns[STORY_ENDED] = 10 * NS_PER_SECOND;
    assert_true(trace_story_is_wanted(&settings, &story));
    /* A stream is as slow as its first token. */
    story.is_stream = true;
    story.moments_ns[STORY_FIRST_TOKEN] = NS_PER_SECOND;
    assert_false(trace_story_is_wanted(&settings, &story));
    story.moments_ns[STORY_FIRST_TOKEN] = 10 * NS_PER_SECOND;
    assert_true(trace_story_is_wanted(&settings, &story));
    settings.slow_ns = 0;
    assert_false(trace_story_is_wanted(&settings, &story));
}

static void the_callers_wish_is_followed_where_the_settings_say_so(void **state)
{
    struct config_tracing settings = settings_of(0);
    struct request_story story = story_of(LOW_ID);

    (void)state;
    story.trace_flags = TRACE_FLAG_SAMPLED;
    assert_false(trace_story_is_wanted(&settings, &story)); /* the flag is our own */
    story.has_remote_parent = true;
    assert_true(trace_story_is_wanted(&settings, &story));
    settings.follow_parent = false;
    assert_false(trace_story_is_wanted(&settings, &story));
}

static void a_trace_is_decided_by_its_id(void **state)
{
    struct config_tracing settings = settings_of(0.5);
    struct request_story low = story_of(LOW_ID), high = story_of(HIGH_ID), none = story_of("");

    (void)state;
    assert_false(trace_story_is_wanted(&settings, &low));
    assert_true(trace_story_is_wanted(&settings, &high));
    none.status_code = 500;
    assert_false(trace_story_is_wanted(&settings, &none));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_share_is_what_is_asked_for),
        cmocka_unit_test(the_threshold_is_that_of_opentelemetry),
        cmocka_unit_test(errors_and_slow_requests_are_kept),
        cmocka_unit_test(the_callers_wish_is_followed_where_the_settings_say_so),
        cmocka_unit_test(a_trace_is_decided_by_its_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
