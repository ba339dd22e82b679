#include "unit_test.h"

#include "buffer.h"
#include "kube_text.h"
#include "kube_view.h"

/* What a real control plane answered (tests/data/kube), read by the working directory of the tests: the source tree. */

static json_t *recorded(const char *name)
{
    char path[256];
    (void)snprintf(path, sizeof(path), "tests/data/kube/%s.json", name);
    json_t *file = json_load_file(path, 0, NULL);
    assert_non_null(file);
    json_t *body = json_incref(json_object_get(file, "response"));
    json_decref(file);
    return body;
}

/* Objects of a list, or one object, by their key. */
static json_t *objects_of(json_t *objects, const char *name)
{
    json_t *body = recorded(name);
    json_t *items = json_object_get(body, "items");
    json_t *one = items == NULL ? json_pack("[O]", body) : json_incref(items);
    size_t i;
    json_t *item;
    if (objects == NULL)
        objects = json_object();
    json_array_foreach(one, i, item)
    {
        char key[256];
        (void)snprintf(key, sizeof(key), "%s/%s", kube_text(item, "metadata", "namespace"),
                       kube_text(item, "metadata", "name"));
        assert_int_equal(json_object_set(objects, key, item), 0);
    }
    json_decref(one);
    json_decref(body);
    return objects;
}

static const struct kube_member_config config = {.pool = "p", .region = "eu-de"};

struct world {
    struct kube_objects objects;
    struct kube_view *view;
};

static void world_view(struct world *world, const struct kube_member_config *settings)
{
    assert_int_equal(kube_view_create(settings, &world->objects, &world->view), STATUS_OK);
}

static void world_end(struct world *world)
{
    kube_view_destroy(world->view);
    json_decref((json_t *)world->objects.nodes);
    json_decref((json_t *)world->objects.usages);
    json_decref((json_t *)world->objects.devices);
    json_decref((json_t *)world->objects.claims);
    json_decref((json_t *)world->objects.classes);
}

static const struct slice_report *report_of(const struct world *world, const char *id)
{
    const struct kube_slice *slice = kube_view_find(world->view, id);
    assert_non_null(slice);
    return &slice->report;
}

static void nodes_are_slices_of_their_devices(void **state)
{
    (void)state;
    struct world world = {.objects.nodes = objects_of(NULL, "nodes_page1")};
    world_view(&world, &config);
    assert_int_equal(world.view->count, 16);
    const struct slice_report *report = report_of(&world, "n0/nvidia.com/gpu#7");
    assert_string_equal(report->node, "n0");
    assert_string_equal(report->region, "eu-de");
    assert_string_equal(report->zone, "eu-de-a");
    assert_string_equal(report->product, "NVIDIA-H100-80GB-HBM3");
    assert_int_equal(report->memory_bytes, 81559ull << 20);
    assert_int_equal(report->kind, SLICE_GPU);
    assert_int_equal(report->vendor, SLICE_NVIDIA);
    assert_int_equal(report->health, SLICE_OK);
    assert_int_equal(report->compute_milli, 1000);
    assert_int_equal(report->compute_foreign_milli, 0);
    world_end(&world);
}

static void others_pods_take_the_last_devices_and_ours_none(void **state)
{
    (void)state;
    json_t *usages =
        json_pack("{s:{s:s, s:s, s:s, s:{s:i}}, s:{s:s, s:s, s:s, s:{s:i}}}", "a/x", "node", "n0",
                  "pool", "", "slice", "", "requests", "nvidia.com/gpu", 2000, "a/y", "node", "n0",
                  "pool", "p", "slice", "n0/nvidia.com/gpu#7", "requests", "nvidia.com/gpu", 1000);
    struct world world = {.objects = {.nodes = objects_of(NULL, "nodes_page1"), .usages = usages}};
    world_view(&world, &config);
    assert_int_equal(report_of(&world, "n0/nvidia.com/gpu#7")->compute_foreign_milli, 0);
    assert_int_equal(report_of(&world, "n0/nvidia.com/gpu#6")->compute_foreign_milli, 1000);
    assert_int_equal(report_of(&world, "n0/nvidia.com/gpu#5")->compute_foreign_milli, 1000);
    assert_int_equal(report_of(&world, "n0/nvidia.com/gpu#4")->compute_foreign_milli, 0);
    assert_int_equal(report_of(&world, "n1/nvidia.com/gpu#7")->compute_foreign_milli, 0);
    world_end(&world);
}

static void devices_are_slices_with_their_topology_and_claims_take_them(void **state)
{
    (void)state;
    struct world world = {.objects = {.nodes = objects_of(NULL, "nodes_list"),
                                      .devices = objects_of(NULL, "resourceslices_list"),
                                      .claims = objects_of(NULL, "resourceclaims_list"),
                                      .classes = objects_of(NULL, "deviceclass_create")}};
    world_view(&world, &config);
    const struct slice_report *report = report_of(&world, "gpu.example.com/n0/gpu-0");
    assert_string_equal(report->node, "n0");
    assert_string_equal(report->zone, "eu-de-a");
    assert_string_equal(report->product, "NVIDIA H100 80GB HBM3");
    assert_string_equal(report->pcie_root, "pci0000:00");
    assert_string_equal(report->nvlink_domain, "d0");
    assert_int_equal(report->compute_capability, 90);
    assert_int_equal(report->numa, 0);
    assert_int_equal(report->memory_bytes, 80ull << 30);
    assert_int_equal(report->vendor, SLICE_NVIDIA);
    assert_int_equal(report->health, SLICE_OK);
    const struct kube_slice *slice = kube_view_find(world.view, report->id);
    assert_string_equal(slice->class_name, "gpu.example.com");
    assert_string_equal(slice->selector,
                        "device.attributes[\"gpu.example.com\"].uuid == \"GPU-n0-0\"");
    uint32_t taken = 0;
    for (uint32_t i = 0; i < world.view->count; i++)
        taken += *world.view->slices[i].resource == '\0' &&
                 world.view->slices[i].report.compute_foreign_milli == 1000;
    /* Three claims of two devices each were recorded. */
    assert_int_equal(taken, 6);
    world_end(&world);
}

static void a_shared_device_has_left_what_claims_have_not_consumed(void **state)
{
    (void)state;
    struct world world = {
        .objects = {.devices = objects_of(NULL, "resourceslice_consumable_create"),
                    .claims = objects_of(NULL, "resourceclaims_consumable")}};
    world_view(&world, &config);
    assert_int_equal(world.view->count, 1);
    const struct slice_report *report = report_of(&world, "frac.example.com/n2/gpu-0");
    assert_int_equal(report->kind, SLICE_FRACTION);
    assert_int_equal(report->memory_foreign_bytes, 45ull << 30);
    assert_int_equal(report->compute_foreign_milli, 600);
    assert_int_equal(report->step_milli, 10);
    assert_int_equal(report->tenants_max, 16);
    world_end(&world);
}

static void partitions_that_exclude_one_another_are_never_side_by_side(void **state)
{
    (void)state;
    json_t *devices = objects_of(NULL, "resourceslice_partitions_create");
    devices = objects_of(devices, "resourceslice_counters_create");
    struct world world = {.objects.devices = devices};
    world_view(&world, &config);
    assert_int_equal(world.view->count, 1);
    assert_int_equal(report_of(&world, "mig.example.com/mig-n2/gpu-0-full")->memory_bytes,
                     80ull << 30);
    kube_view_destroy(world.view);
    struct kube_member_config cut = config;
    cut.partition_profile = "1g.10gb";
    world_view(&world, &cut);
    assert_int_equal(world.view->count, 7);
    assert_int_equal(report_of(&world, "mig.example.com/mig-n2/mig-1g-6")->compute_milli, 143);
    world_end(&world);
}

static void a_pool_that_is_not_all_there_takes_nothing_new(void **state)
{
    (void)state;
    struct world world = {.objects.devices = objects_of(NULL, "resourceslice_partitions_create"),
                          .objects.classes = objects_of(NULL, "deviceclass_create")};
    world_view(&world, &config);
    for (uint32_t i = 0; i < world.view->count; i++)
        assert_int_not_equal(world.view->slices[i].report.health, SLICE_OK);
    world_end(&world);
}

static void a_pods_requests_are_summed_as_the_scheduler_sums_them(void **state)
{
    (void)state;
    json_t *pod = json_loads(
        "{\"metadata\":{},\"spec\":{\"nodeName\":\"n0\",\"overhead\":{\"cpu\":\"250m\"},"
        "\"containers\":["
        "{\"resources\":{\"requests\":{\"cpu\":\"1\"}}},{\"resources\":{\"requests\":{\"cpu\":"
        "\"500m\"}}}],"
        "\"initContainers\":[{\"restartPolicy\":\"Always\",\"resources\":{\"requests\":{\"cpu\":"
        "\"2\"}}},"
        "{\"resources\":{\"requests\":{\"cpu\":\"3\"}}}]},\"status\":{\"phase\":\"Running\"}}",
        0, NULL);
    assert_non_null(pod);
    json_t *usage = kube_pod_usage(pod);
    /* max(1 + 0.5 + 2, 2 + 3) + 0.25 */
    assert_int_equal(json_integer_value(kube_get(usage, "requests", "cpu", NULL)), 5250);
    json_decref(usage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_are_slices_of_their_devices),
        cmocka_unit_test(others_pods_take_the_last_devices_and_ours_none),
        cmocka_unit_test(devices_are_slices_with_their_topology_and_claims_take_them),
        cmocka_unit_test(a_shared_device_has_left_what_claims_have_not_consumed),
        cmocka_unit_test(partitions_that_exclude_one_another_are_never_side_by_side),
        cmocka_unit_test(a_pool_that_is_not_all_there_takes_nothing_new),
        cmocka_unit_test(a_pods_requests_are_summed_as_the_scheduler_sums_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
