#include "unit_test.h"

#include <unistd.h>

#include "spend_book.h"
#include "test_state.h"

/* Two gateways' books on one database. Only PostgreSQL is shared, so without one there is nothing to test here. */

#define NOW_S   1795271809u /* 2026-11-21 */
#define AMOUNT  1000
#define SHARE   100 /* of AMOUNT */
#define HOLD_MS 60000u

struct side {
    char file[128];
    state_database *database;
    struct spend_book *book;
    struct spend_account *account;
};

struct fixture {
    char folder[64];
    uint64_t hold_ms;
    struct side sides[2];
};

static void side_open(struct fixture *fixture, struct side *side, uint64_t now_s)
{
    const struct spend_sharing sharing = {.share = (double)SHARE / AMOUNT,
                                          .hold_ms = fixture->hold_ms};
    struct error_note note = {""};

    assert_int_equal(test_state_open("", &side->database, &note), STATUS_OK);
    assert_int_equal(
        spend_book_open(side->file, side->database, &sharing, now_s, &side->book, &note),
        STATUS_OK);
    assert_int_equal(spend_book_get(side->book, "all", BUDGET_MONTH, &side->account), STATUS_OK);
}

static void side_close(struct side *side)
{
    spend_book_close(side->book);
    state_database_close(side->database);
}

static int make(void **state)
{
    static struct fixture fixture;
    state_database *database;
    struct error_note note;

    fixture = (struct fixture){.hold_ms = HOLD_MS};
    *state = &fixture;
    if (!test_state_is_server())
        return 0;
    if (test_state_open_empty("", &database, &note) != STATUS_OK)
        return -1;
    state_database_close(database);
    (void)snprintf(fixture.folder, sizeof(fixture.folder), "/tmp/spend_share_test.XXXXXX");
    if (mkdtemp(fixture.folder) == NULL)
        return -1;
    for (unsigned i = 0; i < 2; i++) {
        (void)snprintf(fixture.sides[i].file, sizeof(fixture.sides[i].file), "%s/%u",
                       fixture.folder, i);
        side_open(&fixture, &fixture.sides[i], NOW_S);
    }
    return 0;
}

static int drop(void **state)
{
    struct fixture *fixture = *state;
    char command[128];

    if (!test_state_is_server())
        return 0;
    side_close(&fixture->sides[0]);
    side_close(&fixture->sides[1]);
    (void)snprintf(command, sizeof(command), "rm -r %s", fixture->folder);
    return system(command); // NOLINT: the folder is ours
}

static void tick(struct side *side, uint64_t now_s)
{
    struct error_note note = {""};

    assert_int_equal(spend_book_tick(side->book, side->database, now_s, &note), STATUS_OK);
}

/* What requests of this size take until they are refused for good. */
static int64_t spend_all(struct side *side, int64_t size)
{
    int64_t total = 0;
    enum spend_answer answer;

    while ((answer = spend_reserve(side->account, AMOUNT, size)) != SPEND_OVER) {
        if (answer == SPEND_TAKEN) {
            spend_settle(side->account, size, size);
            total += size;
        } else {
            assert_true(spend_book_is_wanting(side->book));
            tick(side, NOW_S);
        }
    }
    return total;
}

static void the_first_request_need_not_wait(void **state)
{
    struct fixture *fixture = *state;

    if (!test_state_is_server())
        skip();
    assert_int_equal(spend_reserve(fixture->sides[0].account, AMOUNT, 900), SPEND_TAKEN);
    assert_true(spend_book_is_wanting(fixture->sides[0].book));
    /* One that has not heard of it may go too far by itself, once. */
    assert_int_equal(spend_reserve(fixture->sides[1].account, AMOUNT, SHARE + 1), SPEND_TAKEN);
    assert_int_equal(spend_reserve(fixture->sides[1].account, AMOUNT, SHARE + 1), SPEND_ASKING);
    tick(&fixture->sides[0], NOW_S);
    tick(&fixture->sides[1], NOW_S);
    assert_int_equal(spend_reserve(fixture->sides[1].account, AMOUNT, 1), SPEND_OVER);
}

static void what_both_spend_together_is_the_budget(void **state)
{
    struct fixture *fixture = *state;
    struct side *one = &fixture->sides[0], *other = &fixture->sides[1];
    int64_t total = 0;

    if (!test_state_is_server())
        skip();
    for (unsigned i = 0; i < 40; i++) {
        struct side *side = &fixture->sides[i % 2];

        if (spend_reserve(side->account, AMOUNT, 10) == SPEND_TAKEN) {
            spend_settle(side->account, 10, 10);
            total += 10;
        }
        if (i % 4 == 3)
            tick(side, NOW_S);
    }
    total += spend_all(one, 10);
    total += spend_all(other, 10);
    assert_true(total <= AMOUNT + 2 * SHARE);
    assert_true(total >= AMOUNT - 2 * SHARE);
}

static void what_lies_idle_goes_back(void **state)
{
    struct fixture *fixture = *state;
    struct side *one = &fixture->sides[0], *other = &fixture->sides[1];

    if (!test_state_is_server())
        skip();
    assert_int_equal(spend_reserve(one->account, AMOUNT, 10), SPEND_TAKEN);
    spend_settle(one->account, 10, 10);
    for (unsigned i = 0; i < 20; i++)
        tick(one, NOW_S);
    assert_int_equal(spend_reserve(other->account, AMOUNT, 10), SPEND_TAKEN);
    tick(other, NOW_S);
    spend_settle(other->account, 10, 10);
    assert_int_equal(spend_all(other, 10), AMOUNT - 20);
}

/* Neither closes nor ticks again, as one that was killed. */
static void what_a_dead_one_held_comes_free_at_its_end(void **state)
{
    struct fixture *fixture = *state;
    struct side *one = &fixture->sides[0], *other = &fixture->sides[1];

    if (!test_state_is_server())
        skip();
    side_close(one);
    fixture->hold_ms = 1;
    side_open(fixture, one, NOW_S);
    assert_int_equal(spend_reserve(one->account, AMOUNT, 800), SPEND_TAKEN);
    tick(one, NOW_S);
    (void)usleep(20000); /* the hold has ended by the server's clock */
    assert_int_equal(spend_reserve(other->account, AMOUNT, 10), SPEND_TAKEN);
    tick(other, NOW_S);
    assert_int_equal(spend_reserve(other->account, AMOUNT, AMOUNT - 10), SPEND_TAKEN);
}

static void its_own_sums_are_found_again_and_counted_once(void **state)
{
    struct fixture *fixture = *state;
    struct side *one = &fixture->sides[0], *other = &fixture->sides[1];

    if (!test_state_is_server())
        skip();
    spend_settle(one->account, 0, 300);
    tick(one, NOW_S);
    spend_settle(one->account, 0, 50); /* not written when it ends */
    side_close(one);
    side_open(fixture, one, NOW_S);
    assert_int_equal(spend_spent(one->account), 350);
    spend_settle(other->account, 0, 1);
    tick(other, NOW_S);
    assert_int_equal(spend_reserve(other->account, AMOUNT, AMOUNT - 350), SPEND_OVER);
    assert_int_equal(spend_reserve(other->account, AMOUNT, AMOUNT - 351), SPEND_TAKEN);
}

static void a_new_period_begins_with_nothing_held(void **state)
{
    struct fixture *fixture = *state;
    struct side *one = &fixture->sides[0];
    uint64_t later_s = NOW_S + 30u * 86400;

    if (!test_state_is_server())
        skip();
    assert_int_equal(spend_all(one, 10), AMOUNT);
    tick(one, later_s);
    assert_int_equal(spend_spent(one->account), 0);
    assert_int_equal(spend_reserve(one->account, AMOUNT, 10), SPEND_TAKEN);
    assert_int_equal(spend_reserve(one->account, AMOUNT, AMOUNT), SPEND_OVER);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)
    const struct CMUnitTest tests[] = {
        TEST(the_first_request_need_not_wait),
        TEST(what_both_spend_together_is_the_budget),
        TEST(what_lies_idle_goes_back),
        TEST(what_a_dead_one_held_comes_free_at_its_end),
        TEST(its_own_sums_are_found_again_and_counted_once),
        TEST(a_new_period_begins_with_nothing_held),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
