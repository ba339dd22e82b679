#include "unit_test.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <unistd.h>

#include "clock.h"
#include "fake_nvml.h"
#include "nvml_source.h"

#define GIB (1ull << 30)

static char library[512], old_library[512];
static struct fake_nvml *fake;
static struct device_list list;

static const char *const uuids[] = {"GPU-0", "GPU-1", "GPU-2", "GPU-3",
                                    "GPU-4", "GPU-5", "GPU-6", "GPU-7"};

/* A host as NVIDIA builds them: eight GPUs at NVSwitches, two at a PCIe switch, four at a socket. */
static int host_make(void **state)
{
    (void)state;
    memset(fake, 0, sizeof *fake);
    fake->count = 8;
    for (unsigned i = 0; i < 8; i++) {
        fake->gpus[i] = (struct fake_gpu){.name = "NVIDIA H100 80GB HBM3",
                                          .uuid = uuids[i],
                                          .bus = 0x10 + i,
                                          .major = 9,
                                          .numa = i < 4 ? 0 : 1,
                                          .memory_total = 80 * GIB,
                                          .memory_used = i * GIB,
                                          .utilization = 10 * i,
                                          .temperature = 40 + i,
                                          .power_mw = 100000 + i,
                                          .links = 18,
                                          .link_type = 2};
        for (unsigned k = 0; k < 8; k++)
            fake->ancestors[i][k] = i / 2 == k / 2 ? 20 : i / 4 == k / 4 ? 40 : 50;
    }
    return 0;
}

static struct device_source source_make(const char *path)
{
    const struct nvml_source_options options = {.library = path, .sysfs = "/nowhere"};
    struct device_source source;

    assert_int_equal(nvml_source_create(&options, &source), STATUS_OK);
    return source;
}

/* One reading. */
static status scan(const char *path)
{
    struct device_source source = source_make(path);
    struct error_note note = {""};
    status result;

    memset(&list, 0, sizeof list);
    result = source.scan(source.context, &list, &note);
    source.destroy(source.context);
    return result;
}

static void a_host_with_switches_is_one_nvlink_domain(void **state)
{
    (void)state;
    assert_int_equal(scan(library), STATUS_OK);
    assert_int_equal(list.count, 8);
    assert_string_equal(list.driver, "570.86.15");
    for (uint32_t i = 0; i < 8; i++) {
        const struct device *device = &list.items[i];

        assert_string_equal(device->id, uuids[i]);
        assert_string_equal(device->product, "NVIDIA H100 80GB HBM3");
        assert_string_equal(device->nvlink_domain, "nvlink0");
        assert_int_equal(device->pcie_switch[strlen("pcie-switch")], '0' + (int)i / 2 * 2);
        assert_int_equal(device->numa, i < 4 ? 0 : 1);
        assert_int_equal(device->compute_capability, 90);
        assert_int_equal(device->memory_bytes, 80 * GIB);
        assert_int_equal(device->readings[DEVICE_GPU_UTILIZATION], 10 * i);
        assert_int_equal(device->readings[DEVICE_POWER_MW], 100000 + i);
        assert_int_equal(device->readings[DEVICE_ENERGY_MJ], DEVICE_UNKNOWN);
        assert_int_equal(device->health, SLICE_OK);
    }
    assert_int_equal(fake->open_count, 0);
}

static void links_between_gpus_make_domains_of_those(void **state)
{
    (void)state;
    fake->count = 5;
    for (unsigned i = 0; i < 4; i++) {
        fake->gpus[i].link_type = 0;
        fake->gpus[i].link_to = i ^ 1u;
    }
    fake->gpus[4].links = 0;
    assert_int_equal(scan(library), STATUS_OK);
    assert_string_equal(list.items[0].nvlink_domain, "nvlink0");
    assert_string_equal(list.items[1].nvlink_domain, "nvlink0");
    assert_string_equal(list.items[2].nvlink_domain, "nvlink2");
    assert_string_equal(list.items[3].nvlink_domain, "nvlink2");
    assert_string_equal(list.items[4].nvlink_domain, "");
}

static void a_fabric_over_machines_names_its_domain(void **state)
{
    (void)state;
    fake->gpus[0].cluster[0] = 0xab;
    fake->gpus[0].clique = 7;
    fake->gpus[0].fabric_state = 3;
    assert_int_equal(scan(library), STATUS_OK);
    assert_string_equal(list.items[0].nvlink_domain, "ab000000000000000000000000000000.7");
}

static void instances_stand_in_the_place_of_their_gpu(void **state)
{
    (void)state;
    fake->count = 2;
    fake->gpus[0].is_mig = 1;
    fake->gpus[0].instances[0] = (struct fake_instance){1, 0, 3, 3, 40448};
    fake->gpus[0].instances[3] = (struct fake_instance){7, 0, 1, 1, 9856};
    fake->gpus[0].instances[4] = (struct fake_instance){2, 1, 3, 1, 40448};
    fake->gpus[0].rows_pending = 1;
    assert_int_equal(scan(library), STATUS_OK);
    assert_int_equal(list.count, 4);
    assert_string_equal(list.items[0].id, "MIG-GPU-0-1");
    assert_string_equal(list.items[0].parent, "GPU-0");
    assert_string_equal(list.items[0].profile, "3g.40gb");
    assert_int_equal(list.items[0].compute_milli, 429);
    assert_string_equal(list.items[1].profile, "1g.10gb");
    assert_int_equal(list.items[1].compute_milli, 143);
    assert_int_equal(list.items[1].memory_bytes, 9856ull << 20);
    assert_string_equal(list.items[2].profile, "1c.3g.40gb");
    assert_int_equal(list.items[2].kind, SLICE_MIG);
    assert_int_equal(list.items[2].health, SLICE_DEGRADED);
    assert_int_equal(list.items[2].readings[DEVICE_GPU_UTILIZATION], DEVICE_UNKNOWN);
    assert_int_equal(list.items[3].kind, SLICE_GPU);
}

static void faults_of_memory_are_health(void **state)
{
    (void)state;
    fake->gpus[1].ecc_uncorrected = 3;
    fake->gpus[2].rows_failed = 1;
    fake->gpus[2].rows_pending = 1;
    assert_int_equal(scan(library), STATUS_OK);
    assert_int_equal(list.items[0].health, SLICE_OK);
    assert_int_equal(list.items[1].health, SLICE_DEGRADED);
    assert_string_equal(list.items[1].reason, "3 uncorrected errors of memory");
    assert_int_equal(list.items[2].health, SLICE_BAD);
}

static void a_driver_that_supports_nothing_still_lists(void **state)
{
    (void)state;
    fake->count = 1;
    fake->gpus[0].result = 3;
    assert_int_equal(scan(library), STATUS_OK);
    assert_int_equal(list.count, 1);
    assert_int_equal(list.items[0].health, SLICE_OK);
    assert_int_equal(list.items[0].memory_bytes, DEVICE_UNKNOWN);
    for (uint32_t i = 0; i < DEVICE_READING_COUNT; i++)
        assert_int_equal(list.items[0].readings[i], DEVICE_UNKNOWN);
}

static void missing_functions_are_not_asked(void **state)
{
    void *handle = dlopen(old_library, RTLD_NOW | RTLD_LOCAL);
    struct fake_nvml *old;

    (void)state;
    assert_non_null(handle);
    old = dlsym(handle, "fake_nvml_state");
    old->count = 2;
    old->gpus[0].uuid = "GPU-a";
    old->gpus[1].uuid = "GPU-b";
    assert_int_equal(scan(old_library), STATUS_OK);
    assert_int_equal(list.count, 2);
    assert_string_equal(list.items[1].id, "GPU-b");
    assert_string_equal(list.items[1].nvlink_domain, "");
    (void)dlclose(handle);
}

static void no_driver_is_not_an_error(void **state)
{
    (void)state;
    assert_int_equal(scan("/nowhere/libnvidia-ml.so.1"), STATUS_NOT_FOUND);
    fake->init_result = 9;
    assert_int_equal(scan(library), STATUS_NOT_FOUND);
    assert_int_equal(list.count, 0);
}

static void more_gpus_than_fit_are_counted(void **state)
{
    (void)state;
    fake->count = 33;
    for (unsigned i = 8; i < 33; i++)
        fake->gpus[i].uuid = "GPU-x";
    for (unsigned i = 8; i < 33; i++)
        fake->gpus[i].name = "x";
    assert_int_equal(scan(library), STATUS_OK);
    assert_int_equal(list.count, 32);
    assert_int_equal(list.missed, 1);
}

static void memory_of_own_processes_is_not_foreign(void **state)
{
    const uint32_t own[] = {41, 42};
    char id[DEVICE_SLICE_ID_BYTES];
    struct slice_report report;

    (void)state;
    fake->gpus[3].process_pid = 42;
    fake->gpus[3].process_memory = 2 * GIB;
    assert_int_equal(scan(library), STATUS_OK);
    device_report(&list.items[3], "node1", own, 2, id, &report);
    assert_string_equal(report.id, "node1/GPU-3");
    assert_int_equal(report.memory_foreign_bytes, 1 * GIB);
    assert_int_equal(report.compute_milli, 1000);
    device_report(&list.items[3], "node1", own, 1, id, &report);
    assert_int_equal(report.memory_foreign_bytes, 3 * GIB);
}

/* --- watched --- */

struct heard {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    unsigned readings, faults, programs_faults;
    uint64_t xid;
};

static void on_reading(void *context)
{
    struct heard *heard = context;

    (void)pthread_mutex_lock(&heard->lock);
    heard->readings++;
    (void)pthread_cond_broadcast(&heard->wake);
    (void)pthread_mutex_unlock(&heard->lock);
}

static void on_fault(void *context, const struct nvml_fault *fault)
{
    struct heard *heard = context;

    (void)pthread_mutex_lock(&heard->lock);
    heard->faults++;
    heard->programs_faults += fault->is_programs;
    heard->xid = fault->xid;
    (void)pthread_cond_broadcast(&heard->wake);
    (void)pthread_mutex_unlock(&heard->lock);
}

static struct device_watch *watch_make(struct heard *heard)
{
    const struct nvml_source_options options = {
        .library = library, .sysfs = "/nowhere", .fault = on_fault, .context = heard};
    struct device_watch_options watching = {.interval_ns = NS_PER_MS,
                                            .silent_after_ns = 5 * NS_PER_SECOND,
                                            .changed = on_reading,
                                            .context = heard};
    struct device_watch *watch;

    *heard = (struct heard){.readings = 0};
    (void)pthread_mutex_init(&heard->lock, NULL);
    (void)pthread_cond_init(&heard->wake, NULL);
    assert_int_equal(nvml_source_create(&options, &watching.source), STATUS_OK);
    assert_int_equal(device_watch_create(&watching, &watch), STATUS_OK);
    return watch;
}

/* Two more: the second has begun after this call. */
static void await_readings(struct heard *heard)
{
    unsigned until;

    (void)pthread_mutex_lock(&heard->lock);
    until = heard->readings + 2;
    while (heard->readings < until)
        (void)pthread_cond_wait(&heard->wake, &heard->lock);
    (void)pthread_mutex_unlock(&heard->lock);
}

static void await_faults(struct heard *heard, unsigned count)
{
    (void)pthread_mutex_lock(&heard->lock);
    while (heard->faults < count)
        (void)pthread_cond_wait(&heard->wake, &heard->lock);
    (void)pthread_mutex_unlock(&heard->lock);
}

static status read_now(struct device_watch *watch, uint64_t later_ns, struct error_note *note)
{
    return device_watch_read(watch, clock_now_ns() + later_ns, &list, note);
}

/* The thread lets go of the library as its last deed. */
static void watch_end(struct device_watch *watch)
{
    device_watch_destroy(watch);
    while (fake->open_count != 0)
        (void)sched_yield();
}

static void xids_take_out_a_device_or_blame_a_program(void **state)
{
    struct error_note note = {""};
    struct heard heard;
    struct device_watch *watch = watch_make(&heard);

    (void)state;
    fake->xid_gpu = 1;
    fake->xid_gpu_instance = UINT32_MAX;
    fake->xid = 31;
    await_faults(&heard, 1);
    assert_int_equal(heard.programs_faults, 1);
    await_readings(&heard);
    assert_int_equal(read_now(watch, 0, &note), STATUS_OK);
    assert_int_equal(list.items[1].health, SLICE_OK);
    assert_int_equal(list.items[1].xid, 31);
    fake->xid = 79;
    await_faults(&heard, 2);
    assert_int_equal(heard.programs_faults, 1);
    await_readings(&heard);
    assert_int_equal(read_now(watch, 0, &note), STATUS_OK);
    assert_int_equal(list.items[1].health, SLICE_BAD);
    assert_string_equal(list.items[1].reason, "Xid 79: the GPU has fallen off the bus");
    assert_int_equal(list.items[0].health, SLICE_OK);
    watch_end(watch);
}

static void a_lost_gpu_keeps_its_name_and_is_bad(void **state)
{
    struct error_note note = {""};
    struct heard heard;
    struct device_watch *watch = watch_make(&heard);

    (void)state;
    await_readings(&heard);
    fake->gpus[2].by_index_result = 15;
    fake->gpus[3].result = 15;
    await_readings(&heard);
    assert_int_equal(read_now(watch, 0, &note), STATUS_OK);
    assert_int_equal(list.count, 8);
    for (uint32_t i = 0; i < 8; i++) {
        assert_string_equal(list.items[i].id, uuids[i]);
        assert_int_equal(list.items[i].health, i == 2 || i == 3 ? SLICE_BAD : SLICE_OK);
    }
    assert_string_equal(list.items[2].reason, "GPU is lost");
    watch_end(watch);
}

static void instances_of_a_lost_gpu_are_lost_with_it(void **state)
{
    struct error_note note = {""};
    struct heard heard;
    struct device_watch *watch;

    (void)state;
    fake->count = 2;
    fake->gpus[0].is_mig = 1;
    fake->gpus[0].instances[0] = (struct fake_instance){1, 0, 3, 3, 40448};
    fake->gpus[0].instances[1] = (struct fake_instance){2, 0, 3, 3, 40448};
    watch = watch_make(&heard);
    await_readings(&heard);
    fake->gpus[0].by_index_result = 15;
    await_readings(&heard);
    assert_int_equal(read_now(watch, 0, &note), STATUS_OK);
    assert_int_equal(list.count, 3);
    assert_string_equal(list.items[0].id, "MIG-GPU-0-1");
    assert_int_equal(list.items[0].health, SLICE_BAD);
    assert_string_equal(list.items[1].id, "GPU-1");
    assert_int_equal(list.items[1].health, SLICE_OK);
    assert_string_equal(list.items[2].id, "MIG-GPU-0-2");
    assert_int_equal(list.items[2].health, SLICE_BAD);
    watch_end(watch);
}

static void a_driver_that_hangs_is_told_and_comes_back(void **state)
{
    struct error_note note = {""};
    struct heard heard;
    struct device_watch *watch = watch_make(&heard);
    status result;

    (void)state;
    await_readings(&heard);
    fake->is_hanging = 1;
    /* The clock is the reader's: an hour later. A reading may be just between two. */
    do
        result = read_now(watch, 3600 * NS_PER_SECOND, &note);
    while (result == STATUS_OK);
    assert_int_equal(result, STATUS_TIMEOUT);
    assert_non_null(strstr(note.text, "NVML has not answered for"));
    assert_int_equal(list.count, 8);
    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(list.items[i].health, SLICE_UNKNOWN);
    assert_non_null(strstr(list.items[0].reason, "has not answered"));
    fake->is_hanging = 0;
    await_readings(&heard);
    do
        result = read_now(watch, 0, &note);
    while (result == STATUS_TIMEOUT);
    assert_int_equal(result, STATUS_OK);
    assert_int_equal(list.items[0].health, SLICE_OK);
    watch_end(watch);
}

static void a_watch_ends_while_its_driver_hangs(void **state)
{
    struct heard heard;
    struct device_watch *watch;

    (void)state;
    fake->is_hanging = 1;
    watch = watch_make(&heard);
    while (fake->open_count == 0)
        (void)sched_yield();
    device_watch_destroy(watch);
    assert_int_equal(fake->open_count, 1); /* the thread is still in there */
    fake->is_hanging = 0;
    while (fake->open_count != 0)
        (void)sched_yield();
}

static int libraries_find(void **state)
{
    char folder[400];
    ssize_t length = readlink("/proc/self/exe", folder, sizeof folder - 1);
    void *handle;

    (void)state;
    assert_true(length > 0);
    folder[length] = '\0';
    *strrchr(folder, '/') = '\0';
    (void)snprintf(library, sizeof library, "%s/libfake_nvml.so", folder);
    (void)snprintf(old_library, sizeof old_library, "%s/libfake_nvml_old.so", folder);
    handle = dlopen(library, RTLD_NOW | RTLD_LOCAL); /* kept, and with it the state */
    if (handle == NULL)
        fail_msg("%s", dlerror());
    fake = dlsym(handle, "fake_nvml_state");
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_host_with_switches_is_one_nvlink_domain, host_make),
        cmocka_unit_test_setup(links_between_gpus_make_domains_of_those, host_make),
        cmocka_unit_test_setup(a_fabric_over_machines_names_its_domain, host_make),
        cmocka_unit_test_setup(instances_stand_in_the_place_of_their_gpu, host_make),
        cmocka_unit_test_setup(faults_of_memory_are_health, host_make),
        cmocka_unit_test_setup(a_driver_that_supports_nothing_still_lists, host_make),
        cmocka_unit_test_setup(missing_functions_are_not_asked, host_make),
        cmocka_unit_test_setup(no_driver_is_not_an_error, host_make),
        cmocka_unit_test_setup(more_gpus_than_fit_are_counted, host_make),
        cmocka_unit_test_setup(memory_of_own_processes_is_not_foreign, host_make),
        cmocka_unit_test_setup(xids_take_out_a_device_or_blame_a_program, host_make),
        cmocka_unit_test_setup(a_lost_gpu_keeps_its_name_and_is_bad, host_make),
        cmocka_unit_test_setup(instances_of_a_lost_gpu_are_lost_with_it, host_make),
        cmocka_unit_test_setup(a_driver_that_hangs_is_told_and_comes_back, host_make),
        cmocka_unit_test_setup(a_watch_ends_while_its_driver_hangs, host_make),
    };

    return cmocka_run_group_tests(tests, libraries_find, NULL);
}
