#include "local_world.h"

/* --- devices --- */

static bool is_sound(const struct heard_slice *slice)
{
    return slice->health == SLICE_OK;
}

static bool has_no_foreign_memory(const struct heard_slice *slice)
{
    return !slice->is_gone && slice->memory_foreign_bytes == 0;
}

static void gpus_are_slices_and_replicas_see_their_own(void **state)
{
    const struct local_member_config config = device_config();
    struct heard_slice slice;
    struct order order;

    (void)state;
    host_make(8);
    driver_make(&config);
    follow_begin();
    slice = await_slice("here/GPU-3", is_there);
    assert_int_equal(slice.kind, SLICE_GPU);
    assert_int_equal(slice.vendor, SLICE_NVIDIA);
    assert_int_equal(slice.price_nano_hour, 9);
    assert_int_equal(slice.memory_foreign_bytes, GIB);
    assert_string_equal(slice.nvlink, "nvlink0");
    assert_string_equal(slice.region, "west");
    order_make(&order, 80, "wait", 1000);
    order.parts[0].slice_id = "here/GPU-3";
    assert_int_equal(start(&order), STATUS_OK);
    assert_says(&order, "CUDA_VISIBLE_DEVICES=GPU-3");
    fake->gpus[3].process_memory = GIB;
    fake->gpus[3].process_pid = (unsigned)pid_of(80);
    (void)await_slice("here/GPU-3", has_no_foreign_memory);
    device_driver_end();
    assert_int_equal(world.slice_count, 9);
}

static void instances_come_and_go_as_the_gpu_is_cut(void **state)
{
    const struct local_member_config config = device_config();
    struct heard_slice slice;
    struct order order;

    (void)state;
    host_make(2);
    driver_make(&config);
    follow_begin();
    (void)await_slice("here/GPU-0", is_there);
    fake->gpus[0].instances[0] = (struct fake_instance){1, 0, 3, 3, 40448};
    fake->gpus[0].instances[1] = (struct fake_instance){7, 0, 1, 1, 9856};
    fake->gpus[0].is_mig = 1;
    (void)await_slice("here/GPU-0", is_gone);
    slice = await_slice("here/MIG-GPU-0-7", is_there);
    assert_int_equal(slice.kind, SLICE_MIG);
    assert_int_equal(slice.compute_milli, 143);
    order_make(&order, 81, "wait", 143);
    order.parts[0].slice_id = "here/MIG-GPU-0-7";
    assert_int_equal(start(&order), STATUS_OK);
    assert_says(&order, "CUDA_VISIBLE_DEVICES=MIG-GPU-0-7");
    device_driver_end();
}

static void card_make(void)
{
    static const char *const names[][2] = {{"vendor", "0x1002"},
                                           {"unique_id", "00112233aabbccdd"},
                                           {"mem_info_vram_total", "68719476736"},
                                           {"mem_info_vram_used", "0"}};
    char path[200];

    (void)snprintf(path, sizeof path, "mkdir -p %s/class/drm/card0/device", folder);
    assert_int_equal(system(path), 0);
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        FILE *file;

        (void)snprintf(path, sizeof path, "%s/class/drm/card0/device/%s", folder, names[i][0]);
        file = fopen(path, "we");
        assert_true(fputs(names[i][1], file) >= 0);
        assert_int_equal(fclose(file), 0);
    }
}

static void vendors_are_mixed(void **state)
{
    const struct local_member_config config = device_config();
    struct heard_slice slice;

    (void)state;
    host_make(1);
    card_make();
    driver_make(&config);
    follow_begin();
    slice = await_slice("here/AMD-00112233aabbccdd", is_there);
    assert_int_equal(slice.vendor, SLICE_AMD);
    assert_int_equal(slice.price_nano_hour, 7);
    (void)await_slice("here/GPU-0", is_there);
    (void)await_slice("here/cpu", is_there);
    device_driver_end();
}

static void the_node_is_to_blame_when_its_device_broke(void **state)
{
    const struct local_member_config config = device_config();
    struct heard_slice slice;
    struct heard_replica told;
    struct order order;

    (void)state;
    host_make(2);
    driver_make(&config);
    follow_begin();
    (void)await_slice("here/GPU-1", is_there);
    order_make(&order, 90, "wait", 1000);
    order.parts[0].slice_id = "here/GPU-1";
    assert_int_equal(start(&order), STATUS_OK);
    (void)await_phase(90, MEMBER_REPLICA_RUNNING);
    fake->xid_gpu = 1;
    fake->xid_gpu_instance = UINT32_MAX;
    fake->xid = 79;
    slice = await_slice("here/GPU-1", is_bad);
    assert_string_equal(slice.reason, "Xid 79: the GPU has fallen off the bus");
    (void)await_slice("here/GPU-0", is_sound);
    assert_int_equal(kill(pid_of(90), SIGABRT), 0);
    told = await_phase(90, MEMBER_REPLICA_FAILED);
    assert_int_equal(told.cause, MEMBER_CAUSE_NODE);
    assert_string_equal(told.reason, "was ended by signal 6 (SIGABRT), after Xid 79: the GPU has "
                                     "fallen off the bus");
    device_driver_end();
}

static bool is_unknown(const struct heard_slice *slice)
{
    return slice->health == SLICE_UNKNOWN;
}

static void devices_of_a_driver_that_hangs_are_unknown(void **state)
{
    const struct local_member_config config = device_config();
    struct heard_slice slice;

    (void)state;
    host_make(2);
    driver_make(&config);
    follow_begin();
    (void)await_slice("here/GPU-1", is_there);
    fake->is_hanging = 1;
    slice = await_slice("here/GPU-1", is_unknown);
    assert_non_null(strstr(slice.reason, "has not answered"));
    fake->is_hanging = 0;
    (void)await_slice("here/GPU-1", is_sound);
    device_driver_end();
}

static void files_of_devices_have_their_numbers(void **state)
{
    (void)state;
    assert_int_equal(local_nvidia_minor("Model: \t NVIDIA H100\nDevice Minor: \t 3\nGPU: x\n"), 3);
    assert_int_equal(local_nvidia_minor("Device Minor: \t\n"), -1);
    assert_int_equal(local_nvidia_minor("Device Minor: 9999999\n"), -1);
    assert_int_equal(local_nvidia_minor(""), -1);
}

int main(int count, char **arguments)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(gpus_are_slices_and_replicas_see_their_own, world_end),
        cmocka_unit_test_teardown(instances_come_and_go_as_the_gpu_is_cut, world_end),
        cmocka_unit_test_teardown(vendors_are_mixed, world_end),
        cmocka_unit_test_teardown(the_node_is_to_blame_when_its_device_broke, world_end),
        cmocka_unit_test_teardown(devices_of_a_driver_that_hangs_are_unknown, world_end),
        cmocka_unit_test_teardown(files_of_devices_have_their_numbers, world_end),
    };

    return LOCAL_WORLD_RUN(count, arguments, tests);
}
