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

static char *written(metrics_registry *registry, enum metrics_format format)
{
    struct buffer out;
    buffer_init(&out, 1 << 20);
    metrics_write(registry, format, &out);
    assert_int_equal(buffer_reserve(&out, 0), STATUS_OK);
    return out.data;
}

static char *exposition(metrics_registry *registry)
{
    return written(registry, METRICS_TEXT);
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
                                 "h_bucket{model=\"m\",le=\"1.0\"} 3\n"
                                 "h_bucket{model=\"m\",le=\"2.5\"} 4\n"
                                 "h_bucket{model=\"m\",le=\"+Inf\"} 6\n"
                                 "h_sum{model=\"m\"} 1000000007.00001\n"
                                 "h_count{model=\"m\"} 6\n"));
    assert_true(metrics_value(series) == 6);
    free(text);
    metrics_registry_destroy(registry);
}

static void openmetrics_names_families_units_and_the_end(void **state)
{
    (void)state;
    metrics_registry *registry = make();
    metrics_add(
        metrics_series_get(family(registry, METRICS_COUNTER, "busy_seconds_total", NULL), NULL),
        1.25);
    metrics_observe(metrics_series_get(family(registry, METRICS_HISTOGRAM, "h_seconds", one_label),
                                       (const char *const[]){"m"}),
                    0.7);
    char *text = written(registry, METRICS_OPENMETRICS);
    assert_string_equal(text, "# HELP busy_seconds What it \\\\ counts\\nin two lines.\n"
                              "# TYPE busy_seconds counter\n"
                              "# UNIT busy_seconds seconds\n"
                              "busy_seconds_total 1.25\n"
                              "# HELP h_seconds What it \\\\ counts\\nin two lines.\n"
                              "# TYPE h_seconds histogram\n"
                              "# UNIT h_seconds seconds\n"
                              "h_seconds_bucket{model=\"m\",le=\"0.5\"} 0\n"
                              "h_seconds_bucket{model=\"m\",le=\"1.0\"} 1\n"
                              "h_seconds_bucket{model=\"m\",le=\"2.5\"} 1\n"
                              "h_seconds_bucket{model=\"m\",le=\"+Inf\"} 1\n"
                              "h_seconds_sum{model=\"m\"} 0.7\n"
                              "h_seconds_count{model=\"m\"} 1\n"
                              "# EOF\n");
    free(text);
    metrics_registry_destroy(registry);
}

static void numbers_read_back_as_they_were(void **state)
{
    (void)state;
    static const double values[] = {
        0,        0.1,     1.0 / 3, -2.5,     1e-9,     1.5e-9,
        12345678, 1e15,    1e21,    1e300,    5e-324,   9007199.25474,
        -1e-7,    0.7 * 3, 1e9 / 7, 123456.7, 1 + 1e-9, 9007199254740994.0};
    for (size_t i = 0; i < ARRAY_COUNT(values); i++) {
        metrics_registry *registry = make();
        metrics_set(metrics_series_get(family(registry, METRICS_GAUGE, "g", NULL), NULL),
                    values[i]);
        char *text = exposition(registry);
        const char *line = strstr(text, "\ng ");
        assert_non_null(line);
        if (strtod(line + 3, NULL) != values[i])
            fail_msg("%.17g became %s", values[i], line + 3);
        free(text);
        metrics_registry_destroy(registry);
    }
}

static void buckets_have_the_last_trace_that_fell_into_them(void **state)
{
    (void)state;
    static const char *const ids[] = {"0af7651916cd43dd8448eb211c80319c",
                                      "4bf92f3577b34da6a3ce929d0e0e4736"};
    metrics_registry *registry = make();
    metrics_family *f = family(registry, METRICS_HISTOGRAM, "h", NULL);
    metrics_family_keep_exemplars(f);
    metrics_family *plain = family(registry, METRICS_HISTOGRAM, "plain", one_label);
    metrics_series *series = metrics_series_get(f, NULL);
    metrics_series *untraced = metrics_series_get(plain, (const char *const[]){"x"});
    metrics_observe_traced(series, 0.7, ids[0]);
    metrics_observe_traced(series, 0.75, ids[1]);
    metrics_observe_traced(series, 0.8, "");
    metrics_observe_traced(series, 0.9, NULL);
    metrics_observe_traced(series, 7, ids[0]);
    metrics_observe_traced(untraced, 0.7, ids[0]);
    char *text = written(registry, METRICS_OPENMETRICS);
    unsigned long long seconds = 0;
    const char *line = strstr(text, "h_bucket{le=\"1.0\"} 4 ");
    assert_non_null(line);
    assert_int_equal(
        sscanf(line,
               "h_bucket{le=\"1.0\"} 4 # {trace_id=\"4bf92f3577b34da6a3ce929d0e0e4736\"} 0.75 %llu",
               &seconds),
        1);
    assert_true(seconds > 1600000000);
    assert_non_null(strstr(text, "h_bucket{le=\"0.5\"} 0\n"));
    assert_non_null(strstr(text, "h_bucket{le=\"2.5\"} 4\n"));
    assert_non_null(strstr(
        text, "h_bucket{le=\"+Inf\"} 5 # {trace_id=\"0af7651916cd43dd8448eb211c80319c\"} 7 "));
    assert_non_null(strstr(text, "plain_bucket{model=\"x\",le=\"1.0\"} 1\n"));
    free(text);
    text = exposition(registry); /* the text format has none */
    assert_null(strstr(text, "trace_id"));
    free(text);
    metrics_registry_destroy(registry);
}

#define TRACER_COUNT 3
#define TRACE_COUNT  20000

struct tracer {
    metrics_series *series;
    char digit;
};

static void *trace_many(void *context)
{
    const struct tracer *tracer = context;
    char id[METRICS_TRACE_ID_BYTES + 1] = {0};
    memset(id, tracer->digit, METRICS_TRACE_ID_BYTES);
    for (int i = 0; i < TRACE_COUNT; i++)
        metrics_observe_traced(tracer->series, tracer->digit - '0', id);
    return NULL;
}

/* Every exemplar's value is that of the thread whose digit its trace is made of. */
static void an_exemplar_is_never_half_of_two(void **state)
{
    (void)state;
    metrics_registry *registry = make();
    metrics_family *f = family(registry, METRICS_HISTOGRAM, "h", NULL);
    metrics_family_keep_exemplars(f);
    struct tracer tracers[TRACER_COUNT];
    pthread_t threads[TRACER_COUNT];
    for (int i = 0; i < TRACER_COUNT; i++) {
        tracers[i] = (struct tracer){metrics_series_get(f, NULL), (char)('7' + i)};
        assert_int_equal(thread_start(&threads[i], "tracer", trace_many, &tracers[i]), STATUS_OK);
    }
    for (int i = 0; i < 200; i++) {
        char *text = written(registry, METRICS_OPENMETRICS);
        const char *mark = strstr(text, "trace_id=\"");
        if (mark != NULL) {
            char digit = mark[strlen("trace_id=\"")];
            char wanted[64] = "";
            memset(wanted, digit, METRICS_TRACE_ID_BYTES);
            (void)snprintf(wanted + METRICS_TRACE_ID_BYTES, 32, "\"} %c ", digit);
            assert_memory_equal(mark + strlen("trace_id=\""), wanted, strlen(wanted));
        }
        free(text);
    }
    for (int i = 0; i < TRACER_COUNT; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_true(metrics_value(tracers[0].series) == TRACER_COUNT * TRACE_COUNT);
    char *text = written(registry, METRICS_OPENMETRICS);
    assert_non_null(strstr(text, "trace_id"));
    free(text);
    metrics_registry_destroy(registry);
}

static void what_a_scrape_asks_for_is_what_it_gets(void **state)
{
    (void)state;
    static const struct {
        const char *accept;
        enum metrics_format format;
    } cases[] = {
        {"", METRICS_TEXT},
        {"*/*", METRICS_TEXT},
        {"text/html", METRICS_TEXT},
        {"application/openmetrics-text", METRICS_OPENMETRICS},
        {"application/openmetrics-text; version=1.0.0; charset=utf-8", METRICS_OPENMETRICS},
        {"Application/OpenMetrics-Text;Version=0.0.1", METRICS_OPENMETRICS},
        {"application/openmetrics-text;version=2.0.0", METRICS_TEXT},
        {"application/openmetrics-text;q=0", METRICS_TEXT},
        {"application/openmetrics-text;q=0.5,text/plain;version=0.0.4", METRICS_TEXT},
        {"application/openmetrics-text;q=0.5,text/plain;q=0.5", METRICS_OPENMETRICS},
        {"application/openmetrics-text;q=1.5,text/plain;q=0.1", METRICS_TEXT},
        {"application/openmetrics-text;q=0.x,text/plain;q=0.1", METRICS_TEXT},
        {",;,=;q=,application/openmetrics-text ;\t q = 0.125 ,", METRICS_OPENMETRICS},
        /* Prometheus 2.42 and 3.5. */
        {"application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q="
         "0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
         METRICS_OPENMETRICS},
        {"application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/"
         "openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
         "text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
         METRICS_OPENMETRICS},
        {"text/plain;version=0.0.4;q=0.5,*/*;q=0.1", METRICS_TEXT},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        if (metrics_format_accepted(text_slice_of(cases[i].accept)) != cases[i].format)
            fail_msg("'%s'", cases[i].accept);
    }
    assert_non_null(strstr(metrics_content_type(METRICS_TEXT), "text/plain; version=0.0.4"));
    assert_non_null(strstr(metrics_content_type(METRICS_OPENMETRICS), "application/openmetrics"));
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
    metrics_family_keep_exemplars(f);
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
    assert_non_null(strstr(text, "h_count{model=\"other\"} 4\n"));
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
        cmocka_unit_test(openmetrics_names_families_units_and_the_end),
        cmocka_unit_test(numbers_read_back_as_they_were),
        cmocka_unit_test(buckets_have_the_last_trace_that_fell_into_them),
        cmocka_unit_test(an_exemplar_is_never_half_of_two),
        cmocka_unit_test(what_a_scrape_asks_for_is_what_it_gets),
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
