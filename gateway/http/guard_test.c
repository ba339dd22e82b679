#include "unit_test.h"

#include <stdlib.h>

#include "check.h"
#include "clock.h"
#include "guard.h"

/* Byte sequences as clients and attackers send them; no sockets. Each test builds frames into
 * `bytes`. */

static struct guard guard;
static struct http_limits limits;
static uint8_t bytes[1 << 20];
static size_t count;
static uint64_t now_ns, written;

#define REQUEST "\x82\x86\x84" /* GET, http, / */

static int setup(void **state)
{
    (void)state;
    limits = (struct http_limits){.body_bytes_max = 100000,
                                  .header_bytes_max = 16384,
                                  .header_count_max = 100,
                                  .streams_per_second_max = 20,
                                  .stream_burst_max = 250,
                                  .header_timeout_ns = 10 * NS_PER_SECOND,
                                  .body_timeout_ns = 60 * NS_PER_SECOND};
    now_ns = 1000 * NS_PER_SECOND;
    written = 0;
    guard_deinit(&guard);
    guard_init(&guard, &limits, now_ns);
    memcpy(bytes, GUARD_PREFACE, GUARD_PREFACE_BYTES);
    count = GUARD_PREFACE_BYTES;
    assert_int_equal(guard_filter(&guard, &limits, bytes, &count, 0, now_ns), GUARD_PASS);
    assert_int_equal(count, GUARD_PREFACE_BYTES);
    count = 0;
    return 0;
}

static void frame(unsigned type, unsigned flags, uint32_t stream_id, const void *payload,
                  size_t length)
{
    uint8_t *at = bytes + count;
    assert_true(count + 9 + length <= sizeof bytes);
    at[0] = (uint8_t)(length >> 16), at[1] = (uint8_t)(length >> 8), at[2] = (uint8_t)length;
    at[3] = (uint8_t)type, at[4] = (uint8_t)flags;
    at[5] = (uint8_t)(stream_id >> 24), at[6] = (uint8_t)(stream_id >> 16);
    at[7] = (uint8_t)(stream_id >> 8), at[8] = (uint8_t)stream_id;
    if (payload != NULL)
        memcpy(at + 9, payload, length);
    else
        memset(at + 9, 0, length);
    count += 9 + length;
}

static enum guard_verdict filter(void)
{
    enum guard_verdict verdict = guard_filter(&guard, &limits, bytes, &count, written, now_ns);
    if (verdict == GUARD_PASS && count > 0 && guard.partial_since_ns == 0)
        count = 0; /* the library would eat it */
    return verdict;
}

#define DATA(id, flags, length)   frame(0, flags, id, NULL, length)
#define HEADERS(id, flags)        frame(1, flags, id, REQUEST, 3)
#define RST(id)                   frame(3, 0, id, "\0\0\0\x08", 4)
#define SETTINGS(length)          frame(4, 0, 0, NULL, length)
#define PING(flags)               frame(6, flags, 0, NULL, 8)
#define WINDOW_UPDATE(id, number) frame(8, 0, id, "\0\0\0" number, 4)

static void honest_traffic_passes_unchanged(void **state)
{
    (void)state;
    static uint8_t before[4096];
    frame(4, 0, 0, "\0\4\0\1\0\0", 6);
    WINDOW_UPDATE(0, "\x7f");
    HEADERS(1, 5);
    HEADERS(3, 4);
    DATA(3, 0, 500);
    DATA(3, 1, 10);
    frame(4, 1, 0, NULL, 0);
    PING(0);
    RST(3);
    memcpy(before, bytes, count);
    size_t count_before = count;
    assert_int_equal(guard_filter(&guard, &limits, bytes, &count, 0, now_ns), GUARD_PASS);
    assert_int_equal(count, count_before);
    assert_memory_equal(bytes, before, count);
    assert_int_equal(guard.upload_count, 0);
}

static void priorities_unknown_frames_and_ping_answers_are_removed(void **state)
{
    (void)state;
    HEADERS(1, 5);
    frame(2, 0, 3, "\0\0\0\1\xff", 5);
    frame(0x10, 0, 0, "u=1", 3);
    PING(1);
    frame(0xfa, 0xff, 77, NULL, 1000);
    HEADERS(3, 5);
    assert_int_equal(guard_filter(&guard, &limits, bytes, &count, 0, now_ns), GUARD_PASS);
    assert_int_equal(count, 24);
    assert_int_equal(bytes[12 + 8], 3);
}

static void the_priority_inside_headers_is_made_harmless(void **state)
{
    (void)state;
    frame(1, 5 | 0x20, 1, "\x80\0\0\7\xff" REQUEST, 8);
    assert_int_equal(guard_filter(&guard, &limits, bytes, &count, 0, now_ns), GUARD_PASS);
    assert_memory_equal(bytes + 9, "\0\0\0\0\x0f" REQUEST, 8);
}

static void frames_come_in_any_pieces(void **state)
{
    (void)state;
    static uint8_t all[512];
    HEADERS(1, 4);
    frame(2, 0, 3, NULL, 5);
    DATA(1, 0, 100);
    DATA(1, 1, 100);
    size_t total = count, passed = 0;
    memcpy(all, bytes, total);
    count = 0;
    for (size_t i = 0; i < total; i++) {
        size_t rest = count;
        bytes[count++] = all[i];
        assert_int_equal(guard_filter(&guard, &limits, bytes, &count, 0, now_ns), GUARD_PASS);
        if (count >= 9 && count == 9u + ((size_t)bytes[1] << 8) + bytes[2])
            passed += count, count = 0;
        (void)rest;
    }
    assert_int_equal(passed, total - 14);
    assert_int_equal(count, 0);
}

static void rapid_reset_ends_after_the_burst(void **state)
{
    (void)state;
    enum guard_verdict verdict = GUARD_PASS;
    uint32_t streams = 0;
    for (; verdict == GUARD_PASS && streams < 100000; streams++) {
        HEADERS(1 + 2 * streams, 5);
        RST(1 + 2 * streams);
        verdict = filter();
        now_ns += NS_PER_MS / 100;
    }
    assert_int_equal(verdict, GUARD_STREAMS);
    assert_in_range(streams, 250, 252);
}

static void requests_that_finish_are_free_for_ever(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 100000; i++) {
        HEADERS(1 + 2 * i, 5);
        assert_int_equal(filter(), GUARD_PASS);
        guard_request_finished(&guard, &limits);
    }
}

static void cancelling_at_a_human_pace_is_free_for_ever(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 10000; i++) {
        HEADERS(1 + 2 * i, 5);
        RST(1 + 2 * i);
        assert_int_equal(filter(), GUARD_PASS);
        now_ns += NS_PER_SECOND / 20;
    }
}

/* Each row is one frame that an honest client never sends. */
static void frames_that_make_us_reset_end_the_connection(void **state)
{
    static const struct {
        unsigned type, flags;
        uint32_t stream_id;
        const char *payload;
        size_t length;
        enum guard_verdict expected;
    } cases[] = {
        {8, 0, 1, "\0\0\0\0", 4, GUARD_FRAME}, /* window increment 0 on a stream */
        {8, 0, 0, "\0\0\0\0", 4, GUARD_FRAME},
        {8, 0, 1, "\0\0\0\1\0", 5, GUARD_FRAME},
        {8, 0, 99, "\0\0\0\1", 4, GUARD_FRAME}, /* idle stream */
        {0, 1, 1, "x", 1, GUARD_FRAME},         /* DATA after END_STREAM */
        {0, 0, 99, "x", 1, GUARD_FRAME},
        {0, 0, 0, "x", 1, GUARD_FRAME},
        {1, 5, 1, REQUEST, 3, GUARD_FRAME}, /* HEADERS again */
        {1, 5, 2, REQUEST, 3, GUARD_FRAME}, /* even stream */
        {1, 5, 0, REQUEST, 3, GUARD_FRAME},
        {1, 1, 5, REQUEST, 3, GUARD_HEADERS},          /* without END_HEADERS */
        {9, 4, 1, REQUEST, 3, GUARD_HEADERS},          /* CONTINUATION */
        {1, 5 | 8, 5, "\x09" REQUEST, 4, GUARD_FRAME}, /* padding longer than the frame */
        {1, 5 | 0x20, 5, "\0\0", 2, GUARD_FRAME},      /* priority longer than the frame */
        {1, 5, 5, "\x80", 1, GUARD_HEADERS},           /* not HPACK */
        {2, 0, 3, "\0\0\0\0", 4, GUARD_FRAME},         /* short PRIORITY */
        {3, 0, 99, "\0\0\0\0", 4, GUARD_FRAME},        /* RST_STREAM of an idle stream */
        {3, 0, 0, "\0\0\0\0", 4, GUARD_FRAME},
        {3, 0, 1, "\0\0", 2, GUARD_FRAME},
        {4, 1, 0, "\0\0\0\0\0\0", 6, GUARD_FRAME}, /* SETTINGS ACK with payload */
        {4, 0, 0, "\0\0\0\0\0", 5, GUARD_FRAME},
        {5, 4, 1, "\0\0\0\2" REQUEST, 7, GUARD_FRAME}, /* PUSH_PROMISE */
        {6, 0, 0, "1234567", 7, GUARD_FRAME},          /* short PING */
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        setup(state);
        HEADERS(1, 5);
        frame(cases[i].type, cases[i].flags, cases[i].stream_id, cases[i].payload, cases[i].length);
        enum guard_verdict verdict = filter();
        if (verdict != cases[i].expected)
            fail_msg("case %zu: %s", i, guard_verdict_name(verdict));
    }
}

static void an_oversized_frame_ends_before_it_is_read(void **state)
{
    (void)state;
    HEADERS(1, 4);
    DATA(1, 0, 16385);
    count = 12 + 9; /* only its head has come */
    assert_int_equal(filter(), GUARD_FRAME);
    setup(state);
    HEADERS(1, 4);
    DATA(1, 0, 16384);
    assert_int_equal(filter(), GUARD_PASS);
}

static void floods_of_empty_frames_end_soon(void **state)
{
    static const struct {
        unsigned type, flags;
        uint32_t stream_id;
        size_t length;
        unsigned frames_max;
    } cases[] = {{4, 0, 0, 0, 201},  {6, 0, 0, 8, 401},  {6, 1, 0, 8, 401},  {0xbb, 0, 0, 0, 201},
                 {0, 0, 1, 0, 401},  {0, 0, 1, 1, 4001}, {2, 0, 3, 5, 2001}, {3, 0, 1, 4, 4001},
                 {4, 1, 0, 0, 4001}, {7, 0, 0, 8, 201}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        unsigned frames = 0;
        enum guard_verdict verdict = GUARD_PASS;
        setup(state);
        HEADERS(1, 4);
        assert_int_equal(filter(), GUARD_PASS);
        while (verdict == GUARD_PASS && frames++ < 100000) {
            frame(cases[i].type, cases[i].flags, cases[i].stream_id, NULL, cases[i].length);
            verdict = filter();
        }
        if (verdict != GUARD_CONTROL || frames > cases[i].frames_max)
            fail_msg("case %zu: %s after %u frames", i, guard_verdict_name(verdict), frames);
    }
}

static void window_updates_are_paid_by_what_the_client_reads(void **state)
{
    (void)state;
    HEADERS(1, 5);
    for (unsigned i = 0; i < 100000; i++) { /* two for each event of 100 bytes, all at once */
        WINDOW_UPDATE(0, "\x64");
        WINDOW_UPDATE(1, "\x64");
        written += 100;
        assert_int_equal(filter(), GUARD_PASS);
    }
    enum guard_verdict verdict = GUARD_PASS;
    unsigned frames = 0;
    for (; verdict == GUARD_PASS; frames++) { /* and for nothing */
        WINDOW_UPDATE(0, "\1");
        verdict = filter();
    }
    assert_int_equal(verdict, GUARD_CONTROL);
    assert_in_range(frames, 3900, 4001);
}

static void a_header_bomb_ends_at_its_decoded_size(void **state)
{
    (void)state;
    uint8_t block[4096] = {0x82, 0x86, 0x84, 0x40, 1,
                           'a',  0x7f, 0x81, 0x1d}; /* entry of 3840 bytes */
    memset(block + 9, 'v', 3840);
    frame(1, 5, 1, block, 9 + 3840);
    assert_int_equal(filter(), GUARD_PASS);
    memset(block, 0xbe, sizeof block);
    frame(1, 5, 3, block, 10); /* 10 times 3840 */
    assert_int_equal(filter(), GUARD_PASS);
    frame(1, 5, 5, block, 18); /* over 4 * 16384 */
    assert_int_equal(filter(), GUARD_HEADERS);
}

static void fields_pass_up_to_twice_the_limit(void **state)
{
    (void)state;
    uint8_t block[300];
    memset(block, 0x82, sizeof block);
    limits.header_bytes_max = 1 << 20;
    frame(1, 5, 1, block, 200);
    assert_int_equal(filter(), GUARD_PASS);
    frame(1, 5, 3, block, 201);
    assert_int_equal(filter(), GUARD_HEADERS);
}

static void an_announced_huge_body_is_answered_early_and_its_bytes_removed(void **state)
{
    (void)state;
    frame(1, 4, 1,
          REQUEST "\x0f\x0d\x07"
                  "9999999",
          3 + 10);
    size_t head = count;
    DATA(1, 0, 1000);
    DATA(1, 0, 1000);
    HEADERS(3, 5);
    assert_int_equal(guard_filter(&guard, &limits, bytes, &count, 0, now_ns), GUARD_PASS);
    assert_int_equal(count, head + 12);
    assert_int_equal(bytes[4], 5); /* END_STREAM was added */
    assert_true(guard_is_refused(&guard, 1));
    assert_false(guard_is_refused(&guard, 3));
    assert_int_equal(guard_buffered_bytes(&guard), 0);
    count = 0;
    RST(1); /* the client gives up: nothing for the library */
    assert_int_equal(guard_filter(&guard, &limits, bytes, &count, 0, now_ns), GUARD_PASS);
    assert_int_equal(count, 0);
    assert_int_equal(guard.upload_count, 0);
}

static void a_body_without_length_is_cut_at_twice_the_limit(void **state)
{
    (void)state;
    HEADERS(1, 4);
    assert_int_equal(filter(), GUARD_PASS);
    for (unsigned i = 0; i < 200; i++) {
        DATA(1, 0, 1000);
        assert_int_equal(guard_filter(&guard, &limits, bytes, &count, 0, now_ns), GUARD_PASS);
        assert_int_equal(bytes[4], 0);
        count = 0;
    }
    assert_int_equal(guard_buffered_bytes(&guard), 200000);
    DATA(1, 0, 1000);
    DATA(1, 0, 1000);
    assert_int_equal(guard_filter(&guard, &limits, bytes, &count, 0, now_ns), GUARD_PASS);
    assert_int_equal(count, 1009);
    assert_int_equal(bytes[4], 1);
    assert_true(guard_is_refused(&guard, 1));
}

static void removed_bytes_are_bounded(void **state)
{
    (void)state;
    frame(1, 4, 1,
          REQUEST "\x0f\x0d\x07"
                  "9999999",
          3 + 10);
    assert_int_equal(filter(), GUARD_PASS);
    enum guard_verdict verdict = GUARD_PASS;
    size_t sent = 0;
    for (; verdict == GUARD_PASS; sent += 16384) {
        count = 0;
        DATA(1, 0, 16384);
        verdict = filter();
    }
    assert_int_equal(verdict, GUARD_UPLOAD);
    assert_in_range(sent, 4 << 20, (4 << 20) + 32768);
}

static void trailers_end_a_body(void **state)
{
    (void)state;
    HEADERS(1, 4);
    DATA(1, 0, 100);
    frame(1, 5, 1, "\x00\1x\1y", 5);
    assert_int_equal(filter(), GUARD_PASS);
    assert_int_equal(guard.upload_count, 0);
    HEADERS(3, 4);
    frame(1, 4, 3, "\x00\1x\1y", 5); /* without END_STREAM */
    assert_int_equal(filter(), GUARD_FRAME);
}

static void a_frame_that_does_not_end_is_stalled(void **state)
{
    (void)state;
    uint32_t stream_id;
    HEADERS(1, 5);
    count -= 2;
    assert_int_equal(filter(), GUARD_PASS);
    now_ns += 9 * NS_PER_SECOND;
    bytes[count++] = 0x86; /* a drop does not set the clock back */
    assert_int_equal(filter(), GUARD_PASS);
    assert_int_equal(guard_check(&guard, &limits, now_ns, &stream_id), GUARD_PASS);
    now_ns += 2 * NS_PER_SECOND;
    assert_int_equal(guard_check(&guard, &limits, now_ns, &stream_id), GUARD_STALLED);
}

static void uploads_that_are_too_old_or_too_slow_are_named(void **state)
{
    (void)state;
    uint32_t stream_id;
    HEADERS(1, 4);
    DATA(1, 0, 1000);
    assert_int_equal(filter(), GUARD_PASS);
    now_ns += 20 * NS_PER_SECOND;
    assert_int_equal(guard_check(&guard, &limits, now_ns, &stream_id), GUARD_PASS);
    limits.upload_bytes_per_second_min = 100;
    assert_int_equal(guard_check(&guard, &limits, now_ns, &stream_id), GUARD_UPLOAD);
    assert_int_equal(stream_id, 1);
    limits.upload_bytes_per_second_min = 0;
    now_ns += 41 * NS_PER_SECOND;
    assert_int_equal(guard_check(&guard, &limits, now_ns, &stream_id), GUARD_UPLOAD);
    guard_forget_upload(&guard, 1);
    assert_int_equal(guard_check(&guard, &limits, now_ns, &stream_id), GUARD_PASS);
}

static void more_uploads_than_anyone_may_open_end_the_connection(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < GUARD_UPLOAD_COUNT_MAX; i++) {
        HEADERS(1 + 2 * i, 4);
        assert_int_equal(filter(), GUARD_PASS);
    }
    HEADERS(1 + 2 * GUARD_UPLOAD_COUNT_MAX, 4);
    assert_int_equal(filter(), GUARD_STREAMS);
}

static void what_is_not_http2_is_told_at_the_first_wrong_byte(void **state)
{
    (void)state;
    for (size_t wrong = 0; wrong < GUARD_PREFACE_BYTES; wrong++) {
        guard_deinit(&guard);
        guard_init(&guard, &limits, now_ns);
        memcpy(bytes, GUARD_PREFACE, GUARD_PREFACE_BYTES);
        bytes[wrong] ^= 1;
        count = wrong;
        assert_int_equal(guard_filter(&guard, &limits, bytes, &count, 0, now_ns), GUARD_PASS);
        count = wrong + 1;
        assert_int_equal(guard_filter(&guard, &limits, bytes, &count, 0, now_ns), GUARD_FRAME);
    }
}

/* Any bytes: no reads outside (sanitizers), and what is left is never more than what came. */
static void no_bytes_lead_outside_the_buffer(void **state)
{
    uint64_t random = 3;
    for (unsigned round = 0; round < 3000; round++) {
        setup(state);
        size_t size = round % 200 + 1;
        uint8_t *piece = malloc(size);
        assert_non_null(piece);
        for (size_t i = 0; i < size; i++) {
            random = random * 6364136223846793005ull + 1442695040888963407ull;
            piece[i] =
                i % 12 < 2 || i % 12 > 4 ? (uint8_t)(random >> 62) : (uint8_t)(random >> 56) & 15;
        }
        size_t left = size;
        (void)!guard_filter(&guard, &limits, piece, &left, 0, now_ns);
        assert_true(left <= size);
        free(piece);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(honest_traffic_passes_unchanged, setup),
        cmocka_unit_test_setup(priorities_unknown_frames_and_ping_answers_are_removed, setup),
        cmocka_unit_test_setup(the_priority_inside_headers_is_made_harmless, setup),
        cmocka_unit_test_setup(frames_come_in_any_pieces, setup),
        cmocka_unit_test_setup(rapid_reset_ends_after_the_burst, setup),
        cmocka_unit_test_setup(requests_that_finish_are_free_for_ever, setup),
        cmocka_unit_test_setup(cancelling_at_a_human_pace_is_free_for_ever, setup),
        cmocka_unit_test_setup(frames_that_make_us_reset_end_the_connection, setup),
        cmocka_unit_test_setup(an_oversized_frame_ends_before_it_is_read, setup),
        cmocka_unit_test_setup(floods_of_empty_frames_end_soon, setup),
        cmocka_unit_test_setup(window_updates_are_paid_by_what_the_client_reads, setup),
        cmocka_unit_test_setup(a_header_bomb_ends_at_its_decoded_size, setup),
        cmocka_unit_test_setup(fields_pass_up_to_twice_the_limit, setup),
        cmocka_unit_test_setup(an_announced_huge_body_is_answered_early_and_its_bytes_removed,
                               setup),
        cmocka_unit_test_setup(a_body_without_length_is_cut_at_twice_the_limit, setup),
        cmocka_unit_test_setup(removed_bytes_are_bounded, setup),
        cmocka_unit_test_setup(trailers_end_a_body, setup),
        cmocka_unit_test_setup(a_frame_that_does_not_end_is_stalled, setup),
        cmocka_unit_test_setup(uploads_that_are_too_old_or_too_slow_are_named, setup),
        cmocka_unit_test_setup(more_uploads_than_anyone_may_open_end_the_connection, setup),
        cmocka_unit_test_setup(what_is_not_http2_is_told_at_the_first_wrong_byte, setup),
        cmocka_unit_test_setup(no_bytes_lead_outside_the_buffer, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
