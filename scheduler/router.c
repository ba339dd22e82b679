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
