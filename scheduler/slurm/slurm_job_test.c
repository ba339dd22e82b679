/* Jobs as v0.0.38 tells them (recorded from Slurm 22.05.8) and as newer versions do. */
#include "unit_test.h"

#include <stdio.h>
#include <string.h>

#include "slurm_client.h"
#include "slurm_job.h"

#define MARK "penstock=p;uid=00000000000000ff;at=gpu:h100*1000*500;2@n0"

static const struct slurm_member_config config = {.pool = "p", .user = "u"};

static struct slurm_job job_of(const char *text)
{
    static json_t *kept; /* the mark is borrowed from it */
    struct slurm_job job;

    json_decref(kept);
    kept = json_loads(text, 0, NULL);
    assert_non_null(kept);
    assert_true(slurm_job_read(kept, &config, &job));
    return job;
}

static void a_recorded_job_is_read(void **state)
{
    json_t *answer = json_load_file("tests/data/slurm/job_running_38.json", 0, NULL);
    json_t *object = json_array_get(json_object_get(answer, "jobs"), 0);
    struct slurm_job job;

    (void)state;
    assert_non_null(object);
    assert_true(slurm_job_read(object, &config, &job));
    assert_int_equal(job.id, 15);
    assert_int_equal(job.phase, MEMBER_REPLICA_RUNNING);
    assert_string_equal(job.node, "n0");
    assert_true(job.is_holding && !job.is_ours && !job.is_over);
    json_decref(answer);
}

static void a_recorded_error_is_no_empty_list(void **state)
{
    json_t *answer = json_load_file("tests/data/slurm/err_job_not_found_38.json", 0, NULL);
    struct error_note note = {""};

    (void)state;
    assert_int_equal(slurm_answer_check(500, answer, &note), STATUS_NOT_FOUND);
    assert_non_null(strstr(note.text, "Invalid job id"));
    assert_int_equal(slurm_answer_check(200, answer, &note), STATUS_NOT_FOUND);
    assert_int_equal(slurm_answer_check(401, NULL, &note), STATUS_DENIED);
    assert_int_equal(slurm_answer_check(500, NULL, &note), STATUS_CLOSED);
    json_decref(answer);
}

static void newer_versions_forms_are_read(void **state)
{
    struct slurm_job job =
        job_of("{\"job_id\":7,\"job_state\":[\"RUNNING\"],\"comment\":\"" MARK
               "\",\"nodes\":\"n[2-3]\",\"restart_cnt\":0,"
               "\"preempt_time\":{\"set\":true,\"infinite\":false,\"number\":100},"
               "\"end_time\":{\"set\":true,\"infinite\":false,\"number\":130}}");

    (void)state;
    assert_true(job.is_ours);
    assert_int_equal(job.mark.uid, 0xff);
    assert_string_equal(job.node, "n2");
    assert_int_equal(job.phase, MEMBER_REPLICA_RUNNING);
    assert_int_equal(job.ends_seconds, 130);
}

static void an_end_is_told_with_its_cause(void **state)
{
    static const struct {
        const char *text;
        enum member_phase phase;
        enum member_cause cause;
        const char *reason;
    } cases[] = {
        {"{\"job_id\":1,\"job_state\":\"FAILED\",\"state_reason\":\"NonZeroExitCode\",\"exit_"
         "code\":1792}",
         MEMBER_REPLICA_FAILED, MEMBER_CAUSE_PROGRAM, "exit status 7"},
        {"{\"job_id\":1,\"job_state\":\"FAILED\",\"exit_code\":9}", MEMBER_REPLICA_FAILED,
         MEMBER_CAUSE_PROGRAM, "signal 9"},
        {"{\"job_id\":1,\"job_state\":[\"FAILED\"],\"exit_code\":{\"status\":[\"ERROR\"],"
         "\"return_code\":{\"set\":true,\"infinite\":false,\"number\":3},"
         "\"signal\":{\"id\":{\"set\":false,\"infinite\":false,\"number\":0},\"name\":\"\"}}}",
         MEMBER_REPLICA_FAILED, MEMBER_CAUSE_PROGRAM, "exit status 3"},
        {"{\"job_id\":1,\"job_state\":\"FAILED\",\"state_reason\":\"BadConstraints\"}",
         MEMBER_REPLICA_FAILED, MEMBER_CAUSE_REFUSED, "BadConstraints"},
        {"{\"job_id\":1,\"job_state\":[\"NODE_FAIL\"]}", MEMBER_REPLICA_FAILED, MEMBER_CAUSE_NODE,
         ""},
        {"{\"job_id\":1,\"job_state\":\"PREEMPTED\"}", MEMBER_REPLICA_FAILED,
         MEMBER_CAUSE_PREEMPTED, ""},
        {"{\"job_id\":1,\"job_state\":\"TIMEOUT\",\"state_reason\":\"TimeLimit\"}",
         MEMBER_REPLICA_FAILED, MEMBER_CAUSE_REFUSED, "TimeLimit"},
        {"{\"job_id\":1,\"job_state\":\"CANCELLED\"}", MEMBER_REPLICA_ENDED, MEMBER_CAUSE_NONE, ""},
        {"{\"job_id\":1,\"job_state\":\"COMPLETED\"}", MEMBER_REPLICA_ENDED, MEMBER_CAUSE_NONE, ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct slurm_job job = job_of(cases[i].text);

        assert_int_equal(job.phase, cases[i].phase);
        assert_int_equal(job.cause, cases[i].cause);
        assert_string_equal(job.reason, cases[i].reason);
        assert_true(job.is_over && !job.is_put_back && !job.is_holding);
    }
}

static void a_job_that_was_put_back_has_failed(void **state)
{
    struct slurm_job job = job_of("{\"job_id\":1,\"job_state\":\"PENDING\",\"restart_cnt\":1,"
                                  "\"state_reason\":\"BeginTime\"}");

    (void)state;
    assert_true(job.is_put_back && !job.is_over);
    assert_int_equal(job.phase, MEMBER_REPLICA_FAILED);
    assert_int_equal(job.cause, MEMBER_CAUSE_NODE);
    job = job_of("{\"job_id\":1,\"job_state\":\"SUSPENDED\"}");
    assert_true(job.is_put_back);
    assert_int_equal(job.cause, MEMBER_CAUSE_PREEMPTED);
}

static void a_job_that_completes_still_holds_its_place(void **state)
{
    struct slurm_job job = job_of("{\"job_id\":1,\"job_state\":[\"COMPLETED\",\"COMPLETING\"]}");

    (void)state;
    assert_int_equal(job.phase, MEMBER_REPLICA_STOPPING);
    assert_true(job.is_holding && !job.is_over);
}

#define LONGER_MARK "x" MARK

static void a_mark_of_another_pool_is_not_ours(void **state)
{
    static const char *const others[] = {"", "penstock=pp;uid=00000000000000ff",
                                         "penstock=p;uid=ff", "penstock=p;uid=0000000000000000",
                                         LONGER_MARK};
    struct slurm_mark mark;

    (void)state;
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_false(slurm_mark_read(others[i], "p", &mark));
    assert_true(slurm_mark_read(MARK, "p", &mark));
    assert_int_equal(mark.uid, 0xff);
}

static void a_job_of_another_user_is_not_ours_whatever_its_comment_says(void **state)
{
    (void)state;
    assert_true(job_of("{\"job_id\":1,\"job_state\":\"RUNNING\",\"user_name\":\"u\","
                       "\"comment\":\"" MARK "\"}")
                    .is_ours);
    assert_false(job_of("{\"job_id\":1,\"job_state\":\"RUNNING\",\"user_name\":\"v\","
                        "\"comment\":\"" MARK "\"}")
                     .is_ours);
}

static void a_submission_with_a_job_was_taken_whatever_keeps_it_waiting(void **state)
{
    json_t *answer =
        json_pack("{s:[{s:i,s:s}],s:i}", "errors", "error_code", 2068, "error",
                  "Required node not available (down, drained or reserved)", "job_id", 7);
    struct error_note note = {""};

    (void)state;
    assert_int_equal(slurm_answer_check(200, answer, &note), STATUS_OK);
    (void)json_object_set_new(answer, "job_id", json_integer(0));
    assert_int_equal(slurm_answer_check(200, answer, &note), STATUS_INVALID);
    json_decref(answer);
}

static void the_highest_known_version_is_chosen(void **state)
{
    json_t *openapi = json_pack("{s:{s:{},s:{},s:{},s:{}}}", "paths", "/slurm/v0.0.40/nodes/",
                                "/slurm/v0.0.41/nodes/", "/slurm/v0.0.99/nodes/", "/openapi/v3");
    struct slurm_api api;

    (void)state;
    assert_true(slurm_api_choose(openapi, &api));
    assert_int_equal(api.version, 41);
    assert_int_equal(api.family, SLURM_API_41);
    json_decref(openapi);
    openapi = json_pack("{s:{s:{}}}", "paths", "/slurm/v0.0.37/nodes/");
    assert_false(slurm_api_choose(openapi, &api));
    json_decref(openapi);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_recorded_job_is_read),
        cmocka_unit_test(a_recorded_error_is_no_empty_list),
        cmocka_unit_test(newer_versions_forms_are_read),
        cmocka_unit_test(an_end_is_told_with_its_cause),
        cmocka_unit_test(a_job_that_was_put_back_has_failed),
        cmocka_unit_test(a_job_that_completes_still_holds_its_place),
        cmocka_unit_test(a_mark_of_another_pool_is_not_ours),
        cmocka_unit_test(a_job_of_another_user_is_not_ours_whatever_its_comment_says),
        cmocka_unit_test(a_submission_with_a_job_was_taken_whatever_keeps_it_waiting),
        cmocka_unit_test(the_highest_known_version_is_chosen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
