/* Memory of the device, and the ways there and back. */

#include <string.h>

#include "check.h"
#include "cuda_backend.h"

/* A prompt of 128k tokens is half of it. */
#define LOOSE_SEGMENT_BYTES (1u << 20)

/* --- small arrays --- */

static void loose_release(struct cuda_backend *b)
{
    device_release(b->device, b->loose.device);
    device_release_pinned(b->device, b->loose.pinned);
    b->loose.device = b->loose.pinned = NULL;
}

static status loose_allocate(struct cuda_backend *b, uint64_t segment_bytes)
{
    b->loose.segment_bytes = segment_bytes;
    b->loose.segment = 0;
    b->loose.used = 0;
    b->loose.device = device_allocate(b->device, LOOSE_SEGMENTS * segment_bytes);
    b->loose.pinned = device_allocate_pinned(b->device, LOOSE_SEGMENTS * segment_bytes);
    return b->loose.device != NULL && b->loose.pinned != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

/* An array larger than a segment: rare (tables of a batch outside of a step), so it waits, and makes segments larger. */
static void loose_grow(struct cuda_backend *b, uint64_t bytes)
{
    CHECK(b->graphs.captured == NULL && !b->step.is_open);
    (void)device_stream_synchronize(b->stream);
    loose_release(b);
    if (loose_allocate(b, bytes * 2) != STATUS_OK)
        device_stream_fail(b->stream, "arrays of a step", "no memory is left");
}

static void loose_next_segment(struct cuda_backend *b)
{
    struct loose_ring *loose = &b->loose;
    device_event_record(loose->copied[loose->segment], b->stream);
    loose->segment = (loose->segment + 1) % LOOSE_SEGMENTS;
    loose->used = 0;
    (void)device_event_synchronize(loose->copied[loose->segment]);
}

const void *loose_copy(struct cuda_backend *b, const void *host, uint64_t bytes)
{
    struct loose_ring *loose = &b->loose;
    CHECK(b->graphs.captured == NULL); /* a graph would copy the same bytes for ever */
    if (bytes > loose->segment_bytes)
        loose_grow(b, bytes);
    if (loose->pinned == NULL || device_status(b->device) != STATUS_OK)
        return loose->device;
    if (bytes > loose->segment_bytes - loose->used)
        loose_next_segment(b);
    uint64_t at = loose->segment * loose->segment_bytes + loose->used;
    loose->used += (bytes + 15) / 16 * 16;
    if (bytes > 0) {
        memcpy(loose->pinned + at, host, bytes);
        device_copy_to_device(b->stream, loose->device + at, loose->pinned + at, bytes);
    }
    return loose->device + at;
}

/* --- life --- */

status memory_open(struct cuda_backend *b)
{
    for (uint32_t i = 0; i < LOOSE_SEGMENTS; i++) {
        status result = device_event_create(b->device, &b->loose.copied[i]);
        if (result != STATUS_OK)
            return result;
    }
    return loose_allocate(b, LOOSE_SEGMENT_BYTES);
}

void memory_close(struct cuda_backend *b)
{
    loose_release(b);
    for (uint32_t i = 0; i < LOOSE_SEGMENTS; i++)
        device_event_destroy(b->loose.copied[i]);
    struct scratch *all[] = {&b->wide_weight, &b->gated, &b->tiles, &b->partials};
    for (size_t i = 0; i < ARRAY_COUNT(all); i++)
        device_release(b->device, all[i]->memory);
}

status scratch_reserve(struct cuda_backend *b, struct scratch *scratch, uint64_t bytes)
{
    if (bytes <= scratch->bytes)
        return STATUS_OK;
    CHECK(b->graphs.captured == NULL);
    graphs_drop(b);
    device_release(b->device, scratch->memory);
    scratch->memory = device_allocate(b->device, bytes);
    scratch->bytes = scratch->memory != NULL ? bytes : 0;
    return scratch->memory != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

/* --- the table's --- */

void *cuda_allocate(backend *base, uint64_t bytes)
{
    struct cuda_backend *b = of_cuda(base);
    uint64_t rounded = bytes > 0 ? (bytes + 15) / 16 * 16 : 16;
    void *memory = device_allocate(b->device, rounded);
    if (memory != NULL)
        device_fill(b->stream, memory, 0, rounded);
    return memory;
}

void cuda_release(backend *base, void *memory)
{
    struct cuda_backend *b = of_cuda(base);
    if (memory == NULL)
        return;
    graphs_drop(b);
    device_release(b->device, memory);
}

/* Whole blocks only: a part of one stays with the rest. */
void cuda_discard(backend *base, void *memory, uint64_t bytes)
{
    (void)bytes;
    device_forget(of_cuda(base)->device, memory);
}

/* Graphs are captured anew: they hold memory of the device too. */
void cuda_sleep(backend *base)
{
    struct cuda_backend *b = of_cuda(base);
    struct scratch *all[] = {&b->wide_weight, &b->gated, &b->tiles, &b->partials};
    graphs_drop(b);
    for (size_t i = 0; i < ARRAY_COUNT(all); i++)
        if (all[i]->memory != NULL)
            device_forget(b->device, all[i]->memory);
    block_copies_forget(b);
    device_forget(b->device, b->loose.device);
    device_sleep(b->device);
}

status cuda_wake(backend *base)
{
    struct cuda_backend *b = of_cuda(base);
    return cuda_told(b, device_wake(b->device));
}

void cuda_upload(backend *base, void *to, const void *host, uint64_t bytes)
{
    struct cuda_backend *b = of_cuda(base);
    graphs_finish(b);
    device_copy_to_device(b->stream, to, host, bytes);
}

void cuda_download(backend *base, void *host, const void *from, uint64_t bytes)
{
    struct cuda_backend *b = of_cuda(base);
    graphs_finish(b);
    device_copy_to_host(b->stream, host, from, bytes);
}

status cuda_synchronize(backend *base)
{
    struct cuda_backend *b = of_cuda(base);
    graphs_finish(b);
    return cuda_told(b, device_stream_synchronize(b->stream));
}

status cuda_memory_info(backend *base, uint64_t *total, uint64_t *available)
{
    struct cuda_backend *b = of_cuda(base);
    status result = device_memory_info(b->device, total, available);
    uint64_t own = b->wide_weight.memory == NULL ? WIDE_WEIGHT_BYTES : 0;
    *available = *available > own ? *available - own : 0;
    return result;
}

void *cuda_host_allocate(backend *base, uint64_t bytes)
{
    return device_allocate_pinned(of_cuda(base)->device, bytes);
}

void cuda_host_release(backend *base, void *memory)
{
    device_release_pinned(of_cuda(base)->device, memory);
}
