#include "start_moments.h"

#include <stdatomic.h>

#include "clock.h"
#include "json.h"

/* The phase that each moment ends; none ends with the beginning. */
static const char *const phases[START_MOMENTS] = {NULL,   "start", "map",
                                                  "warm", "ready", "first_token"};

status start_moments_init(struct start_moments *moments, metrics_registry *registry)
{
    static const char *const labels[] = {"phase", NULL};
    struct metrics_family_options options = {
        .kind = METRICS_GAUGE,
        .name = "penstock_replica_start_seconds",
        .help =
            "What each phase of this replica's start took: start (until it answered probes), map "
            "(model and tokenizer), warm (until a step could run), ready (the rest), first_token "
            "(of the first request, from its arrival at the engine).",
        .labels = labels,
    };
    metrics_family *family = NULL;
    status s = metrics_family_create(registry, &options, &family);
    for (uint32_t i = 1; s == STATUS_OK && i < START_MOMENTS; i++)
        moments->seconds[i] = metrics_series_get(family, &phases[i]);
    return s;
}

bool start_moments_has(const struct start_moments *moments, enum start_moment moment)
{
    return atomic_load_explicit(&moments->at_ns[moment], memory_order_relaxed) != 0;
}

void start_moments_note(struct start_moments *moments, enum start_moment moment, uint64_t now_ns,
                        uint64_t since_ns)
{
    if (since_ns == 0 && moment > 0)
        since_ns = atomic_load_explicit(&moments->at_ns[moment - 1], memory_order_relaxed);
    if (moments->seconds[moment] != NULL && now_ns > since_ns)
        metrics_set(moments->seconds[moment], (double)(now_ns - since_ns) / (double)NS_PER_SECOND);
    atomic_store_explicit(&moments->at_ns[moment], now_ns, memory_order_relaxed);
    if (moments->page != NULL)
        shared_page_note_moment(moments->page, moment, now_ns);
}

void start_moments_write(const struct start_moments *moments, struct buffer *out)
{
    buffer_append_byte(out, '{');
    for (uint32_t i = 0; i < START_MOMENTS; i++) {
        if (phases[i] == NULL || !start_moments_has(moments, (enum start_moment)i))
            continue;
        json_write_key(out, phases[i]);
        json_write_double(out, metrics_value(moments->seconds[i]));
    }
    buffer_append_byte(out, '}');
}
