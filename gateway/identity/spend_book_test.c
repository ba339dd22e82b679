#include "unit_test.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "budget.h"
#include "money.h"
#include "thread.h"

#define NOW_S 1795271809u /* 2026-11-21 */

static const struct spend_sharing sharing = {.share = 0.05, .hold_ms = 10000};

struct fixture {
    char folder[64], database_path[128], file[128];
    state_database *database;
    struct spend_book *book;
};

static void open_book(struct fixture *fixture, uint64_t now_s)
{
    struct error_note note = {""};

    assert_int_equal(state_database_open(fixture->database_path, &fixture->database, &note),
                     STATUS_OK);
    assert_int_equal(
        spend_book_open(fixture->file, fixture->database, &sharing, now_s, &fixture->book, &note),
        STATUS_OK);
}

static void close_book(struct fixture *fixture)
{
    spend_book_close(fixture->book);
    state_database_close(fixture->database);
}

static int make(void **state)
{
    static struct fixture fixture;

    (void)snprintf(fixture.folder, sizeof(fixture.folder), "/tmp/spend_book_test.XXXXXX");
    if (mkdtemp(fixture.folder) == NULL)
        return -1;
    (void)snprintf(fixture.database_path, sizeof(fixture.database_path), "%s/state.db",
                   fixture.folder);
    (void)snprintf(fixture.file, sizeof(fixture.file), "%s/spent", fixture.folder);
    open_book(&fixture, NOW_S);
    *state = &fixture;
    return 0;
}

static int drop(void **state)
{
    struct fixture *fixture = *state;
    char command[128];

    close_book(fixture);
    (void)snprintf(command, sizeof(command), "rm -r %s", fixture->folder);
    return system(command); // NOLINT: the folder is ours
}

static struct spend_account *account_of(struct fixture *fixture, const char *subject,
                                        enum budget_period kind)
{
    struct spend_account *account = NULL;

    assert_int_equal(spend_book_get(fixture->book, subject, kind, &account), STATUS_OK);
    return account;
}

static void tick(struct fixture *fixture, uint64_t now_s)
{
    struct error_note note = {""};

    assert_int_equal(spend_book_tick(fixture->book, fixture->database, now_s, &note), STATUS_OK);
}

static void what_is_spent_and_reserved_stays_below_the_amount(void **state)
{
    struct spend_account *account = account_of(*state, "all", BUDGET_DAY);

    assert_int_equal(spend_reserve(account, 100, 60), SPEND_TAKEN);
    assert_int_equal(spend_reserve(account, 100, 41), SPEND_OVER);
    assert_int_equal(spend_reserve(account, 100, 40), SPEND_TAKEN);
    spend_settle(account, 60, 7);
    assert_int_equal(spend_spent(account), 7);
    assert_int_equal(spend_reserve(account, 100, 54), SPEND_OVER);
    assert_int_equal(spend_reserve(account, 100, 53), SPEND_TAKEN);
    assert_ptr_equal(account_of(*state, "all", BUDGET_DAY), account);
    assert_ptr_not_equal(account_of(*state, "all", BUDGET_MONTH), account);
}

/* The database is not written between; a process that is killed leaves just that. */
static void a_killed_process_loses_no_settled_money(void **state)
{
    struct fixture *fixture = *state;
    pid_t child;
    int how = 0;

    close_book(fixture);
    child = fork();
    if (child == 0) {
        open_book(fixture, NOW_S);
        spend_settle(account_of(fixture, "organisation acme", BUDGET_MONTH), 0, 12345);
        (void)spend_reserve(account_of(fixture, "organisation acme", BUDGET_MONTH), 1 << 30, 99);
        (void)kill(getpid(), SIGKILL);
    }
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFSIGNALED(how));
    open_book(fixture, NOW_S + 1);
    assert_int_equal(spend_spent(account_of(fixture, "organisation acme", BUDGET_MONTH)), 12345);
}

static void the_database_has_it_when_the_file_is_gone(void **state)
{
    struct fixture *fixture = *state;

    spend_settle(account_of(fixture, "key a", BUDGET_DAY), 0, 55);
    tick(fixture, NOW_S);
    spend_settle(account_of(fixture, "key a", BUDGET_DAY), 0, 5);
    tick(fixture, NOW_S + 1);
    close_book(fixture);
    assert_int_equal(unlink(fixture->file), 0);
    open_book(fixture, NOW_S + 2);
    assert_int_equal(spend_spent(account_of(fixture, "key a", BUDGET_DAY)), 60);
}

static void a_new_day_begins_at_nothing_and_the_month_goes_on(void **state)
{
    struct fixture *fixture = *state;
    struct spend_account *day = account_of(fixture, "all", BUDGET_DAY);
    struct spend_account *month = account_of(fixture, "all", BUDGET_MONTH);

    spend_settle(day, 0, 10);
    spend_settle(month, 0, 10);
    assert_int_equal(spend_reserve(day, 100, 30), SPEND_TAKEN);
    tick(fixture, NOW_S + 86400);
    assert_int_equal(spend_spent(day), 0);
    assert_int_equal(spend_spent(month), 10);
    spend_settle(day, 30, 3); /* ran over midnight */
    assert_int_equal(spend_spent(day), 3);
    tick(fixture, NOW_S + 30u * 86400);
    assert_int_equal(spend_spent(month), 0);
    /* A restart on the day before finds what that day has spent. */
    tick(fixture, NOW_S + 30u * 86400);
    close_book(fixture);
    open_book(fixture, NOW_S);
    assert_int_equal(spend_spent(account_of(fixture, "all", BUDGET_DAY)), 10);
    assert_int_equal(spend_spent(account_of(fixture, "all", BUDGET_MONTH)), 10);
}

static void two_gateways_do_not_share_a_file(void **state)
{
    struct fixture *fixture = *state;
    struct spend_book *other = NULL;
    struct error_note note = {""};

    assert_int_equal(
        spend_book_open(fixture->file, fixture->database, &sharing, NOW_S, &other, &note),
        STATUS_IO);
    assert_non_null(strstr(note.text, "another gateway"));
}

/* The new one opens while the old one spends; both spend; the old one goes. */
static void who_takes_over_adds_to_the_same_sums(void **state)
{
    struct fixture *fixture = *state;
    struct fixture next = *fixture;
    struct error_note note = {""};
    struct spend_account *common, *late;

    spend_settle(account_of(fixture, "key a", BUDGET_DAY), 0, 10);
    tick(fixture, NOW_S);
    spend_settle(account_of(fixture, "key a", BUDGET_DAY), 0, 1); /* not written any more */
    assert_int_equal(state_database_open(next.database_path, &next.database, &note), STATUS_OK);
    assert_int_equal(
        spend_book_take_over(next.file, next.database, &sharing, NOW_S, &next.book, &note),
        STATUS_OK);
    common = account_of(&next, "key a", BUDGET_DAY);
    assert_int_equal(spend_spent(common), 11);
    spend_settle(account_of(fixture, "key a", BUDGET_DAY), 0, 100);
    spend_settle(common, 0, 1000);
    assert_int_equal(spend_spent(common), 1111);
    assert_int_equal(spend_spent(account_of(fixture, "key a", BUDGET_DAY)), 1111);
    /* Subjects that neither knew, first seen by one of them and by both. */
    spend_settle(account_of(fixture, "key b", BUDGET_DAY), 0, 5);
    late = account_of(&next, "key c", BUDGET_DAY);
    spend_settle(late, 0, 7);
    spend_settle(account_of(fixture, "key c", BUDGET_DAY), 0, 70);
    tick(&next, NOW_S);
    close_book(fixture);
    tick(&next, NOW_S);
    tick(&next, NOW_S);
    assert_int_equal(spend_spent(late), 77);
    assert_int_equal(spend_spent(account_of(&next, "key b", BUDGET_DAY)), 5);
    close_book(&next);
    assert_int_equal(unlink(fixture->file), 0);
    open_book(fixture, NOW_S); /* the database has it all */
    assert_int_equal(spend_spent(account_of(fixture, "key a", BUDGET_DAY)), 1111);
    assert_int_equal(spend_spent(account_of(fixture, "key b", BUDGET_DAY)), 5);
    assert_int_equal(spend_spent(account_of(fixture, "key c", BUDGET_DAY)), 77);
}

static void a_subject_has_a_length(void **state)
{
    char subject[SPEND_SUBJECT_BYTES_MAX + 1];
    struct fixture *fixture = *state;
    struct spend_account *account;

    memset(subject, 'a', sizeof(subject));
    subject[SPEND_SUBJECT_BYTES_MAX] = '\0';
    assert_int_equal(spend_book_get(fixture->book, subject, BUDGET_DAY, &account),
                     STATUS_TOO_LARGE);
    assert_int_equal(spend_book_get(fixture->book, subject + 1, BUDGET_DAY, &account), STATUS_OK);
    assert_int_equal(spend_book_get(fixture->book, "", BUDGET_DAY, &account), STATUS_TOO_LARGE);
}

static void *crowd_spend(void *context)
{
    for (unsigned i = 0; i < 20000; i++) {
        if (spend_reserve(context, 1000000, 50) == SPEND_TAKEN)
            spend_settle(context, 50, 7);
    }
    return NULL;
}

static void threads_together_lose_nothing(void **state)
{
    struct spend_account *account = account_of(*state, "all", BUDGET_DAY);
    pthread_t threads[4];

    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(thread_start(&threads[i], "crowd", crowd_spend, account), STATUS_OK);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(spend_spent(account), 4 * 20000 * 7);
    assert_int_equal(spend_reserve(account, 1000000, 1000000 - 560000), SPEND_TAKEN);
    assert_int_equal(spend_reserve(account, 1000000, 1), SPEND_OVER);
}

static void tokens_cost_what_the_price_says(void **state)
{
    const struct config_price config = {.input = 0.15, .cached_input = 0.075, .output = 0.6};
    const struct config_price plain = {.input = 0.1, .cached_input = -1, .output = 0};
    struct money_price price = money_price_of(&config), same = money_price_of(&plain);
    const struct request_usage usage = {
        .prompt_tokens = 1000, .cached_tokens = 600, .completion_tokens = 10};
    const struct request_usage one = {.prompt_tokens = 1}, none = {0};
    const struct request_usage million = {
        .prompt_tokens = 1000000, .cached_tokens = 1000000, .completion_tokens = 1000000};

    (void)state;
    assert_int_equal(money_cost(&price, &usage), 400 * 150 + 600 * 75 + 10 * 600);
    assert_int_equal(money_cost(&price, &million), 675000000);
    assert_int_equal(money_cost(&same, &usage), 1000 * 100);
    assert_int_equal(money_cost(&same, &one), 100);
    assert_int_equal(money_cost(&same, &none), 0);
    price = (struct money_price){.input = 1};
    assert_int_equal(money_cost(&price, &one), 1); /* up */
}

static void a_slices_time_costs_what_the_hour_says(void **state)
{
    const struct config_price config = {
        .cached_input = -1, .slice_hour = 3.6, .idle_factor_max = 1.5};
    struct money_price price = money_price_of(&config);

    (void)state;
    assert_true(money_price_is_set(&price));
    assert_int_equal(price.idle_factor, 1500000);
    assert_int_equal(money_slice_cost(&price, 0), 0);
    assert_int_equal(money_slice_cost(&price, 1), 1); /* up */
    assert_int_equal(money_slice_cost(&price, 1000000), 1000);
    assert_int_equal(money_slice_cost(&price, 3600000000000), 3600000000);
    assert_int_equal(money_slice_cost(&price, UINT64_MAX), UINT64_MAX / 1000 + 1);
    price.slice_hour = UINT64_MAX;
    assert_int_equal(money_slice_cost(&price, UINT64_MAX), INT64_MAX / 4);
    price = (struct money_price){0};
    assert_false(money_price_is_set(&price));
}

static void periods_are_those_of_the_calendar(void **state)
{
    char text[16];
    uint32_t day = money_period(BUDGET_DAY, NOW_S), month = money_period(BUDGET_MONTH, NOW_S);

    (void)state;
    money_period_write(BUDGET_DAY, day, text);
    assert_string_equal(text, "2026-11-21");
    money_period_write(BUDGET_MONTH, month, text);
    assert_string_equal(text, "2026-11");
    assert_int_equal(money_period_end_s(BUDGET_DAY, day), 1795305600);
    assert_int_equal(money_period_end_s(BUDGET_MONTH, month), 1796083200);
    assert_int_equal(money_period(BUDGET_MONTH, 1796083199), month);
    assert_int_equal(money_period(BUDGET_MONTH, 1796083200), month + 1);
}

static void a_request_pays_every_budget_that_it_matches(void **state)
{
    struct config_budget rows[] = {
        {.per = QUOTA_PER_ORGANISATION,
         .period = BUDGET_MONTH,
         .organisation = "acme",
         .team = "",
         .key = "",
         .amount = 1e-6},
        {.per = QUOTA_PER_KEY,
         .period = BUDGET_DAY,
         .organisation = "",
         .team = "",
         .key = "",
         .amount = 1e-6},
    };
    const struct config_tenants config = {.budgets = {rows, 2}};
    const struct caller caller = {
        .key_id = "k", .organisation = "acme", .team = "", .name = "k", .models = ""};
    struct fixture *fixture = *state;
    struct budget_refusal refusal;
    struct budget_hold hold;

    assert_int_equal(
        budget_reserve(fixture->book, &config, &caller, 1000, 1000ull * NOW_S, &hold, &refusal),
        STATUS_OK);
    assert_int_equal(hold.count, 2);
    budget_settle(&hold, 1000);
    assert_int_equal(spend_spent(account_of(fixture, "organisation acme", BUDGET_MONTH)), 1000);
    assert_int_equal(spend_spent(account_of(fixture, "key k", BUDGET_DAY)), 1000);
    assert_int_equal(
        budget_reserve(fixture->book, &config, &caller, 1000, 1000ull * NOW_S, &hold, &refusal),
        STATUS_FULL);
    assert_non_null(strstr(refusal.message, "month's budget of 'organisation acme'"));
    assert_int_equal(refusal.retry_after_ms, 1000ull * (1796083200 - NOW_S));
    assert_int_equal(hold.count, 0);
    /* The other was given back. */
    rows[0].amount = 1;
    rows[1].amount = 2e-6;
    assert_int_equal(
        budget_reserve(fixture->book, &config, &caller, 1000, 1000ull * NOW_S, &hold, &refusal),
        STATUS_OK);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)
    const struct CMUnitTest tests[] = {
        TEST(what_is_spent_and_reserved_stays_below_the_amount),
        TEST(a_killed_process_loses_no_settled_money),
        TEST(the_database_has_it_when_the_file_is_gone),
        TEST(a_new_day_begins_at_nothing_and_the_month_goes_on),
        TEST(two_gateways_do_not_share_a_file),
        TEST(who_takes_over_adds_to_the_same_sums),
        TEST(a_subject_has_a_length),
        TEST(threads_together_lose_nothing),
        cmocka_unit_test(tokens_cost_what_the_price_says),
        cmocka_unit_test(a_slices_time_costs_what_the_hour_says),
        cmocka_unit_test(periods_are_those_of_the_calendar),
        TEST(a_request_pays_every_budget_that_it_matches),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
