/* The body of a submission, in each family's form. */
#include "unit_test.h"

#include <string.h>

#include "clock.h"
#include "json.h"
#include "slurm_json.h"
#include "slurm_order.h"

static const struct slurm_member_config config = {.pool = "p",
                                                  .partition = "serve",
                                                  .working_directory = "/var/tmp",
                                                  .cores_per_gpu = 2,
                                                  .host_memory_bytes = 3ull << 20};
static const struct slurm_slice_size wholes[] = {{1000, 0}, {1000, 0}, {1000, 0}, {1000, 0}};
static const char *const arguments[] = {"/bin/it's", "a b", NULL};
static const char *const environment[] = {"TOKEN=x=y", NULL};

static json_t *written_in(const struct slurm_partition *partition, uint64_t time_limit_ns,
                          unsigned version, const struct member_part *parts, uint32_t part_count,
                          const struct slurm_slice_size *sizes, status wanted)
{
    const struct slurm_api api = {version, version >= 41   ? SLURM_API_41
                                           : version >= 39 ? SLURM_API_39
                                                           : SLURM_API_38};
    const struct member_order order = {.uid = 1,
                                       .name = "m",
                                       .arguments = arguments,
                                       .environment = environment,
                                       .image = "",
                                       .parts = parts,
                                       .part_count = part_count,
                                       .time_limit_ns = time_limit_ns};
    struct error_note note = {""};
    struct buffer out;
    json_t *body = NULL;

    buffer_init(&out, SLURM_ORDER_BYTES_MAX);
    assert_int_equal(slurm_order_write(&out, &config, api, partition, &order, sizes, &note),
                     wanted);
    if (wanted == STATUS_OK) {
        body = json_loadb(out.data, out.bytes, 0, NULL);
        assert_non_null(body);
    } else {
        assert_true(note.text[0] != '\0');
    }
    buffer_deinit(&out);
    return body;
}

static json_t *written(unsigned version, const struct member_part *parts, uint32_t part_count,
                       const struct slurm_slice_size *sizes, status wanted)
{
    static const struct slurm_partition partition = {.limit_minutes = 0};

    return written_in(&partition, 61 * NS_PER_SECOND, version, parts, part_count, sizes, wanted);
}

static void the_oldest_form_is_plain(void **state)
{
    const struct member_part parts[] = {{"n0/gpu:h100/1", 0, 1000}};
    json_t *body = written(38, parts, 1, wholes, STATUS_OK), *job = json_object_get(body, "job");

    (void)state;
    assert_non_null(strstr(slurm_text(body, "script"), "exec '/bin/it'\\''s' 'a b'\n"));
    assert_string_equal(slurm_text(job, "gres"), "gpu:h100:1");
    assert_string_equal(slurm_text(job, "constraints"), "node_n0");
    assert_true(json_is_integer(json_object_get(job, "time_limit")));
    assert_int_equal(slurm_number_or_0(job, "time_limit"), 2);
    assert_int_equal(slurm_number_or_0(job, "memory_per_node"), 3);
    assert_int_equal(slurm_number_or_0(job, "cpus_per_task"), 2);
    assert_string_equal(slurm_text(json_object_get(job, "environment"), "TOKEN"), "x=y");
    assert_non_null(json_object_get(json_object_get(job, "environment"), "PATH"));
    assert_true(json_is_false(json_object_get(job, "requeue")));
    json_decref(body);
}

static void newer_forms_have_lists_and_objects(void **state)
{
    const struct member_part parts[] = {{"n0/gpu:h100/1", 0, 1000}};

    (void)state;
    for (unsigned version = 39; version <= 42; version++) {
        json_t *body = written(version, parts, 1, wholes, STATUS_OK);
        json_t *job = json_object_get(body, "job");

        assert_string_equal(slurm_text(job, "tres_per_node"), "gres/gpu:h100:1");
        assert_true(json_is_object(json_object_get(job, "time_limit")));
        assert_int_equal(slurm_number_or_0(job, "time_limit"), 2);
        assert_string_equal(
            json_string_value(json_array_get(json_object_get(job, "required_nodes"), 0)), "n0");
        assert_string_equal(
            json_string_value(json_array_get(json_object_get(job, "environment"), 0)), "TOKEN=x=y");
        assert_null(json_object_get(job, "constraints"));
        assert_true((json_object_get(job, "script") != NULL) == (version >= 41));
        assert_true((json_object_get(body, "script") != NULL) == (version < 41));
        json_decref(body);
    }
}

static void a_gang_is_one_job_over_its_nodes(void **state)
{
    const struct member_part parts[] = {{"n0/gpu:h100/1", 0, 1000},
                                        {"n1/gpu:h100/0", 0, 1000},
                                        {"n0/gpu:h100/2", 0, 1000},
                                        {"n1/gpu:h100/3", 0, 1000}};
    json_t *body = written(38, parts, 4, wholes, STATUS_OK), *job = json_object_get(body, "job");

    (void)state;
    assert_string_equal(slurm_text(job, "gres"), "gpu:h100:2");
    assert_string_equal(slurm_text(job, "constraints"), "node_n0|node_n1");
    assert_int_equal(slurm_number_or_0(job, "tasks"), 4);
    assert_int_equal(slurm_number_or_0(job, "tasks_per_node"), 2);
    assert_int_equal(slurm_number_or_0(job, "memory_per_node"), 6);
    assert_non_null(strstr(slurm_text(body, "script"), "exec srun --kill-on-bad-exit=1"));
    json_decref(body);
}

static void a_share_is_counted_in_shards(void **state)
{
    const struct slurm_slice_size size = {1000, 250};
    const struct member_part parts[] = {{"n0/gpu:h100/1", 0, 600}};
    json_t *body = written(38, parts, 1, &size, STATUS_OK);

    (void)state;
    assert_string_equal(slurm_text(json_object_get(body, "job"), "gres"), "shard:3");
    json_decref(body);
}

static void cores_are_counted_without_gres(void **state)
{
    const struct slurm_slice_size size = {8000, 1000};
    const struct member_part parts[] = {{"n3/cpu", 5ull << 20, 2500}};
    json_t *body = written(38, parts, 1, &size, STATUS_OK), *job = json_object_get(body, "job");

    (void)state;
    assert_null(json_object_get(job, "gres"));
    assert_int_equal(slurm_number_or_0(job, "cpus_per_task"), 3);
    assert_int_equal(slurm_number_or_0(job, "memory_per_node"), 5);
    json_decref(body);
}

static void without_a_limit_of_its_own_a_job_has_the_partitions(void **state)
{
    const struct slurm_partition limited = {.has_limit = true, .limit_minutes = 90};
    const struct slurm_partition defaulting = {.has_default = true};
    const struct member_part parts[] = {{"n0/gpu:h100/1", 0, 1000}};

    (void)state;
    for (unsigned version = 38; version <= 41; version += 3) {
        json_t *body = written_in(&limited, 0, version, parts, 1, wholes, STATUS_OK);

        assert_int_equal(slurm_number_or_0(json_object_get(body, "job"), "time_limit"), 90);
        json_decref(body);
        body = written_in(&limited, 61 * NS_PER_SECOND, version, parts, 1, wholes, STATUS_OK);
        assert_int_equal(slurm_number_or_0(json_object_get(body, "job"), "time_limit"), 2);
        json_decref(body);
    }
    json_t *body = written_in(&defaulting, 0, 38, parts, 1, wholes, STATUS_OK);
    json_t *job = json_object_get(body, "job");

    assert_string_equal(slurm_text(job, "time_limit"), "UNLIMITED");
    json_decref(body);
    body = written_in(&defaulting, 0, 41, parts, 1, wholes, STATUS_OK);
    job = json_object_get(json_object_get(body, "job"), "time_limit");
    assert_true(json_is_true(json_object_get(job, "infinite")));
    json_decref(body);
}

static void what_one_job_cannot_be_is_refused(void **state)
{
    const struct member_part uneven[] = {
        {"n0/gpu:h100/1", 0, 1000}, {"n0/gpu:h100/2", 0, 1000}, {"n1/gpu:h100/0", 0, 1000}};
    const struct member_part mixed[] = {{"n0/gpu:h100/1", 0, 1000}, {"n1/gpu:a100/2", 0, 1000}};
    const struct member_part cut[] = {{"n0/gpu:h100/1", 0, 500}};
    const struct member_part nameless[] = {{"gpu", 0, 1000}};

    (void)state;
    (void)written(38, uneven, 3, wholes, STATUS_FULL);
    (void)written(38, mixed, 2, wholes, STATUS_FULL);
    (void)written(38, cut, 1, wholes, STATUS_INVALID);
    (void)written(38, nameless, 1, wholes, STATUS_INVALID);
    (void)written(38, cut, 0, wholes, STATUS_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_oldest_form_is_plain),
        cmocka_unit_test(newer_forms_have_lists_and_objects),
        cmocka_unit_test(a_gang_is_one_job_over_its_nodes),
        cmocka_unit_test(a_share_is_counted_in_shards),
        cmocka_unit_test(cores_are_counted_without_gres),
        cmocka_unit_test(without_a_limit_of_its_own_a_job_has_the_partitions),
        cmocka_unit_test(what_one_job_cannot_be_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
