#include "trace_context.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "check.h"

#define TRACE "4bf92f3577b34da6a3ce929d0e0e4736"
#define SPAN  "00f067aa0ba902b7"

static bool reads(const char *text)
{
    struct trace_context context;

    return trace_context_read(text_slice_of(text), &context);
}

static void traceparent_is_read_and_written_back(void **state)
{
    static const char text[] = "00-" TRACE "-" SPAN "-01";
    struct trace_context context = {0};
    char out[TRACEPARENT_BYTES], trace[TRACE_ID_HEX_BYTES], span[SPAN_ID_HEX_BYTES];

    (void)state;
    assert_true(trace_context_read(text_slice_of(text), &context));
    assert_int_equal(context.flags, 1);
    trace_id_hex(context.trace_id, trace);
    span_id_hex(context.span_id, span);
    assert_string_equal(trace, TRACE);
    assert_string_equal(span, SPAN);
    trace_context_write(&context, out);
    assert_string_equal(out, text);
}

/* The cases of the W3C's own test suite (trace-context, test/test.py). */
static void what_is_no_traceparent_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "00-" TRACE "-" SPAN,
        "00-" TRACE "-" SPAN "-",
        "00-" TRACE "-" SPAN "-0",
        "00-" TRACE "-" SPAN "-01-",
        "00-" TRACE "-" SPAN "-01-what",
        "00-" TRACE "-" SPAN "-01.what",
        "ff-" TRACE "-" SPAN "-01",
        "0-" TRACE "-" SPAN "-01",
        ".0-" TRACE "-" SPAN "-01",
        "00-.bf92f3577b34da6a3ce929d0e0e4736-" SPAN "-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-" SPAN "-01",
        "00-" TRACE "-00F067AA0BA902B7-01",
        "00-" TRACE "-.0f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-" SPAN "-01",
        "00-" TRACE "-0000000000000000-01",
        "00-" TRACE "-" SPAN "-.0",
        "00-" TRACE "-" SPAN "-0A",
        "00_" TRACE "-" SPAN "-01",
        "00-" TRACE "_" SPAN "-01",
        "00-" TRACE "-" SPAN "_01",
        " 00-" TRACE "-" SPAN "-01",
        "00-" TRACE "-" SPAN "-01 ",
        "cc-" TRACE "-" SPAN "-01.what",
        "cc-" TRACE "-" SPAN "-0",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        if (reads(bad[i]))
            fail_msg("\"%s\" is taken", bad[i]);
    }
}

static void later_versions_are_read_as_far_as_we_know_them(void **state)
{
    (void)state;
    assert_true(reads("cc-" TRACE "-" SPAN "-01"));
    assert_true(reads("cc-" TRACE "-" SPAN "-01-what-the-future-will-be-like"));
}

static void flags_that_we_do_not_know_are_not_passed_on(void **state)
{
    struct trace_context context = {0};
    char out[TRACEPARENT_BYTES];

    (void)state;
    assert_true(trace_context_read(text_slice_of("cc-" TRACE "-" SPAN "-ff"), &context));
    trace_context_write(&context, out);
    assert_string_equal(out, "00-" TRACE "-" SPAN "-03");
}

static void tracestate_is_checked(void **state)
{
    static const char *const good[] = {"foo=1",  "foo=1,bar=2",          "foo=1 , bar=2",
                                       "foo=1,", "fw529a3039@dt=FfFfFg", "a_b-c*/d=x y",
                                       "0a=1"};
    static const char *const bad[] = {
        "",       ",",       "foo",         "foo=",     "=1",   "Foo=1",
        "foo =1", "foo=a=b", "foo=1,foo=2", "foo=\x01", "_a=1", "foo=1;bar=2,bar"};
    char text[TRACESTATE_BYTES_MAX + 2] = "";

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(good); i++) {
        if (!tracestate_is_good(text_slice_of(good[i])))
            fail_msg("\"%s\" is refused", good[i]);
    }
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        if (tracestate_is_good(text_slice_of(bad[i])))
            fail_msg("\"%s\" is taken", bad[i]);
    }
    memset(text, ',', TRACESTATE_BYTES_MAX + 1);
    memcpy(text, "foo=1", 5);
    assert_true(tracestate_is_good((struct text_slice){text, TRACESTATE_BYTES_MAX}));
    assert_false(tracestate_is_good((struct text_slice){text, TRACESTATE_BYTES_MAX + 1}));
}

static void tracestate_has_32_members_and_no_more(void **state)
{
    char text[TRACESTATE_BYTES_MAX] = "";
    size_t bytes = 0;

    (void)state;
    for (unsigned i = 0; i < TRACESTATE_MEMBERS_MAX; i++)
        bytes +=
            (size_t)snprintf(text + bytes, sizeof(text) - bytes, "%sa%u=1", i > 0 ? "," : "", i);
    assert_true(tracestate_is_good(text_slice_of(text)));
    (void)snprintf(text + bytes, sizeof(text) - bytes, ",b=1");
    assert_false(tracestate_is_good(text_slice_of(text)));
}

static void new_ids_differ_and_are_not_zero(void **state)
{
    enum { COUNT = 1000 };
    static uint8_t traces[COUNT][TRACE_ID_BYTES], spans[COUNT][SPAN_ID_BYTES];
    struct trace_ids ids = {0};

    (void)state;
    for (int i = 0; i < COUNT; i++) {
        trace_ids_make_trace(&ids, traces[i]);
        trace_ids_make_span(&ids, spans[i]);
        assert_true(span_id_is_set(spans[i]));
        for (int j = 0; j < i; j++) {
            assert_memory_not_equal(traces[i], traces[j], TRACE_ID_BYTES);
            assert_memory_not_equal(spans[i], spans[j], SPAN_ID_BYTES);
        }
    }
}

static void ids_are_read_back_from_their_digits(void **state)
{
    uint8_t trace[TRACE_ID_BYTES], span[SPAN_ID_BYTES];
    char hex[TRACE_ID_HEX_BYTES];

    (void)state;
    assert_true(trace_id_read(TRACE, trace));
    trace_id_hex(trace, hex);
    assert_string_equal(hex, TRACE);
    assert_true(span_id_read(SPAN, span));
    assert_false(trace_id_read("", trace));
    assert_false(trace_id_read(TRACE "0", trace));
    assert_false(span_id_read("00F067AA0BA902B7", span));
}

static void derived_ids_follow_from_the_span_and_the_number(void **state)
{
    const uint8_t of[SPAN_ID_BYTES] = {1, 2, 3, 4, 5, 6, 7, 8};
    uint8_t first[SPAN_ID_BYTES], again[SPAN_ID_BYTES], second[SPAN_ID_BYTES];

    (void)state;
    span_id_derive(of, 1, first);
    span_id_derive(of, 1, again);
    span_id_derive(of, 2, second);
    assert_memory_equal(first, again, SPAN_ID_BYTES);
    assert_memory_not_equal(first, second, SPAN_ID_BYTES);
    assert_memory_not_equal(first, of, SPAN_ID_BYTES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(traceparent_is_read_and_written_back),
        cmocka_unit_test(what_is_no_traceparent_is_refused),
        cmocka_unit_test(later_versions_are_read_as_far_as_we_know_them),
        cmocka_unit_test(flags_that_we_do_not_know_are_not_passed_on),
        cmocka_unit_test(tracestate_is_checked),
        cmocka_unit_test(tracestate_has_32_members_and_no_more),
        cmocka_unit_test(new_ids_differ_and_are_not_zero),
        cmocka_unit_test(ids_are_read_back_from_their_digits),
        cmocka_unit_test(derived_ids_follow_from_the_span_and_the_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
