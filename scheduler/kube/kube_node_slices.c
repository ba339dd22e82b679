#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kube_quantity.h"
#include "kube_text.h"
#include "kube_view.h"

/* Device plugins count a node's devices and do not name them, so the slices of a node are numbered, "n0/nvidia.com/gpu#3". A number
 * means only "one of them": those that our pods hold keep theirs (an annotation says which), what other pods hold is laid
 * on the highest numbers that are left. */

#define DEVICES_MAX 1024u /* of one resource on a node: 8 GPUs shared by 128 */

static const struct {
    const char *name; /* a '*' at the end: any ending */
    enum slice_vendor vendor;
    enum slice_kind kind;
} resources[] = {
    {"nvidia.com/gpu", SLICE_NVIDIA, SLICE_GPU},
    {"nvidia.com/gpu.shared", SLICE_NVIDIA, SLICE_FRACTION},
    {"nvidia.com/mig-*", SLICE_NVIDIA, SLICE_MIG},
    {"amd.com/gpu", SLICE_AMD, SLICE_GPU},
    {"gpu.intel.com/xe", SLICE_INTEL, SLICE_GPU},
    {"gpu.intel.com/i915", SLICE_INTEL, SLICE_GPU},
    {"habana.ai/gaudi", SLICE_GAUDI, SLICE_GPU},
};

static const struct {
    const char *label, *value;
} spot_labels[] = {
    {"karpenter.sh/capacity-type", "spot"},
    {"eks.amazonaws.com/capacityType", "SPOT"},
    {"cloud.google.com/gke-spot", "true"},
    {"cloud.google.com/gke-preemptible", "true"},
    {"kubernetes.azure.com/scalesetpriority", "spot"},
};

static const char *label_of(const json_t *node, const char *label)
{
    const char *text = kube_text(node, "metadata", "labels", label);
    return *text != '\0' ? text : NULL;
}

/* Taints that replicas tolerate (kube_pod.c): those that keep others off devices, and the clouds' marks of spot. */
static bool taint_is_tolerated(const char *key)
{
    for (size_t i = 0; i < sizeof(resources) / sizeof(resources[0]); i++)
        if (strcmp(resources[i].name, key) == 0)
            return true;
    for (size_t i = 0; i < sizeof(spot_labels) / sizeof(spot_labels[0]); i++)
        if (strcmp(spot_labels[i].label, key) == 0)
            return true;
    return false;
}

static void health_set(struct kube_view *view, const json_t *node, struct slice_report *report)
{
    size_t i;
    json_t *item;
    report->health = SLICE_UNKNOWN;
    report->reason = "its node has not said that it is ready";
    json_array_foreach(kube_get(node, "status", "conditions", NULL), i, item)
    {
        if (strcmp(kube_text(item, "type"), "Ready") != 0)
            continue;
        bool is_ready = strcmp(kube_text(item, "status"), "True") == 0;
        report->health = is_ready ? SLICE_OK : SLICE_BAD;
        report->reason =
            is_ready ? NULL
                     : kube_view_text(view, "node not ready: %.200s", kube_text(item, "reason"));
    }
    if (report->health != SLICE_OK)
        return;
    if (json_is_true(kube_get(node, "spec", "unschedulable", NULL))) {
        report->health = SLICE_DRAINING;
        report->reason = "its node is cordoned";
    }
    json_array_foreach(kube_get(node, "spec", "taints", NULL), i, item)
    {
        const char *effect = kube_text(item, "effect");
        if (strcmp(effect, "PreferNoSchedule") == 0 || taint_is_tolerated(kube_text(item, "key")))
            continue;
        report->health = SLICE_DRAINING;
        report->reason = kube_view_text(view, "taint %.300s", kube_text(item, "key"));
    }
}

static void labels_set(struct kube_view *view, const json_t *node, struct slice_report *report)
{
    static const char prefix[] = "penstock/label.";
    const char **labels = arena_allocate_array(view->memory, SLICE_LABELS_MAX, sizeof(labels[0]));
    if (labels == NULL)
        return;
    for (uint32_t i = 0; i < view->config->label_count && i < SLICE_LABELS_MAX; i++)
        labels[report->label_count++] = view->config->labels[i];
    const char *key;
    json_t *value;
    json_object_foreach(kube_get(node, "metadata", "labels", NULL), key, value)
    {
        if (strncmp(key, prefix, sizeof(prefix) - 1) == 0 &&
            strcmp(kube_text_of(value), "true") == 0 && report->label_count < SLICE_LABELS_MAX) {
            const char *label = kube_view_text(view, "%s", key + sizeof(prefix) - 1);
            if (label != NULL)
                labels[report->label_count++] = label;
        }
    }
    report->labels = labels;
}

static const char *text_kept(struct kube_view *view, const char *text)
{
    return text != NULL ? kube_view_text(view, "%s", text) : NULL;
}

static const char *text_or(struct kube_view *view, const char *text, const char *other)
{
    return text != NULL ? text_kept(view, text) : other;
}

void kube_node_report(struct kube_view *view, const json_t *node, struct slice_report *report)
{
    report->node = text_kept(view, kube_text(node, "metadata", "name"));
    report->region =
        text_or(view, label_of(node, "topology.kubernetes.io/region"), view->config->region);
    report->zone = text_or(view, label_of(node, "topology.kubernetes.io/zone"), view->config->zone);
    report->rack = text_kept(view, label_of(node, "penstock/rack"));
    report->owner = text_or(view, label_of(node, "penstock/owner"), view->config->owner);
    for (size_t i = 0; i < sizeof(spot_labels) / sizeof(spot_labels[0]); i++) {
        const char *value = label_of(node, spot_labels[i].label);
        report->is_preemptible |= value != NULL && strcmp(value, spot_labels[i].value) == 0;
    }
    const char *price = label_of(node, "penstock/price");
    double units = price != NULL ? strtod(price, NULL) : 0;
    if (isfinite(units) && units > 0 && units * 1e9 < (double)SLICE_PRICE_NANO_HOUR_MAX)
        report->price_nano_hour = (int64_t)llround(units * 1e9);
    labels_set(view, node, report);
    health_set(view, node, report);
}

/* What a resource's devices are, from the labels that its vendor's feature discovery writes. */
static void device_set(struct kube_view *view, const json_t *node, size_t resource,
                       const char *name, struct slice_report *report)
{
    report->vendor = resources[resource].vendor;
    report->kind = resources[resource].kind;
    report->compute_milli = 1000;
    report->tenants_max = 1;
    if (report->kind == SLICE_MIG) {
        report->profile = text_kept(view, name + strlen("nvidia.com/mig-"));
        if (report->profile == NULL ||
            !kube_profile_read(report->profile, &report->compute_milli, &report->memory_bytes)) {
            report->health = SLICE_UNKNOWN;
            report->reason = "a MIG profile of no known form";
        }
    }
    if (report->vendor == SLICE_NVIDIA) {
        const char *memory = label_of(node, "nvidia.com/gpu.memory");
        const char *major = label_of(node, "nvidia.com/gpu.compute.major");
        const char *minor = label_of(node, "nvidia.com/gpu.compute.minor");
        const char *shared = label_of(node, "nvidia.com/gpu.replicas");
        uint64_t sharers = shared != NULL ? kube_quantity_units(shared) : 1;
        report->product = text_kept(view, label_of(node, "nvidia.com/gpu.product"));
        report->nvlink_domain = text_kept(view, label_of(node, "nvidia.com/gpu.clique"));
        report->compute_capability =
            (uint16_t)(kube_quantity_units(major) % 1000 * 10 + kube_quantity_units(minor) % 10);
        if (report->kind != SLICE_MIG)
            report->memory_bytes = kube_quantity_units(memory) % (1u << 26) << 20;
        if (sharers > 1 && sharers <= 1000 && report->kind != SLICE_MIG) {
            report->kind = SLICE_FRACTION;
            report->memory_bytes /= sharers;
            report->compute_milli /= (uint32_t)sharers;
        }
    } else if (report->vendor == SLICE_AMD) {
        report->product = text_kept(view, label_of(node, "amd.com/gpu.product-name"));
        const char *memory = label_of(node, "amd.com/gpu.vram");
        report->memory_bytes = kube_quantity_units(memory);
        if (memory != NULL && memory[strlen(memory) - 1] == 'G') /* it writes G and means Gi */
            report->memory_bytes = report->memory_bytes / 1000000000 << 30;
    }
    if (report->memory_bytes > SLICE_MEMORY_BYTES_MAX)
        report->memory_bytes = SLICE_MEMORY_BYTES_MAX;
    kube_price_set(view, report->product, report);
}

/* Devices that pods hold: ours by number in `is_ours`, the count of all others' as the result. */
static uint64_t usage_count(const struct kube_view *view, const char *node, const char *resource,
                            const json_t *usages, bool is_ours[DEVICES_MAX])
{
    size_t i;
    json_t *usage;
    uint64_t foreign = 0;
    char prefix[SLICE_NAME_BYTES_MAX + 1];
    (void)snprintf(prefix, sizeof(prefix), "%s/%s#", node, resource);
    json_array_foreach(usages, i, usage)
    {
        json_int_t milli = json_integer_value(kube_get(usage, "requests", resource, NULL));
        const char *slice = kube_text(usage, "slice");
        bool is_held = strcmp(kube_text(usage, "pool"), view->config->pool) == 0 &&
                       strncmp(slice, prefix, strlen(prefix)) == 0;
        unsigned long number = is_held ? strtoul(slice + strlen(prefix), NULL, 10) : DEVICES_MAX;
        if (number < DEVICES_MAX)
            is_ours[number] = true;
        else if (milli > 0)
            foreign += ((uint64_t)milli + 999) / 1000;
    }
    return foreign;
}

static status devices_add(struct kube_view *view, const json_t *node, size_t resource,
                          const char *name, const struct slice_report *base, const json_t *usages)
{
    bool is_ours[DEVICES_MAX] = {false};
    uint64_t count = kube_quantity_units(kube_text(node, "status", "allocatable", name));
    count = count < DEVICES_MAX ? count : DEVICES_MAX;
    if (count == 0)
        return STATUS_OK;
    uint64_t foreign = usage_count(view, base->node, name, usages, is_ours);
    for (uint64_t i = count; i-- > 0;) {
        struct kube_slice *slice = kube_view_add(view);
        if (slice == NULL)
            return STATUS_NO_MEMORY;
        slice->report = *base;
        slice->resource = kube_view_text(view, "%s", name);
        slice->report.id =
            kube_view_text(view, "%s/%s#%llu", base->node, name, (unsigned long long)i);
        if (slice->report.id == NULL || slice->resource == NULL)
            return STATUS_NO_MEMORY;
        device_set(view, node, resource, name, &slice->report);
        if (foreign > 0 && !is_ours[i]) {
            foreign--;
            slice->report.compute_foreign_milli = slice->report.compute_milli;
            slice->report.memory_foreign_bytes = slice->report.memory_bytes;
        }
    }
    return STATUS_OK;
}

/* A node's cores, whole ones: what our pods hold there is booked, all else is others'. */
static status cpu_add(struct kube_view *view, const json_t *node, const struct slice_report *base,
                      const json_t *usages)
{
    int64_t exact_milli = 0;
    if (kube_quantity_milli(kube_text(node, "status", "allocatable", "cpu"), &exact_milli) !=
            STATUS_OK ||
        exact_milli < 1000)
        return STATUS_OK;
    uint64_t cores = (uint64_t)exact_milli / 1000;
    cores = cores < SLICE_COMPUTE_MILLI_MAX / 1000 ? cores : SLICE_COMPUTE_MILLI_MAX / 1000;
    uint64_t foreign_milli = 0, foreign_bytes = 0;
    size_t i;
    json_t *usage;
    json_array_foreach(usages, i, usage)
    {
        if (strcmp(kube_text(usage, "pool"), view->config->pool) == 0 &&
            *kube_text(usage, "slice") != '\0')
            continue;
        foreign_milli += (uint64_t)json_integer_value(kube_get(usage, "requests", "cpu", NULL));
        foreign_bytes +=
            (uint64_t)json_integer_value(kube_get(usage, "requests", "memory", NULL)) / 1000;
    }
    struct kube_slice *slice = kube_view_add(view);
    if (slice == NULL)
        return STATUS_NO_MEMORY;
    slice->report = *base;
    struct slice_report *report = &slice->report;
    slice->resource = "cpu";
    report->id = kube_view_text(view, "%s/cpu", base->node);
    report->kind = SLICE_CPU_SET;
    report->vendor = SLICE_CPU;
    report->compute_milli = (uint32_t)cores * 1000;
    report->step_milli = 1000;
    uint64_t pods = kube_quantity_units(kube_text(node, "status", "allocatable", "pods"));
    report->tenants_max = (uint16_t)(pods < UINT16_MAX ? pods : UINT16_MAX);
    report->memory_bytes = kube_quantity_units(kube_text(node, "status", "allocatable", "memory"));
    if (report->memory_bytes > SLICE_MEMORY_BYTES_MAX)
        report->memory_bytes = SLICE_MEMORY_BYTES_MAX;
    uint64_t taken = (foreign_milli + 999) / 1000 * 1000;
    report->compute_foreign_milli =
        taken < report->compute_milli ? (uint32_t)taken : report->compute_milli;
    report->memory_foreign_bytes =
        foreign_bytes < report->memory_bytes ? foreign_bytes : report->memory_bytes;
    report->product = text_kept(view, label_of(node, "node.kubernetes.io/instance-type"));
    report->price_nano_hour = 0; /* the label's price is one of a device */
    kube_price_set(view, "cpu", report);
    return report->id != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

status kube_node_slices_add(struct kube_view *view, const json_t *node, const json_t *usages)
{
    struct slice_report base = {.numa = -1};
    kube_node_report(view, node, &base);
    if (base.node == NULL)
        return STATUS_NO_MEMORY;
    const char *name;
    json_t *amount;
    json_object_foreach(kube_get(node, "status", "allocatable", NULL), name, amount)
    {
        for (size_t i = 0; i < sizeof(resources) / sizeof(resources[0]); i++) {
            size_t bytes = strlen(resources[i].name);
            bool is_open = resources[i].name[bytes - 1] == '*';
            if (is_open ? strncmp(name, resources[i].name, bytes - 1) != 0
                        : strcmp(name, resources[i].name) != 0)
                continue;
            status result = devices_add(view, node, i, name, &base, usages);
            if (result != STATUS_OK)
                return result;
        }
    }
    return view->config->has_cpu_slices ? cpu_add(view, node, &base, usages) : STATUS_OK;
}
