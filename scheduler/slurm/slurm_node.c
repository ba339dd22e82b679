/* Nodes as slices.
 *
 * Slurm tells of a node's GPUs how many there are and how many are in use, by type; which of them are ours is in our jobs' comments. So
 * the slices of a type are places numbered from 0; ours are where we put them, and what others use is told as held on the
 * highest places that are not ours. A free GPU that no free core is left for is told as held too: nothing would start there. */
#include "slurm_node.h"

#include <stdio.h>
#include <string.h>

#include "slurm_gres.h"
#include "slurm_json.h"

#define MIB               (1ull << 20)
#define MILLI             1000u
#define FEATURE_BYTES_MAX 256u
#define GPUS_MAX          1024u /* of a type on a node: a count beyond is no count */

struct features {
    char texts[SLICE_LABELS_MAX][FEATURE_BYTES_MAX];
    const char *labels[SLICE_LABELS_MAX];
    uint32_t text_count, label_count;
    const char *region, *zone, *rack, *nvlink, *owner;
    bool is_spot;
};

struct node_view {
    const json_t *object;
    const struct slurm_member_config *config;
    const struct slurm_holds *holds;
    void (*slice)(void *context, const struct slice_report *report);
    void *context;
    struct features features;
    char rack[FEATURE_BYTES_MAX];
    struct slice_report report; /* what is the same for all of its slices */
    uint64_t gpu_count, shards_per_gpu, foreign_shards;
    uint64_t free_cores; /* for GPUs that nobody has yet */
};

/* --- features --- */

static void feature_take(struct features *features, const char *text)
{
    static const char *const names[] = {"region_", "zone_", "rack_", "nvlink_", "owner_"};
    const char **values[] = {&features->region, &features->zone, &features->rack, &features->nvlink,
                             &features->owner};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strncmp(text, names[i], strlen(names[i])) == 0) {
            *values[i] = text + strlen(names[i]);
            return;
        }
    }
    if (strcmp(text, "spot") == 0)
        features->is_spot = true;
    features->labels[features->label_count++] = text;
}

static void features_add(struct features *features, const char *list)
{
    while (*list != '\0' && features->text_count < SLICE_LABELS_MAX) {
        size_t bytes = strcspn(list, ",");

        if (bytes > 0 && bytes < FEATURE_BYTES_MAX) {
            char *text = features->texts[features->text_count++];

            memcpy(text, list, bytes);
            text[bytes] = '\0';
            feature_take(features, text);
        }
        list += bytes;
        list += strspn(list, ",");
    }
}

/* A text with commas, or an array of texts. */
static void features_read(const json_t *object, struct features *features)
{
    const json_t *list = json_object_get(object, "active_features");

    if (list == NULL)
        list = json_object_get(object, "features");
    if (json_is_string(list))
        features_add(features, json_string_value(list));
    for (size_t i = 0; i < json_array_size(list); i++)
        features_add(features, json_string_value(json_array_get(list, i)) != NULL
                                   ? json_string_value(json_array_get(list, i))
                                   : "");
}

static bool feature_is(const struct features *features, const char *text)
{
    for (uint32_t i = 0; i < features->label_count; i++)
        if (strcmp(features->labels[i], text) == 0)
            return true;
    return false;
}

/* The member's, as far as the node has not said the same. */
static void labels_add(struct features *features, const struct slurm_member_config *config)
{
    for (uint32_t i = 0; i < config->label_count && features->label_count < SLICE_LABELS_MAX; i++)
        if (!feature_is(features, config->labels[i]))
            features->labels[features->label_count++] = config->labels[i];
}

/* The leaf of "spine.leaf0.n0", from v0.0.39 on. */
static const char *rack_read(struct node_view *view)
{
    const char *topology = slurm_text(view->object, "topology");
    const char *end = strrchr(topology, '.'), *begin = topology;

    if (view->features.rack != NULL || end == NULL)
        return view->features.rack;
    for (const char *at = topology; at < end; at++)
        if (*at == '.')
            begin = at + 1;
    (void)snprintf(view->rack, sizeof(view->rack), "%.*s", (int)(end - begin), begin);
    return view->rack;
}

/* --- health --- */

static bool node_has(const json_t *node, const char *word)
{
    return slurm_has_flag(node, "state", word) || slurm_has_flag(node, "state_flags", word);
}

enum slice_health slurm_node_health(const json_t *node)
{
    static const struct {
        const char *word;
        enum slice_health health;
    } words[] = {
        {"DOWN", SLICE_BAD},
        {"ERROR", SLICE_BAD},
        {"FAIL", SLICE_BAD},
        {"INVAL", SLICE_BAD},
        {"INVALID", SLICE_BAD},
        {"INVALID_REG", SLICE_BAD},
        {"FUTURE", SLICE_BAD},
        {"NOT_RESPONDING", SLICE_BAD},
        {"UNKNOWN", SLICE_UNKNOWN},
        {"DRAIN", SLICE_DRAINING},
        {"MAINTENANCE", SLICE_DRAINING},
        {"MAINT", SLICE_DRAINING},
        {"REBOOT_REQUESTED", SLICE_DRAINING},
        {"REBOOT_ISSUED", SLICE_DRAINING},
        {"POWERING_DOWN", SLICE_DRAINING},
        {"POWER_DOWN", SLICE_DRAINING},
        {"RESERVED", SLICE_DRAINING},
    };

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (node_has(node, words[i].word))
            return words[i].health;
    return SLICE_OK;
}

/* --- devices --- */

static uint64_t sum_of(const json_t *sums, const char *name)
{
    return (uint64_t)json_integer_value(json_object_get(sums, name));
}

static bool text_equals(struct text_slice text, const char *other)
{
    return text_slice_is(text, other != NULL ? other : "");
}

static const struct slurm_device *device_find(const struct slurm_member_config *config,
                                              struct text_slice type)
{
    for (uint32_t i = 0; i < config->device_count; i++)
        if (text_equals(type, config->devices[i].gres_type))
            return &config->devices[i];
    return NULL;
}

/* How many of this name and type a list has; a list that leaves the type out counts for a type that has no other. */
static uint64_t gres_count(const char *list, const char *name, const struct text_slice *type)
{
    struct text_slice rest = text_slice_of(list);
    struct slurm_gres gres;
    uint64_t count = 0;
    status result;

    while ((result = slurm_gres_next(&rest, &gres)) != STATUS_NOT_FOUND)
        if (result == STATUS_OK && text_slice_is(gres.name, name) &&
            (type == NULL || text_slice_equals(gres.type, *type)))
            count += gres.count;
    return count;
}

static void place_id(const struct node_view *view, struct text_slice type, uint64_t place,
                     char *out, size_t bytes)
{
    (void)snprintf(out, bytes, "%s/gpu%s%.*s/%u", view->report.node, type.bytes > 0 ? ":" : "",
                   (int)type.bytes, type.data, (unsigned)place);
}

static void device_describe(const struct slurm_device *device, struct text_slice type, char *name,
                            size_t bytes, struct slice_report *report)
{
    (void)snprintf(name, bytes, "%.*s", (int)type.bytes, type.data);
    report->kind = SLICE_GPU;
    report->vendor = SLICE_OTHER;
    report->product = name;
    report->compute_milli = MILLI;
    if (device == NULL) {
        report->reason = report->reason != NULL && report->reason[0] != '\0'
                             ? report->reason
                             : "the config has no device of this GRES type";
        return;
    }
    report->kind = device->kind;
    report->vendor = device->vendor;
    report->product = device->product;
    report->profile = device->profile;
    report->compute_capability = device->compute_capability;
    report->memory_bytes = device->memory_bytes;
    report->price_nano_hour = device->price_nano_hour;
    if (device->compute_milli > 0)
        report->compute_milli = device->compute_milli;
}

static void all_held(struct slice_report *report)
{
    report->compute_foreign_milli = report->compute_milli;
    report->memory_foreign_bytes = report->memory_bytes;
}

/* Others' shards that have not been put anywhere yet, as far as this place has room. */
static void shards_hold(struct node_view *view, uint64_t held_milli, struct slice_report *report)
{
    uint64_t room = report->compute_milli > held_milli ? report->compute_milli - held_milli : 0;
    uint64_t shards = report->step_milli > 0 ? room / report->step_milli : 0;

    if (shards > view->foreign_shards)
        shards = view->foreign_shards;
    view->foreign_shards -= shards;
    report->compute_foreign_milli = (uint32_t)shards * report->step_milli;
    report->memory_foreign_bytes =
        report->memory_bytes / report->compute_milli * report->compute_foreign_milli;
}

/* How many of the places that are not ours are free: those that others do not use and that cores are left for. */
static uint64_t free_places(struct node_view *view, uint64_t places, uint64_t used)
{
    uint64_t by_cores = view->free_cores / view->config->cores_per_gpu;
    uint64_t count = places > used ? places - used : 0;

    if (count > by_cores)
        count = by_cores;
    view->free_cores -= count * view->config->cores_per_gpu;
    return count;
}

static void gpus_report(struct node_view *view, struct text_slice type, uint64_t count)
{
    const struct slurm_device *device = device_find(view->config, type);
    uint64_t used = gres_count(slurm_text(view->object, "gres_used"), "gpu", &type);
    uint64_t wholes = 0, places = 0, usable;
    char id[SLICE_NAME_BYTES_MAX + 1], name[FEATURE_BYTES_MAX];
    struct slice_report report = view->report;

    device_describe(device, type, name, sizeof(name), &report);
    if (view->shards_per_gpu > 1 && view->shards_per_gpu <= report.compute_milli) {
        report.kind = SLICE_FRACTION;
        report.step_milli = report.compute_milli / (uint32_t)view->shards_per_gpu;
        report.compute_milli = report.step_milli * (uint32_t)view->shards_per_gpu;
        report.tenants_max = (uint16_t)view->shards_per_gpu;
    }
    for (uint64_t place = 0; place < count; place++) {
        uint64_t held;

        place_id(view, type, place, id, sizeof(id));
        held = sum_of(view->holds->milli, id);
        wholes += held >= report.compute_milli;
        places += held == 0;
    }
    usable = free_places(view, places, used > wholes ? used - wholes : 0);
    for (uint64_t place = 0; place < count; place++) {
        struct slice_report one = report;
        uint64_t held;

        place_id(view, type, place, id, sizeof(id));
        held = sum_of(view->holds->milli, id);
        one.id = id;
        if (held == 0 && usable == 0)
            all_held(&one);
        else
            shards_hold(view, held, &one);
        usable -= held == 0 && usable > 0;
        view->slice(view->context, &one);
    }
}

static void cores_report(struct node_view *view)
{
    char id[SLICE_NAME_BYTES_MAX + 1];
    struct slice_report report = view->report;
    uint64_t cores, held_milli, held_mib, allocated = slurm_number_or_0(view->object, "alloc_cpus");
    uint64_t memory = slurm_number_or_0(view->object, "alloc_memory");

    if (!slurm_number(view->object, "effective_cpus", &cores))
        cores = slurm_number_or_0(view->object, "cpus");
    if (cores == 0 || cores > SLICE_COMPUTE_MILLI_MAX / MILLI)
        return;
    (void)snprintf(id, sizeof(id), "%s/cpu", report.node);
    held_milli = sum_of(view->holds->milli, id);
    held_mib = sum_of(view->holds->mib, id);
    report.id = id;
    report.kind = SLICE_CPU_SET;
    report.vendor = SLICE_CPU;
    report.product = slurm_text(view->object, "architecture");
    report.compute_milli = (uint32_t)cores * MILLI;
    report.step_milli = MILLI;
    report.tenants_max = (uint16_t)(cores > UINT16_MAX ? UINT16_MAX : cores);
    report.memory_bytes = slurm_number_or_0(view->object, "real_memory") * MIB;
    report.price_nano_hour = view->config->core_price_nano_hour * (int64_t)cores;
    if (allocated * MILLI > held_milli)
        report.compute_foreign_milli = (uint32_t)(allocated * MILLI - held_milli);
    if (report.compute_foreign_milli > report.compute_milli)
        report.compute_foreign_milli = report.compute_milli;
    if (memory > held_mib)
        report.memory_foreign_bytes = (memory - held_mib) * MIB;
    if (report.memory_foreign_bytes > report.memory_bytes)
        report.memory_foreign_bytes = report.memory_bytes;
    view->slice(view->context, &report);
}

/* --- the node --- */

static void node_describe(struct node_view *view, const char *name)
{
    struct slice_report *report = &view->report;
    struct features *features = &view->features;

    features_read(view->object, features);
    labels_add(features, view->config);
    report->node = name;
    report->region = features->region != NULL ? features->region : view->config->region;
    report->zone = features->zone != NULL ? features->zone : view->config->zone;
    report->rack = rack_read(view);
    report->nvlink_domain = features->nvlink != NULL         ? features->nvlink
                            : feature_is(features, "nvlink") ? name
                                                             : NULL;
    report->owner = features->owner != NULL ? features->owner : view->config->owner;
    report->labels = features->labels;
    report->label_count = features->label_count;
    report->numa = -1;
    report->health = slurm_node_health(view->object);
    report->reason = slurm_text(view->object, "reason");
    report->is_preemptible = view->config->is_preemptible || features->is_spot;
}

void slurm_node_report(const json_t *node, const struct slurm_member_config *config,
                       const struct slurm_holds *holds,
                       void (*slice)(void *context, const struct slice_report *report),
                       void *context)
{
    struct node_view view = {
        .object = node, .config = config, .holds = holds, .slice = slice, .context = context};
    const char *name = slurm_text(node, "name"), *gres = slurm_text(node, "gres");
    struct text_slice rest = text_slice_of(gres);
    uint64_t cores, allocated = slurm_number_or_0(node, "alloc_cpus");
    struct slurm_gres item;
    status result;

    if (name[0] == '\0' || strlen(name) >= FEATURE_BYTES_MAX ||
        !slurm_has_flag(node, "partitions", config->partition))
        return;
    node_describe(&view, name);
    view.gpu_count = gres_count(gres, "gpu", NULL);
    if (view.gpu_count == 0) {
        cores_report(&view);
        return;
    }
    view.shards_per_gpu = gres_count(gres, "shard", NULL) / view.gpu_count;
    view.foreign_shards = sum_of(holds->foreign_shards, name);
    if (!slurm_number(node, "effective_cpus", &cores))
        cores = slurm_number_or_0(node, "cpus");
    view.free_cores = cores > allocated ? cores - allocated : 0;
    while ((result = slurm_gres_next(&rest, &item)) != STATUS_NOT_FOUND)
        if (result == STATUS_OK && text_slice_is(item.name, "gpu") && item.count <= GPUS_MAX)
            gpus_report(&view, item.type, item.count);
}
