#include "adapter_metrics.h"

#include <stdio.h>

#include "buffer.h"
#include "clock.h"
#include "memory.h"

#define NAMES_BYTES_MAX (1u << 18) /* 1024 names of 128 bytes, and what is between them */

/* The labels of the series that is there. */
struct adapter_metrics {
    engine *e; /* borrowed */
    metrics_family *family;
    char count_max[16];
    struct buffer running, waiting;
    bool has_series;
};

static void name_add(struct buffer *list, const char *name)
{
    if (list->bytes > 0)
        buffer_append_byte(list, ',');
    buffer_append_text(list, name);
}

/* An adapter may be in both lists. */
static void visit(void *context, const struct engine_adapter_info *info)
{
    struct adapter_metrics *m = context;
    if (info->running > 0)
        name_add(&m->running, info->name);
    if (info->requests > info->running)
        name_add(&m->waiting, info->name);
}

static const char *text_of(const struct buffer *list)
{
    return list->bytes > 0 && list->failed == STATUS_OK ? list->data : "";
}

static void collect(void *context)
{
    struct adapter_metrics *m = context;
    const char *labels[4] = {m->count_max, text_of(&m->waiting), text_of(&m->running), NULL};
    if (m->has_series)
        metrics_series_remove(m->family, labels);
    buffer_clear(&m->running);
    buffer_clear(&m->waiting);
    engine_list_adapters(m->e, visit, m);
    labels[1] = text_of(&m->waiting);
    labels[2] = text_of(&m->running);
    metrics_set(metrics_series_get(m->family, labels), (double)clock_wall_ms() / 1e3);
    m->has_series = true;
}

status adapter_metrics_create(engine *e, metrics_registry *registry, struct adapter_metrics **out)
{
    static const char *const labels[] = {"max_lora", "waiting_lora_adapters",
                                         "running_lora_adapters", NULL};
    const struct metrics_family_options options = {
        .kind = METRICS_GAUGE,
        .name = "vllm:lora_requests_info",
        .help = "Adapters of running and of waiting requests; the value is the time of the look.",
        .labels = labels};
    struct adapter_metrics *m = memory_allocate_array(1, sizeof *m);
    if (m == NULL)
        return STATUS_NO_MEMORY;
    status s = metrics_family_create(registry, &options, &m->family);
    if (s != STATUS_OK) {
        memory_release(m);
        return s;
    }
    m->e = e;
    (void)snprintf(m->count_max, sizeof m->count_max, "%u", engine_get_info(e)->adapters_max);
    buffer_init(&m->running, NAMES_BYTES_MAX);
    buffer_init(&m->waiting, NAMES_BYTES_MAX);
    metrics_on_scrape(registry, collect, m);
    *out = m;
    return STATUS_OK;
}

void adapter_metrics_destroy(struct adapter_metrics *m)
{
    if (m == NULL)
        return;
    buffer_deinit(&m->running);
    buffer_deinit(&m->waiting);
    memory_release(m);
}
