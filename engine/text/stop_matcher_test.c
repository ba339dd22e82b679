#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "stop_matcher.h"

/* WRAP: calloc */

void *__real_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
static int allocations_until_failure = -1; /* -1: never */

void *__wrap_calloc(size_t count, size_t bytes)
{
    if (allocations_until_failure == 0)
        return NULL;
    if (allocations_until_failure > 0)
        allocations_until_failure--;
    return __real_calloc(count, bytes);
}

struct outcome {
    size_t end;   /* bytes of the text that were sent in all */
    int32_t stop; /* -1: none */
};

static stop_matcher *matcher_of(const struct text_slice *stops, uint32_t count, bool include)
{
    stop_matcher *m = NULL;
    assert_int_equal(stop_matcher_create(stops, count, include, &m), STATUS_OK);
    return m;
}

/* Feeds `text` in pieces that `cuts` (bit i: a border after byte i) says, checks what is sent
 * against what may be. */
static struct outcome run_pieces(const stop_matcher *m, struct text_slice text, uint64_t cuts)
{
    struct stop_state state = {0};
    size_t sent = 0, start = 0;
    for (size_t i = 0; i < text.bytes; i++) {
        if (!(cuts >> (i % 64) & 1) && i + 1 < text.bytes)
            continue;
        struct stop_match match =
            stop_matcher_feed(m, &state, (struct text_slice){text.data + start, i + 1 - start});
        sent += match.send_bytes;
        start = i + 1;
        if (match.stop >= 0)
            return (struct outcome){sent, match.stop};
        assert_int_equal(sent + state.held_bytes, start);
    }
    return (struct outcome){sent + state.held_bytes, -1};
}

/* The definition, written down plainly. */
static struct outcome run_naive(const struct text_slice *stops, uint32_t count, bool include,
                                struct text_slice text)
{
    for (size_t end = 1; end <= text.bytes; end++) {
        int32_t best = -1;
        for (uint32_t s = 0; s < count; s++) {
            size_t bytes = stops[s].bytes;
            if (bytes > end || memcmp(text.data + end - bytes, stops[s].data, bytes) != 0)
                continue;
            if (best < 0 || bytes > stops[best].bytes)
                best = (int32_t)s;
        }
        if (best >= 0)
            return (struct outcome){include ? end : end - stops[best].bytes, best};
    }
    return (struct outcome){text.bytes, -1};
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void any_split_of_any_text_gives_what_the_definition_says(void **unused)
{
    (void)unused;
    uint64_t random = 0x9e3779b97f4a7c15u;
    for (int round = 0; round < 20000; round++) {
        char bytes[5][6], text_bytes[40];
        struct text_slice stops[5];
        uint32_t count = 1 + (uint32_t)(next_random(&random) % 5);
        uint64_t letters = 1 + next_random(&random) % 3; /* few letters: many overlaps */
        for (uint32_t s = 0; s < count; s++) {
            stops[s] = (struct text_slice){bytes[s], 1 + next_random(&random) % 6};
            for (size_t i = 0; i < stops[s].bytes; i++)
                bytes[s][i] = (char)('a' + next_random(&random) % letters);
        }
        struct text_slice text = {text_bytes, next_random(&random) % sizeof(text_bytes)};
        for (size_t i = 0; i < text.bytes; i++)
            text_bytes[i] = (char)('a' + next_random(&random) % (letters + 1));
        bool include = next_random(&random) & 1;
        stop_matcher *m = matcher_of(stops, count, include);
        struct outcome want = run_naive(stops, count, include, text);
        for (int split = 0; split < 4; split++) {
            uint64_t cuts = split == 0 ? 0 : split == 1 ? UINT64_MAX : next_random(&random);
            struct outcome got = run_pieces(m, text, cuts);
            assert_int_equal(got.end, want.end);
            assert_int_equal(got.stop, want.stop);
        }
        stop_matcher_destroy(m);
    }
}

static void what_is_held_back_is_the_longest_start_of_a_stop_string(void **unused)
{
    (void)unused;
    struct text_slice stops[] = {text_slice_of("</s>"), text_slice_of("STOP")};
    stop_matcher *m = matcher_of(stops, 2, false);
    struct stop_state state = {0};
    struct stop_match match = stop_matcher_feed(m, &state, text_slice_of("one ST"));
    assert_int_equal(match.send_bytes, 4);
    assert_int_equal(state.held_bytes, 2);
    match = stop_matcher_feed(m, &state, text_slice_of(""));
    assert_int_equal(match.send_bytes, 0);
    match = stop_matcher_feed(m, &state, text_slice_of("AR<"));
    assert_int_equal(match.send_bytes, 4); /* "STAR", not "<" */
    match = stop_matcher_feed(m, &state, text_slice_of("/s> more"));
    assert_int_equal(match.stop, 0);
    assert_int_equal(match.send_bytes, 0);
    assert_true(text_slice_is(stop_matcher_text(m, 0), "</s>"));
    stop_matcher_destroy(m);
}

static void equal_strings_answer_with_the_first(void **unused)
{
    (void)unused;
    struct text_slice stops[] = {text_slice_of("b"), text_slice_of("ab"), text_slice_of("ab")};
    stop_matcher *m = matcher_of(stops, 3, true);
    struct stop_state state = {0};
    struct stop_match match = stop_matcher_feed(m, &state, text_slice_of("xxab!"));
    assert_int_equal(match.stop, 1);
    assert_int_equal(match.send_bytes, 4);
    stop_matcher_destroy(m);
}

static void a_self_overlapping_string_stays_linear(void **unused)
{
    (void)unused;
    enum { STOP_BYTES = 4096, TEXT_BYTES = 1 << 20 };
    char *stop = malloc(STOP_BYTES), *text = malloc(TEXT_BYTES);
    assert_non_null(stop);
    assert_non_null(text);
    memset(stop, 'a', STOP_BYTES);
    stop[STOP_BYTES - 1] = 'b';
    memset(text, 'a', TEXT_BYTES);
    stop_matcher *m = matcher_of(&(struct text_slice){stop, STOP_BYTES}, 1, false);
    struct stop_state state = {0};
    struct stop_match match = stop_matcher_feed(m, &state, (struct text_slice){text, TEXT_BYTES});
    assert_int_equal(match.stop, -1);
    assert_int_equal(state.held_bytes, STOP_BYTES - 1);
    match = stop_matcher_feed(m, &state, text_slice_of("b"));
    assert_int_equal(match.stop, 0);
    assert_int_equal(match.send_bytes, 0);
    stop_matcher_destroy(m);
    free(stop);
    free(text);
}

static void bad_lists_are_refused(void **unused)
{
    (void)unused;
    stop_matcher *m = NULL;
    struct text_slice stops[] = {text_slice_of("a"), text_slice_of("")};
    assert_int_equal(stop_matcher_create(stops, 2, false, &m), STATUS_INVALID);
    assert_int_equal(stop_matcher_create(stops, 0, false, &m), STATUS_INVALID);
    struct text_slice huge[] = {{"a", UINT32_MAX / 2}, {"b", 1}};
    assert_int_equal(stop_matcher_create(huge, 2, false, &m), STATUS_TOO_LARGE);
    assert_null(m);
    stop_matcher_destroy(NULL);
}

static void the_count_is_accepted_at_its_limit_and_refused_past_it(void **unused)
{
    (void)unused;
    struct text_slice *stops = calloc(UINT16_MAX + 1, sizeof(*stops));
    assert_non_null(stops);
    for (size_t i = 0; i <= UINT16_MAX; i++)
        stops[i] = text_slice_of("x");
    stop_matcher *m = NULL;
    assert_int_equal(stop_matcher_create(stops, UINT16_MAX + 1, false, &m), STATUS_INVALID);
    m = matcher_of(stops, UINT16_MAX, false);
    stop_matcher_destroy(m);
    free(stops);
}

static void a_failed_allocation_is_reported(void **unused)
{
    (void)unused;
    for (int nth = 0; nth < 2; nth++) {
        stop_matcher *m = NULL;
        allocations_until_failure = nth;
        status result = stop_matcher_create(&(struct text_slice){"a", 1}, 1, false, &m);
        allocations_until_failure = -1;
        assert_int_equal(result, STATUS_NO_MEMORY);
        assert_null(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_split_of_any_text_gives_what_the_definition_says),
        cmocka_unit_test(what_is_held_back_is_the_longest_start_of_a_stop_string),
        cmocka_unit_test(equal_strings_answer_with_the_first),
        cmocka_unit_test(a_self_overlapping_string_stays_linear),
        cmocka_unit_test(bad_lists_are_refused),
        cmocka_unit_test(the_count_is_accepted_at_its_limit_and_refused_past_it),
        cmocka_unit_test(a_failed_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
