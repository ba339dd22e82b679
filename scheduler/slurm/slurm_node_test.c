/* Nodes as v0.0.38 tells them (recorded from Slurm 22.05.8) and as newer versions do. */
#include "unit_test.h"

#include <stdio.h>
#include <string.h>

#include "slurm_node.h"

#define TOLD_MAX 32u

static const struct slurm_device devices[] = {
    {"h100", "H100", NULL, SLICE_GPU, SLICE_NVIDIA, 90, 1000, 80ull << 30, 2500000000},
    {"1g.10gb", "H100", "1g.10gb", SLICE_MIG, SLICE_NVIDIA, 90, 143, 10ull << 30, 400000000},
};
static const struct slurm_member_config config = {.pool = "p",
                                                  .partition = "serve",
                                                  .region = "somewhere",
                                                  .devices = devices,
                                                  .device_count = 2,
                                                  .core_price_nano_hour = 7,
                                                  .cores_per_gpu = 1};

/* What was told; texts that the tests compare are copied. */
struct told {
    struct slice_report slices[TOLD_MAX];
    char ids[TOLD_MAX][64], racks[TOLD_MAX][64], regions[TOLD_MAX][64];
    uint32_t count;
};

static void on_slice(void *context, const struct slice_report *report)
{
    struct told *told = context;
    uint32_t at = told->count++;

    assert_true(at < TOLD_MAX);
    told->slices[at] = *report;
    (void)snprintf(told->ids[at], sizeof(told->ids[at]), "%s", report->id);
    (void)snprintf(told->racks[at], sizeof(told->racks[at]), "%s",
                   report->rack != NULL ? report->rack : "");
    (void)snprintf(told->regions[at], sizeof(told->regions[at]), "%s",
                   report->region != NULL ? report->region : "");
}

static uint32_t place_of(const struct told *told, const char *id)
{
    for (uint32_t i = 0; i < told->count; i++)
        if (strcmp(told->ids[i], id) == 0)
            return i;
    fail_msg("no slice %s", id);
    return 0;
}

static const struct slice_report *slice_of(const struct told *told, const char *id)
{
    return &told->slices[place_of(told, id)];
}

static void holds_make(struct slurm_holds *holds, const char *jobs)
{
    json_t *list = json_loads(jobs, 0, NULL);

    assert_non_null(list);
    assert_int_equal(slurm_holds_init(holds), STATUS_OK);
    for (size_t i = 0; i < json_array_size(list); i++)
        assert_int_equal(slurm_holds_add(holds, &config, json_array_get(list, i)), STATUS_OK);
    json_decref(list);
}

static void tell(const char *node, const char *jobs, struct told *told)
{
    json_t *object = json_loads(node, 0, NULL);
    struct slurm_holds holds;

    assert_non_null(object);
    holds_make(&holds, jobs);
    *told = (struct told){.count = 0};
    slurm_node_report(object, &config, &holds, on_slice, told);
    slurm_holds_deinit(&holds);
    json_decref(object);
}

static void recorded_nodes_are_slices(void **state)
{
    json_t *answer = json_load_file("tests/data/slurm/nodes_38.json", 0, NULL);
    const json_t *nodes = json_object_get(answer, "nodes");
    struct told told = {.count = 0};
    struct slurm_holds holds;

    (void)state;
    assert_int_equal(json_array_size(nodes), 3);
    holds_make(&holds, "[]");
    for (size_t i = 0; i < json_array_size(nodes); i++)
        slurm_node_report(json_array_get(nodes, i), &config, &holds, on_slice, &told);
    assert_int_equal(told.count, 12);
    assert_int_equal(slice_of(&told, "n0/gpu:h100/0")->kind, SLICE_FRACTION);
    assert_int_equal(slice_of(&told, "n0/gpu:h100/0")->step_milli, 250);
    assert_int_equal(slice_of(&told, "n1/gpu:h100/0")->step_milli, 0);
    assert_int_equal(slice_of(&told, "n2/gpu:1g.10gb/0")->kind, SLICE_MIG);
    assert_string_equal(told.regions[place_of(&told, "n2/gpu:1g.10gb/0")], "us-east");
    /* One core is left on n0 and one GPU is used: all but one of the others cannot be started on. */
    assert_int_equal(slice_of(&told, "n0/gpu:h100/0")->compute_foreign_milli, 0);
    assert_int_equal(slice_of(&told, "n0/gpu:h100/1")->compute_foreign_milli, 1000);
    /* The recorded n1 says that its GPUs are in use. */
    assert_int_equal(slice_of(&told, "n1/gpu:h100/0")->compute_foreign_milli, 1000);
    slurm_holds_deinit(&holds);
    json_decref(answer);
}

static void newer_versions_forms_are_read(void **state)
{
    struct told told;

    (void)state;
    tell("{\"name\":\"a\",\"partitions\":[\"serve\"],\"state\":[\"IDLE\",\"DRAIN\"],\"reason\":"
         "\"fan\","
         "\"features\":[\"zone_x\",\"eu\"],\"topology\":\"spine.leaf3.a\",\"gres\":\"\","
         "\"cpus\":16,\"effective_cpus\":12,\"alloc_cpus\":2,\"real_memory\":1000,\"alloc_memory\":"
         "100}",
         "[]", &told);
    assert_int_equal(told.count, 1);
    assert_int_equal(told.slices[0].health, SLICE_DRAINING);
    assert_int_equal(told.slices[0].compute_milli, 12000);
    assert_int_equal(told.slices[0].compute_foreign_milli, 2000);
    assert_int_equal(told.slices[0].memory_foreign_bytes, 100ull << 20);
    assert_int_equal(told.slices[0].price_nano_hour, 84);
    assert_string_equal(told.racks[0], "leaf3");
    assert_string_equal(told.regions[0], "somewhere");
}

static void what_is_ours_is_not_told_as_others(void **state)
{
    static const char node[] =
        "{\"name\":\"a\",\"partitions\":[\"serve\"],\"state\":\"mixed\",\"gres\":\"gpu:h100:4\","
        "\"gres_used\":\"gpu:h100:2(IDX:0-1)\",\"cpus\":8,\"alloc_cpus\":2}";
    static const char jobs[] =
        "[{\"job_id\":1,\"job_state\":\"RUNNING\",\"nodes\":\"a\","
        "\"comment\":\"penstock=p;uid=0000000000000001;at=gpu:h100*1000*0;3@a\"}]";
    struct told told;

    (void)state;
    tell(node, jobs, &told);
    assert_int_equal(slice_of(&told, "a/gpu:h100/3")->compute_foreign_milli, 0);
    assert_int_equal(slice_of(&told, "a/gpu:h100/2")->compute_foreign_milli, 1000);
    assert_int_equal(slice_of(&told, "a/gpu:h100/1")->compute_foreign_milli, 0);
    assert_int_equal(slice_of(&told, "a/gpu:h100/0")->compute_foreign_milli, 0);
}

static void others_shards_are_counted_from_their_jobs(void **state)
{
    static const char node[] =
        "{\"name\":\"b1\",\"partitions\":[\"serve\"],\"state\":\"mixed\","
        "\"gres\":\"gpu:h100:2,shard:h100:8\",\"gres_used\":\"gpu:h100:0(IDX:N/A)\",\"cpus\":8}";
    static const char jobs[] =
        "[{\"job_id\":1,\"job_state\":\"RUNNING\",\"nodes\":\"b[0-1]\","
        "\"gres_detail\":[\"shard:1(IDX:0)\",\"shard:3(IDX:0)\"]},"
        "{\"job_id\":2,\"job_state\":\"PENDING\",\"nodes\":\"b1\",\"gres_detail\":[\"shard:4\"]},"
        "{\"job_id\":3,\"job_state\":\"RUNNING\",\"nodes\":\"b1\","
        "\"comment\":\"penstock=p;uid=0000000000000001;at=gpu:h100*500*0;0@b1\"}]";
    struct told told;

    (void)state;
    tell(node, jobs, &told);
    assert_int_equal(slice_of(&told, "b1/gpu:h100/0")->compute_foreign_milli, 500);
    assert_int_equal(slice_of(&told, "b1/gpu:h100/1")->compute_foreign_milli, 250);
}

static void nodes_of_other_partitions_and_what_is_no_node_are_left_out(void **state)
{
    struct told told;

    (void)state;
    tell("{\"name\":\"a\",\"partitions\":[\"batch\"],\"cpus\":8}", "[]", &told);
    assert_int_equal(told.count, 0);
    tell("{\"partitions\":[\"serve\"],\"cpus\":8}", "[]", &told);
    assert_int_equal(told.count, 0);
    tell("[1]", "[]", &told);
    assert_int_equal(told.count, 0);
}

static void an_unknown_device_has_no_memory(void **state)
{
    struct told told;

    (void)state;
    tell("{\"name\":\"a\",\"partitions\":[\"serve\"],\"gres\":\"gpu:mi300:1\",\"cpus\":8}", "[]",
         &told);
    assert_int_equal(told.count, 1);
    assert_int_equal(told.slices[0].memory_bytes, 0);
    assert_int_equal(told.slices[0].vendor, SLICE_OTHER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recorded_nodes_are_slices),
        cmocka_unit_test(newer_versions_forms_are_read),
        cmocka_unit_test(what_is_ours_is_not_told_as_others),
        cmocka_unit_test(others_shards_are_counted_from_their_jobs),
        cmocka_unit_test(nodes_of_other_partitions_and_what_is_no_node_are_left_out),
        cmocka_unit_test(an_unknown_device_has_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
