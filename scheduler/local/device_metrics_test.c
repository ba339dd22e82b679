#include "unit_test.h"

#include <stdbool.h>

#include "clock.h"
#include "device_metrics.h"

static struct device_list list;

static bool has_line(metrics_registry *registry, const char *line)
{
    struct buffer text;
    bool is_there;

    buffer_init(&text, 1 << 20);
    metrics_write(registry, METRICS_TEXT, &text);
    assert_int_equal(text.failed, STATUS_OK);
    is_there = text.data != NULL && strstr(text.data, line) != NULL;
    buffer_deinit(&text);
    return is_there;
}

static struct device *add(const char *id, uint32_t index)
{
    struct device *device = device_list_add(&list, SLICE_NVIDIA, SLICE_GPU);

    (void)snprintf(device->id, sizeof device->id, "%s", id);
    (void)snprintf(device->product, sizeof device->product, "H100");
    device->index = index;
    return device;
}

static void readings_have_their_names_and_units_and_end_with_their_device(void **state)
{
    metrics_registry *registry;
    struct device_metrics *metrics;
    struct device *device;

    (void)state;
    memset(&list, 0, sizeof list);
    assert_int_equal(metrics_registry_create(&registry), STATUS_OK);
    assert_int_equal(device_metrics_create(registry, "host1", &metrics), STATUS_OK);
    device = add("GPU-a", 0);
    device->readings[DEVICE_POWER_MW] = 250500;
    device->readings[DEVICE_GPU_UTILIZATION] = 40;
    device->memory_bytes = 3ull << 30;
    device->memory_used_bytes = 1ull << 30;
    device->xid = 31;
    (void)add("GPU-b", 1);
    device_metrics_set(metrics, &list, 1);
    assert_true(has_line(registry,
                         "DCGM_FI_DEV_POWER_USAGE{gpu=\"0\",UUID=\"GPU-a\",device=\"nvidia0\","
                         "modelName=\"H100\",Hostname=\"host1\",GPU_I_ID=\"\","
                         "GPU_I_PROFILE=\"\"} 250.5\n"));
    assert_true(has_line(registry, "DCGM_FI_DEV_FB_FREE{gpu=\"0\""));
    assert_true(has_line(registry, "GPU_I_PROFILE=\"\"} 2048\n"));
    assert_true(has_line(registry, "GPU_I_PROFILE=\"\"} 31\n"));
    assert_false(has_line(registry, "DCGM_FI_DEV_GPU_TEMP{"));
    assert_false(has_line(registry, "DCGM_FI_DEV_GPU_UTIL{gpu=\"1\""));
    /* A reading that is not told any more, then a device that is gone. */
    device->readings[DEVICE_GPU_UTILIZATION] = DEVICE_UNKNOWN;
    device_metrics_set(metrics, &list, 1);
    assert_false(has_line(registry, "DCGM_FI_DEV_GPU_UTIL{"));
    assert_true(has_line(registry, "DCGM_FI_DEV_POWER_USAGE{"));
    list.count = 0;
    device_metrics_set(metrics, &list, 1);
    assert_false(has_line(registry, "UUID="));
    device_metrics_destroy(metrics);
    metrics_registry_destroy(registry);
}

static void an_instance_is_named_beside_its_gpu(void **state)
{
    metrics_registry *registry;
    struct device_metrics *metrics;
    struct device *device;

    (void)state;
    memset(&list, 0, sizeof list);
    assert_int_equal(metrics_registry_create(&registry), STATUS_OK);
    assert_int_equal(device_metrics_create(registry, "host1", &metrics), STATUS_OK);
    device = add("MIG-x", 0);
    device->kind = SLICE_MIG;
    device->gpu_instance = 7;
    (void)snprintf(device->parent, sizeof device->parent, "GPU-a");
    (void)snprintf(device->profile, sizeof device->profile, "1g.10gb");
    device_metrics_set(metrics, &list, 1);
    assert_true(has_line(registry, "DCGM_FI_DEV_XID_ERRORS{gpu=\"0\",UUID=\"GPU-a\""));
    assert_true(has_line(registry, "GPU_I_ID=\"7\",GPU_I_PROFILE=\"1g.10gb\"} 0\n"));
    device_metrics_destroy(metrics);
    metrics_registry_destroy(registry);
}

static const char *energy_line(const char *value)
{
    static char line[256];

    (void)snprintf(
        line, sizeof line,
        "penstock_device_energy_joules_total{gpu=\"0\",UUID=\"GPU-a\",device=\"nvidia0\","
        "modelName=\"H100\",Hostname=\"host1\",GPU_I_ID=\"\",GPU_I_PROFILE=\"\"} %s\n",
        value);
    return line;
}

static void energy_is_the_devices_counter_or_its_power_over_time(void **state)
{
    metrics_registry *registry;
    struct device_metrics *metrics;
    struct device *device;

    (void)state;
    memset(&list, 0, sizeof list);
    assert_int_equal(metrics_registry_create(&registry), STATUS_OK);
    assert_int_equal(device_metrics_create(registry, "host1", &metrics), STATUS_OK);
    device = add("GPU-a", 0);
    device_metrics_set(metrics, &list, 1 * NS_PER_SECOND);
    assert_false(has_line(registry, "penstock_device_energy_joules_total"));
    device->readings[DEVICE_POWER_MW] = 300000;
    device_metrics_set(metrics, &list, 2 * NS_PER_SECOND);
    assert_true(has_line(registry, energy_line("0")));
    device_metrics_set(metrics, &list, 12 * NS_PER_SECOND); /* 300 W for 10 s */
    assert_true(has_line(registry, energy_line("3000")));
    device->readings[DEVICE_ENERGY_MJ] = 7000000; /* the counter's first word says nothing */
    device->readings[DEVICE_POWER_MW] = 100000;
    device_metrics_set(metrics, &list, 13 * NS_PER_SECOND);
    assert_true(has_line(registry, energy_line("3300")));
    device->readings[DEVICE_ENERGY_MJ] = 7250500;
    device_metrics_set(metrics, &list, 14 * NS_PER_SECOND);
    assert_true(has_line(registry, energy_line("3550.5")));
    device->readings[DEVICE_ENERGY_MJ] = 20; /* the driver was loaded again: 100 W for 2 s */
    device_metrics_set(metrics, &list, 16 * NS_PER_SECOND);
    assert_true(has_line(registry, energy_line("3750.5")));
    list.count = 0;
    device_metrics_set(metrics, &list, 17 * NS_PER_SECOND);
    assert_false(has_line(registry, "penstock_device_energy_joules_total"));
    device_metrics_destroy(metrics);
    metrics_registry_destroy(registry);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readings_have_their_names_and_units_and_end_with_their_device),
        cmocka_unit_test(an_instance_is_named_beside_its_gpu),
        cmocka_unit_test(energy_is_the_devices_counter_or_its_power_over_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
