/* WRAP: malloc calloc realloc aligned_alloc */
#include "unit_test.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fail_nth.h"
#include "simulation.h"
#include "trace_rows.h"

#define HEADING "seconds,model,prompt_tokens,output_tokens\n"

static status read_text(const char *text, size_t bytes, struct trace **out, struct error_note *note)
{
    FILE *file = fmemopen((void *)(uintptr_t)text, bytes, "r");
    status result;

    assert_non_null(file);
    result = trace_read(file, out, note);
    (void)fclose(file);
    return result;
}

static struct trace *must_read(const char *text)
{
    struct error_note note = {""};
    struct trace *trace = NULL;

    assert_int_equal(read_text(text, strlen(text), &trace, &note), STATUS_OK);
    return trace;
}

static void requests_are_sorted_by_model_and_count_from_the_first(void **state)
{
    struct trace *trace = must_read(HEADING "1767571200.25,chat-support,812,143\n"
                                            "1767571200.25,large,5,1\r\n"
                                            "1767571201,chat-support,1,2\n"
                                            "1767574800.2500000019,chat-support,1000000,7");
    const struct trace_model *chat = &trace->models[0], *large = &trace->models[1];

    (void)state;
    assert_int_equal(trace_model_count(trace), 2);
    assert_int_equal(trace_hours(trace), 2);
    assert_string_equal(chat->name, "chat-support");
    assert_int_equal(chat->count, 3);
    assert_int_equal(chat->requests[0].at_ns, 0);
    assert_int_equal(chat->requests[0].prompt_tokens, 812);
    assert_int_equal(chat->requests[0].output_tokens, 143);
    assert_int_equal(chat->requests[1].at_ns, 750000000);
    assert_int_equal(chat->requests[2].at_ns, 3600000000001);
    assert_true(chat->output_sum == 152);
    assert_string_equal(large->name, "large");
    assert_int_equal(large->count, 1);
    assert_int_not_equal(large->kind, chat->kind);
    trace_destroy(trace);
}

static void what_is_wrong_is_named_with_its_line(void **state)
{
    static const struct {
        const char *text, *said;
    } cases[] = {
        {"", "there is no request in it"},
        {HEADING, "there is no request in it"},
        {"0,chat,1,1\n", "line 1: must be seconds,model,prompt_tokens,output_tokens"},
        {HEADING "0,chat,1\n",
         "line 2: needs four cells: seconds,model,prompt_tokens,output_tokens"},
        {HEADING "0,chat,1,1,1\n",
         "line 2: needs four cells: seconds,model,prompt_tokens,output_tokens"},
        {HEADING "0,chat,1,1\n\n",
         "line 3: needs four cells: seconds,model,prompt_tokens,output_tokens"},
        {HEADING "-1,chat,1,1\n", "line 2: seconds must be a number like 12 or 1767571200.25"},
        {HEADING "1.,chat,1,1\n", "line 2: seconds must be a number like 12 or 1767571200.25"},
        {HEADING "1e3,chat,1,1\n", "line 2: seconds must be a number like 12 or 1767571200.25"},
        {HEADING "10000000001,chat,1,1\n",
         "line 2: seconds must be a number like 12 or 1767571200.25"},
        {HEADING "0,,1,1\n", "line 2: the model's name must have 1 to 127 bytes"},
        {HEADING "0,chats,1,1\n", "line 2: the model's name must be chat, agent, reasoning or "
                                  "large, or begin with one of these and a '-'"},
        {HEADING "0,chat,0,1\n", "line 2: prompt_tokens must be from 1 to 1000000"},
        {HEADING "0,chat,1000001,1\n", "line 2: prompt_tokens must be from 1 to 1000000"},
        {HEADING "0,chat,1,1.5\n", "line 2: output_tokens must be from 1 to 1000000"},
        {HEADING "5,chat,1,1\n4.9,chat,1,1\n", "line 3: is earlier than the one before"},
        {HEADING "0,chat,1,1\n604800,chat,1,1\n", "line 3: is more than 168 hours after the first"},
    };
    (void)state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct error_note note = {""};
        struct trace *trace = NULL;
        /* Of no bytes there is no memory file. */
        const char *text = cases[i].text[0] != '\0' ? cases[i].text : "\n";

        assert_int_equal(read_text(text, strlen(cases[i].text), &trace, &note), STATUS_INVALID);
        assert_string_equal(note.text, cases[i].said);
        assert_null(trace);
    }
}

static void names_lines_and_models_have_limits(void **state)
{
    char text[1024], name[TRACE_NAME_BYTES_MAX + 2];
    struct error_note note = {""};
    struct trace *trace;
    char *many = malloc(64 * (TRACE_MODELS_MAX + 2));
    size_t bytes;

    (void)state;
    memset(name, 'a', sizeof(name) - 1);
    memcpy(name, "chat-", 5);
    name[TRACE_NAME_BYTES_MAX] = '\0';
    (void)snprintf(text, sizeof(text), HEADING "604799.9,%s,1,1", name);
    trace = must_read(text);
    assert_string_equal(trace->models[0].name, name);
    trace_destroy(trace);
    name[TRACE_NAME_BYTES_MAX] = 'a';
    name[TRACE_NAME_BYTES_MAX + 1] = '\0';
    (void)snprintf(text, sizeof(text), HEADING "0,%s,1,1", name);
    assert_int_equal(read_text(text, strlen(text), &trace, &note), STATUS_INVALID);
    (void)snprintf(text, sizeof(text), HEADING "0.%0600d,chat,1,1\n", 0);
    assert_int_equal(read_text(text, strlen(text), &trace, &note), STATUS_INVALID);
    assert_string_equal(note.text, "line 2: is too long, or has a byte 0");

    assert_non_null(many);
    bytes = (size_t)snprintf(many, 64, HEADING);
    for (uint32_t i = 0; i < TRACE_MODELS_MAX; i++)
        bytes += (size_t)snprintf(many + bytes, 64, "0,agent-%u,1,1\n", i);
    trace = must_read(many);
    assert_int_equal(trace_model_count(trace), TRACE_MODELS_MAX);
    trace_destroy(trace);
    bytes += (size_t)snprintf(many + bytes, 64, "0,agent-one more,1,1\n");
    assert_int_equal(read_text(many, bytes, &trace, &note), STATUS_TOO_LARGE);
    assert_string_equal(note.text, "line 1002: more than 1000 models");
    free(many);
}

static void every_failed_allocation_is_survived(void **state)
{
    const char text[] = HEADING "0,chat,1,1\n0,agent,1,1\n1,chat,1,1\n";

    (void)state;
    for (unsigned long n = 1;; n++) {
        FILE *file = fmemopen((void *)(uintptr_t)text, strlen(text), "r");
        struct error_note note = {""};
        struct trace *trace = NULL;
        status result;

        fail_nth_begin(n);
        result = trace_read(file, &trace, &note);
        if (!fail_nth_end()) {
            assert_int_equal(result, STATUS_OK);
            trace_destroy(trace);
            (void)fclose(file);
            return;
        }
        assert_int_equal(result, STATUS_NO_MEMORY);
        (void)fclose(file);
    }
}

/* --- simulated --- */

/* Four requests a second for an hour, in a steady beat. */
static char *steady_hour(uint32_t prompt_tokens)
{
    char *text = malloc(64 * 14402);
    size_t bytes;

    assert_non_null(text);
    bytes = (size_t)snprintf(text, 64, HEADING);
    for (uint32_t i = 0; i < 14400; i++)
        bytes += (size_t)snprintf(text + bytes, 64, "%u.%02u,chat-%s,%u,%u\n", i / 4, i % 4 * 25,
                                  i % 2 == 0 ? "even" : "odd", prompt_tokens, 100 + i % 3);
    return text;
}

static void a_trace_is_simulated_request_by_request(void **state)
{
    static struct simulation_report report, half;
    struct simulation_config config = {.seed = 1,
                                       .clusters = 3,
                                       .slices_per_cluster = 16,
                                       .models = 1,
                                       .hours = 1,
                                       .load = 0.5,
                                       .is_calm = true};
    struct error_note note = {""};
    char *text = steady_hour(500);
    struct trace *trace = must_read(text);
    (void)state;

    config.trace = trace;
    for (int rule = 0; rule < SIMULATION_RULE_COUNT; rule++) {
        assert_int_equal(simulation_run(&config, (enum simulation_rule)rule, &report, &note),
                         STATUS_OK);
        print_message("%s: %llu requests, %.1f slice hours\n",
                      simulation_rule_name((enum simulation_rule)rule),
                      (unsigned long long)report.requests, report.slice_hours);
        /* All but what is under way at the end: some seconds' worth. */
        assert_true(report.requests > 14300 && report.requests <= 14400);
        assert_true((double)report.met >= 0.99 * (double)report.requests);
        /* Two models, each of which half a replica carries, so one each; begun with, so that nothing is started. */
        assert_true(report.slice_hours >= 2 && report.slice_hours < 8);
    }
    trace_destroy(trace);
    text[strlen(text) / 2] = '\0';
    *strrchr(text, '\n') = '\0';
    trace = must_read(text);
    config.trace = trace;
    assert_int_equal(simulation_run(&config, SIMULATION_PENSTOCK, &half, &note), STATUS_OK);
    assert_true(half.requests > 6800 && half.requests < 7500);
    trace_destroy(trace);
    free(text);
}

static void a_trace_that_no_replica_can_serve_is_refused(void **state)
{
    static struct simulation_report report;
    struct simulation_config config = {
        .seed = 1, .clusters = 1, .slices_per_cluster = 16, .models = 1, .hours = 1, .load = 0.5};
    struct error_note note = {""};
    char *text = steady_hour(900000);
    struct trace *trace = must_read(text);
    (void)state;

    config.trace = trace;
    assert_int_equal(simulation_run(&config, SIMULATION_PENSTOCK, &report, &note), STATUS_INVALID);
    assert_string_equal(note.text, "chat-even: a replica of its kind is too slow for requests of "
                                   "900000 prompt tokens");
    trace_destroy(trace);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_sorted_by_model_and_count_from_the_first),
        cmocka_unit_test(what_is_wrong_is_named_with_its_line),
        cmocka_unit_test(names_lines_and_models_have_limits),
        cmocka_unit_test(every_failed_allocation_is_survived),
        cmocka_unit_test(a_trace_is_simulated_request_by_request),
        cmocka_unit_test(a_trace_that_no_replica_can_serve_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
