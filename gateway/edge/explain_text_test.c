#include "unit_test.h"

#include "explain_text.h"

static void assert_text(void (*write)(const json_t *, struct buffer *), const char *json,
                        const char *expected)
{
    json_t *parsed = json_loads(json, 0, NULL);
    struct buffer out;

    assert_non_null(parsed);
    buffer_init(&out, 1u << 20);
    write(parsed, &out);
    assert_int_equal(out.failed, STATUS_OK);
    assert_string_equal(out.data, expected);
    buffer_deinit(&out);
    json_decref(parsed);
}

static void a_pool_is_shown_in_tables(void **state)
{
    (void)state;
    assert_text(
        explain_pool_write,
        "{\"members\":["
        "{\"name\":\"local\",\"state\":\"synced\",\"heard_seconds\":0.4,\"backlog\":0,\"trouble\":"
        "\"\","
        "\"slices\":{\"ok\":{\"count\":2},\"draining\":{\"count\":1}}},"
        "{\"name\":\"münchen\",\"state\":\"lost\",\"heard_seconds\":7300,\"backlog\":12,"
        "\"trouble\":\"closed: no\\nroute\",\"slices\":{}}],"
        "\"slices\":{\"ok\":{\"count\":2,\"replicas\":1,\"devices\":2.0,\"devices_booked\":0.5}},"
        "\"waiting\":3,\"stranded_share\":0.125,"
        "\"quotas\":[{\"name\":\"acme\",\"guaranteed\":{\"devices\":1},\"limit\":{\"devices\":null}"
        ","
        "\"used\":{\"devices\":2.5,\"price_hour\":7.5},\"fair\":{\"devices\":2},"
        "\"borrowed\":{\"devices\":1.5}}]}",
        "member   state   heard  backlog  slices            trouble\n"
        "local    synced  0 s    0        ok 2 draining 1   -\n"
        "münchen  lost    2 h    12       -                 closed: no?route\n"
        "\n"
        "slices  count  replicas  devices  booked\n"
        "ok      2      1         2.00     0.50\n"
        "\n"
        "quota  guaranteed  limit  used  fair  borrowed  price/h\n"
        "acme   1.00        -      2.50  2.00  1.50      7.5000\n"
        "\n"
        "3 replicas wait for a slice; 12.5 % of the capacity is stranded\n");
}

static const char placement[] =
    "{\"model\":\"smollm2\",\"parts\":1,\"fits\":true,\"reason\":null,\"quota\":null,\"tier\":0,"
    "\"chosen\":[{\"slice\":\"local/n0/cpu\"}],\"weights\":{\"cost\":0.3,\"risk\":0.5},"
    "\"passed_over\":{\"region\":1,\"no_room\":4},"
    "\"slices\":[{\"slice\":\"local/n0/cpu\",\"reason\":null,\"score\":0.8125,\"price_hour\":0.25,"
    "\"preemptible\":false,\"terms\":{\"cost\":1,\"latency\":0.5,\"warm\":0,\"pack\":0,"
    "\"topology\":0,\"spread\":1,\"risk\":0}},"
    "{\"slice\":\"far/g0\",\"reason\":\"region\",\"score\":null,\"terms\":null,\"price_hour\":3,"
    "\"preemptible\":true}],\"slice_count\":6,\"from\":0,"
    "\"waiting\":[{\"uid\":\"0000000000000abc\",\"model\":\"llama\",\"priority\":-1,\"parts\":8,"
    "\"waited_seconds\":61.5,\"reason\":\"no_room\",\"hold\":true,\"starts_seconds\":600}],"
    "\"decisions\":[{\"seconds_ago\":90000,\"uid\":\"0000000000000def\",\"model\":\"smollm2\","
    "\"slice\":\"local/n0/cpu\",\"parts\":1,\"score\":0.8125,\"outcome\":\"refused\","
    "\"why\":\"full\",\"passed_over\":{}}]}";

static void a_placement_is_shown_with_its_grounds(void **state)
{
    (void)state;
    assert_text(
        explain_placement_write, placement,
        "One more replica of smollm2 would go to local/n0/cpu (entry 1 of its list of members; "
        "weights: cost 0.30, risk 0.50)\n"
        "\n"
        "slice         verdict  score  price/h  spot  cost   latency  warm   pack   topology  "
        "spread  risk\n"
        "local/n0/cpu  fits     0.812  0.2500   -     1.000  0.500    0.000  0.000  0.000     "
        "1.000   0.000\n"
        "far/g0        region   -      3.0000   spot\n"
        "and 4 more\n"
        "\n"
        "passed over: region 1, no_room 4\n"
        "\n"
        "waits             model  priority  parts  since  reason   hold  starts in\n"
        "0000000000000abc  llama  -1        8      62 s   no_room  yes   10 min\n"
        "\n"
        "decided  replica           model    slice         parts  score  outcome  passed over  "
        "why\n"
        "25 h     0000000000000def  smollm2  local/n0/cpu  1      0.812  refused  -            "
        "full\n");
}

static void what_fits_nowhere_is_said_so(void **state)
{
    (void)state;
    assert_text(
        explain_placement_write,
        "{\"model\":\"a\\u001b[31mb\",\"fits\":false,\"reason\":\"quota\",\"quota\":\"acme\","
        "\"tier\":1,\"chosen\":[],\"weights\":{},\"passed_over\":{},\"slices\":[]}",
        "One more replica of a?[31mb fits nowhere now: quota of acme (entry 2 of its list "
        "of members; weights: )\n");
}

static void an_answer_of_another_kind_is_shown_as_far_as_it_goes(void **state)
{
    (void)state;
    assert_text(explain_pool_write, "{\"members\":[7,{}]}",
                "member  state  heard  backlog  slices  trouble\n"
                "-       -      -      -        -       -\n"
                "-       -      -      -        -       -\n"
                "\n"
                "slices  count  replicas  devices  booked\n"
                "\n"
                "0 replicas wait for a slice\n");
    assert_text(explain_placement_write, "{}",
                "One more replica of - fits nowhere now: - (entry 1 of its list of members; "
                "weights: )\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pool_is_shown_in_tables),
        cmocka_unit_test(a_placement_is_shown_with_its_grounds),
        cmocka_unit_test(what_fits_nowhere_is_said_so),
        cmocka_unit_test(an_answer_of_another_kind_is_shown_as_far_as_it_goes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
