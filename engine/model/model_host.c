#include "model_host.h"

#include <stddef.h>

#include "check.h"
#include "clock.h"

/* Blocks whose copies are timed: as many as are under way at a time. */
#define MEASURED_BLOCKS 8u
/* The quickest counts: the first one makes what copies need, and others may be held up. */
#define MEASUREMENTS 3u

static uint8_t *slot_at(const struct model_host *host, uint32_t slot)
{
    CHECK(slot < host->slots);
    return host->memory + (uint64_t)slot * host->block_bytes;
}

/* Length of the run of slots that follow one another. */
static uint32_t run_of(const uint32_t *slots, uint32_t count)
{
    uint32_t run = 1;
    while (run < count && slots[run] == slots[run - 1] + 1)
        run++;
    return run;
}

void host_save(const struct model_host *host, backend *b, const kv_store *kv, const uint32_t *from,
               const uint32_t *to, uint32_t count)
{
    for (uint32_t at = 0, run; at < count; at += run) {
        run = run_of(to + at, count - at);
        b->operations->kv_save_blocks(b, kv, from + at, run, slot_at(host, to[at]));
    }
}

void host_load(const struct model_host *host, backend *b, kv_store *kv, const uint32_t *from,
               const uint32_t *to, uint32_t count)
{
    for (uint32_t at = 0, run; at < count; at += run) {
        run = run_of(from + at, count - at);
        b->operations->kv_load_blocks(b, kv, to + at, run, slot_at(host, from[at]));
    }
}

static status settle(backend *b)
{
    status s = b->operations->kv_settle(b);
    return s == STATUS_OK ? b->operations->synchronize(b) : s;
}

/* Blocks go down and come back as they are. */
static status measure(struct model_host *host, backend *b, kv_store *kv, uint32_t count)
{
    uint32_t numbers[MEASURED_BLOCKS];
    for (uint32_t i = 0; i < count; i++)
        numbers[i] = i;
    uint64_t begin_ns = clock_now_ns();
    host_save(host, b, kv, numbers, numbers, count);
    status s = settle(b);
    uint64_t saved_ns = clock_now_ns();
    host_load(host, b, kv, numbers, numbers, count);
    if (s == STATUS_OK)
        s = settle(b);
    uint64_t save_ns = saved_ns - begin_ns, load_ns = clock_now_ns() - saved_ns;
    uint64_t block_ns = (save_ns > load_ns ? save_ns : load_ns) / count;
    host->block_ns = block_ns < host->block_ns ? block_ns : host->block_ns;
    return s;
}

status host_open(struct model_host *host, backend *b, kv_store *kv, uint64_t block_bytes,
                 uint32_t kv_blocks, uint32_t slots)
{
    if (slots == 0)
        return STATUS_OK;
    CHECK(b->operations->kv_save_blocks != NULL);
    host->memory = b->operations->host_allocate(b, slots * block_bytes);
    if (host->memory == NULL)
        return STATUS_OK;
    host->block_bytes = block_bytes;
    host->slots = slots;
    uint32_t count = kv_blocks < slots ? kv_blocks : slots;
    count = count < MEASURED_BLOCKS ? count : MEASURED_BLOCKS;
    host->block_ns = UINT64_MAX;
    status s = STATUS_OK;
    for (uint32_t i = 0; i < MEASUREMENTS && s == STATUS_OK; i++)
        s = measure(host, b, kv, count);
    return s;
}

void host_close(struct model_host *host, backend *b)
{
    if (host->memory == NULL)
        return;
    (void)settle(b); /* a device that has failed copies nothing more */
    b->operations->host_release(b, host->memory);
    *host = (struct model_host){.slots = 0};
}
