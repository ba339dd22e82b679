#include "unit_test.h"

#include "kube_pod.h"
#include "kube_text.h"

/* Pods as a real control plane answered them (tests/data/kube), with our labels put on. */

static json_t *recorded_pod(const char *name)
{
    char path[256];
    (void)snprintf(path, sizeof(path), "tests/data/kube/%s.json", name);
    json_t *file = json_load_file(path, 0, NULL);
    json_t *body = json_object_get(file, "response");
    json_t *items = json_object_get(body, "items");
    json_t *pod = json_incref(items != NULL ? json_array_get(items, 0) : body);
    assert_non_null(pod);
    json_t *labels = kube_get(pod, "metadata", "labels", NULL);
    assert_int_equal(json_object_set_new(labels, KUBE_LABEL_UID, json_string("00000000000000ff")),
                     0);
    json_decref(file);
    return pod;
}

static json_t *node_build(const char *ready)
{
    return json_pack("{s:{s:[{s:s, s:s}]}}", "status", "conditions", "type", "Ready", "status",
                     ready);
}

static void condition_add(json_t *pod, const char *reason)
{
    json_t *condition = json_pack("{s:s, s:s, s:s}", "type", "DisruptionTarget", "status", "True",
                                  "reason", reason);
    assert_int_equal(json_array_append_new(kube_get(pod, "status", "conditions", NULL), condition),
                     0);
}

static void a_pod_that_finds_no_room_is_pending_with_the_schedulers_words(void **state)
{
    (void)state;
    json_t *pod = recorded_pod("pods_pending");
    struct kube_pod_state read;
    assert_true(kube_pod_read(pod, NULL, false, false, &read));
    assert_int_equal(read.uid, 255);
    assert_int_equal(read.phase, MEMBER_REPLICA_PENDING);
    assert_non_null(strstr(read.text, "Unschedulable: 0/3 nodes are available"));
    json_decref(pod);
}

static void a_gated_pod_is_pending(void **state)
{
    (void)state;
    json_t *pod = recorded_pod("pod_ungate");
    struct kube_pod_state read;
    assert_true(kube_pod_read(pod, NULL, false, false, &read));
    assert_int_equal(read.phase, MEMBER_REPLICA_PENDING);
    assert_non_null(strstr(read.text, "SchedulingGated"));
    json_decref(pod);
}

static void a_running_pod_runs(void **state)
{
    (void)state;
    json_t *pod = recorded_pod("pods_dra_list");
    struct kube_pod_state read;
    assert_true(kube_pod_read(pod, NULL, false, false, &read));
    assert_int_equal(read.phase, MEMBER_REPLICA_RUNNING);
    assert_string_equal(read.node, "n1");
    json_decref(pod);
}

static void a_pod_that_ends_says_when_and_its_dead_node_takes_it(void **state)
{
    (void)state;
    json_t *pod = recorded_pod("pod_delete"), *up = node_build("True"),
           *down = node_build("Unknown");
    struct kube_pod_state read;
    assert_true(kube_pod_read(pod, up, false, false, &read));
    assert_int_equal(read.phase, MEMBER_REPLICA_STOPPING);
    assert_int_equal(read.ends_ms, 1795230002000); /* 2026-11-21T03:00:02Z */
    assert_true(kube_pod_read(pod, down, false, false, &read));
    assert_int_equal(read.phase, MEMBER_REPLICA_FAILED);
    assert_int_equal(read.cause, MEMBER_CAUSE_NODE);
    assert_true(kube_pod_read(pod, down, true, false, &read));
    assert_int_equal(read.phase, MEMBER_REPLICA_ENDED);
    json_decref(pod);
    json_decref(up);
    json_decref(down);
}

static void the_cause_of_an_end_is_told_apart(void **state)
{
    (void)state;
    static const struct {
        const char *reason;
        enum member_cause cause;
    } cases[] = {{"PreemptionByScheduler", MEMBER_CAUSE_PREEMPTED},
                 {"EvictionByEvictionAPI", MEMBER_CAUSE_PREEMPTED},
                 {"DeletionByTaintManager", MEMBER_CAUSE_NODE},
                 {"TerminationByKubelet", MEMBER_CAUSE_NODE}};
    struct kube_pod_state read;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        json_t *pod = recorded_pod("pod_delete");
        condition_add(pod, cases[i].reason);
        assert_true(kube_pod_read(pod, NULL, false, true, &read));
        assert_int_equal(read.phase, MEMBER_REPLICA_FAILED);
        assert_int_equal(read.cause, cases[i].cause);
        assert_true(kube_pod_read(pod, NULL, true, true, &read));
        assert_int_equal(read.phase, MEMBER_REPLICA_ENDED);
        json_decref(pod);
    }
}

static void a_pod_of_somebody_else_is_none_of_ours(void **state)
{
    (void)state;
    static const char *const wrong[] = {"", "0000000000000000", "ff", "00000000000000fg"};
    json_t *pod = recorded_pod("pods_dra_list");
    struct kube_pod_state read;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        (void)json_object_set_new(kube_get(pod, "metadata", "labels", NULL), KUBE_LABEL_UID,
                                  json_string(wrong[i]));
        assert_false(kube_pod_read(pod, NULL, false, false, &read));
    }
    json_decref(pod);
}

static void a_name_fits_a_label_and_keeps_the_uid(void **state)
{
    (void)state;
    char name[64];
    struct member_order order = {.uid = 255, .name = "m"};
    kube_pod_name(&order, 3, name);
    assert_string_equal(name, "m-00000000000000ff-3");
    order.name = "a-name-that-is-much-too-long-for-a-pod---and-then-some";
    kube_pod_name(&order, 9999, name);
    assert_true(strlen(name) <= 63);
    assert_non_null(strstr(name, "-00000000000000ff-9999"));
}

/* --- what is asked for --- */

static const struct kube_slice gpu = {
    .report = {.id = "n0/nvidia.com/gpu#1", .node = "n0", .kind = SLICE_GPU, .compute_milli = 1000},
    .resource = "nvidia.com/gpu",
    .class_name = "",
    .selector = ""};
static const struct kube_slice cores = {
    .report = {.id = "n0/cpu", .node = "n0", .kind = SLICE_CPU_SET, .compute_milli = 8000},
    .resource = "cpu",
    .class_name = "",
    .selector = ""};
static const struct kube_slice device = {
    .report = {.id = "d/n0/gpu-0", .kind = SLICE_FRACTION, .compute_milli = 1000},
    .resource = "",
    .class_name = "gpu.example.com",
    .selector = "device.attributes[\"d\"].uuid == \"GPU-0\"",
    .is_shared = true,
    .compute_units = 7};

static struct member_part part = {"n0/nvidia.com/gpu#1", 1000, 300};

static struct member_order order_make(void)
{
    static const char *const arguments[] = {"/bin/penstock", "replica", "--join", NULL};
    return (struct member_order){.uid = 255,
                                 .name = "m",
                                 .arguments = arguments,
                                 .image = "",
                                 .parts = &part,
                                 .part_count = 1,
                                 .grace_ns = 1500000000ull};
}

static json_t *pod_built(const struct member_order *order, const struct kube_member_config *config,
                         const struct kube_slice *slice)
{
    struct error_note note;
    json_t *pod = NULL;
    assert_int_equal(kube_pod_build(order, 0, config, slice, &pod, &note), STATUS_OK);
    return pod;
}

static const json_t *container_of(const json_t *pod)
{
    return json_array_get(kube_get(pod, "spec", "containers", NULL), 0);
}

static const json_t *variable_of(const json_t *pod, const char *name)
{
    const json_t *found = NULL;
    size_t i;
    json_t *item;
    json_array_foreach(kube_get(container_of(pod), "env", NULL), i, item)
    {
        if (strcmp(kube_text(item, "name"), name) == 0) {
            assert_null(found);
            found = item;
        }
    }
    return found;
}

static void a_pod_can_be_booked_by_who_finds_it(void **state)
{
    (void)state;
    const struct kube_member_config config = {.pool = "p", .image = "img"};
    struct member_order order = order_make();
    json_t *pod = pod_built(&order, &config, &gpu);
    struct kube_pod_state read;
    assert_true(kube_pod_read(pod, NULL, false, false, &read));
    assert_int_equal(read.uid, 255);
    assert_string_equal(read.order_name, "m");
    assert_string_equal(read.part.slice_id, part.slice_id);
    assert_int_equal(read.part.memory_bytes, part.memory_bytes);
    assert_int_equal(read.part.compute_milli, part.compute_milli);
    assert_int_equal(read.parts, 1);
    assert_false(read.is_gated);
    assert_int_equal(
        json_integer_value(kube_get(pod, "spec", "terminationGracePeriodSeconds", NULL)), 2);
    json_decref(pod);
}

static void variables_are_taken_as_they_are_and_the_last_of_a_name_counts(void **state)
{
    (void)state;
    static const char *const environment[] = {"A=$(B) $$", "A=$(C)",  "=none",           "no",
                                              "E=",        "HOME=/h", "PENSTOCK_PART=9", NULL};
    const struct kube_member_config config = {.pool = "p", .image = "img"};
    struct member_order order = order_make();
    order.environment = environment;
    json_t *pod = pod_built(&order, &config, &gpu);
    assert_string_equal(kube_text(variable_of(pod, "A"), "value"), "$$(C)");
    assert_string_equal(kube_text(variable_of(pod, "E"), "value"), "");
    assert_string_equal(kube_text(variable_of(pod, "HOME"), "value"), "/h");
    assert_string_equal(kube_text(variable_of(pod, "PENSTOCK_PART"), "value"), "0");
    assert_string_equal(kube_text(variable_of(pod, "PENSTOCK_PARTS"), "value"), "1");
    assert_string_equal(
        kube_text(variable_of(pod, "PENSTOCK_ADDRESS"), "valueFrom", "fieldRef", "fieldPath"),
        "status.podIP");
    assert_null(variable_of(pod, ""));
    assert_null(variable_of(pod, "no"));
    json_decref(pod);
}

static void an_order_takes_the_highest_class_that_is_not_above_it(void **state)
{
    (void)state;
    static const struct kube_member_priority rows[] = {{100, "high"}, {-5, "low"}};
    static const struct {
        int32_t priority;
        const char *truth;
    } cases[] = {{INT32_MIN, ""}, {-6, ""},      {-5, "low"},
                 {99, "low"},     {100, "high"}, {INT32_MAX, "high"}};
    const struct kube_member_config config = {
        .pool = "p", .image = "img", .priorities = rows, .priority_count = 2};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct member_order order = order_make();
        order.priority = cases[i].priority;
        json_t *pod = pod_built(&order, &config, &gpu);
        assert_string_equal(kube_text(pod, "spec", "priorityClassName"), cases[i].truth);
        json_decref(pod);
    }
}

static void cores_are_asked_for_with_a_limit_of_the_same(void **state)
{
    (void)state;
    const struct kube_member_config config = {
        .pool = "p", .image = "img", .cores_per_device = 3, .host_memory_bytes = 77};
    struct member_order order = order_make();
    part.compute_milli = 2000;
    json_t *pod = pod_built(&order, &config, &cores);
    const json_t *resources = kube_get(container_of(pod), "resources", NULL);
    assert_string_equal(kube_text(resources, "limits", "cpu"), "2000m");
    assert_string_equal(kube_text(resources, "limits", "memory"), "1000");
    assert_true(
        json_equal(kube_get(resources, "limits", NULL), kube_get(resources, "requests", NULL)));
    json_decref(pod);
    part.compute_milli = 300;
    pod = pod_built(&order, &config, &gpu);
    resources = kube_get(container_of(pod), "resources", NULL);
    assert_string_equal(kube_text(resources, "limits", "nvidia.com/gpu"), "1");
    assert_null(kube_get(resources, "limits", "cpu", NULL));
    assert_string_equal(kube_text(resources, "requests", "cpu"), "3000m");
    assert_string_equal(kube_text(resources, "requests", "memory"), "77");
    json_decref(pod);
}

static void a_share_is_claimed_by_its_capacity(void **state)
{
    (void)state;
    const struct kube_member_config config = {.pool = "p", .image = "img"};
    struct member_order order = order_make();
    json_t *claim = NULL;
    assert_int_equal(kube_claim_build(&order, 0, &config, &device, "v1", "u", &claim), STATUS_OK);
    const json_t *request = json_array_get(kube_get(claim, "spec", "devices", "requests", NULL), 0);
    const json_t *wished = kube_get(request, "exactly", "capacity", "requests", NULL);
    assert_string_equal(kube_text(wished, "memory"), "1000");
    assert_string_equal(kube_text(wished, "compute"), "3"); /* 300 of 1000 thousandths of 7, up */
    assert_string_equal(
        kube_text(json_array_get(kube_get(claim, "metadata", "ownerReferences", NULL), 0), "uid"),
        "u");
    json_t *pod = pod_built(&order, &config, &device);
    assert_string_equal(kube_text(json_array_get(kube_get(pod, "spec", "resourceClaims", NULL), 0),
                                  "resourceClaimName"),
                        kube_text(claim, "metadata", "name"));
    json_decref(pod);
    json_decref(claim);
}

static void without_an_image_there_is_no_pod(void **state)
{
    (void)state;
    const struct kube_member_config config = {.pool = "p"};
    struct member_order order = order_make();
    struct error_note note;
    json_t *pod = NULL;
    assert_int_equal(kube_pod_build(&order, 0, &config, &gpu, &pod, &note), STATUS_INVALID);
    assert_non_null(strstr(note.text, "image"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pod_that_finds_no_room_is_pending_with_the_schedulers_words),
        cmocka_unit_test(a_gated_pod_is_pending),
        cmocka_unit_test(a_running_pod_runs),
        cmocka_unit_test(a_pod_that_ends_says_when_and_its_dead_node_takes_it),
        cmocka_unit_test(the_cause_of_an_end_is_told_apart),
        cmocka_unit_test(a_pod_of_somebody_else_is_none_of_ours),
        cmocka_unit_test(a_name_fits_a_label_and_keeps_the_uid),
        cmocka_unit_test(a_pod_can_be_booked_by_who_finds_it),
        cmocka_unit_test(variables_are_taken_as_they_are_and_the_last_of_a_name_counts),
        cmocka_unit_test(an_order_takes_the_highest_class_that_is_not_above_it),
        cmocka_unit_test(cores_are_asked_for_with_a_limit_of_the_same),
        cmocka_unit_test(a_share_is_claimed_by_its_capacity),
        cmocka_unit_test(without_an_image_there_is_no_pod),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
