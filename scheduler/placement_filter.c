/* What must hold, slice by slice. The order is that of enum placement_reason: what is told of a slice is the first thing that is in the
 * way, from its member down to its room, so that "no room" means that everything else was right. */
#include "check.h"
#include "placement_internal.h"
#include "pool_internal.h"

static bool is_in_tier(const struct placement_tier *tier, uint32_t member)
{
    for (uint32_t i = 0; i < tier->member_count; i++) {
        if (tier->members[i] == member)
            return true;
    }
    return tier->member_count == 0;
}

static void judge_members(struct placement *placement, const struct choice *choice)
{
    for (uint32_t i = 0; i < pool_member_bound(placement->pool); i++) {
        struct member_info info;

        if (!pool_member_get(placement->pool, i, &info) || info.state != MEMBER_SYNCED)
            placement->member_reasons[i] = PLACEMENT_MEMBER_STATE;
        else if (!is_in_tier(choice->tier, i))
            placement->member_reasons[i] = PLACEMENT_TIER;
        else
            placement->member_reasons[i] = PLACEMENT_FITS;
    }
    for (uint32_t i = 0; i < placement->back_off_count; i++) {
        const struct back_off *one = &placement->back_offs[i];

        if (choice->now_ns < one->until_ns && one->member < POOL_MEMBERS_MAX &&
            (one->model == choice->request->model || one->model == PLACEMENT_ANY_MODEL) &&
            placement->member_reasons[one->member] == PLACEMENT_FITS)
            placement->member_reasons[one->member] = PLACEMENT_BACK_OFF;
    }
}

/* What the sieve leaves open of a slice's nature. */
static enum placement_reason filter_rest(const struct pool_columns *columns,
                                         const struct choice *choice, uint32_t slice)
{
    const struct slice_shape *shape = &choice->request->shape;

    if (choice->now_ns < columns->avoid_until_ns[slice])
        return PLACEMENT_BACK_OFF;
    if (shape->product != NAME_NONE && shape->product != columns->product[slice])
        return PLACEMENT_KIND;
    if (shape->region != NAME_NONE && shape->region != columns->region[slice])
        return PLACEMENT_REGION;
    if (columns->owner[slice] != NAME_NONE && columns->owner[slice] != shape->organisation)
        return PLACEMENT_OWNER;
    return PLACEMENT_FITS;
}

/* What never changes by booking or ending anything. */
static enum placement_reason filter_nature(const struct pool_columns *columns,
                                           const struct choice *choice, uint32_t slice)
{
    const struct slice_shape *shape = &choice->request->shape;

    if (choice->now_ns < columns->avoid_until_ns[slice])
        return PLACEMENT_BACK_OFF;
    if (columns->health[slice] > SLICE_DEGRADED)
        return PLACEMENT_HEALTH;
    if (columns->is_quarantined[slice])
        return PLACEMENT_QUARANTINE;
    if ((shape->vendors != 0 && (shape->vendors & 1u << columns->vendor[slice]) == 0) ||
        (shape->kinds != 0 && (shape->kinds & 1u << columns->kind[slice]) == 0) ||
        (shape->product != NAME_NONE && shape->product != columns->product[slice]))
        return PLACEMENT_KIND;
    if (columns->compute_capability[slice] < shape->compute_capability_min)
        return PLACEMENT_CAPABILITY;
    if (shape->region != NAME_NONE && shape->region != columns->region[slice])
        return PLACEMENT_REGION;
    if ((columns->labels[slice] & shape->labels_required) != shape->labels_required)
        return PLACEMENT_LABEL_MISSING;
    if ((columns->labels[slice] & shape->labels_forbidden) != 0)
        return PLACEMENT_LABEL_FORBIDDEN;
    if (columns->owner[slice] != NAME_NONE && columns->owner[slice] != shape->organisation)
        return PLACEMENT_OWNER;
    if (columns->is_preemptible[slice] && !shape->takes_preemptible)
        return PLACEMENT_PREEMPTIBLE;
    if (columns->is_preemptible[slice] && choice->refuses_spot)
        return PLACEMENT_ON_DEMAND_MIN;
    return PLACEMENT_FITS;
}

/* Whether a part is within a cap; the division only where the whole is dearer than that. */
static bool costs_at_most(const struct placement *placement, const struct eligible *part,
                          uint64_t cap)
{
    int64_t whole = placement->columns->price_nano_hour[part->slice];

    return (uint64_t)whole <= cap ||
           (uint64_t)pool_part_price(placement->pool, part->slice, part->memory_bytes,
                                     part->compute_milli) <= cap;
}

static enum placement_reason filter_room(const struct pool_columns *columns,
                                         const struct choice *choice, const struct eligible *part,
                                         bool is_whole)
{
    const struct view *view = choice->view;
    uint32_t slice = part->slice;

    if (part->memory_bytes > columns->memory_bytes[slice] ||
        choice->request->shape.memory_bytes > columns->memory_bytes[slice] ||
        part->compute_milli > columns->compute_milli[slice])
        return PLACEMENT_TOO_SMALL;
    if (view->memory_free[slice] < part->memory_bytes ||
        view->compute_free[slice] < part->compute_milli || (is_whole && view->tenants[slice] > 0))
        return PLACEMENT_NO_ROOM;
    if (view->tenants[slice] >= columns->tenants_max[slice])
        return PLACEMENT_TENANTS;
    if (view->held != NULL && view->held[slice])
        return PLACEMENT_HELD;
    return PLACEMENT_FITS;
}

/* Given its nature. */
static enum placement_reason filter_part(const struct placement *placement,
                                         const struct choice *choice, uint32_t slice,
                                         struct eligible *out)
{
    const struct pool_columns *columns = placement->columns;
    const struct slice_shape *shape = &choice->request->shape;
    const struct quota_amount *headroom = &choice->headroom;
    enum placement_reason reason;

    out->slice = slice;
    pool_size_part(columns, slice, shape, &out->memory_bytes, &out->compute_milli);
    if (shape->price_max_nano_hour > 0 &&
        !costs_at_most(placement, out, (uint64_t)shape->price_max_nano_hour))
        return PLACEMENT_PRICE;
    reason = filter_room(columns, choice, out,
                         columns->step_milli[slice] == 0 || shape->compute_milli == 0);
    if (reason != PLACEMENT_FITS)
        return reason;
    if (out->compute_milli > headroom->of[QUOTA_COMPUTE] ||
        out->memory_bytes > headroom->of[QUOTA_MEMORY] ||
        !costs_at_most(placement, out, headroom->of[QUOTA_MONEY]))
        return PLACEMENT_QUOTA;
    return PLACEMENT_FITS;
}

enum placement_reason placement_filter_slice(const struct placement *placement,
                                             const struct choice *choice, uint32_t slice,
                                             struct eligible *out)
{
    enum placement_reason reason = filter_nature(placement->columns, choice, slice);

    return reason == PLACEMENT_FITS ? filter_part(placement, choice, slice, out) : reason;
}

/* The comparisons that reject most, without saying which. What passes is judged in full. */
struct sieve {
    uint32_t traits; /* none of these */
    uint16_t capability_min;
    uint64_t labels, labels_required; /* of these, exactly those */
    uint64_t memory_bytes;
};

static struct sieve make_sieve(const struct choice *choice)
{
    const struct slice_shape *shape = &choice->request->shape;
    struct sieve sieve = {.traits = SLICE_TRAIT_CLOSED,
                          .capability_min = shape->compute_capability_min,
                          .labels = shape->labels_required | shape->labels_forbidden,
                          .labels_required = shape->labels_required,
                          .memory_bytes = shape->memory_bytes};

    for (uint32_t i = 0; i < SLICE_VENDOR_COUNT && shape->vendors != 0; i++)
        sieve.traits |= (shape->vendors & 1u << i) == 0 ? SLICE_TRAIT_VENDOR(i) : 0;
    for (uint32_t i = 0; i < SLICE_KIND_COUNT && shape->kinds != 0; i++)
        sieve.traits |= (shape->kinds & 1u << i) == 0 ? SLICE_TRAIT_KIND(i) : 0;
    if (!shape->takes_preemptible || choice->refuses_spot)
        sieve.traits |= SLICE_TRAIT_PREEMPTIBLE;
    return sieve;
}

void placement_filter_some(struct placement *placement, struct choice *choice,
                           const uint32_t *slices, uint32_t slice_count)
{
    const struct pool_columns *columns = placement->columns;
    struct sieve sieve = make_sieve(choice);
    uint32_t count = 0;

    judge_members(placement, choice);
    for (uint32_t i = 0; i < slice_count; i++) {
        uint32_t slice = slices[i];

        if ((columns->traits[slice] & sieve.traits) != 0 ||
            (columns->labels[slice] & sieve.labels) != sieve.labels_required ||
            columns->compute_capability[slice] < sieve.capability_min ||
            choice->view->memory_free[slice] < sieve.memory_bytes ||
            placement->member_reasons[columns->member[slice]] != PLACEMENT_FITS)
            continue;
        count +=
            filter_rest(columns, choice, slice) == PLACEMENT_FITS &&
            filter_part(placement, choice, slice, &placement->eligible[count]) == PLACEMENT_FITS;
    }
    placement->eligible_count = count;
}

void placement_filter(struct placement *placement, struct choice *choice,
                      uint32_t passed_over[PLACEMENT_REASON_COUNT])
{
    const struct pool_columns *columns = placement->columns;
    uint32_t count = 0;

    judge_members(placement, choice);
    for (uint32_t i = 0; i < columns->count; i++) {
        enum placement_reason reason = PLACEMENT_ABSENT;

        if (columns->presence[i] == SLICE_PRESENT) {
            reason = placement->member_reasons[columns->member[i]];
            if (reason == PLACEMENT_FITS)
                reason = placement_filter_slice(placement, choice, i, &placement->eligible[count]);
        }
        placement->reasons[i] = (uint8_t)reason;
        passed_over[reason]++;
        count += reason == PLACEMENT_FITS;
    }
    placement->eligible_count = count;
}
