#include <string.h>

#include "check.h"
#include "json.h"
#include "kube_pod.h"
#include "kube_text.h"
#include "kube_view.h"

/* What an API server may say: {"nodes": [...], "pods": [...], "slices": [...], "claims": [...], "classes": [...]}, any of which may be
 * anything. Whatever comes of it, slices keep to the bounds of their reports, and have ids of their own. The same bytes are read as a
 * kubeconfig's YAML. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* By "namespace/name", as a list is kept. */
static json_t *objects_of(const json_t *world, const char *list, bool is_usage)
{
    json_t *objects = json_object(), *item;
    size_t i;
    json_array_foreach(json_object_get(world, list), i, item)
    {
        char key[1024];
        (void)snprintf(key, sizeof(key), "%s/%s", kube_text(item, "metadata", "namespace"),
                       kube_text(item, "metadata", "name"));
        json_t *kept = is_usage ? kube_pod_usage(json_incref(item)) : json_incref(item);
        if (kept != NULL)
            (void)json_object_set_new(objects, key, kept);
    }
    return objects;
}

static void slice_check(const struct kube_slice *slice)
{
    const struct slice_report *report = &slice->report;
    CHECK(report->id != NULL && *report->id != '\0');
    CHECK(report->kind < SLICE_KIND_COUNT && report->vendor < SLICE_VENDOR_COUNT &&
          report->health < SLICE_HEALTH_COUNT);
    CHECK(report->memory_bytes <= SLICE_MEMORY_BYTES_MAX &&
          report->memory_foreign_bytes <= report->memory_bytes);
    CHECK(report->compute_milli <= SLICE_COMPUTE_MILLI_MAX &&
          report->compute_foreign_milli <= report->compute_milli);
    CHECK(report->label_count <= SLICE_LABELS_MAX &&
          report->price_nano_hour <= SLICE_PRICE_NANO_HOUR_MAX);
    struct buffer out;
    buffer_init(&out, 1u << 20);
    kube_slice_write(slice, &out);
    buffer_deinit(&out);
}

static void view_check(const json_t *world)
{
    struct kube_objects objects = {.nodes = objects_of(world, "nodes", false),
                                   .usages = objects_of(world, "pods", true),
                                   .devices = objects_of(world, "slices", false),
                                   .claims = objects_of(world, "claims", false),
                                   .classes = objects_of(world, "classes", false)};
    const struct kube_member_config config = {
        .pool = "p", .has_cpu_slices = true, .partition_profile = "1g.10gb"};
    struct kube_view *view = NULL;
    if (kube_view_create(&config, &objects, &view) == STATUS_OK) {
        for (uint32_t i = 0; i < view->count; i++)
            slice_check(&view->slices[i]);
        kube_view_destroy(view);
    }
    json_decref((json_t *)objects.nodes);
    json_decref((json_t *)objects.usages);
    json_decref((json_t *)objects.devices);
    json_decref((json_t *)objects.claims);
    json_decref((json_t *)objects.classes);
}

static void pods_check(const json_t *world)
{
    const json_t *node = json_array_get(json_object_get(world, "nodes"), 0);
    struct kube_pod_state state;
    size_t i;
    json_t *pod;
    json_array_foreach(json_object_get(world, "pods"), i, pod)
    {
        for (int turn = 0; turn < 4; turn++) {
            if (!kube_pod_read(pod, node, turn & 1, turn & 2, &state))
                continue;
            CHECK(state.uid != 0 && state.phase < MEMBER_PHASE_COUNT &&
                  state.cause < MEMBER_CAUSE_COUNT && state.parts >= 1);
            CHECK(strlen(state.text) < sizeof(state.text));
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const struct json_limits limits = {.depth_max = 64, .value_count_max = 20000};
    const struct text_slice text = {(const char *)data, bytes};
    json_t *world = NULL, *config = NULL;
    if (bytes <= 65536 && kube_yaml_read(text, &config, NULL) == STATUS_OK)
        json_decref(config);
    if (json_load_limited(text, &limits, &world, NULL) != STATUS_OK)
        return 0;
    view_check(world);
    pods_check(world);
    json_decref(world);
    return 0;
}
