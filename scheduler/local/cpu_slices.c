/* Cores are given out node by node; what control groups take of the machine's time is taken off the slices with the most cores, so that
 * all together never promise more than runs at once. Memory goes with cores: a slice has its share of its node's, and all together no
 * more than the process may have. */
#include "cpu_slices.h"

#include <hwloc.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "thread.h"

struct cut {
    const struct cpu_slices_options *options;
    hwloc_topology_t topology;
    cpu_set_t allowed;
    struct cpu_slices *out;
};

static status topology_open(const struct cpu_slices_options *options, hwloc_topology_t *out,
                            struct error_note *note)
{
    hwloc_topology_t topology;

    if (hwloc_topology_init(&topology) != 0)
        return STATUS_NO_MEMORY;
    if ((options->synthetic != NULL &&
         hwloc_topology_set_synthetic(topology, options->synthetic) != 0) ||
        hwloc_topology_load(topology) != 0) {
        error_note_set(note, "hwloc cannot read this machine");
        hwloc_topology_destroy(topology);
        return STATUS_IO;
    }
    *out = topology;
    return STATUS_OK;
}

/* The threads of a core that are open to us; false: none is. */
static bool core_open(const struct cut *cut, hwloc_obj_t core, cpu_set_t *threads)
{
    unsigned thread;

    CPU_ZERO(threads);
    hwloc_bitmap_foreach_begin(thread, core->cpuset) if (thread < CPU_SETSIZE &&
                                                         CPU_ISSET(thread, &cut->allowed))
        CPU_SET(thread, threads);
    hwloc_bitmap_foreach_end();
    return CPU_COUNT(threads) > 0;
}

/* `node` NULL: of all nodes. */
static struct cpu_slice *slice_begin(struct cut *cut, hwloc_obj_t node)
{
    struct cpu_slice *slice;

    if (cut->out->count == CPU_SLICES_MAX)
        return NULL;
    slice = &cut->out->items[cut->out->count++];
    *slice = (struct cpu_slice){.name = "cpu", .numa = -1};
    if (node == NULL)
        return slice;
    slice->numa = (int16_t)node->os_index;
    if (node->os_index < CPU_NODES_MAX)
        slice->bind.nodes[node->os_index / 64] |= 1ull << (node->os_index % 64);
    slice->bind.is_strict = true;
    return slice;
}

/* Its number is that of its first open thread: below CPU_SETSIZE, and no other core's. */
static void core_take(struct cut *cut, struct cpu_slice *slice, const cpu_set_t *threads)
{
    unsigned first = 0;

    while (!CPU_ISSET(first, threads))
        first++;
    for (unsigned i = first; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, threads))
            cut->out->core_of[i] = (uint16_t)first;
    CPU_OR(&slice->bind.cores, &slice->bind.cores, threads);
    slice->core_count++;
}

static void slice_name(struct cpu_slice *slice, bool is_whole, unsigned first, unsigned last)
{
    if (is_whole)
        (void)snprintf(slice->name, sizeof slice->name, "numa%d", slice->numa);
    else
        (void)snprintf(slice->name, sizeof slice->name, "numa%d-cores%u-%u", slice->numa, first,
                       last);
}

static status node_cut(struct cut *cut, hwloc_obj_t node)
{
    bool is_whole = cut->options->cut != CPU_CUT_CORES;
    uint32_t open = 0, first_slice = cut->out->count;
    unsigned first = 0;
    struct cpu_slice *slice = NULL;
    hwloc_obj_t core = NULL;
    cpu_set_t threads;

    while ((core = hwloc_get_next_obj_inside_cpuset_by_type(cut->topology, node->cpuset,
                                                            HWLOC_OBJ_CORE, core)) != NULL) {
        if (!core_open(cut, core, &threads))
            continue;
        if (slice == NULL || (!is_whole && slice->core_count == cut->options->cores_each)) {
            slice = slice_begin(cut, node);
            if (slice == NULL)
                return STATUS_TOO_LARGE;
            first = core->logical_index;
        }
        core_take(cut, slice, &threads);
        slice_name(slice, is_whole, first, core->logical_index);
        open++;
    }
    for (uint32_t i = first_slice; i < cut->out->count; i++)
        cut->out->items[i].memory_bytes =
            node->attr->numanode.local_memory / open * cut->out->items[i].core_count;
    return STATUS_OK;
}

/* Nodes of memory alone have no core, and make no slice. */
static status nodes_cut(struct cut *cut)
{
    hwloc_obj_t node = NULL;
    status result = STATUS_OK;

    while (result == STATUS_OK &&
           (node = hwloc_get_next_obj_by_type(cut->topology, HWLOC_OBJ_NUMANODE, node)) != NULL)
        result = node_cut(cut, node);
    return result;
}

/* Its memory comes from all nodes, whichever the cores are of. */
static void machine_cut(struct cut *cut)
{
    struct cpu_slice *slice = slice_begin(cut, NULL);
    hwloc_obj_t core = NULL, node = NULL;
    uint32_t node_count = 0;
    cpu_set_t threads;

    while ((core = hwloc_get_next_obj_by_type(cut->topology, HWLOC_OBJ_CORE, core)) != NULL)
        if (core_open(cut, core, &threads))
            core_take(cut, slice, &threads);
    while ((node = hwloc_get_next_obj_by_type(cut->topology, HWLOC_OBJ_NUMANODE, node)) != NULL) {
        slice->memory_bytes += node->attr->numanode.local_memory;
        slice->numa = node_count++ == 0 ? (int16_t)node->os_index : -1;
    }
    if (slice->core_count == 0)
        cut->out->count = 0;
}

/* Takes the last core off the largest slice. Its threads stay in the binding: which of them run is the scheduler's choice, how many at
 * once is limited by the group. */
static void cores_trim(struct cpu_slices *slices, uint32_t count_max)
{
    uint32_t total = 0, largest;

    for (uint32_t i = 0; i < slices->count; i++)
        total += slices->items[i].core_count;
    for (; total > count_max; total--) {
        largest = 0;
        for (uint32_t i = 1; i < slices->count; i++)
            if (slices->items[i].core_count > slices->items[largest].core_count)
                largest = i;
        slices->items[largest].core_count--;
    }
    for (uint32_t i = slices->count; i > 0; i--)
        if (slices->items[i - 1].core_count == 0) {
            memmove(&slices->items[i - 1], &slices->items[i],
                    (slices->count - i) * sizeof slices->items[0]);
            slices->count--;
        }
}

static void memory_trim(struct cpu_slices *slices, uint64_t bytes_max)
{
    uint64_t total = 0;

    for (uint32_t i = 0; i < slices->count; i++)
        total += slices->items[i].memory_bytes;
    if (total <= bytes_max)
        return;
    for (uint32_t i = 0; i < slices->count; i++)
        slices->items[i].memory_bytes =
            (uint64_t)((double)slices->items[i].memory_bytes * ((double)bytes_max / (double)total));
}

static uint64_t memory_limit_here(void)
{
    char groups[8192];
    FILE *file = fopen("/proc/self/cgroup", "re");
    size_t bytes;

    if (file == NULL)
        return UINT64_MAX;
    bytes = fread(groups, 1, sizeof groups - 1, file);
    groups[bytes] = '\0';
    (void)fclose(file);
    return cpu_memory_limit(groups, "/sys/fs/cgroup");
}

/* Where there is no sysfs (a bare chroot) hwloc knows cores but no memory: it is the machine's, and goes with cores. */
static void memory_guess(struct cpu_slices *slices)
{
    uint64_t bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t told = 0, cores = 0;

    for (uint32_t i = 0; i < slices->count; i++) {
        told += slices->items[i].memory_bytes;
        cores += slices->items[i].core_count;
    }
    for (uint32_t i = 0; told == 0 && i < slices->count; i++)
        slices->items[i].memory_bytes = bytes / cores * slices->items[i].core_count;
}

static status cut_limit(struct cut *cut, struct error_note *note)
{
    const struct cpu_slices_options *options = cut->options;
    uint64_t memory = options->synthetic == NULL ? memory_limit_here() : UINT64_MAX;

    if (cut->out->count > 0)
        cores_trim(cut->out, options->core_count_max != 0 ? options->core_count_max
                             : options->synthetic == NULL ? thread_core_count()
                                                          : UINT32_MAX);
    memory_guess(cut->out);
    if (options->memory_bytes_max != 0 && options->memory_bytes_max < memory)
        memory = options->memory_bytes_max;
    memory_trim(cut->out, memory);
    if (cut->out->count > 0)
        return STATUS_OK;
    error_note_set(note, "no core is open to this process");
    return STATUS_NOT_FOUND;
}

status cpu_slices_read(const struct cpu_slices_options *options, struct cpu_slices *out,
                       struct error_note *note)
{
    struct cut cut = {.options = options, .out = out};
    status result;

    CHECK(options->cut != CPU_CUT_CORES || options->cores_each > 0);
    out->count = 0;
    if (options->allowed != NULL) {
        cut.allowed = *options->allowed;
    } else if (sched_getaffinity(0, sizeof cut.allowed, &cut.allowed) != 0) {
        error_note_set(note, "sched_getaffinity failed");
        return STATUS_IO;
    }
    result = topology_open(options, &cut.topology, note);
    if (result != STATUS_OK)
        return result;
    if (options->cut == CPU_CUT_MACHINE)
        machine_cut(&cut);
    else
        result = nodes_cut(&cut);
    hwloc_topology_destroy(cut.topology);
    if (result == STATUS_TOO_LARGE)
        error_note_set(note, "more than %u slices of cores", CPU_SLICES_MAX);
    return result == STATUS_OK ? cut_limit(&cut, note) : result;
}

void cpu_slice_report(const struct cpu_slice *slice, const char *node, char *id,
                      struct slice_report *report)
{
    (void)snprintf(id, SLICE_NAME_BYTES_MAX + 1u, "%s/%s", node, slice->name);
    *report = (struct slice_report){
        .id = id,
        .node = node,
        .kind = SLICE_CPU_SET,
        .vendor = SLICE_CPU,
        .health = SLICE_OK,
        .numa = slice->numa,
        .memory_bytes = slice->memory_bytes,
        .compute_milli = slice->core_count * 1000u,
        .step_milli = CPU_STEP_MILLI,
        .tenants_max = (uint16_t)(slice->core_count * (1000u / CPU_STEP_MILLI)),
    };
}
