/* The ways to a model's weights:
 *
 *   take     out of a cache that is there
 *   write    lay out each weight, append it to a new cache, let it go; then take from the cache
 *   create   lay out each weight and keep it in memory
 *
 * Writing keeps one weight in memory at a time, so a model larger than half of the memory is never
 * there twice, and every start that has a cache, the first included, runs on the same mapped pages.
 * Whatever fails on the way to a cache ends at `create`, whose errors are the model's own. */

#include "model_weights_open.h"

#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "log.h"
#include "weight_cache_place.h"

#define AREA "engine/model"

struct opening {
    const model_source *source;
    backend *b;
    const struct model_shape *shape;
    const struct model_part *part;
    char layout[WEIGHT_CACHE_LAYOUT_MAX]; /* the backend's, and whose part of how many it is */
    struct weight_cache_key key;
    struct model_weights *out;
    struct error_note trouble; /* the last about a cache */
};

static double seconds_since(uint64_t start_ns)
{
    return (double)(clock_now_ns() - start_ns) / (double)NS_PER_SECOND;
}

static status load(struct opening *o, weight_cache *cache, weight_cache_writer *writer,
                   struct error_note *note)
{
    const struct weight_route route = {.cache = cache, .writer = writer};
    return model_weights_load(o->source, o->b, o->shape, o->part, &route, o->out, note);
}

static bool take(struct opening *o, const char *path)
{
    uint64_t start_ns = clock_now_ns();
    weight_cache *cache;
    status s = weight_cache_open(path, &o->key, &cache, &o->trouble);
    if (s == STATUS_NOT_FOUND)
        return false;
    if (s == STATUS_OK) {
        s = load(o, cache, NULL, &o->trouble);
        if (s == STATUS_OK) {
            o->out->cache = cache;
            log_info(AREA, "weights: %.1f MB %s from %s in %.3f s",
                     (double)weight_cache_bytes(cache) / 1e6,
                     weight_cache_is_mapped(cache) ? "mapped" : "read", path,
                     seconds_since(start_ns));
            return true;
        }
        model_weights_unload(o->out);
        weight_cache_close(cache);
        error_note_prefix(&o->trouble, "%s", path);
    }
    log_warn(AREA, "weight cache not used: %s", o->trouble.text);
    return false;
}

static bool write_and_take(struct opening *o, const char *path)
{
    uint64_t start_ns = clock_now_ns();
    weight_cache_writer *writer;
    bool has_waited;
    weight_cache_place_prepare(path);
    if (weight_cache_writer_open(path, &o->key, &writer, &has_waited, &o->trouble) != STATUS_OK)
        return false;
    if (has_waited && take(o, path)) {
        weight_cache_writer_abandon(writer);
        return true;
    }
    status s = load(o, NULL, writer, &o->trouble);
    uint64_t bytes = o->out->bytes;
    model_weights_unload(o->out);
    if (s != STATUS_OK) {
        weight_cache_writer_abandon(writer);
        return false;
    }
    if (weight_cache_writer_finish(writer, &o->trouble) != STATUS_OK)
        return false;
    log_info(AREA, "weights: %.1f MB laid out and written to %s in %.3f s", (double)bytes / 1e6,
             path, seconds_since(start_ns));
    return take(o, path);
}

/* False: there is no cache, and none can be made. */
static bool open_kept(struct opening *o, const struct weight_cache_places *places)
{
    if (places->count == 0)
        return false;
    memcpy(o->key.layout, o->layout, sizeof o->key.layout);
    if (o->b->operations->layout_checksum(o->b, &o->key.layout_checksum) != STATUS_OK)
        return false;
    model_source_get_identity(o->source, &o->key.model);
    for (uint32_t i = 0; i < places->count; i++)
        if (take(o, places->paths[i]))
            return true;
    model_source_prefetch(o->source);
    for (uint32_t i = 0; i < places->count; i++)
        if (write_and_take(o, places->paths[i]))
            return true;
    log_warn(AREA, "weights are not kept for the next start: %s", o->trouble.text);
    return false;
}

/* "cpu", and of three ranks "cpu-1of3". False: there is none, or it does not fit. */
static bool name_layout(struct opening *o)
{
    const char *own = o->b->operations->layout_name;
    if (own == NULL)
        return false;
    int bytes = o->part->size == 1 ? snprintf(o->layout, sizeof o->layout, "%s", own)
                                   : snprintf(o->layout, sizeof o->layout, "%s-%uof%u", own,
                                              o->part->rank + 1, o->part->size);
    return bytes > 0 && (size_t)bytes < sizeof o->layout;
}

status model_weights_open(const model_source *source, backend *b, const struct model_shape *shape,
                          const struct model_part *part, const struct weight_keeping *keeping,
                          struct model_weights *out, struct error_note *note)
{
    struct opening o = {.source = source, .b = b, .shape = shape, .part = part, .out = out};
    struct weight_cache_places places = {.count = 0};
    if (name_layout(&o))
        weight_cache_places_find(keeping->setting, keeping->model_path, o.layout, &places);
    if (open_kept(&o, &places))
        return STATUS_OK;
    uint64_t start_ns = clock_now_ns();
    model_source_prefetch(source);
    status s = load(&o, NULL, NULL, note);
    if (s == STATUS_OK)
        log_info(AREA, "weights: %.1f MB laid out in %.3f s", (double)out->bytes / 1e6,
                 seconds_since(start_ns));
    return s;
}
