/* WRAP: malloc calloc realloc aligned_alloc */
#include "unit_test.h"

#include <math.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "fail_nth.h"
#include "metrics.h"
#include "thread.h"

static const char *const one_label[] = {"model", NULL};
static const double bounds[] = {0.5, 1, 2.5};

static metrics_registry *make(void)
{
    metrics_registry *registry = NULL;
    assert_int_equal(metrics_registry_create(&registry), STATUS_OK);
    return registry;
}

static metrics_family *family(metrics_registry *registry, enum metrics_kind kind, const char *name,
                              const char *const *labels)
{
    const struct metrics_family_options options = {.kind = kind,
                                                   .name = name,
                                                   .help = "What it \\ counts\nin two lines.",
                                                   .labels = labels,
                                                   .bounds =
                                                       kind == METRICS_HISTOGRAM ? bounds : NULL,
                                                   .bound_count = kind == METRICS_HISTOGRAM ? 3 : 0,
                                                   .series_max = 3};
    metrics_family *out = NULL;
    assert_int_equal(metrics_family_create(registry, &options, &out), STATUS_OK);
    return out;
}

static char *exposition(metrics_registry *registry)
{
    struct buffer out;
    buffer_init(&out, 1 << 20);
    metrics_write(registry, &out);
    assert_int_equal(buffer_reserve(&out, 0), STATUS_OK);
    return out.data;
}

static void counters_and_gauges_are_written_as_prometheus_wants(void **state)
{
    (void)state;
    metrics_registry *registry = make();
    metrics_series *total =
        metrics_series_get(family(registry, METRICS_COUNTER, "a_total", NULL), NULL);
    metrics_family *gauges = family(registry, METRICS_GAUGE, "b", one_label);
    (void)family(registry, METRICS_GAUGE, "never_used", one_label);
    metrics_add(total, 1);
    metrics_add(total, 2);
    metrics_set(metrics_series_get(gauges, (const char *const[]){"x"}), 0.25);
    metrics_set(metrics_series_get(gauges, (const char *const[]){"q\"b\\n\n\xff"}), -INFINITY);
    metrics_add(metrics_series_get(gauges, (const char *const[]){"x"}), -1);
    char *text = exposition(registry);
    assert_string_equal(text, "# HELP a_total What it \\\\ counts\\nin two lines.\n"
                              "# TYPE a_total counter\n"
                              "a_total 3\n"
                              "# HELP b What it \\\\ counts\\nin two lines.\n"
                              "# TYPE b gauge\n"
                              "b{model=\"x\"} -0.75\n"
                              "b{model=\"q\\\"b\\\\n\\n\xEF\xBF\xBD\"} -Inf\n");
    assert_true(metrics_value(total) == 3);
    free(text);
    metrics_registry_destroy(registry);
    metrics_registry_destroy(NULL);
}

static void histograms_are_cumulative_and_close_with_infinity(void **state)
{
    (void)state;
    metrics_registry *registry = make();
    metrics_series *series = metrics_series_get(family(registry, METRICS_HISTOGRAM, "h", one_label),
                                                (const char *const[]){"m"});
    static const double values[] = {0.5, 0.50001, 1, 2, 3, 1e9, NAN};
    for (size_t i = 0; i < ARRAY_COUNT(values); i++)
        metrics_observe(series, values[i]);
    char *text = exposition(registry);
    assert_non_null(strstr(text, "# TYPE h histogram\n"
                                 "h_bucket{model=\"m\",le=\"0.5\"} 1\n"
                                 "h_bucket{model=\"m\",le=\"1\"} 3\n"
                                 "h_bucket{model=\"m\",le=\"2.5\"} 4\n"
                                 "h_bucket{model=\"m\",le=\"+Inf\"} 6\n"
                                 "h_sum{model=\"m\"} 1000000007.00001\n"
                                 "h_count{model=\"m\"} 6\n"));
    assert_true(metrics_value(series) == 6);
    free(text);
    metrics_registry_destroy(registry);
}

static void past_the_cap_series_become_other(void **state)
{
    (void)state;
    metrics_registry *registry = make();
    metrics_family *f = family(registry, METRICS_COUNTER, "a_total", one_label);
    metrics_series *seen[5];
    static const char *const names[] = {"a", "b", "c", "d", "e"};
    for (size_t i = 0; i < 5; i++)
        seen[i] = metrics_series_get(f, &names[i]);
    assert_ptr_not_equal(seen[2], seen[3]);
    assert_ptr_equal(seen[3], seen[4]);
    assert_ptr_equal(metrics_series_get(f, &names[1]), seen[1]);
    metrics_add(seen[3], 1);
    metrics_add(seen[4], 1);
    char *text = exposition(registry);
    assert_non_null(strstr(text, "a_total{model=\"other\"} 2\n"));
    assert_null(strstr(text, "\"d\""));
    free(text);
    /* A series that goes makes room. */
    metrics_series_remove(f, &names[0]);
    metrics_series_remove(f, &names[0]); /* not there: nothing happens */
    assert_ptr_not_equal(metrics_series_get(f, &names[3]), seen[4]);
    text = exposition(registry);
    assert_null(strstr(text, "\"a\""));
    assert_non_null(strstr(text, "a_total{model=\"d\"} 0\n"));
    free(text);
    /* The values of "other" itself never make a second series of that name. */
    metrics_series_remove(f, &names[1]);
    assert_ptr_equal(metrics_series_get(f, (const char *const[]){"other"}), seen[4]);
    metrics_registry_destroy(registry);
}

static void a_label_set_too_long_to_keep_becomes_other(void **state)
{
    (void)state;
    metrics_registry *registry = make();
    metrics_family *f = family(registry, METRICS_COUNTER, "a_total", one_label);
    char value[5000];
    memset(value, 'x', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    const char *const values[] = {value};
    metrics_add(metrics_series_get(f, values), 1);
    metrics_series_remove(f, values);
    char *text = exposition(registry);
    assert_non_null(strstr(text, "a_total{model=\"other\"} 1\n"));
    free(text);
    metrics_registry_destroy(registry);
}

static void wrong_families_are_refused(void **state)
{
    (void)state;
    metrics_registry *registry = make();
    static const double falling[] = {1, 1};
    static const char *const bad_label[] = {"a-b", NULL};
    static const char *const reserved[] = {"le", NULL};
    const struct metrics_family_options bad[] = {
        {.kind = METRICS_COUNTER, .name = "no_ending", .help = "x"},
        {.kind = METRICS_GAUGE, .name = "1a", .help = "x"},
        {.kind = METRICS_GAUGE, .name = "a-b", .help = "x"},
        {.kind = METRICS_GAUGE, .name = "", .help = "x"},
        {.kind = METRICS_GAUGE, .name = "a"},
        {.kind = METRICS_GAUGE, .name = "a", .help = "x", .labels = bad_label},
        {.kind = METRICS_GAUGE, .name = "a", .help = "x", .labels = reserved},
        {.kind = METRICS_GAUGE, .name = "a", .help = "x", .bounds = bounds, .bound_count = 2},
        {.kind = METRICS_HISTOGRAM, .name = "a", .help = "x"},
        {.kind = METRICS_HISTOGRAM, .name = "a", .help = "x", .bounds = falling, .bound_count = 2},
        {.kind = METRICS_HISTOGRAM, .name = "a", .help = "x", .bounds = bounds, .bound_count = 65},
    };
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        metrics_family *out = NULL;
        if (metrics_family_create(registry, &bad[i], &out) != STATUS_INVALID)
            fail_msg("row %zu was taken", i);
    }
    (void)family(registry, METRICS_GAUGE, "vllm:twice", NULL);
    const struct metrics_family_options again = {
        .kind = METRICS_GAUGE, .name = "vllm:twice", .help = "x"};
    metrics_family *out = NULL;
    assert_int_equal(metrics_family_create(registry, &again, &out), STATUS_INVALID);
    metrics_registry_destroy(registry);
}

struct collected {
    metrics_family *family;
    int calls;
};

static void collect(void *context)
{
    struct collected *collected = context;
    collected->calls++;
    metrics_set(metrics_series_get(collected->family, (const char *const[]){"fresh"}),
                collected->calls);
}

static void collectors_may_make_series_while_a_scrape_runs(void **state)
{
    (void)state;
    metrics_registry *registry = make();
    struct collected collected = {.family = family(registry, METRICS_GAUGE, "g", one_label)};
    metrics_on_scrape(registry, collect, &collected);
    free(exposition(registry));
    char *text = exposition(registry);
    assert_non_null(strstr(text, "g{model=\"fresh\"} 2\n"));
    free(text);
    metrics_registry_destroy(registry);
}

#define ADDER_COUNT 4
#define ADD_COUNT   20000

struct adders {
    metrics_registry *registry;
    metrics_series *total, *histogram;
    metrics_family *gauges;
};

static void *add_many(void *context)
{
    struct adders *adders = context;
    for (int i = 0; i < ADD_COUNT; i++) {
        metrics_add(adders->total, 1);
        metrics_observe(adders->histogram, i % 4);
        if (i % 1000 == 0)
            metrics_set(metrics_series_get(adders->gauges,
                                           (const char *const[]){i % 2000 == 0 ? "a" : "b"}),
                        i);
    }
    return NULL;
}

static void nothing_is_lost_between_threads_and_scrapes_are_consistent(void **state)
{
    (void)state;
    struct adders adders = {.registry = make()};
    adders.total =
        metrics_series_get(family(adders.registry, METRICS_COUNTER, "a_total", NULL), NULL);
    adders.histogram =
        metrics_series_get(family(adders.registry, METRICS_HISTOGRAM, "h", NULL), NULL);
    adders.gauges = family(adders.registry, METRICS_GAUGE, "g", one_label);
    pthread_t threads[ADDER_COUNT];
    for (int i = 0; i < ADDER_COUNT; i++)
        assert_int_equal(thread_start(&threads[i], "adder", add_many, &adders), STATUS_OK);
    for (int i = 0; i < 50; i++) {
        char *text = exposition(adders.registry);
        unsigned long long all = 0, count = 1;
        assert_int_equal(
            sscanf(strstr(text, "h_bucket{le=\"+Inf\"}"), "h_bucket{le=\"+Inf\"} %llu", &all), 1);
        assert_int_equal(sscanf(strstr(text, "h_count"), "h_count %llu", &count), 1);
        assert_int_equal(all, count);
        free(text);
    }
    for (int i = 0; i < ADDER_COUNT; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_true(metrics_value(adders.total) == ADDER_COUNT * ADD_COUNT);
    assert_true(metrics_value(adders.histogram) == ADDER_COUNT * ADD_COUNT);
    metrics_registry_destroy(adders.registry);
}

static void memory_that_runs_out_leaks_nothing_and_counts_as_other(void **state)
{
    (void)state;
    const struct metrics_family_options options = {.kind = METRICS_HISTOGRAM,
                                                   .name = "h",
                                                   .help = "x",
                                                   .labels = one_label,
                                                   .bounds = bounds,
                                                   .bound_count = 3};
    metrics_registry *registry = NULL;
    fail_nth_begin(1);
    assert_int_equal(metrics_registry_create(&registry), STATUS_NO_MEMORY);
    assert_true(fail_nth_end());
    registry = make();
    metrics_family *f = NULL;
    for (unsigned long n = 1;; n++) {
        fail_nth_begin(n);
        status result = metrics_family_create(registry, &options, &f);
        if (!fail_nth_end()) {
            assert_int_equal(result, STATUS_OK);
            break;
        }
        assert_int_equal(result, STATUS_NO_MEMORY);
    }
    for (unsigned long n = 1;; n++) {
        fail_nth_begin(n);
        metrics_series *series = metrics_series_get(f, (const char *const[]){"x"});
        bool was_hit = fail_nth_end();
        assert_non_null(series);
        if (!was_hit)
            break;
        metrics_observe(series, 1);
    }
    char *text = exposition(registry);
    assert_non_null(strstr(text, "h_count{model=\"other\"} 2\n"));
    assert_non_null(strstr(text, "h_count{model=\"x\"} 0\n"));
    free(text);
    metrics_registry_destroy(registry);
}

static void promtool_finds_nothing_to_complain_of(void **state)
{
    (void)state;
    if (system("command -v promtool >/dev/null") != 0)
        skip();
    metrics_registry *registry = make();
    const struct metrics_family_options options[] = {
        {.kind = METRICS_COUNTER,
         .name = "penstock_requests_total",
         .help = "Requests.",
         .labels = one_label},
        {.kind = METRICS_GAUGE, .name = "penstock_waiting", .help = "Requests that wait."},
        {.kind = METRICS_HISTOGRAM,
         .name = "penstock_wait_seconds",
         .help = "Time in the queue.",
         .labels = one_label,
         .bounds = bounds,
         .bound_count = 3},
    };
    for (size_t i = 0; i < ARRAY_COUNT(options); i++) {
        metrics_family *f = NULL;
        assert_int_equal(metrics_family_create(registry, &options[i], &f), STATUS_OK);
        metrics_series *series =
            metrics_series_get(f, (const char *const[]){"a \"b\" \\ c\nd \xF0\x9F\x98\x80"});
        if (options[i].kind == METRICS_HISTOGRAM)
            metrics_observe(series, 0.7);
        else
            metrics_set(series, 1e21);
    }
    char *text = exposition(registry);
    FILE *promtool = popen("promtool check metrics", "w");
    assert_non_null(promtool);
    assert_true(fputs(text, promtool) >= 0);
    assert_int_equal(pclose(promtool), 0);
    free(text);
    metrics_registry_destroy(registry);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counters_and_gauges_are_written_as_prometheus_wants),
        cmocka_unit_test(histograms_are_cumulative_and_close_with_infinity),
        cmocka_unit_test(past_the_cap_series_become_other),
        cmocka_unit_test(a_label_set_too_long_to_keep_becomes_other),
        cmocka_unit_test(wrong_families_are_refused),
        cmocka_unit_test(collectors_may_make_series_while_a_scrape_runs),
        cmocka_unit_test(nothing_is_lost_between_threads_and_scrapes_are_consistent),
        cmocka_unit_test(memory_that_runs_out_leaks_nothing_and_counts_as_other),
        cmocka_unit_test(promtool_finds_nothing_to_complain_of),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
