/* The rules, in this order: what is not there waits for its slice or starts; what failed is broken; of what runs, the time in steps is
 * busy, and the rest has one reason, the first that holds. Being busy comes first: a replica that computes is not waiting, even where a
 * fuller batch could be had. */
#include "replica_time.h"

#include "check.h"

/* Of the cache: with less than this free a request that waits inside a replica waits for blocks. The batcher keeps a reserve for the
 * growth of what runs, so that it admits nothing well before all blocks are taken. */
#define KV_SHORT_SHARE 0.1

static const char *const names[TIME_COUNT] = {
    [TIME_BUSY_PREFILL] = "busy_prefill",     [TIME_BUSY_DECODE] = "busy_decode",
    [TIME_WAITING_KV] = "waiting_kv",         [TIME_COLD_START] = "cold_start",
    [TIME_HELD_BY_LIMITS] = "held_by_limits", [TIME_FRAGMENTATION] = "fragmentation",
    [TIME_IDLE] = "idle_no_traffic",          [TIME_BROKEN] = "broken",
};

const char *replica_time_name(enum replica_time kind)
{
    CHECK(kind >= 0 && kind < TIME_COUNT);
    return names[kind];
}

static enum replica_time placing(enum slice_wait wait)
{
    switch (wait) {
    case SLICE_WAIT_PIECES:
        return TIME_FRAGMENTATION;
    case SLICE_WAIT_LIMIT:
        return TIME_HELD_BY_LIMITS;
    case SLICE_WAIT_GONE:
        return TIME_BROKEN;
    case SLICE_WAIT_NEW:
        break;
    }
    return TIME_COLD_START;
}

/* Of time that a replica which runs is not in steps. */
static enum replica_time resting(const struct replica_look *look)
{
    if (look->is_distrusted)
        return TIME_BROKEN;
    if (look->waiting > 0 && look->kv_free_share < KV_SHORT_SHARE)
        return TIME_WAITING_KV;
    if (look->held > 0 && look->are_held_for_kv)
        return TIME_WAITING_KV;
    if (look->waiting > 0 || look->held > 0 || look->refused > 0)
        return TIME_HELD_BY_LIMITS;
    return TIME_IDLE;
}

static double within(double value, double max)
{
    if (!(value > 0)) /* not a number, too */
        return 0;
    return value < max ? value : max;
}

void replica_time_split(const struct replica_look *look, double *out)
{
    double seconds = look->seconds > 0 ? look->seconds : 0, busy, prefill;

    switch (look->life) {
    case LIFE_PLACING:
        out[placing(look->wait)] += seconds;
        return;
    case LIFE_STARTING:
        out[TIME_COLD_START] += seconds;
        return;
    case LIFE_BROKEN:
        out[TIME_BROKEN] += seconds;
        return;
    case LIFE_UP:
        break;
    }
    busy = within(look->busy_seconds, seconds);
    if (busy <= 0 && look->running > 0 && !look->is_distrusted)
        busy = seconds; /* within a step that is longer than the time between two looks */
    prefill = within(look->prefill_seconds, busy);
    out[TIME_BUSY_PREFILL] += prefill;
    out[TIME_BUSY_DECODE] += busy - prefill;
    out[resting(look)] += seconds - busy;
}
