/* The compute team: every item once, results visible, ranges stolen, parking and waking. Meant to
 * run under TSan too. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "cpu/team.h"

#define ITEM_MAX 1000u

struct record {
    uint32_t done[ITEM_MAX]; /* plain memory: the team's own ordering has to publish it */
    _Atomic uint32_t members;
    uint32_t chunk;
    _Atomic uint32_t oversized;
};

static void mark(void *context, uint32_t member, uint32_t first, uint32_t count)
{
    struct record *record = context;
    if (count > record->chunk)
        atomic_fetch_add(&record->oversized, 1);
    atomic_fetch_or(&record->members, 1u << member);
    for (uint32_t i = first; i < first + count; i++)
        record->done[i]++;
}

static void every_item_is_done_once(void **state)
{
    (void)state;
    static struct record record;
    for (uint32_t size = 1; size <= 5; size++) {
        struct team *team = NULL;
        assert_int_equal(team_create(size, &team), STATUS_OK);
        assert_int_equal(team_size(team), size);
        for (uint32_t round = 0; round < 300; round++) {
            uint32_t count = round * 37 % (ITEM_MAX + 1), chunk = 1 + round % 9;
            memset(&record, 0, sizeof(record));
            record.chunk = size == 1 ? ITEM_MAX : chunk; /* alone: one piece */
            team_run(team, count, chunk, mark, &record);
            for (uint32_t i = 0; i < ITEM_MAX; i++)
                assert_int_equal(record.done[i], i < count ? 1 : 0);
            assert_int_equal(record.oversized, 0);
        }
        team_destroy(team);
    }
}

/* Items that wait for each other: they end only when two members are at work at the same time. */
static void meet(void *context, uint32_t member, uint32_t first, uint32_t count)
{
    (void)member;
    (void)first;
    _Atomic uint32_t *arrived = context;
    atomic_fetch_add(arrived, count);
    while (atomic_load(arrived) < 2)
        ;
}

static void parked_workers_wake_for_the_next_job(void **state)
{
    (void)state;
    struct team *team = NULL;
    assert_int_equal(team_create(2, &team), STATUS_OK);
    for (int round = 0; round < 20; round++) {
        struct timespec pause = {0, 2000000}; /* 20 times the spin */
        nanosleep(&pause, NULL);
        _Atomic uint32_t arrived = 0;
        team_run(team, 2, 1, meet, &arrived);
        assert_int_equal(arrived, 2);
    }
    team_destroy(team);
}

static void hold_first(void *context, uint32_t member, uint32_t first, uint32_t count)
{
    (void)member;
    _Atomic uint32_t *left = context;
    /* Item 0 ends after all others: whoever holds it cannot do the rest of its range. */
    while (first == 0 && atomic_load(left) > 1)
        ;
    atomic_fetch_sub(left, count);
}

static void an_idle_member_takes_over_a_range(void **state)
{
    (void)state;
    struct team *team = NULL;
    assert_int_equal(team_create(2, &team), STATUS_OK);
    _Atomic uint32_t left = 100;
    team_run(team, 100, 1, hold_first, &left);
    assert_int_equal(left, 0);
    team_destroy(team);
}

static void a_team_ends_while_parked_or_spinning(void **state)
{
    (void)state;
    for (int round = 0; round < 50; round++) {
        struct team *team = NULL;
        assert_int_equal(team_create(3, &team), STATUS_OK);
        struct timespec pause = {0, round * 10000};
        nanosleep(&pause, NULL);
        team_destroy(team);
    }
    team_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_item_is_done_once),
        cmocka_unit_test(parked_workers_wake_for_the_next_job),
        cmocka_unit_test(an_idle_member_takes_over_a_range),
        cmocka_unit_test(a_team_ends_while_parked_or_spinning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
