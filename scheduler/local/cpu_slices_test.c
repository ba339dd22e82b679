#include "unit_test.h"

#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "cpu_slices.h"
#include "thread.h"

#define GIB (1ull << 30)

static struct cpu_slices slices;

static cpu_set_t all(void)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    for (int i = 0; i < CPU_SETSIZE; i++)
        CPU_SET(i, &set);
    return set;
}

static status cut(const char *machine, uint32_t cores_each, uint32_t core_count_max,
                  const cpu_set_t *allowed)
{
    cpu_set_t everything = all();
    const struct cpu_slices_options options = {.synthetic = machine,
                                               .cut =
                                                   cores_each != 0 ? CPU_CUT_CORES : CPU_CUT_NODES,
                                               .cores_each = cores_each,
                                               .core_count_max = core_count_max,
                                               .allowed = allowed != NULL ? allowed : &everything};
    struct error_note note;

    return cpu_slices_read(&options, &slices, &note);
}

static void a_numa_node_is_a_slice_with_all_threads_of_its_cores(void **state)
{
    (void)state;
    assert_int_equal(cut("numa:2(memory=34359738368) core:4 pu:2", 0, 0, NULL), STATUS_OK);
    assert_int_equal(slices.count, 2);
    assert_string_equal(slices.items[1].name, "numa1");
    assert_int_equal(slices.items[1].numa, 1);
    assert_int_equal(slices.items[1].core_count, 4);
    assert_int_equal(CPU_COUNT(&slices.items[1].bind.cores), 8);
    assert_true(CPU_ISSET(8, &slices.items[1].bind.cores));
    assert_int_equal(slices.items[1].bind.nodes[0], 2);
    assert_int_equal(slices.items[1].memory_bytes, 32 * GIB);
}

static void a_node_is_cut_into_sets_of_cores(void **state)
{
    (void)state;
    assert_int_equal(cut("numa:2(memory=34359738368) core:4 pu:1", 3, 0, NULL), STATUS_OK);
    assert_int_equal(slices.count, 4);
    assert_string_equal(slices.items[0].name, "numa0-cores0-2");
    assert_string_equal(slices.items[1].name, "numa0-cores3-3");
    assert_string_equal(slices.items[3].name, "numa1-cores7-7");
    assert_int_equal(slices.items[0].memory_bytes, 24 * GIB);
    assert_int_equal(slices.items[1].memory_bytes, 8 * GIB);
}

static void cores_that_are_closed_are_left_out(void **state)
{
    cpu_set_t allowed;

    (void)state;
    CPU_ZERO(&allowed);
    CPU_SET(5, &allowed); /* one thread of the third core */
    CPU_SET(6, &allowed);
    CPU_SET(7, &allowed);
    assert_int_equal(cut("numa:2 core:4 pu:2", 0, 0, &allowed), STATUS_OK);
    assert_int_equal(slices.count, 1);
    assert_int_equal(slices.items[0].core_count, 2);
    assert_true(CPU_EQUAL(&slices.items[0].bind.cores, &allowed));
    CPU_ZERO(&allowed);
    assert_int_equal(cut("numa:2 core:4 pu:2", 0, 0, &allowed), STATUS_NOT_FOUND);
}

static void time_that_groups_leave_is_shared(void **state)
{
    (void)state;
    assert_int_equal(cut("numa:2 core:4 pu:1", 0, 5, NULL), STATUS_OK);
    assert_int_equal(slices.items[0].core_count + slices.items[1].core_count, 5);
    assert_int_equal(cut("numa:2 core:4 pu:1", 0, 1, NULL), STATUS_OK);
    assert_int_equal(slices.count, 1);
    assert_int_equal(slices.items[0].core_count, 1);
}

static void a_machine_is_one_slice_with_memory_from_anywhere(void **state)
{
    cpu_set_t everything = all();
    struct cpu_slices_options options = {.cut = CPU_CUT_MACHINE,
                                         .synthetic = "numa:2(memory=34359738368) core:4 pu:2",
                                         .allowed = &everything};
    const uint64_t nowhere[CPU_NODE_WORDS] = {0};
    struct error_note note;

    (void)state;
    assert_int_equal(cpu_slices_read(&options, &slices, &note), STATUS_OK);
    assert_int_equal(slices.count, 1);
    assert_string_equal(slices.items[0].name, "cpu");
    assert_int_equal(slices.items[0].numa, -1);
    assert_int_equal(slices.items[0].core_count, 8);
    assert_int_equal(CPU_COUNT(&slices.items[0].bind.cores), 16);
    assert_int_equal(slices.items[0].memory_bytes, 64 * GIB);
    assert_memory_equal(slices.items[0].bind.nodes, nowhere, sizeof nowhere);
    assert_int_equal(slices.core_of[6], slices.core_of[7]);
    assert_int_not_equal(slices.core_of[7], slices.core_of[8]);
    options.core_count_max = 3;
    assert_int_equal(cpu_slices_read(&options, &slices, &note), STATUS_OK);
    assert_int_equal(slices.items[0].core_count, 3);
    assert_int_equal(CPU_COUNT(&slices.items[0].bind.cores), 16);
    CPU_ZERO(&everything);
    assert_int_equal(cpu_slices_read(&options, &slices, &note), STATUS_NOT_FOUND);
}

static void slices_are_counted(void **state)
{
    (void)state;
    assert_int_equal(cut("numa:1 core:256 pu:1", 1, 0, NULL), STATUS_OK);
    assert_int_equal(slices.count, 256);
    assert_int_equal(cut("numa:1 core:257 pu:1", 1, 0, NULL), STATUS_TOO_LARGE);
}

static void memory_is_cut_to_what_there_may_be(void **state)
{
    cpu_set_t everything = all();
    const struct cpu_slices_options options = {.cut = CPU_CUT_NODES,
                                               .synthetic =
                                                   "numa:2(memory=34359738368) core:4 pu:1",
                                               .memory_bytes_max = 16 * GIB,
                                               .allowed = &everything};
    struct error_note note;

    (void)state;
    assert_int_equal(cpu_slices_read(&options, &slices, &note), STATUS_OK);
    assert_int_equal(slices.items[0].memory_bytes, 8 * GIB);
}

static void this_machine_gives_what_is_open(void **state)
{
    const struct cpu_slices_options options = {.cut = CPU_CUT_NODES};
    struct error_note note = {""};
    uint32_t cores = 0;
    cpu_set_t mine, both;

    (void)state;
    assert_int_equal(cpu_slices_read(&options, &slices, &note), STATUS_OK);
    assert_int_equal(sched_getaffinity(0, sizeof mine, &mine), 0);
    for (uint32_t i = 0; i < slices.count; i++) {
        cores += slices.items[i].core_count;
        CPU_AND(&both, &slices.items[i].bind.cores, &mine);
        assert_true(CPU_EQUAL(&both, &slices.items[i].bind.cores));
        assert_true(slices.items[i].memory_bytes > 0);
    }
    assert_in_range(cores, 1, thread_core_count());
}

static void a_machine_that_tells_little_has_memory_all_the_same(void **state)
{
    struct cpu_slices_options options = {.cut = CPU_CUT_MACHINE};
    struct error_note note;

    (void)state;
    assert_int_equal(setenv("HWLOC_FSROOT", "/proc/self/fdinfo", 1), 0); /* no sys in it */
    assert_int_equal(cpu_slices_read(&options, &slices, &note), STATUS_OK);
    assert_int_equal(unsetenv("HWLOC_FSROOT"), 0);
    assert_int_equal(slices.count, 1);
    assert_true(slices.items[0].core_count > 0);
    assert_true(slices.items[0].memory_bytes > 0);
}

static void a_slice_is_reported_by_tenths_of_cores(void **state)
{
    char id[SLICE_NAME_BYTES_MAX + 1];
    struct slice_report report;

    (void)state;
    assert_int_equal(cut("numa:1(memory=8589934592) core:4 pu:1", 0, 0, NULL), STATUS_OK);
    cpu_slice_report(&slices.items[0], "here", id, &report);
    assert_string_equal(report.id, "here/numa0");
    assert_int_equal(report.compute_milli, 4000);
    assert_int_equal(report.step_milli, 100);
    assert_int_equal(report.tenants_max, 40);
    assert_int_equal(report.kind, SLICE_CPU_SET);
}

static void file_write(const char *root, const char *name, const char *text)
{
    char path[256];
    FILE *file;

    (void)snprintf(path, sizeof path, "%s/%s", root, name);
    file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void folder_make(const char *root, const char *name)
{
    char path[256];

    (void)snprintf(path, sizeof path, "%s/%s", root, name);
    assert_int_equal(mkdir(path, 0700), 0);
}

static void the_least_limit_of_memory_above_counts(void **state)
{
    char root[] = "/tmp/cpu_slices_test.XXXXXX", command[64];

    (void)state;
    assert_non_null(mkdtemp(root));
    folder_make(root, "a");
    folder_make(root, "a/b");
    folder_make(root, "memory");
    folder_make(root, "memory/x");
    file_write(root, "a/memory.max", "4096\n");
    file_write(root, "a/b/memory.max", "max\n");
    file_write(root, "memory/x/memory.limit_in_bytes", "2048\n");
    assert_int_equal(cpu_memory_limit("0::/a/b\n", root), 4096);
    assert_int_equal(cpu_memory_limit("4:memory:/x\n3:cpu:/x\n0::/a/b\n", root), 2048);
    assert_int_equal(cpu_memory_limit("0::/\n", root), UINT64_MAX);
    assert_int_equal(cpu_memory_limit("nonsense", root), UINT64_MAX);
    assert_int_equal(cpu_memory_limit("", root), UINT64_MAX);
    (void)snprintf(command, sizeof command, "rm -rf %s", root);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_numa_node_is_a_slice_with_all_threads_of_its_cores),
        cmocka_unit_test(a_node_is_cut_into_sets_of_cores),
        cmocka_unit_test(cores_that_are_closed_are_left_out),
        cmocka_unit_test(time_that_groups_leave_is_shared),
        cmocka_unit_test(a_machine_is_one_slice_with_memory_from_anywhere),
        cmocka_unit_test(slices_are_counted),
        cmocka_unit_test(memory_is_cut_to_what_there_may_be),
        cmocka_unit_test(this_machine_gives_what_is_open),
        cmocka_unit_test(a_machine_that_tells_little_has_memory_all_the_same),
        cmocka_unit_test(a_slice_is_reported_by_tenths_of_cores),
        cmocka_unit_test(the_least_limit_of_memory_above_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
