#include "unit_test.h"

#include <pthread.h>
#include <sched.h>

#include "admission.h"
#include "check.h"

#define S 1000000000ull

static _Atomic uint32_t wakes[ADMISSION_LOOP_COUNT_MAX];
static const struct request_usage unknown = {0};

static void count_wake(void *context, uint32_t loop)
{
    (void)context;
    atomic_fetch_add(&wakes[loop], 1);
}

static struct admission *admission_of(uint32_t slots, uint32_t requests_max, uint32_t loops)
{
    const struct admission_options options = {
        .policy = {requests_max, 1u << 30, 1, 2},
        .timeout_ns = 60 * S,
        .loop_count = loops,
        .block_tokens = 16,
        .wake = count_wake,
    };
    struct admission *made;

    assert_int_equal(admission_create(&options, &made), STATUS_OK);
    admission_set_slots(made, slots, 0);
    for (uint32_t i = 0; i < ADMISSION_LOOP_COUNT_MAX; i++)
        atomic_store(&wakes[i], 0);
    return made;
}

static enum admission_answer enter(struct admission *made, struct admission_ticket *ticket,
                                   uint32_t loop, uint64_t now_ns)
{
    const struct admission_entry entry = {
        .caller = &caller_anonymous, .body_bytes = 400, .loop = loop};
    uint64_t retry_after_ms;

    return admission_enter(made, ticket, &entry, now_ns, &retry_after_ms);
}

static void slots_are_given_in_turn_and_taken_back(void **state)
{
    struct admission_ticket tickets[4] = {0};
    struct admission *made = admission_of(2, 10, 1);

    (void)state;
    assert_int_equal(enter(made, &tickets[0], 0, S), ADMISSION_GO);
    assert_int_equal(enter(made, &tickets[1], 0, S), ADMISSION_GO);
    assert_int_equal(enter(made, &tickets[2], 0, S), ADMISSION_WAIT);
    assert_int_equal(enter(made, &tickets[3], 0, S), ADMISSION_WAIT);
    assert_int_equal(tickets[2].position, 0);
    assert_int_equal(tickets[3].position, 1);
    assert_null(admission_collect(made, 0, S));
    admission_leave(made, &tickets[1], &unknown, 2 * S);
    assert_int_equal(atomic_load(&wakes[0]), 1);
    assert_ptr_equal(admission_collect(made, 0, 2 * S), &tickets[2]);
    assert_int_equal(tickets[2].state, ADMISSION_RUNNING);
    assert_int_equal(tickets[2].granted_ns, 2 * S);
    assert_null(admission_collect(made, 0, 2 * S));
    for (int i = 0; i < 4; i++)
        admission_leave(made, &tickets[i], &unknown, 3 * S);
    admission_destroy(made);
}

static void a_client_that_goes_frees_its_place_and_its_slot(void **state)
{
    struct admission_ticket tickets[4] = {0};
    struct admission_figures figures;
    struct admission *made = admission_of(1, 10, 2);

    (void)state;
    for (uint32_t i = 0; i < 4; i++)
        (void)enter(made, &tickets[i], i % 2, S);
    admission_leave(made, &tickets[1], &unknown, S); /* waits */
    admission_leave(made, &tickets[0], &unknown, S); /* runs: its slot goes to 2 */
    admission_leave(made, &tickets[2], &unknown, S); /* was given it, and has not collected */
    assert_null(admission_collect(made, 0, S));
    assert_ptr_equal(admission_collect(made, 1, S), &tickets[3]);
    admission_leave(made, &tickets[3], &unknown, S);
    admission_figures(made, &figures);
    assert_int_equal(figures.running, 0);
    assert_int_equal(figures.waiting[WAITING_ROOM_BAND_HALF], 0);
    admission_destroy(made);
}

static void slots_may_come_and_go(void **state)
{
    struct admission_ticket tickets[4] = {0};
    struct admission *made = admission_of(0, 10, 1);

    (void)state;
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(enter(made, &tickets[i], 0, S), ADMISSION_WAIT);
    admission_set_slots(made, 3, 0);
    for (uint32_t i = 0; i < 3; i++)
        assert_ptr_equal(admission_collect(made, 0, S), &tickets[i]);
    admission_set_slots(made, 1, 0); /* a replica is gone: two run too many */
    admission_leave(made, &tickets[0], &unknown, S);
    admission_leave(made, &tickets[1], &unknown, S);
    assert_null(admission_collect(made, 0, S));
    admission_leave(made, &tickets[2], &unknown, S);
    assert_ptr_equal(admission_collect(made, 0, S), &tickets[3]);
    admission_leave(made, &tickets[3], &unknown, S);
    admission_destroy(made);
}

static void who_is_pushed_out_is_told_on_its_loop(void **state)
{
    struct admission_ticket tickets[4] = {0};
    struct caller other = caller_anonymous;
    struct admission_entry entry = {.caller = &other, .body_bytes = 400, .loop = 1};
    struct admission *made = admission_of(0, 2, 2);
    uint64_t retry_after_ms = 0;

    (void)state;
    other.organisation = "other";
    assert_int_equal(enter(made, &tickets[0], 0, S), ADMISSION_WAIT);
    assert_int_equal(enter(made, &tickets[1], 0, S), ADMISSION_WAIT);
    assert_int_equal(enter(made, &tickets[2], 0, S), ADMISSION_FULL);
    assert_int_equal(admission_enter(made, &tickets[3], &entry, S, &retry_after_ms),
                     ADMISSION_WAIT);
    assert_int_equal(atomic_load(&wakes[0]), 1);
    assert_ptr_equal(admission_collect(made, 0, S), &tickets[1]);
    assert_int_equal(tickets[1].state, ADMISSION_OUT);
    assert_null(admission_collect(made, 1, S));
    for (int i = 0; i < 4; i++)
        admission_leave(made, &tickets[i], &unknown, S);
    admission_destroy(made);
}

/* One slot that serves a request in 2 s, and its first token in 1 s. Whoever has a deadline goes first. */
static void a_request_that_would_be_late_is_refused_at_once(void **state)
{
    struct admission_ticket tickets[4] = {0};
    struct admission_entry entry = {.caller = &caller_anonymous, .body_bytes = 400};
    struct admission *made = admission_of(1, 10, 1);
    struct admission_place place;
    uint64_t retry_after_ms = 0;

    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(enter(made, &tickets[0], 0, S), ADMISSION_GO);
        tickets[0].first_ns = 2 * S;
        admission_leave(made, &tickets[0], &unknown, 3 * S);
    }
    assert_int_equal(enter(made, &tickets[0], 0, 10 * S), ADMISSION_GO);
    assert_int_equal(enter(made, &tickets[1], 0, 10 * S), ADMISSION_WAIT);
    assert_true(admission_place(made, &tickets[1], &place));
    assert_int_equal(place.ahead, 0);
    assert_in_range(place.wait_ms, 1990, 2010);
    entry.due_ns = 12 * S;
    assert_int_equal(admission_enter(made, &tickets[2], &entry, 10 * S, &retry_after_ms),
                     ADMISSION_LATE);
    assert_in_range(retry_after_ms, 990, 1010);
    assert_int_equal(tickets[2].state, ADMISSION_OUT);
    entry.due_ns = 16 * S;
    assert_int_equal(admission_enter(made, &tickets[2], &entry, 10 * S, &retry_after_ms),
                     ADMISSION_WAIT);
    for (int i = 0; i < 4; i++)
        admission_leave(made, &tickets[i], &unknown, 10 * S);
    admission_destroy(made);
}

/* While only one key sends requests it may have all slots; then some are kept for others. */
static void slots_are_kept_for_keys_that_have_none(void **state)
{
    struct admission_ticket flood[6] = {0}, quiet[2] = {0};
    struct caller other = caller_anonymous;
    struct admission_entry entry = {.caller = &other, .body_bytes = 400};
    struct admission *made = admission_of(4, 10, 1);
    uint64_t retry_after_ms;

    (void)state;
    other.key_id = "other";
    admission_set_slots(made, 4, 1);
    for (uint32_t i = 0; i < 6; i++)
        assert_int_equal(enter(made, &flood[i], 0, S), i < 4 ? ADMISSION_GO : ADMISSION_WAIT);
    assert_int_equal(admission_enter(made, &quiet[0], &entry, S, &retry_after_ms), ADMISSION_WAIT);
    admission_leave(made, &flood[0], &unknown, S); /* to a key that has none in the room's books */
    assert_non_null(admission_collect(made, 0, S));
    admission_leave(made, &flood[1], &unknown, S);
    assert_non_null(admission_collect(made, 0, S));
    assert_int_equal(atomic_load(&quiet[0].state), ADMISSION_RUNNING);
    admission_leave(made, &flood[2], &unknown, S);
    assert_null(admission_collect(made, 0, S)); /* kept */
    admission_leave(made, &quiet[0], &unknown, S);
    assert_non_null(admission_collect(made, 0, S)); /* two were free: one goes to the flood */
    assert_int_equal(admission_enter(made, &quiet[1], &entry, S, &retry_after_ms), ADMISSION_GO);
    for (uint32_t i = 0; i < 6; i++)
        admission_leave(made, &flood[i], &unknown, S);
    admission_leave(made, &quiet[1], &unknown, S);
    admission_destroy(made);
}

static void a_stream_is_charged_while_it_is_delivered(void **state)
{
    const struct request_usage some = {.is_known = true,
                                       .prompt_tokens = 10,
                                       .completion_tokens = 1},
                               much = {
                                   .is_known = true, .prompt_tokens = 10, .completion_tokens = 900};

    (void)state;
    for (uint32_t delivers = 0; delivers < 2; delivers++) {
        struct admission_ticket of_a[2] = {0}, of_b[2] = {0};
        struct caller other = caller_anonymous;
        const struct admission_entry entry = {.caller = &other, .body_bytes = 400};
        struct admission *made = admission_of(1, 10, 1);
        uint64_t retry_after_ms;

        other.key_id = "other";
        assert_int_equal(admission_enter(made, &of_b[0], &entry, S, &retry_after_ms), ADMISSION_GO);
        assert_int_equal(enter(made, &of_a[0], 0, S), ADMISSION_WAIT);
        admission_leave(made, &of_b[0], &unknown, S);
        assert_ptr_equal(admission_collect(made, 0, S), &of_a[0]);
        assert_int_equal(enter(made, &of_a[1], 0, S), ADMISSION_WAIT);
        assert_int_equal(admission_enter(made, &of_b[1], &entry, S, &retry_after_ms),
                         ADMISSION_WAIT);
        if (delivers > 0) {
            admission_deliver(made, &of_a[0], &some);
            admission_deliver(made, &of_a[0], &much);
        }
        admission_leave(made, &of_a[0], &unknown, S);
        assert_ptr_equal(admission_collect(made, 0, S), delivers > 0 ? &of_b[1] : &of_a[1]);
        admission_leave(made, &of_a[1], &unknown, S);
        admission_leave(made, &of_b[1], &unknown, S);
        admission_destroy(made);
    }
}

/* Four blocks of tokens each, by body_bytes and prompt_tokens: 256 bytes are 64 tokens. */
static enum admission_answer claim(struct admission *made, struct admission_ticket *ticket,
                                   struct kv_claim *claim, const struct caller *caller,
                                   uint64_t body_bytes)
{
    const struct admission_entry entry = {.caller = caller,
                                          .body_bytes = body_bytes,
                                          .claims = claim,
                                          .claim_count = 1,
                                          .is_streamed = true};
    uint64_t retry_after_ms;

    return admission_enter(made, ticket, &entry, S, &retry_after_ms);
}

static void who_is_over_its_share_of_the_cache_is_passed(void **state)
{
    struct kv_claim claims[3] = {
        {.id = {1, 1}, .share = 0.1}, {.id = {1, 1}, .share = 0.1}, {.id = {1, 1}, .share = 0.1}};
    struct request_usage usage = {.is_known = true, .prompt_tokens = 64, .completion_tokens = 65};
    struct admission_ticket greedy[3] = {0}, other = {0};
    struct caller caller = caller_anonymous;
    struct admission *made = admission_of(8, 10, 1);

    (void)state;
    caller.key_id = "greedy";
    admission_set_kv_blocks(made, 100); /* ten for the greedy */
    assert_int_equal(claim(made, &greedy[0], &claims[0], &caller, 256), ADMISSION_GO);
    admission_deliver(made, &greedy[0], &usage); /* nine of them */
    assert_int_equal(greedy[0].kv_blocks, 9);
    assert_int_equal(claim(made, &greedy[1], &claims[1], &caller, 256), ADMISSION_WAIT);
    assert_true(greedy[1].waited_for_share);
    assert_int_equal(claim(made, &greedy[2], &claims[2], &caller, 1408), ADMISSION_TOO_LARGE);
    assert_int_equal(greedy[2].kv_blocks, 22);
    assert_int_equal(enter(made, &other, 0, S), ADMISSION_GO); /* passes it */
    assert_int_equal(greedy[1].state, ADMISSION_WAITING);
    admission_leave(made, &greedy[0], &usage, 2 * S);
    assert_ptr_equal(admission_collect(made, 0, 2 * S), &greedy[1]);
    admission_leave(made, &greedy[1], &unknown, 2 * S);
    admission_leave(made, &other, &unknown, 2 * S);
    admission_destroy(made);
}

/* Whichever way a request goes, nothing of the share goes with it. */
static void a_share_is_whole_again_when_its_requests_are_gone(void **state)
{
    struct kv_claim claims[4];
    struct admission_ticket tickets[4] = {0};
    struct caller caller = caller_anonymous;
    struct admission *made = admission_of(0, 2, 1);

    (void)state;
    caller.key_id = "greedy";
    admission_set_kv_blocks(made, 100);
    for (uint32_t i = 0; i < 4; i++) {
        claims[i] = (struct kv_claim){.id = {1, 1}, .share = 0.1};
        if (i < 3)
            assert_int_equal(claim(made, &tickets[i], &claims[i], &caller, 256),
                             i < 2 ? ADMISSION_WAIT : ADMISSION_FULL);
    }
    admission_leave(made, &tickets[0], &unknown, S); /* while it waited */
    admission_set_slots(made, 1, 0);
    admission_leave(made, &tickets[1], &unknown, S); /* given a slot, which it has not collected */
    assert_int_equal(claim(made, &tickets[3], &claims[3], &caller, 640), ADMISSION_GO);
    admission_leave(made, &tickets[3], &unknown, S);
    assert_int_equal(claim(made, &tickets[2], &claims[2], &caller, 640), ADMISSION_GO);
    admission_leave(made, &tickets[2], &unknown, S);
    admission_destroy(made);
}

/* --- several loops --- */

#define LOOPS     4
#define REQUESTS  4000
#define AT_ONCE   24
#define SLOTS_MAX 8

static _Atomic int32_t running, running_max, served;

/* A loop with AT_ONCE clients that ask again and again, some of them going away while they wait. */
static void *loop_run(void *context)
{
    static _Thread_local struct admission_ticket tickets[AT_ONCE];
    struct admission *made = context;
    static _Atomic uint32_t next_loop;
    uint32_t loop = atomic_fetch_add(&next_loop, 1) % LOOPS, left = REQUESTS;
    uint64_t seed = loop + 1;
    uint32_t held = 1;

    memset(tickets, 0, sizeof(tickets));
    while (left > 0 || held > 0) {
        held = 0;
        while (admission_collect(made, loop, S) != NULL)
            continue;
        for (uint32_t i = 0; i < AT_ONCE; i++) {
            uint32_t state = atomic_load(&tickets[i].state);

            seed = seed * 6364136223846793005ull + 1442695040888963407ull;
            if (state == ADMISSION_OUT && left > 0) {
                left--;
                (void)enter(made, &tickets[i], loop, S);
            } else if (state == ADMISSION_RUNNING) {
                int32_t now = atomic_fetch_add(&running, 1) + 1, most = atomic_load(&running_max);

                while (now > most && !atomic_compare_exchange_weak(&running_max, &most, now))
                    continue;
                atomic_fetch_add(&served, 1);
                atomic_fetch_sub(&running, 1);
                admission_leave(made, &tickets[i], &unknown, S);
            } else if (state == ADMISSION_WAITING && seed >> 60 == 0) {
                admission_leave(made, &tickets[i], &unknown, S);
            }
            held += atomic_load(&tickets[i].state) != ADMISSION_OUT;
        }
        sched_yield();
    }
    return NULL;
}

/* No slot is lost and none is given twice, whatever happens at once: at the end all can be had. */
static void loops_share_the_slots(void **state)
{
    struct admission_ticket tickets[SLOTS_MAX + 1] = {0};
    struct admission *made = admission_of(SLOTS_MAX, 60, LOOPS);
    pthread_t threads[LOOPS];
    struct admission_figures figures;

    (void)state;
    for (uint32_t i = 0; i < LOOPS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, loop_run, made), 0);
    for (uint32_t i = 0; i < LOOPS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    admission_figures(made, &figures);
    assert_int_equal(figures.running, 0);
    assert_int_equal(figures.waiting_tokens, 0);
    assert_true(atomic_load(&running_max) <= SLOTS_MAX);
    assert_true(atomic_load(&served) > 0); /* how many give up is up to the scheduler */
    for (uint32_t i = 0; i < SLOTS_MAX; i++)
        assert_int_equal(enter(made, &tickets[i], 0, S), ADMISSION_GO);
    assert_int_equal(enter(made, &tickets[SLOTS_MAX], 0, S), ADMISSION_WAIT);
    for (uint32_t i = 0; i <= SLOTS_MAX; i++)
        admission_leave(made, &tickets[i], &unknown, S);
    admission_destroy(made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slots_are_given_in_turn_and_taken_back),
        cmocka_unit_test(a_client_that_goes_frees_its_place_and_its_slot),
        cmocka_unit_test(slots_may_come_and_go),
        cmocka_unit_test(who_is_pushed_out_is_told_on_its_loop),
        cmocka_unit_test(a_request_that_would_be_late_is_refused_at_once),
        cmocka_unit_test(slots_are_kept_for_keys_that_have_none),
        cmocka_unit_test(a_stream_is_charged_while_it_is_delivered),
        cmocka_unit_test(who_is_over_its_share_of_the_cache_is_passed),
        cmocka_unit_test(a_share_is_whole_again_when_its_requests_are_gone),
        cmocka_unit_test(loops_share_the_slots),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
