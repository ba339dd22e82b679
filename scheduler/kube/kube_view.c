#include "kube_view.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kube_text.h"
#include "memory.h"

#define VIEW_BYTES_MAX (1u << 30)

const char *kube_view_text(struct kube_view *view, const char *format, ...)
{
    char text[2048];
    va_list values;
    va_start(values, format);
    int bytes = vsnprintf(text, sizeof(text), format, values);
    va_end(values);
    if (bytes < 0 || (size_t)bytes >= sizeof(text))
        return NULL;
    return arena_copy_text(view->memory, text, (size_t)bytes);
}

struct kube_slice *kube_view_add(struct kube_view *view)
{
    if (view->count == view->capacity) {
        uint32_t capacity = view->capacity > 0 ? view->capacity * 2 : 256;
        struct kube_slice *slices =
            capacity <= KUBE_SLICES_MAX
                ? memory_resize(view->slices, capacity * sizeof(view->slices[0]))
                : NULL;
        if (slices == NULL)
            return NULL;
        view->slices = slices;
        view->capacity = capacity;
    }
    struct kube_slice *slice = &view->slices[view->count++];
    memset(slice, 0, sizeof(*slice));
    slice->resource = slice->class_name = slice->selector = "";
    slice->report.numa = -1;
    return slice;
}

/* Usages by their node: {"n0": [usage, ...]}. */
static json_t *usages_group(const json_t *usages)
{
    json_t *groups = json_object();
    const char *key;
    json_t *usage;
    json_object_foreach((json_t *)usages, key, usage)
    {
        const char *node = kube_text(usage, "node");
        json_t *group = json_object_get(groups, node);
        if (group == NULL) {
            group = json_array();
            if (json_object_set_new(groups, node, group) != 0)
                group = NULL;
        }
        if (group == NULL || json_array_append(group, usage) != 0) {
            json_decref(groups);
            return NULL;
        }
    }
    return groups;
}

status kube_view_create(const struct kube_member_config *config, const struct kube_objects *objects,
                        struct kube_view **out)
{
    struct kube_view *view = memory_allocate_array(1, sizeof(*view));
    if (view == NULL)
        return STATUS_NO_MEMORY;
    view->config = config;
    json_t *groups = usages_group(objects->usages);
    status result = groups != NULL ? arena_create(VIEW_BYTES_MAX, &view->memory) : STATUS_NO_MEMORY;
    const char *key;
    json_t *node;
    json_object_foreach((json_t *)objects->nodes, key, node)
    {
        if (result == STATUS_OK)
            result = kube_node_slices_add(
                view, node, json_object_get(groups, kube_text(node, "metadata", "name")));
    }
    json_decref(groups);
    if (result == STATUS_OK)
        result = kube_device_slices_add(view, objects);
    if (result != STATUS_OK)
        kube_view_destroy(view);
    else
        *out = view;
    return result;
}

void kube_view_destroy(struct kube_view *view)
{
    if (view == NULL)
        return;
    arena_destroy(view->memory);
    memory_release(view->slices);
    memory_release(view);
}

const struct kube_slice *kube_view_find(const struct kube_view *view, const char *id)
{
    for (uint32_t i = 0; view != NULL && i < view->count; i++)
        if (strcmp(view->slices[i].report.id, id) == 0)
            return &view->slices[i];
    return NULL;
}

static void field_write(struct buffer *out, const char *text)
{
    buffer_append_text(out, text != NULL ? text : "");
    buffer_append_byte(out, '\x1f');
}

void kube_slice_write(const struct kube_slice *slice, struct buffer *out)
{
    const struct slice_report *report = &slice->report;
    const char *const texts[] = {report->node,      report->region,        report->zone,
                                 report->rack,      report->nvlink_domain, report->switch_name,
                                 report->pcie_root, report->product,       report->profile,
                                 report->owner,     report->reason,        slice->class_name,
                                 slice->selector};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        field_write(out, texts[i]);
    for (uint32_t i = 0; i < report->label_count; i++)
        field_write(out, report->labels[i]);
    buffer_append_format(out, "%d %d %d %u %d %llu %llu %u %u %u %u %lld %d %g", report->kind,
                         report->vendor, report->health, report->compute_capability, report->numa,
                         (unsigned long long)report->memory_bytes,
                         (unsigned long long)report->memory_foreign_bytes, report->compute_milli,
                         report->compute_foreign_milli, report->step_milli, report->tenants_max,
                         (long long)report->price_nano_hour, report->is_preemptible,
                         (double)report->preemptions_hour);
}

void kube_price_set(const struct kube_view *view, const char *product, struct slice_report *report)
{
    if (report->price_nano_hour != 0 || product == NULL)
        return;
    for (uint32_t i = 0; i < view->config->price_count; i++) {
        const struct kube_member_price *price = &view->config->prices[i];
        if (price->is_spot == report->is_preemptible && strcmp(price->product, product) == 0)
            report->price_nano_hour = price->nano_hour;
    }
}

bool kube_profile_read(const char *profile, uint32_t *compute_milli, uint64_t *memory_bytes)
{
    unsigned sevenths, gigabytes;
    if (sscanf(profile, "%2ug.%4ugb", &sevenths, &gigabytes) != 2 || sevenths < 1 || sevenths > 7)
        return false;
    *compute_milli = (sevenths * 1000 + 3) / 7;
    *memory_bytes = (uint64_t)gigabytes << 30;
    return true;
}
