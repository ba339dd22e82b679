#include "unit_test.h"

#include <math.h>
#include <stdlib.h>

#include "heartbeat.h"
#include "memory.h"

#define HERE_NS  (1000 * 1000000000ull) /* one machine's clock */
#define THERE_NS (5 * 1000000000ull)    /* the other's, which was started later */

static struct heartbeat full(void)
{
    static const uint64_t came[] = {11, 12}, gone[] = {13};
    struct heartbeat beat = {.number = 7,
                             .phase = HEARTBEAT_READY,
                             .is_afresh = true,
                             .has_state = true,
                             .context_max = 8192,
                             .capabilities = 5,
                             .bytes_per_token = 3.5f,
                             .state = {.running = 3,
                                       .waiting = 4,
                                       .steps = 99,
                                       .last_step_ns = HERE_NS - 1000,
                                       .step_ms = 2.5f},
                             .came = (const char *)came,
                             .came_count = 2,
                             .gone = (const char *)gone,
                             .gone_count = 1,
                             .reason = text_slice_of("why")};

    beat.moments_ns[START_BEGUN] = HERE_NS - 4000;
    return beat;
}

static void what_is_written_is_read_by_another_clock(void **state)
{
    struct heartbeat in = full(), out;
    struct buffer text;

    (void)state;
    buffer_init(&text, heartbeat_bytes_max());
    heartbeat_write(&in, HERE_NS, &text);
    assert_int_equal(heartbeat_read(buffer_slice(&text), THERE_NS, &out), STATUS_OK);
    assert_int_equal(out.number, 7);
    assert_int_equal(out.phase, HEARTBEAT_READY);
    assert_true(out.is_afresh && out.has_state);
    assert_int_equal(out.context_max, 8192);
    assert_int_equal(out.capabilities, 5);
    assert_true(out.bytes_per_token == 3.5f && out.state.step_ms == 2.5f);
    assert_int_equal(out.state.waiting, 4);
    assert_true(out.state.last_step_ns == THERE_NS - 1000);
    assert_true(out.moments_ns[START_BEGUN] == THERE_NS - 4000);
    assert_true(out.moments_ns[START_READY] == 0);
    assert_int_equal(out.came_count, 2);
    assert_true(heartbeat_name(out.came, 1) == 12);
    assert_int_equal(out.gone_count, 1);
    assert_true(heartbeat_name(out.gone, 0) == 13);
    assert_true(text_slice_is(out.reason, "why"));
    buffer_deinit(&text);
}

static void an_age_beyond_the_clock_is_its_beginning(void **state)
{
    struct heartbeat in = full(), out;
    struct buffer text;

    (void)state;
    in.state.last_step_ns = 1;
    buffer_init(&text, heartbeat_bytes_max());
    heartbeat_write(&in, HERE_NS, &text);
    assert_int_equal(heartbeat_read(buffer_slice(&text), THERE_NS, &out), STATUS_OK);
    assert_true(out.state.last_step_ns == 1);
    in.state.last_step_ns = 0; /* never */
    buffer_clear(&text);
    heartbeat_write(&in, HERE_NS, &text);
    assert_int_equal(heartbeat_read(buffer_slice(&text), THERE_NS, &out), STATUS_OK);
    assert_true(out.state.last_step_ns == 0);
    buffer_deinit(&text);
}

/* Each byte of the head in turn says something else; what is taken then has bounded numbers. */
static void what_is_no_message_is_refused(void **state)
{
    struct heartbeat in = full(), out;
    struct buffer text;

    (void)state;
    buffer_init(&text, heartbeat_bytes_max() + 1);
    heartbeat_write(&in, HERE_NS, &text);
    for (size_t bytes = 0; bytes < text.bytes; bytes++)
        assert_int_equal(heartbeat_read((struct text_slice){text.data, bytes}, THERE_NS, &out),
                         STATUS_INVALID);
    for (size_t i = 0; i < 16; i++) { /* magic, size, phase, flags */
        text.data[i] ^= 0x40;
        assert_int_equal(heartbeat_read(buffer_slice(&text), THERE_NS, &out), STATUS_INVALID);
        text.data[i] ^= 0x40;
    }
    text.data[text.bytes - 1] = '\n';
    assert_int_equal(heartbeat_read(buffer_slice(&text), THERE_NS, &out), STATUS_INVALID);
    text.data[text.bytes - 1] = 'y';
    assert_int_equal(heartbeat_read(buffer_slice(&text), THERE_NS, &out), STATUS_OK);
    buffer_append_byte(&text, 'x');
    assert_int_equal(heartbeat_read(buffer_slice(&text), THERE_NS, &out), STATUS_INVALID);
    buffer_deinit(&text);
}

static void averages_are_numbers(void **state)
{
    const float values[] = {NAN, INFINITY, -1};
    struct heartbeat out;
    struct buffer text;

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct heartbeat in = full();

        in.state.prefill_ns_beside = values[i];
        buffer_init(&text, heartbeat_bytes_max());
        heartbeat_write(&in, HERE_NS, &text);
        assert_int_equal(heartbeat_read(buffer_slice(&text), THERE_NS, &out), STATUS_INVALID);
        buffer_deinit(&text);
    }
}

static void a_reason_is_cut_and_made_printable(void **state)
{
    static char reason[HEARTBEAT_REASON_BYTES + 100];
    struct heartbeat in = full(), out;
    struct buffer text;

    (void)state;
    memset(reason, 'r', sizeof(reason) - 1);
    reason[0] = '\n';
    in.reason = text_slice_of(reason);
    buffer_init(&text, heartbeat_bytes_max());
    heartbeat_write(&in, HERE_NS, &text);
    assert_int_equal(heartbeat_read(buffer_slice(&text), THERE_NS, &out), STATUS_OK);
    assert_int_equal(out.reason.bytes, HEARTBEAT_REASON_BYTES);
    assert_memory_equal(out.reason.data, "?rrr", 4);
    buffer_deinit(&text);
}

/* --- names --- */

struct pair { /* a replica's page, and the gateway's */
    shared_page_writer *here, *there;
    told_names *told;
    uint64_t number;
};

static void pair_open(struct pair *pair)
{
    *pair = (struct pair){.number = 1};
    assert_int_equal(shared_page_writer_create(&pair->here), STATUS_OK);
    assert_int_equal(shared_page_writer_create(&pair->there), STATUS_OK);
    assert_int_equal(told_names_create(&pair->told), STATUS_OK);
}

static void pair_close(struct pair *pair)
{
    shared_page_writer_close(pair->here);
    shared_page_writer_close(pair->there);
    told_names_destroy(pair->told);
}

/* One message over; `arrives`: the answer to it, too. */
static void pair_tell(struct pair *pair, bool arrives)
{
    struct heartbeat beat = {.number = pair->number++, .phase = HEARTBEAT_READY}, read;
    struct buffer text;

    told_names_compare(pair->told, shared_page_of(pair->here), &beat);
    buffer_init(&text, heartbeat_bytes_max());
    heartbeat_write(&beat, HERE_NS, &text);
    assert_int_equal(heartbeat_read(buffer_slice(&text), THERE_NS, &read), STATUS_OK);
    heartbeat_take(&read, pair->there);
    if (arrives)
        told_names_confirm(pair->told);
    else
        told_names_forget(pair->told);
    buffer_deinit(&text);
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static bool pair_is_equal(const struct pair *pair)
{
    static uint64_t a[SHARED_PAGE_NAMES_MAX], b[SHARED_PAGE_NAMES_MAX];
    uint32_t x = shared_page_names(shared_page_of(pair->here), a, SHARED_PAGE_NAMES_MAX),
             y = shared_page_names(shared_page_of(pair->there), b, SHARED_PAGE_NAMES_MAX);

    qsort(a, x, sizeof(a[0]), by_value);
    qsort(b, y, sizeof(b[0]), by_value);
    return x == y && memcmp(a, b, x * sizeof(a[0])) == 0;
}

static void names_that_come_and_go_are_told(void **state)
{
    struct pair pair;

    (void)state;
    pair_open(&pair);
    shared_page_note(pair.here, 77, true);
    shared_page_note(pair.here, 78, true);
    pair_tell(&pair, true);
    assert_true(pair_is_equal(&pair));
    shared_page_note(pair.here, 77, false);
    shared_page_note(pair.here, 79, true);
    shared_page_note(pair.here, 79, true); /* twice there, once told */
    pair_tell(&pair, true);
    assert_true(pair_is_equal(&pair));
    shared_page_note(pair.here, 79, false);
    pair_tell(&pair, true);
    assert_true(shared_page_has(shared_page_of(pair.there), 79));
    shared_page_note(pair.here, 79, false);
    pair_tell(&pair, true);
    assert_true(pair_is_equal(&pair));
    pair_close(&pair);
}

static void more_than_one_message_holds_comes_with_the_next(void **state)
{
    struct pair pair;

    (void)state;
    pair_open(&pair);
    for (uint64_t i = 1; i <= 2 * HEARTBEAT_NAMES_MAX + 1; i++)
        shared_page_note(pair.here, i * 0x9e3779b97f4a7c15ull, true);
    pair_tell(&pair, true);
    pair_tell(&pair, true);
    assert_false(pair_is_equal(&pair));
    pair_tell(&pair, true);
    assert_true(pair_is_equal(&pair));
    pair_close(&pair);
}

/* Whatever gets lost, both sides agree again once messages arrive. */
static void a_lost_answer_begins_afresh(void **state)
{
    struct pair pair;
    unsigned seed = 1;

    (void)state;
    pair_open(&pair);
    for (int round = 0; round < 200; round++) {
        for (int i = 0; i < 20; i++) {
            uint64_t name = 1 + (uint64_t)rand_r(&seed) % 300;
            bool comes = rand_r(&seed) % 2 == 0;

            if (comes || shared_page_has(shared_page_of(pair.here), name))
                shared_page_note(pair.here, name, comes);
        }
        pair_tell(&pair, rand_r(&seed) % 4 != 0);
        if (round % 20 == 19) {
            pair_tell(&pair, true);
            assert_true(pair_is_equal(&pair));
        }
    }
    pair_close(&pair);
}

static void numbers_reach_the_other_page(void **state)
{
    struct heartbeat beat = full();
    shared_page_writer *page;
    struct shared_page_state read;

    (void)state;
    assert_int_equal(shared_page_writer_create(&page), STATUS_OK);
    beat.has_state = false;
    heartbeat_take(&beat, page);
    assert_false(shared_page_read(shared_page_of(page), &read));
    beat.has_state = true;
    heartbeat_take(&beat, page);
    assert_true(shared_page_read(shared_page_of(page), &read));
    assert_int_equal(read.steps, 99);
    assert_true(shared_page_bytes_per_token(shared_page_of(page)) == 3.5f);
    assert_true(shared_page_moment(shared_page_of(page), START_BEGUN) == HERE_NS - 4000);
    shared_page_writer_close(page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_by_another_clock),
        cmocka_unit_test(an_age_beyond_the_clock_is_its_beginning),
        cmocka_unit_test(what_is_no_message_is_refused),
        cmocka_unit_test(averages_are_numbers),
        cmocka_unit_test(a_reason_is_cut_and_made_printable),
        cmocka_unit_test(names_that_come_and_go_are_told),
        cmocka_unit_test(more_than_one_message_holds_comes_with_the_next),
        cmocka_unit_test(a_lost_answer_begins_afresh),
        cmocka_unit_test(numbers_reach_the_other_page),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
