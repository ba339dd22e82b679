/* WRAP: malloc calloc realloc aligned_alloc */
#include "otlp_exporter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "clock.h"
#include "fail_nth.h"

/* What runs without a receiver; the rest is in tests/integration/test_tracing.py. */

static void spans_none(void *context, otlp_exporter *exporter, const void *item)
{
    (void)context;
    (void)exporter;
    (void)item;
}

static struct config_tracing settings_of(struct config_otlp_header *header, const char **attributes)
{
    return (struct config_tracing){.endpoint = "http://127.0.0.1:1/prefix/",
                                   .ca_file = "",
                                   .service_name = "penstock",
                                   .headers = {header, 1},
                                   .resource_attributes = {attributes, 2},
                                   .queue = 4,
                                   .batch = 4,
                                   .interval_ns = 10 * NS_PER_MS,
                                   .timeout_ns = NS_PER_SECOND,
                                   .metrics_interval_ns = NS_PER_SECOND};
}

static void memory_that_runs_out_is_said_and_none_leaks(void **state)
{
    const char *attributes[] = {"a=1", "b=2"};
    struct config_otlp_header header = {"x-a", "1", "", ""};
    struct config_tracing settings = settings_of(&header, attributes);
    unsigned long n = 0;
    status result;

    (void)state;
    do {
        struct otlp_exporter_options options = {
            .settings = &settings, .loop_count = 2, .item_bytes = 100, .spans = spans_none};
        struct error_note note;
        otlp_exporter *exporter = NULL;

        assert_int_equal(metrics_registry_create(&options.metrics), STATUS_OK);
        fail_nth_begin(++n);
        result = otlp_exporter_create(&options, &exporter, &note);
        if (!fail_nth_end())
            n = 0;
        /* Metrics that find no memory are others' ("other"): that is no failure. */
        if (result == STATUS_OK)
            otlp_exporter_destroy(exporter);
        else
            assert_int_equal(result, STATUS_NO_MEMORY);
        metrics_registry_destroy(options.metrics);
    } while (n > 0);
    assert_int_equal(result, STATUS_OK);
}

static void a_secret_that_is_not_there_is_named(void **state)
{
    const char *attributes[] = {"a=1", "b=2"};
    struct config_otlp_header header = {"authorization", "", "", "PENSTOCK_NO_SUCH_VARIABLE"};
    struct config_tracing settings = settings_of(&header, attributes);
    struct otlp_exporter_options options = {
        .settings = &settings, .loop_count = 1, .item_bytes = 100, .spans = spans_none};
    struct error_note note = {""};
    otlp_exporter *exporter = NULL;

    (void)state;
    assert_int_equal(metrics_registry_create(&options.metrics), STATUS_OK);
    assert_int_equal(otlp_exporter_create(&options, &exporter, &note), STATUS_INVALID);
    assert_non_null(strstr(note.text, "authorization"));
    assert_non_null(strstr(note.text, "PENSTOCK_NO_SUCH_VARIABLE"));
    metrics_registry_destroy(options.metrics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_that_runs_out_is_said_and_none_leaks),
        cmocka_unit_test(a_secret_that_is_not_there_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
