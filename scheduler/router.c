#include "router.h"

uint32_t router_pick(const struct router_candidate *candidates, uint32_t count, uint32_t turn,
                     uint32_t avoid)
{
    uint32_t best = ROUTER_NONE;

    for (uint32_t i = 0; i < count; i++) {
        uint32_t index = (turn % count + i) % count;

        if (!candidates[index].is_ready || index == avoid)
            continue;
        if (best == ROUTER_NONE || candidates[index].outstanding < candidates[best].outstanding)
            best = index;
    }
    if (best == ROUTER_NONE && avoid < count && candidates[avoid].is_ready)
        return avoid;
    return best;
}

/* The finisher of SplitMix64 (Steele et al. 2014): every bit of the result hangs on every bit of both. */
static uint64_t weight_of(uint64_t group, uint32_t index)
{
    uint64_t value = group + (index + 1) * 0x9E3779B97F4A7C15ull;

    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9ull;
    value = (value ^ value >> 27) * 0x94D049BB133111EBull;
    return value ^ value >> 31;
}

uint32_t router_pick_near(const struct router_candidate *candidates, uint32_t count, uint32_t turn,
                          uint64_t group)
{
    uint32_t least = router_pick(candidates, count, turn, ROUTER_NONE), near = ROUTER_NONE;

    for (uint32_t i = 0; i < count; i++) {
        if (!candidates[i].is_ready)
            continue;
        if (near == ROUTER_NONE || weight_of(group, i) > weight_of(group, near))
            near = i;
    }
    if (near == ROUTER_NONE ||
        candidates[near].outstanding > candidates[least].outstanding + ROUTER_NEAR_SLACK)
        return least;
    return near;
}
