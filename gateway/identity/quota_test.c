#include "unit_test.h"

#include "clock.h"
#include "quota.h"
#include "quota_cells.h"
#include "thread.h"

#define NOW (1000 * NS_PER_SECOND)

struct fixture {
    struct quota_book *book;
    struct config_limit limits[QUOTA_LIMITS_PER_REQUEST_MAX + 1];
    struct config_tenants config;
    struct quota_hold hold;
    struct quota_view view;
    struct quota_refusal refusal;
};

static int make(void **state)
{
    static struct fixture fixture;

    fixture = (struct fixture){0};
    for (size_t i = 0; i < QUOTA_LIMITS_PER_REQUEST_MAX + 1; i++)
        fixture.limits[i] = (struct config_limit){
            .per = QUOTA_PER_KEY, .organisation = "", .team = "", .key = "", .model = ""};
    fixture.config.limits.items = fixture.limits;
    *state = &fixture;
    return quota_book_create(NULL, &fixture.book, NULL) == STATUS_OK ? 0 : -1;
}

static int drop(void **state)
{
    quota_book_destroy(((struct fixture *)*state)->book);
    return 0;
}

static status reserve(struct fixture *fixture, const char *organisation, const char *key,
                      uint64_t tokens, uint64_t now_ns)
{
    const struct caller caller = {
        .key_id = key, .organisation = organisation, .team = "", .name = key, .models = ""};
    const struct quota_request request = {&caller, "smollm2", tokens, now_ns};

    return quota_reserve(fixture->book, &fixture->config, &request, &fixture->hold, &fixture->view,
                         &fixture->refusal);
}

static void each_key_has_the_limit_for_itself(void **state)
{
    struct fixture *fixture = *state;

    fixture->limits[0].requests_per_minute = 2;
    fixture->config.limits.count = 1;
    assert_int_equal(reserve(fixture, "acme", "a", 0, NOW), STATUS_OK);
    assert_int_equal(fixture->view.requests.limit, 2);
    assert_int_equal(fixture->view.requests.remaining, 1);
    assert_int_equal(fixture->view.requests.reset_ns, 30 * NS_PER_SECOND);
    assert_int_equal(reserve(fixture, "acme", "a", 0, NOW), STATUS_OK);
    assert_int_equal(reserve(fixture, "acme", "b", 0, NOW), STATUS_OK);
    assert_int_equal(reserve(fixture, "acme", "a", 0, NOW), STATUS_FULL);
    assert_string_equal(fixture->refusal.type, "requests");
    assert_int_equal(fixture->refusal.retry_after_ms, 30001);
    assert_int_equal(fixture->view.requests.remaining, 0);
    assert_int_equal(reserve(fixture, "acme", "a", 0, NOW + 30 * NS_PER_SECOND), STATUS_OK);
}

static void an_organisations_keys_share_its_limit(void **state)
{
    struct fixture *fixture = *state;

    fixture->limits[0].per = QUOTA_PER_ORGANISATION;
    fixture->limits[0].requests_per_minute = 1;
    fixture->config.limits.count = 1;
    assert_int_equal(reserve(fixture, "acme", "a", 0, NOW), STATUS_OK);
    assert_int_equal(reserve(fixture, "acme", "b", 0, NOW), STATUS_FULL);
    assert_int_equal(reserve(fixture, "other", "b", 0, NOW), STATUS_OK);
    fixture->limits[0].per = QUOTA_PER_ALL;
    assert_int_equal(reserve(fixture, "one", "a", 0, NOW), STATUS_OK);
    assert_int_equal(reserve(fixture, "two", "b", 0, NOW), STATUS_FULL);
}

static void a_limit_is_for_whom_it_names(void **state)
{
    struct fixture *fixture = *state;

    fixture->limits[0].organisation = "acme, ac-*";
    fixture->limits[0].requests_per_minute = 1;
    fixture->limits[1].model = "llama*";
    fixture->limits[1].requests_per_minute = 1;
    fixture->config.limits.count = 2;
    assert_int_equal(reserve(fixture, "other", "a", 0, NOW), STATUS_OK);
    assert_int_equal(fixture->hold.count, 0);
    assert_int_equal(fixture->view.requests.limit, 0);
    assert_int_equal(reserve(fixture, "ac-9", "a", 0, NOW), STATUS_OK);
    assert_int_equal(fixture->hold.count, 1);
}

static void unused_tokens_come_back_to_the_token(void **state)
{
    const struct request_usage usage = {
        .is_known = true, .prompt_tokens = 30, .cached_tokens = 16, .completion_tokens = 3};
    const struct request_usage none = {0};
    struct fixture *fixture = *state;

    fixture->limits[0].tokens_per_minute = 1000;
    fixture->limits[0].tokens_per_day = 10000;
    fixture->config.limits.count = 1;
    assert_int_equal(reserve(fixture, "", "a", 900, NOW), STATUS_OK);
    assert_int_equal(fixture->view.tokens.remaining, 100);
    assert_int_equal(reserve(fixture, "", "a", 101, NOW), STATUS_FULL);
    assert_string_equal(fixture->refusal.type, "tokens");
    assert_int_equal(reserve(fixture, "", "a", 100, NOW), STATUS_OK);
    quota_settle(&fixture->hold, &none);
    fixture->hold.tokens = 900;
    quota_settle(&fixture->hold, &usage);
    assert_int_equal(reserve(fixture, "", "a", 967, NOW), STATUS_OK);
    assert_int_equal(fixture->view.tokens.remaining, 0);
    quota_settle(&fixture->hold, &none);
    assert_int_equal(reserve(fixture, "", "a", 968, NOW), STATUS_FULL);
    /* What counts tokens only needs none. */
    assert_int_equal(reserve(fixture, "", "a", 0, NOW), STATUS_OK);
}

static void more_than_the_limit_is_refused_for_good(void **state)
{
    struct fixture *fixture = *state;

    fixture->limits[0].tokens_per_minute = 1000;
    fixture->config.limits.count = 1;
    assert_int_equal(reserve(fixture, "", "a", 1001, NOW), STATUS_FULL);
    assert_int_equal(fixture->refusal.retry_after_ms, 0);
    assert_non_null(strstr(fixture->refusal.message, "too large"));
}

static void a_request_takes_all_that_it_needs_or_nothing(void **state)
{
    struct fixture *fixture = *state;

    fixture->limits[0].requests_per_minute = 100;
    fixture->limits[0].concurrent_requests = 5;
    fixture->limits[1].tokens_per_minute = 10;
    fixture->config.limits.count = 2;
    for (unsigned i = 0; i < 7; i++)
        assert_int_equal(reserve(fixture, "", "a", 11, NOW), STATUS_FULL);
    assert_int_equal(fixture->view.requests.remaining, 100);
    assert_int_equal(reserve(fixture, "", "a", 10, NOW), STATUS_OK);
    assert_int_equal(fixture->view.requests.remaining, 99);
}

static void so_many_requests_run_at_once(void **state)
{
    const struct request_usage none = {0};
    struct fixture *fixture = *state;
    struct quota_hold first;

    fixture->limits[0].concurrent_requests = 2;
    fixture->config.limits.count = 1;
    assert_int_equal(reserve(fixture, "", "a", 1, NOW), STATUS_OK);
    first = fixture->hold;
    assert_int_equal(reserve(fixture, "", "a", 1, NOW), STATUS_OK);
    assert_int_equal(reserve(fixture, "", "a", 1, NOW), STATUS_FULL);
    assert_int_equal(fixture->refusal.retry_after_ms, 1001);
    quota_settle(&first, &none);
    assert_int_equal(reserve(fixture, "", "a", 1, NOW), STATUS_OK);
    assert_int_equal(reserve(fixture, "", "a", 1, NOW), STATUS_FULL);
}

static void a_new_config_keeps_what_is_counted(void **state)
{
    struct fixture *fixture = *state;

    fixture->limits[0].requests_per_minute = 10;
    fixture->config.limits.count = 1;
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(reserve(fixture, "", "a", 1, NOW), STATUS_OK);
    fixture->limits[0].requests_per_minute = 20;
    assert_int_equal(reserve(fixture, "", "a", 1, NOW), STATUS_FULL);
}

static void as_many_limits_as_may_match_do(void **state)
{
    struct fixture *fixture = *state;

    for (uint32_t i = 0; i <= QUOTA_LIMITS_PER_REQUEST_MAX; i++)
        fixture->limits[i].requests_per_minute = 1000 + i;
    fixture->config.limits.count = QUOTA_LIMITS_PER_REQUEST_MAX;
    assert_int_equal(reserve(fixture, "", "a", 1, NOW), STATUS_OK);
    assert_int_equal(fixture->hold.count, QUOTA_LIMITS_PER_REQUEST_MAX);
    fixture->config.limits.count++;
    assert_int_equal(reserve(fixture, "", "a", 1, NOW), STATUS_TOO_LARGE);
    assert_int_equal(fixture->hold.count, 0);
}

static void *cells_fill(void *context)
{
    struct quota_cell *cell;

    for (uint32_t i = 0; i < 2000; i++) {
        assert_int_equal(quota_cells_get(context, &i, sizeof(i), &cell), STATUS_OK);
        (void)atomic_fetch_add(&cell->running, 1);
    }
    return NULL;
}

static void threads_that_add_the_same_cells_share_them(void **state)
{
    struct quota_cells *cells;
    struct quota_cell *cell;
    pthread_t threads[4];

    (void)state;
    assert_int_equal(quota_cells_create(&cells), STATUS_OK);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(thread_start(&threads[i], "cells", cells_fill, cells), STATUS_OK);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (uint32_t i = 0; i < 2000; i++) {
        assert_int_equal(quota_cells_get(cells, &i, sizeof(i), &cell), STATUS_OK);
        assert_int_equal(cell->running, 4);
    }
    quota_cells_destroy(cells);
}

static void a_full_table_takes_no_more(void **state)
{
    struct quota_cells *cells;
    struct quota_cell *cell;

    (void)state;
    assert_int_equal(quota_cells_create(&cells), STATUS_OK);
    for (uint32_t i = 0; i < QUOTA_CELL_COUNT_MAX; i++)
        assert_int_equal(quota_cells_get(cells, &i, sizeof(i), &cell), STATUS_OK);
    for (uint32_t i = QUOTA_CELL_COUNT_MAX; i < QUOTA_CELL_COUNT_MAX + 3; i++)
        assert_int_equal(quota_cells_get(cells, &i, sizeof(i), &cell), STATUS_FULL);
    for (uint32_t i = 0; i < QUOTA_CELL_COUNT_MAX; i += 1000)
        assert_int_equal(quota_cells_get(cells, &i, sizeof(i), &cell), STATUS_OK);
    quota_cells_destroy(cells);
}

static void shares_of_the_cache_are_counted_like_other_limits(void **state)
{
    struct fixture *fixture = *state;
    const struct caller a = {.key_id = "a", .organisation = "acme", .team = "", .name = "a"};
    const struct caller b = {.key_id = "b", .organisation = "acme", .team = "", .name = "b"};
    struct quota_kv_share of_a[QUOTA_LIMITS_PER_REQUEST_MAX], of_b[QUOTA_LIMITS_PER_REQUEST_MAX];

    fixture->limits[0].requests_per_minute = 2; /* has none */
    fixture->limits[1].kv_share = 0.25;
    fixture->limits[2].per = QUOTA_PER_ORGANISATION;
    fixture->limits[2].kv_share = 0.5;
    fixture->limits[3].key = "b";
    fixture->limits[3].kv_share = 0.1;
    fixture->config.limits.count = 4;
    assert_int_equal(quota_kv_shares(&fixture->config, &a, "smollm2", of_a), 2);
    assert_int_equal(quota_kv_shares(&fixture->config, &b, "smollm2", of_b), 3);
    assert_true(of_a[0].share == 0.25 && of_a[1].share == 0.5 && of_b[2].share == 0.1);
    assert_false(hash128_equals(of_a[0].id, of_b[0].id)); /* each key its own */
    assert_true(hash128_equals(of_a[1].id, of_b[1].id));  /* the organisation's together */
    assert_false(hash128_equals(of_b[0].id, of_b[2].id));
    fixture->limits[1].model = "other";
    assert_int_equal(quota_kv_shares(&fixture->config, &a, "smollm2", of_a), 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)
    const struct CMUnitTest tests[] = {
        TEST(each_key_has_the_limit_for_itself),
        TEST(an_organisations_keys_share_its_limit),
        TEST(a_limit_is_for_whom_it_names),
        TEST(unused_tokens_come_back_to_the_token),
        TEST(more_than_the_limit_is_refused_for_good),
        TEST(a_request_takes_all_that_it_needs_or_nothing),
        TEST(so_many_requests_run_at_once),
        TEST(a_new_config_keeps_what_is_counted),
        TEST(as_many_limits_as_may_match_do),
        TEST(shares_of_the_cache_are_counted_like_other_limits),
        cmocka_unit_test(threads_that_add_the_same_cells_share_them),
        cmocka_unit_test(a_full_table_takes_no_more),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
