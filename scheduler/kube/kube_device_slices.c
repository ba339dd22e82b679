#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "kube_quantity.h"
#include "kube_text.h"
#include "kube_view.h"

/* Devices of dynamic resource allocation (resource.k8s.io). A pool of a driver is told in several ResourceSlices; only those of its highest
 * generation count, and only when all of them are there. What is taken is in the claims' allocations: whole devices,
 * shares of one (consumedCapacity), or partitions that draw on common counters. Of partitions that exclude one another
 * only such are listed as fit together: those that are taken, then those of the profile that we cut to, then the largest. */

struct device_pool {
    const char *driver, *name;
    json_int_t generation;
    size_t slice_count, seen;
    bool is_whole;
    const json_t *slices[128]; /* of the highest generation */
};

/* What claims hold of one device. */
struct holding {
    bool is_taken, is_ours;
    uint64_t foreign_bytes, foreign_units; /* of a shared one's capacity */
};

static const json_t *attribute_of(const json_t *device, const char *driver, const char *name)
{
    char qualified[512];
    (void)snprintf(qualified, sizeof(qualified), "%s/%s", driver, name);
    const json_t *attributes = kube_get(device, "attributes", NULL);
    const json_t *attribute = json_object_get(attributes, name);
    return attribute != NULL ? attribute : json_object_get(attributes, qualified);
}

static const char *attribute_text(const json_t *device, const char *driver, const char *name)
{
    const json_t *attribute = attribute_of(device, driver, name);
    const char *text = kube_text(attribute, "string");
    if (*text == '\0')
        text = kube_text(attribute, "version");
    return *text != '\0' ? text : NULL;
}

static uint64_t capacity_units(const json_t *device, const char *driver, const char *name)
{
    char qualified[512];
    (void)snprintf(qualified, sizeof(qualified), "%s/%s", driver, name);
    const json_t *capacities = kube_get(device, "capacity", NULL);
    const json_t *capacity = json_object_get(capacities, name);
    if (capacity == NULL)
        capacity = json_object_get(capacities, qualified);
    return kube_quantity_units(kube_text(capacity, "value"));
}

/* v1beta1 has what describes a device one level deeper. */
static const json_t *device_body(const json_t *device)
{
    const json_t *basic = json_object_get(device, "basic");
    return basic != NULL ? basic : device;
}

/* --- what is taken --- */

static struct holding holding_of(const struct kube_view *view, const json_t *claims,
                                 const struct device_pool *pool, const char *device)
{
    struct holding holding = {0};
    char key[SLICE_NAME_BYTES_MAX + 1];
    (void)snprintf(key, sizeof(key), "%s/%s/%s", pool->driver, pool->name, device);
    size_t i;
    json_t *result;
    json_array_foreach(json_object_get(claims, key), i, result)
    {
        bool is_ours = strcmp(kube_text(result, "owner"), view->config->pool) == 0;
        holding.is_taken = true;
        holding.is_ours |= is_ours;
        if (!is_ours) {
            const json_t *consumed = kube_get(result, "consumedCapacity", NULL);
            holding.foreign_bytes += kube_quantity_units(kube_text(consumed, "memory"));
            holding.foreign_units += kube_quantity_units(kube_text(consumed, "compute"));
        }
    }
    return holding;
}

/* Allocations by device: {"driver/pool/device": [{consumedCapacity, owner}]}. Access for administration takes nothing. */
static json_t *allocations_group(const json_t *claims)
{
    json_t *groups = json_object();
    const char *key;
    json_t *claim, *result;
    json_object_foreach((json_t *)claims, key, claim)
    {
        const json_t *results = kube_get(claim, "status", "allocation", "devices", "results", NULL);
        size_t i;
        json_array_foreach(results, i, result)
        {
            char name[SLICE_NAME_BYTES_MAX + 1];
            if (json_is_true(json_object_get(result, "adminAccess")))
                continue;
            (void)snprintf(name, sizeof(name), "%s/%s/%s", kube_text(result, "driver"),
                           kube_text(result, "pool"), kube_text(result, "device"));
            json_t *group = json_object_get(groups, name);
            if (group == NULL) {
                group = json_array();
                (void)json_object_set_new(groups, name, group);
            }
            json_t *held = json_pack(
                "{s:s, s:O*}", "owner", kube_text(claim, "metadata", "labels", KUBE_LABEL_POOL),
                "consumedCapacity", kube_get(result, "consumedCapacity", NULL));
            if (held == NULL || json_array_append_new(group, held) != 0) {
                json_decref(groups);
                return NULL;
            }
        }
    }
    return groups;
}

/* --- one device --- */

/* The class whose expressions name the driver, best one that names the device's type or the driver itself; NULL: none. */
static const char *class_find(const json_t *classes, const char *driver, const char *type)
{
    const char *key, *best = NULL;
    json_t *class;
    int best_score = 0;
    char quoted_type[128], quoted_driver[512];
    (void)snprintf(quoted_type, sizeof(quoted_type), "%s", type != NULL ? type : "\x01");
    (void)snprintf(quoted_driver, sizeof(quoted_driver), "%s", driver);
    json_object_foreach((json_t *)classes, key, class)
    {
        const char *name = kube_text(class, "metadata", "name");
        bool has_driver = false, has_type = false, has_other = false;
        size_t i;
        json_t *selector;
        json_array_foreach(kube_get(class, "spec", "selectors", NULL), i, selector)
        {
            const char *text = kube_text(selector, "cel", "expression");
            const char *at = strstr(text, ".type");
            has_driver |= strstr(text, quoted_driver) != NULL;
            has_type |= at != NULL && strstr(at, quoted_type) != NULL;
            has_other |= at != NULL && strstr(at, quoted_type) == NULL;
        }
        int score =
            !has_driver || has_other ? 0 : 1 + 4 * has_type + 2 * (strcmp(name, driver) == 0);
        if (score > best_score) {
            best_score = score;
            best = name;
        }
    }
    return best;
}

static void term_append(struct buffer *out, const char *driver, const char *name,
                        const json_t *attribute)
{
    const char *text = kube_text(attribute, "string");
    const json_t *number = json_object_get(attribute, "int");
    if (*text == '\0' && !json_is_integer(number))
        return;
    const char *slash = strchr(name, '/');
    buffer_append_text(out, out->bytes > 0 ? " && device.attributes[" : "device.attributes[");
    struct text_slice domain =
        slash != NULL ? (struct text_slice){name, (size_t)(slash - name)} : text_slice_of(driver);
    json_write_string(out, domain);
    buffer_append_format(out, "].%s == ", slash != NULL ? slash + 1 : name);
    if (*text != '\0')
        json_write_text(out, text);
    else
        buffer_append_i64(out, json_integer_value(number));
}

/* CEL knows a device's attributes and not its name. One with a uuid is found by that; others by all they have: those
 * that are alike in all stand for one another. */
static const char *selector_write(struct kube_view *view, const char *driver, const json_t *device)
{
    struct buffer text;
    buffer_init(&text, 10240); /* the API's bound of an expression */
    const json_t *uuid = attribute_of(device, driver, "uuid");
    if (uuid != NULL)
        term_append(&text, driver, "uuid", uuid);
    const char *name;
    json_t *attribute;
    json_object_foreach(kube_get(device, "attributes", NULL), name, attribute)
    {
        if (uuid == NULL)
            term_append(&text, driver, name, attribute);
    }
    const char *kept = text.failed == STATUS_OK && text.bytes > 0
                           ? arena_copy_text(view->memory, text.data, text.bytes)
                           : "";
    buffer_deinit(&text);
    return kept;
}

static enum slice_vendor vendor_of(const char *driver, const char *product, const char *uuid)
{
    static const struct {
        const char *word;
        enum slice_vendor vendor;
    } words[] = {{"nvidia", SLICE_NVIDIA}, {"NVIDIA", SLICE_NVIDIA}, {"amd", SLICE_AMD},
                 {"AMD", SLICE_AMD},       {"intel", SLICE_INTEL},   {"Intel", SLICE_INTEL},
                 {"habana", SLICE_GAUDI},  {"gaudi", SLICE_GAUDI},   {"Gaudi", SLICE_GAUDI}};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strstr(driver, words[i].word) != NULL ||
            (product != NULL && strstr(product, words[i].word) != NULL))
            return words[i].vendor;
    bool is_nvidia =
        uuid != NULL && (strncmp(uuid, "GPU-", 4) == 0 || strncmp(uuid, "MIG-", 4) == 0);
    return is_nvidia ? SLICE_NVIDIA : SLICE_OTHER;
}

static const char *kept(struct kube_view *view, const char *text)
{
    return text != NULL ? kube_view_text(view, "%s", text) : NULL;
}

static void taints_set(struct kube_view *view, const json_t *device, struct slice_report *report)
{
    size_t i;
    json_t *taint;
    json_array_foreach(kube_get(device, "taints", NULL), i, taint)
    {
        const char *effect = kube_text(taint, "effect");
        bool is_evicting = strcmp(effect, "NoExecute") == 0;
        if ((!is_evicting && strcmp(effect, "NoSchedule") != 0) || report->health == SLICE_BAD)
            continue;
        report->health = is_evicting ? SLICE_BAD : SLICE_DRAINING;
        report->reason = kube_view_text(view, "device taint %.300s", kube_text(taint, "key"));
    }
}

static void attributes_set(struct kube_view *view, const char *driver, const json_t *device,
                           struct slice_report *report)
{
    const char *product = attribute_text(device, driver, "productName");
    const char *version = attribute_text(device, driver, "cudaComputeCapability");
    const char *profile = attribute_text(device, driver, "profile");
    const json_t *numa = kube_get(attribute_of(device, driver, "numa"), "int", NULL);
    unsigned major = 0, minor = 0;
    report->vendor = vendor_of(driver, product, attribute_text(device, driver, "uuid"));
    report->product = kept(view, product);
    report->nvlink_domain = kept(view, attribute_text(device, driver, "nvlinkDomain"));
    report->pcie_root =
        kept(view, attribute_text(device, driver, "resource.kubernetes.io/pcieRoot"));
    if (version != NULL && sscanf(version, "%3u.%1u", &major, &minor) == 2)
        report->compute_capability = (uint16_t)(major * 10 + minor);
    if (json_is_integer(numa) && json_integer_value(numa) >= 0 && json_integer_value(numa) < 1024)
        report->numa = (int16_t)json_integer_value(numa);
    report->memory_bytes = capacity_units(device, driver, "memory");
    if (report->memory_bytes > SLICE_MEMORY_BYTES_MAX)
        report->memory_bytes = SLICE_MEMORY_BYTES_MAX;
    report->compute_milli = 1000;
    report->tenants_max = 1;
    report->kind = SLICE_DRA_DEVICE;
    uint64_t profile_bytes;
    if (profile != NULL && kube_profile_read(profile, &report->compute_milli, &profile_bytes)) {
        report->kind = SLICE_MIG;
        report->profile = kept(view, profile);
    }
}

/* A device that several may share, each a part of its capacity. */
static void sharing_set(const char *driver, const json_t *device, struct kube_slice *slice)
{
    if (!json_is_true(json_object_get(device, "allowMultipleAllocations")))
        return;
    const json_t *memory = kube_get(device, "capacity", "memory", "requestPolicy", NULL);
    uint64_t least = kube_quantity_units(kube_text(memory, "validRange", "min"));
    uint64_t tenants = least > 0 ? slice->report.memory_bytes / least : UINT16_MAX;
    slice->is_shared = true;
    slice->report.kind = SLICE_FRACTION;
    slice->compute_units = capacity_units(device, driver, "compute");
    slice->report.tenants_max = (uint16_t)(tenants < 1            ? 1
                                           : tenants > UINT16_MAX ? UINT16_MAX
                                                                  : tenants);
    uint64_t step = kube_quantity_units(kube_text(
        kube_get(device, "capacity", "compute", "requestPolicy", NULL), "validRange", "step"));
    uint64_t milli = slice->compute_units > 0 ? step * 1000 / slice->compute_units : 0;
    slice->report.step_milli = milli > 0 && 1000 % milli == 0 ? (uint32_t)milli : 1;
}

static void holding_set(const struct holding *holding, struct kube_slice *slice)
{
    struct slice_report *report = &slice->report;
    if (slice->is_shared) {
        uint64_t milli =
            slice->compute_units > 0
                ? (holding->foreign_units * 1000 + slice->compute_units - 1) / slice->compute_units
                : 0;
        report->memory_foreign_bytes = holding->foreign_bytes < report->memory_bytes
                                           ? holding->foreign_bytes
                                           : report->memory_bytes;
        report->compute_foreign_milli = milli < 1000 ? (uint32_t)milli : 1000;
    } else if (holding->is_taken && !holding->is_ours) {
        report->memory_foreign_bytes = report->memory_bytes;
        report->compute_foreign_milli = report->compute_milli;
    }
}

struct device_source {
    const struct device_pool *pool;
    const json_t *spec; /* of the ResourceSlice */
    const json_t *device;
    const char *name;
    struct holding holding;
};

static status device_add(struct kube_view *view, const struct kube_objects *objects,
                         const struct device_source *source)
{
    struct kube_slice *slice = kube_view_add(view);
    if (slice == NULL)
        return STATUS_NO_MEMORY;
    struct slice_report *report = &slice->report;
    const char *driver = source->pool->driver;
    const char *node = kube_text(source->device, "nodeName");
    char key[512];
    if (*node == '\0')
        node = kube_text(source->spec, "nodeName");
    (void)snprintf(key, sizeof(key), "/%s", node);
    const json_t *found = json_object_get(objects->nodes, key);
    if (found != NULL) {
        kube_node_report(view, found, report);
    } else {
        report->health = *node != '\0' ? SLICE_BAD : SLICE_OK;
        report->reason = *node != '\0' ? "its node is not there" : NULL;
        report->region = view->config->region;
        report->zone = view->config->zone;
        report->owner = view->config->owner;
        report->labels = view->config->labels;
        report->label_count = view->config->label_count;
    }
    report->id = kube_view_text(view, "%s/%s/%s", driver, source->pool->name, source->name);
    attributes_set(view, driver, source->device, report);
    taints_set(view, source->device, report);
    sharing_set(driver, source->device, slice);
    holding_set(&source->holding, slice);
    kube_price_set(view, report->product, report);
    const char *class =
        class_find(objects->classes, driver, attribute_text(source->device, driver, "type"));
    slice->class_name = class != NULL ? kept(view, class) : "";
    slice->selector = selector_write(view, driver, source->device);
    if (report->health == SLICE_OK && (!source->pool->is_whole || class == NULL)) {
        report->health = SLICE_UNKNOWN;
        report->reason = class == NULL ? "no DeviceClass selects its driver"
                                       : "not all ResourceSlices of its pool are there";
    }
    return report->id != NULL && slice->selector != NULL && slice->class_name != NULL
               ? STATUS_OK
               : STATUS_NO_MEMORY;
}

/* --- a pool --- */

static void pool_gather(struct device_pool *pool, const json_t *slices)
{
    const char *key;
    json_t *slice;
    pool->generation = -1;
    json_object_foreach((json_t *)slices, key, slice)
    {
        const json_t *spec = json_object_get(slice, "spec");
        json_int_t generation = json_integer_value(kube_get(spec, "pool", "generation", NULL));
        if (strcmp(kube_text(spec, "driver"), pool->driver) != 0 ||
            strcmp(kube_text(spec, "pool", "name"), pool->name) != 0 ||
            generation < pool->generation)
            continue;
        if (generation > pool->generation)
            pool->seen = 0;
        pool->generation = generation;
        pool->slice_count =
            (size_t)json_integer_value(kube_get(spec, "pool", "resourceSliceCount", NULL));
        if (pool->seen < sizeof(pool->slices) / sizeof(pool->slices[0]))
            pool->slices[pool->seen++] = spec;
    }
    pool->is_whole = pool->seen == pool->slice_count;
}

/* Takes a device's counters off what is left (an object of "set/counter": integer); false: there is not enough, nothing taken. */
static bool counters_take(json_t *left, const json_t *device, bool is_forced)
{
    for (int is_taking = 0; is_taking < 2; is_taking++) {
        size_t i;
        json_t *set, *counter;
        const char *name;
        json_array_foreach(kube_get(device, "consumesCounters", NULL), i, set)
        {
            json_object_foreach(json_object_get(set, "counters"), name, counter)
            {
                char key[512];
                (void)snprintf(key, sizeof(key), "%s/%s", kube_text(set, "counterSet"), name);
                json_int_t need = (json_int_t)kube_quantity_units(kube_text(counter, "value"));
                json_int_t there = json_integer_value(json_object_get(left, key));
                if (need > there && !is_forced)
                    return false;
                if (is_taking == 1)
                    (void)json_object_set_new(left, key, json_integer(there - need));
            }
        }
    }
    return true;
}

static json_t *counters_of(const struct device_pool *pool)
{
    json_t *left = json_object();
    for (size_t i = 0; i < pool->seen; i++) {
        size_t k;
        json_t *set, *counter;
        const char *name;
        json_array_foreach(json_object_get(pool->slices[i], "sharedCounters"), k, set)
        {
            json_object_foreach(json_object_get(set, "counters"), name, counter)
            {
                char key[512];
                (void)snprintf(key, sizeof(key), "%s/%s", kube_text(set, "name"), name);
                (void)json_object_set_new(
                    left, key,
                    json_integer((json_int_t)kube_quantity_units(kube_text(counter, "value"))));
            }
        }
    }
    return left;
}

/* Which devices are looked at in which turn. */
enum turn { TURN_TAKEN, TURN_PROFILE, TURN_LARGEST, TURN_COUNT };

static enum turn turn_of(const struct kube_view *view, const struct device_source *source)
{
    if (source->holding.is_taken || kube_get(source->device, "consumesCounters", NULL) == NULL)
        return TURN_TAKEN;
    const char *profile = attribute_text(source->device, source->pool->driver, "profile");
    bool is_wanted = profile != NULL && view->config->partition_profile != NULL &&
                     strcmp(profile, view->config->partition_profile) == 0;
    return is_wanted ? TURN_PROFILE : TURN_LARGEST;
}

static int source_compare(const void *a, const void *b)
{
    const struct device_source *x = a, *y = b;
    uint64_t x_bytes = capacity_units(x->device, x->pool->driver, "memory");
    uint64_t y_bytes = capacity_units(y->device, y->pool->driver, "memory");
    return x_bytes != y_bytes ? (x_bytes < y_bytes) - (x_bytes > y_bytes)
                              : strcmp(x->name, y->name);
}

#define POOL_DEVICES_MAX (128u * 128u)

static uint32_t sources_gather(const struct kube_view *view, const struct device_pool *pool,
                               const json_t *allocations, struct device_source *sources)
{
    uint32_t count = 0;
    for (size_t i = 0; i < pool->seen; i++) {
        size_t k;
        json_t *device;
        json_array_foreach(json_object_get(pool->slices[i], "devices"), k, device)
        {
            const char *name = kube_text(device, "name");
            if (sources != NULL && count < POOL_DEVICES_MAX)
                sources[count] =
                    (struct device_source){.pool = pool,
                                           .spec = pool->slices[i],
                                           .device = device_body(device),
                                           .name = name,
                                           .holding = holding_of(view, allocations, pool, name)};
            count++;
        }
    }
    return count < POOL_DEVICES_MAX ? count : POOL_DEVICES_MAX;
}

static status pool_add(struct kube_view *view, const struct kube_objects *objects,
                       const struct device_pool *pool, const json_t *allocations)
{
    uint32_t count = sources_gather(view, pool, allocations, NULL);
    if (count == 0)
        return STATUS_OK;
    struct device_source *sources = arena_allocate_array(view->memory, count, sizeof(sources[0]));
    json_t *left = counters_of(pool);
    if (sources == NULL || left == NULL) {
        json_decref(left);
        return STATUS_NO_MEMORY;
    }
    (void)sources_gather(view, pool, allocations, sources);
    qsort(sources, count, sizeof(sources[0]), source_compare);
    status result = STATUS_OK;
    for (int turn = TURN_TAKEN; turn < TURN_COUNT; turn++) {
        for (uint32_t i = 0; i < count && result == STATUS_OK; i++) {
            if ((int)turn_of(view, &sources[i]) == turn &&
                counters_take(left, sources[i].device, turn == TURN_TAKEN))
                result = device_add(view, objects, &sources[i]);
        }
    }
    json_decref(left);
    return result;
}

status kube_device_slices_add(struct kube_view *view, const struct kube_objects *objects)
{
    json_t *allocations = allocations_group(objects->claims);
    json_t *done = json_object();
    status result = allocations != NULL && done != NULL ? STATUS_OK : STATUS_NO_MEMORY;
    const char *key;
    json_t *slice;
    json_object_foreach((json_t *)objects->devices, key, slice)
    {
        struct device_pool *pool = arena_allocate(view->memory, sizeof(*pool));
        char name[SLICE_NAME_BYTES_MAX + 1];
        const json_t *spec = json_object_get(slice, "spec");
        (void)snprintf(name, sizeof(name), "%s/%s", kube_text(spec, "driver"),
                       kube_text(spec, "pool", "name"));
        if (result != STATUS_OK || json_object_get(done, name) != NULL)
            continue;
        if (pool == NULL || json_object_set_new(done, name, json_true()) != 0) {
            result = STATUS_NO_MEMORY;
            continue;
        }
        pool->driver = kube_text(spec, "driver");
        pool->name = kube_text(spec, "pool", "name");
        pool_gather(pool, objects->devices);
        result = pool_add(view, objects, pool, allocations);
    }
    json_decref(allocations);
    json_decref(done);
    return result;
}
