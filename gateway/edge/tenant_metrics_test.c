/* WRAP: malloc calloc realloc aligned_alloc */
#include "unit_test.h"

#include <stdio.h>
#include <stdlib.h>

#include "fail_nth.h"
#include "tenant_metrics.h"
#include "thread.h"

#define TENANT_COUNT 5000

struct fixture {
    metrics_registry *registry;
    struct tenant_metrics *metrics;
};

static struct fixture make(void)
{
    struct fixture fixture;

    assert_int_equal(metrics_registry_create(&fixture.registry), STATUS_OK);
    assert_int_equal(tenant_metrics_create(fixture.registry, &fixture.metrics), STATUS_OK);
    return fixture;
}

static void drop(struct fixture *fixture)
{
    tenant_metrics_destroy(fixture->metrics);
    metrics_registry_destroy(fixture->registry);
}

static char *exposition(const struct fixture *fixture, uint64_t now_ns)
{
    struct buffer out;

    tenant_metrics_collect(fixture->metrics, now_ns);
    buffer_init(&out, 16 << 20);
    metrics_write(fixture->registry, METRICS_TEXT, &out);
    assert_int_equal(buffer_reserve(&out, 0), STATUS_OK);
    return out.data;
}

static uint32_t count(const char *text, const char *what)
{
    uint32_t found = 0;

    for (const char *at = strstr(text, what); at != NULL; at = strstr(at + 1, what))
        found++;
    return found;
}

static void requests_count_for_their_organisation(void **state)
{
    (void)state;
    struct fixture fixture = make();
    const struct request_usage usage = {.is_known = true,
                                        .prompt_tokens = 100,
                                        .cached_tokens = 64,
                                        .completion_tokens = 7,
                                        .cost_nano = 250000000};
    struct tenant_row *row = tenant_metrics_row(fixture.metrics, "acme");
    char *text;

    tenant_row_request(row, 200, &usage);
    tenant_row_request(row, 429, &(struct request_usage){0});
    tenant_row_request(row, 404, &(struct request_usage){0});
    tenant_row_request(tenant_metrics_row(fixture.metrics, "acme"), 499, &usage);
    tenant_row_refused(fixture.metrics, row, (enum tenant_refusal)QUOTA_TOKENS_PER_DAY);
    tenant_row_refused(fixture.metrics, row, TENANT_BUDGET);
    assert_ptr_equal(tenant_metrics_row(fixture.metrics, "acme"), row);
    assert_ptr_not_equal(tenant_metrics_row(fixture.metrics, ""), row);
    text = exposition(&fixture, 1);
    assert_non_null(strstr(text, "requests_total{tenant=\"acme\",code=\"2xx\"} 1\n"));
    assert_non_null(strstr(text, "requests_total{tenant=\"acme\",code=\"429\"} 1\n"));
    assert_non_null(strstr(text, "requests_total{tenant=\"acme\",code=\"4xx\"} 1\n"));
    assert_non_null(strstr(text, "requests_total{tenant=\"acme\",code=\"499\"} 1\n"));
    assert_non_null(strstr(text, "tokens_total{tenant=\"acme\",kind=\"prompt\"} 72\n"));
    assert_non_null(strstr(text, "tokens_total{tenant=\"acme\",kind=\"cached\"} 128\n"));
    assert_non_null(strstr(text, "tokens_total{tenant=\"acme\",kind=\"completion\"} 14\n"));
    assert_non_null(strstr(text, "cost_total{tenant=\"acme\"} 0.5\n"));
    assert_non_null(strstr(text, "refusals_total{tenant=\"acme\",reason=\"tokens_per_day\"} 1\n"));
    assert_non_null(strstr(text, "refusals_total{tenant=\"acme\",reason=\"budget\"} 1\n"));
    assert_null(strstr(text, "penstock_limit_requests{"));
    assert_null(strstr(text, "penstock_budget{"));
    free(text);
    drop(&fixture);
}

/* Nobody can fill the memory, or the page, with names. */
static void thousands_of_organisations_share_one_row(void **state)
{
    (void)state;
    struct fixture fixture = make();
    const struct quota_view view = {.requests = {60, 30, 1000}, .tokens = {600, 0, 1000}};
    struct tenant_row *rows[TENANT_COUNT];
    char name[32], *text;

    for (int i = 0; i < TENANT_COUNT; i++) {
        (void)snprintf(name, sizeof(name), "tenant-%d", i);
        rows[i] = tenant_metrics_row(fixture.metrics, name);
        tenant_row_request(rows[i], 200, &(struct request_usage){0});
        tenant_row_limits(rows[i], &view, 1);
    }
    assert_ptr_not_equal(rows[TENANT_ROWS_MAX - 1], rows[TENANT_ROWS_MAX]);
    assert_ptr_equal(rows[TENANT_ROWS_MAX], rows[TENANT_COUNT - 1]);
    assert_ptr_equal(tenant_metrics_row(fixture.metrics, "tenant-7"), rows[7]);
    text = exposition(&fixture, 1);
    assert_non_null(strstr(text, "requests_total{tenant=\"other\",code=\"2xx\"} 4000\n"));
    assert_non_null(strstr(text, "requests_total{tenant=\"tenant-999\",code=\"2xx\"} 1\n"));
    assert_null(strstr(text, "tenant-1000\""));
    assert_int_equal(count(text, "penstock_tenant_requests_total{"),
                     (TENANT_ROWS_MAX + 1) * TENANT_CODE_COUNT);
    assert_int_equal(count(text, "penstock_limit_requests_remaining{"), TENANT_ROWS_MAX);
    free(text);
    drop(&fixture);
}

static void what_is_left_of_a_limit_fills_up_between_requests(void **state)
{
    (void)state;
    struct fixture fixture = make();
    const struct quota_view view = {.requests = {60, 30, 1000}}, none = {.requests = {0, 0, 0}};
    struct tenant_row *row = tenant_metrics_row(fixture.metrics, "a");
    char *text;

    tenant_row_limits(row, &view, 5000);
    tenant_row_limits(row, &none, 5400); /* a request of another model, which has no limit */
    text = exposition(&fixture, 5000);
    assert_non_null(strstr(text, "penstock_limit_requests{tenant=\"a\"} 60\n"));
    assert_non_null(strstr(text, "penstock_limit_requests_remaining{tenant=\"a\"} 30\n"));
    assert_null(strstr(text, "penstock_limit_tokens{"));
    free(text);
    text = exposition(&fixture, 5500);
    assert_non_null(strstr(text, "penstock_limit_requests_remaining{tenant=\"a\"} 45\n"));
    free(text);
    text = exposition(&fixture, 9999);
    assert_non_null(strstr(text, "penstock_limit_requests_remaining{tenant=\"a\"} 60\n"));
    free(text);
    drop(&fixture);
}

static void the_budget_with_the_least_left_is_shown(void **state)
{
    (void)state;
    struct fixture fixture = make();
    const struct spend_sharing sharing = {0};
    struct tenant_row *row = tenant_metrics_row(fixture.metrics, "a");
    struct budget_hold hold = {.count = 2, .amounts = {5000000000, 3000000000}};
    struct error_note note = {""};
    struct spend_book *book;
    char *text;

    assert_int_equal(spend_book_open(NULL, NULL, &sharing, 1000, &book, &note), STATUS_OK);
    assert_int_equal(spend_book_get(book, "all", BUDGET_DAY, &hold.accounts[0]), STATUS_OK);
    assert_int_equal(spend_book_get(book, "organisation a", BUDGET_MONTH, &hold.accounts[1]),
                     STATUS_OK);
    spend_settle(hold.accounts[0], 0, 4000000000);
    tenant_row_budgets(row, &hold);
    text = exposition(&fixture, 1);
    assert_non_null(strstr(text, "penstock_budget{tenant=\"a\"} 5\n"));
    assert_non_null(strstr(text, "penstock_budget_remaining{tenant=\"a\"} 1\n"));
    free(text);
    spend_settle(hold.accounts[0], 0, 500000000); /* what is spent meanwhile is seen */
    text = exposition(&fixture, 1);
    assert_non_null(strstr(text, "penstock_budget_remaining{tenant=\"a\"} 0.5\n"));
    free(text);
    spend_settle(hold.accounts[1], 0, 2750000000);
    tenant_row_budgets(row, &hold);
    text = exposition(&fixture, 1);
    assert_non_null(strstr(text, "penstock_budget{tenant=\"a\"} 3\n"));
    assert_non_null(strstr(text, "penstock_budget_remaining{tenant=\"a\"} 0.25\n"));
    free(text);
    drop(&fixture);
    spend_book_close(book);
}

#define THREAD_COUNT 4
#define ROUNDS       5000

static void *ask_many(void *context)
{
    struct fixture *fixture = context;
    char name[32];

    for (int i = 0; i < ROUNDS; i++) {
        (void)snprintf(name, sizeof(name), "t%d", i % 100);
        tenant_row_request(tenant_metrics_row(fixture->metrics, name), 200,
                           &(struct request_usage){.completion_tokens = 1});
    }
    return NULL;
}

static void threads_that_meet_a_new_name_get_one_row(void **state)
{
    (void)state;
    struct fixture fixture = make();
    pthread_t threads[THREAD_COUNT];
    char *text;

    for (int i = 0; i < THREAD_COUNT; i++)
        assert_int_equal(thread_start(&threads[i], "asker", ask_many, &fixture), STATUS_OK);
    for (int i = 0; i < THREAD_COUNT; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    text = exposition(&fixture, 1);
    assert_int_equal(count(text, ",code=\"2xx\"} 200\n"), 100);
    assert_int_equal(count(text, ",kind=\"completion\"} 200\n"), 100);
    free(text);
    drop(&fixture);
}

static void memory_that_runs_out_counts_as_other(void **state)
{
    (void)state;
    struct fixture fixture = make();
    struct tenant_row *row, *other;
    char *text;

    fail_nth_begin(1);
    other = tenant_metrics_row(fixture.metrics, "a");
    assert_true(fail_nth_end());
    fail_nth_begin(2);
    row = tenant_metrics_row(fixture.metrics, "a");
    assert_true(fail_nth_end());
    assert_ptr_equal(row, other);
    tenant_row_request(other, 200, &(struct request_usage){0});
    assert_ptr_not_equal(tenant_metrics_row(fixture.metrics, "a"), other);
    text = exposition(&fixture, 1);
    assert_non_null(strstr(text, "{tenant=\"other\",code=\"2xx\"} 1\n"));
    free(text);
    drop(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_count_for_their_organisation),
        cmocka_unit_test(thousands_of_organisations_share_one_row),
        cmocka_unit_test(what_is_left_of_a_limit_fills_up_between_requests),
        cmocka_unit_test(the_budget_with_the_least_left_is_shown),
        cmocka_unit_test(threads_that_meet_a_new_name_get_one_row),
        cmocka_unit_test(memory_that_runs_out_counts_as_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
