/* What would be free if something ended, moved, or were never booked: a copy of the five columns that bookings change, about
 * 30 bytes a slice. */
#include <string.h>

#include "check.h"
#include "placement_internal.h"

static uint64_t rest(uint64_t whole, uint64_t booked, uint64_t foreign)
{
    whole -= booked < whole ? booked : whole;
    return whole - (foreign < whole ? foreign : whole);
}

static void settle(const struct pool_columns *columns, struct view *view, uint32_t slice)
{
    view->memory_free[slice] = rest(columns->memory_bytes[slice], view->memory_booked[slice],
                                    columns->memory_foreign[slice]);
    view->compute_free[slice] =
        (uint32_t)rest(columns->compute_milli[slice], view->compute_booked[slice],
                       columns->compute_foreign[slice]);
}

struct view *placement_what_if(struct placement *placement, bool from_empty)
{
    const struct pool_columns *columns = placement->columns;
    struct view *view = &placement->what_if;
    size_t count = columns->count;

    view->held = NULL;
    view->penalties = NULL;
    if (from_empty) {
        memset(view->memory_booked, 0, count * sizeof(*view->memory_booked));
        memset(view->compute_booked, 0, count * sizeof(*view->compute_booked));
        memset(view->tenants, 0, count * sizeof(*view->tenants));
        for (uint32_t i = 0; i < columns->count; i++)
            settle(columns, view, i);
        return view;
    }
    memcpy(view->memory_booked, columns->memory_booked, count * sizeof(*view->memory_booked));
    memcpy(view->compute_booked, columns->compute_booked, count * sizeof(*view->compute_booked));
    memcpy(view->tenants, columns->tenants, count * sizeof(*view->tenants));
    memcpy(view->memory_free, columns->memory_free, count * sizeof(*view->memory_free));
    memcpy(view->compute_free, columns->compute_free, count * sizeof(*view->compute_free));
    return view;
}

void placement_view_take(const struct placement *placement, struct view *view, uint32_t slice,
                         uint64_t memory_bytes, uint32_t compute_milli)
{
    view->memory_booked[slice] += memory_bytes;
    view->compute_booked[slice] += compute_milli;
    view->tenants[slice]++;
    settle(placement->columns, view, slice);
}

void placement_view_give(const struct placement *placement, struct view *view, uint32_t slice,
                         uint64_t memory_bytes, uint32_t compute_milli)
{
    CHECK(view->tenants[slice] > 0 && view->memory_booked[slice] >= memory_bytes &&
          view->compute_booked[slice] >= compute_milli);
    view->memory_booked[slice] -= memory_bytes;
    view->compute_booked[slice] -= compute_milli;
    view->tenants[slice]--;
    settle(placement->columns, view, slice);
}

void placement_view_end(const struct placement *placement, struct view *view,
                        const struct booking *booking)
{
    for (uint32_t i = booking->part_first; i != POOL_SLICE_NONE;
         i = pool_part_next(placement->pool, i)) {
        const struct booking_part *part = pool_part(placement->pool, i);

        placement_view_give(placement, view, part->slice, part->memory_bytes, part->compute_milli);
    }
}

void placement_view_restore(const struct placement *placement, struct view *view,
                            const struct booking *booking)
{
    for (uint32_t i = booking->part_first; i != POOL_SLICE_NONE;
         i = pool_part_next(placement->pool, i)) {
        const struct booking_part *part = pool_part(placement->pool, i);

        placement_view_take(placement, view, part->slice, part->memory_bytes, part->compute_milli);
    }
}
