/* Placement
 *
 *      for each entry of the request's list:   filter  ->  score  ->  pick (one, or a gang in the smallest domain)
 *
 * Filter. What must hold is never weighed: residency, compliance, health, ownership, price caps and quotas pass a slice over, and the
 * reason is kept for each. Score. What remains is weighed by the entry's weights, each term in 0 .. 1:
 *
 *      cost      1 - rate / dearest rate, rate = price of the part / what the product does with it
 *      latency   50 ms / (50 ms + round trip)
 *      warm      30 s / (30 s + cold start)
 *      pack      a fraction: 1 - what is left over of the slice; a whole: how full its node is, so that whole nodes stay free for
 *                gangs; a gang: how much of its domain it uses up
 *      topology  gangs: how near the parts are
 *      spread    1 / (1 + replicas of the model there): the zone counts 0.4, the member and the node 0.3 each
 *      risk      preemptions an hour * the time to recover, and half for a slice that is degraded
 *
 * Latency and warmth fall as a fraction where they are often given as an exponential: both are 1 at 0 and fall to about a half at
 * the constant, and a fraction is the same on every machine, which the maths library's functions are not. For the same
 * reason the module is compiled without contraction of multiplication and addition.
 *
 * Why a scan. Ten thousand slices are ten columns of ten thousand: the whole filter reads less than half a
 * megabyte, front to back. Buckets by product or free memory would have to be kept in step with every report and booking, and
 * save little of the few hundred microseconds that a scan takes (bench/NOTES.md).
 *
 * Ties go to the slice with the lowest index, so equal slices fill up in order and the same book gives the same decision. */
#include "placement.h"

#include <string.h>

#include "check.h"
#include "memory.h"
#include "placement_moves_internal.h"

/* --- words --- */

static const char *const TERMS[] = {
    [PLACEMENT_COST] = "cost", [PLACEMENT_LATENCY] = "latency",   [PLACEMENT_WARM] = "warm",
    [PLACEMENT_PACK] = "pack", [PLACEMENT_TOPOLOGY] = "topology", [PLACEMENT_SPREAD] = "spread",
    [PLACEMENT_RISK] = "risk",
};

static const char *const DOMAINS[] = {
    [PLACEMENT_NVLINK] = "nvlink", [PLACEMENT_SWITCH] = "switch", [PLACEMENT_NODE] = "node",
    [PLACEMENT_LEAF] = "leaf",     [PLACEMENT_ZONE] = "zone",
};

static const char *const REASONS[] = {
    [PLACEMENT_FITS] = "fits",
    [PLACEMENT_ABSENT] = "absent",
    [PLACEMENT_MEMBER_STATE] = "member_state",
    [PLACEMENT_TIER] = "tier",
    [PLACEMENT_BACK_OFF] = "back_off",
    [PLACEMENT_HEALTH] = "health",
    [PLACEMENT_QUARANTINE] = "quarantine",
    [PLACEMENT_KIND] = "kind",
    [PLACEMENT_CAPABILITY] = "capability",
    [PLACEMENT_REGION] = "region",
    [PLACEMENT_LABEL_MISSING] = "label_missing",
    [PLACEMENT_LABEL_FORBIDDEN] = "label_forbidden",
    [PLACEMENT_OWNER] = "owner",
    [PLACEMENT_PREEMPTIBLE] = "preemptible",
    [PLACEMENT_ON_DEMAND_MIN] = "on_demand_min",
    [PLACEMENT_PRICE] = "price",
    [PLACEMENT_TOO_SMALL] = "too_small",
    [PLACEMENT_NO_ROOM] = "no_room",
    [PLACEMENT_TENANTS] = "tenants",
    [PLACEMENT_HELD] = "held",
    [PLACEMENT_NO_DOMAIN] = "no_domain",
    [PLACEMENT_QUOTA] = "quota",
};

static const char *const PRESETS[] = {
    [PLACEMENT_BALANCED] = "balanced",
    [PLACEMENT_CHEAPEST] = "cost",
    [PLACEMENT_NEAREST] = "latency",
    [PLACEMENT_COMPLIANCE] = "compliance",
};

_Static_assert(ARRAY_COUNT(TERMS) == PLACEMENT_TERM_COUNT, "a word for each");
_Static_assert(ARRAY_COUNT(DOMAINS) == PLACEMENT_DOMAIN_COUNT, "a word for each");
_Static_assert(ARRAY_COUNT(REASONS) == PLACEMENT_REASON_COUNT, "a word for each");
_Static_assert(ARRAY_COUNT(PRESETS) == PLACEMENT_PRESET_COUNT, "a word for each");

const char *placement_term_name(enum placement_term term)
{
    CHECK(term < PLACEMENT_TERM_COUNT);
    return TERMS[term];
}

const char *placement_domain_name(enum placement_domain domain)
{
    CHECK(domain < PLACEMENT_DOMAIN_COUNT);
    return DOMAINS[domain];
}

const char *placement_reason_name(enum placement_reason reason)
{
    CHECK(reason < PLACEMENT_REASON_COUNT);
    return REASONS[reason];
}

const char *placement_preset_name(enum placement_preset_kind kind)
{
    CHECK(kind < PLACEMENT_PRESET_COUNT);
    return PRESETS[kind];
}

/* Each sums to 1 without risk. Balanced lets a price of half outweigh 50 ms, and a warm node a tenth of the price; the others give
 * the half to what they are named after. */
struct placement_weights placement_preset(enum placement_preset_kind kind)
{
    static const struct placement_weights presets[PLACEMENT_PRESET_COUNT] = {
        [PLACEMENT_BALANCED] = {{.30f, .20f, .15f, .15f, .10f, .10f, .20f}},
        [PLACEMENT_CHEAPEST] = {{.60f, .05f, .10f, .15f, .05f, .05f, .10f}},
        [PLACEMENT_NEAREST] = {{.05f, .50f, .20f, .05f, .10f, .10f, .30f}},
        [PLACEMENT_COMPLIANCE] = {{.10f, .20f, .10f, .10f, .10f, .40f, .50f}},
    };

    CHECK(kind < PLACEMENT_PRESET_COUNT);
    return presets[kind];
}

/* --- life --- */

static float *create_floats(uint32_t count)
{
    float *values = memory_allocate_array(count, sizeof(*values));

    for (uint32_t i = 0; values != NULL && i < count; i++)
        values[i] = UNKNOWN;
    return values;
}

static bool create_view(struct view *view, uint32_t count)
{
    view->memory_free = memory_allocate_array(count, sizeof(uint64_t));
    view->memory_booked = memory_allocate_array(count, sizeof(uint64_t));
    view->compute_booked = memory_allocate_array(count, sizeof(uint64_t));
    view->compute_free = memory_allocate_array(count, sizeof(uint32_t));
    view->tenants = memory_allocate_array(count, sizeof(uint16_t));
    return view->memory_free != NULL && view->memory_booked != NULL &&
           view->compute_booked != NULL && view->compute_free != NULL && view->tenants != NULL;
}

static bool create_scratch(struct placement *placement)
{
    uint32_t names = placement->names_max + 1, slices = placement->slices_max;
    uint32_t **const by_name[] = {&placement->near_zone,    &placement->near_node,
                                  &placement->node_slices,  &placement->node_busy,
                                  &placement->domain_count, &placement->unit_count,
                                  &placement->unit_first};

    for (uint32_t i = 0; i < ARRAY_COUNT(by_name); i++) {
        *by_name[i] = memory_allocate_array(names, sizeof(uint32_t));
        if (*by_name[i] == NULL)
            return false;
    }
    placement->speeds = create_floats(names);
    placement->latencies = create_floats(names);
    placement->warmths = create_floats(names);
    placement->reasons = memory_allocate_array(slices, 1);
    placement->eligible = memory_allocate_array(slices, sizeof(*placement->eligible));
    placement->unit_next = memory_allocate_array(slices, sizeof(uint32_t));
    placement->heap = memory_allocate_array(slices, sizeof(*placement->heap));
    placement->like_previous = memory_allocate_array(slices, 1);
    placement->runs = memory_allocate_array(slices, sizeof(uint32_t));
    placement->run_lengths = memory_allocate_array(slices, sizeof(uint32_t));
    placement->run_places = memory_allocate_array(slices, sizeof(uint32_t));
    placement->open = memory_allocate_array(slices, sizeof(uint32_t));
    placement->units = memory_allocate_array(slices, sizeof(*placement->units));
    placement->back_offs =
        memory_allocate_array(PLACEMENT_BACK_OFF_MAX, sizeof(*placement->back_offs));
    return placement->speeds != NULL && placement->latencies != NULL &&
           placement->warmths != NULL && placement->reasons != NULL &&
           placement->eligible != NULL && placement->unit_next != NULL &&
           placement->units != NULL && placement->like_previous != NULL &&
           placement->runs != NULL && placement->run_lengths != NULL &&
           placement->run_places != NULL && placement->open != NULL && placement->heap != NULL &&
           placement->back_offs != NULL && create_view(&placement->what_if, slices) &&
           placement_moves_create(placement->pool, &placement->moves) == STATUS_OK;
}

status placement_create(struct pool *pool, struct quota_tree *quota, struct placement **out)
{
    struct placement *placement = memory_allocate_array(1, sizeof(*placement));
    const struct pool_columns *columns = pool_columns(pool);
    const struct pool_limits *limits = pool_limits_of(pool);

    if (placement == NULL)
        return STATUS_NO_MEMORY;
    placement->pool = pool;
    placement->quota = quota;
    placement->columns = columns;
    for (uint32_t i = 1; i < INVERSE_COUNT; i++)
        placement->inverses[i] = 1.0f / (float)i;
    placement->slices_max = limits->slices_max;
    placement->names_max = limits->names_max;
    placement->now = (struct view){.memory_free = columns->memory_free,
                                   .memory_booked = columns->memory_booked,
                                   .compute_booked = columns->compute_booked,
                                   .compute_free = columns->compute_free,
                                   .tenants = columns->tenants};
    if (!create_scratch(placement)) {
        placement_destroy(placement);
        return STATUS_NO_MEMORY;
    }
    *out = placement;
    return STATUS_OK;
}

void placement_destroy(struct placement *placement)
{
    if (placement == NULL)
        return;
    memory_release(placement->what_if.memory_free);
    memory_release(placement->what_if.memory_booked);
    memory_release(placement->what_if.compute_booked);
    memory_release(placement->what_if.compute_free);
    memory_release(placement->what_if.tenants);
    placement_moves_destroy(placement->moves);
    memory_release(placement->back_offs);
    memory_release(placement->heap);
    memory_release(placement->open);
    memory_release(placement->run_places);
    memory_release(placement->run_lengths);
    memory_release(placement->runs);
    memory_release(placement->like_previous);
    memory_release(placement->units);
    memory_release(placement->unit_next);
    memory_release(placement->eligible);
    memory_release(placement->reasons);
    memory_release(placement->warmths);
    memory_release(placement->latencies);
    memory_release(placement->speeds);
    memory_release(placement->unit_first);
    memory_release(placement->unit_count);
    memory_release(placement->domain_count);
    memory_release(placement->node_busy);
    memory_release(placement->node_slices);
    memory_release(placement->near_node);
    memory_release(placement->near_zone);
    memory_release(placement);
}

struct pool *placement_pool(const struct placement *placement)
{
    return placement->pool;
}

const uint8_t *placement_reasons(const struct placement *placement)
{
    return placement->reasons;
}

/* --- back-off --- */

void placement_back_off(struct placement *placement, uint32_t model, uint32_t member,
                        uint64_t until_ns)
{
    struct back_off *place = NULL, *first_to_end = &placement->back_offs[0];

    for (uint32_t i = 0; i < placement->back_off_count && place == NULL; i++) {
        struct back_off *one = &placement->back_offs[i];

        if (one->model == model && one->member == member)
            place = one;
        if (one->until_ns < first_to_end->until_ns)
            first_to_end = one;
    }
    if (place == NULL && placement->back_off_count < PLACEMENT_BACK_OFF_MAX)
        place = &placement->back_offs[placement->back_off_count++];
    if (place == NULL)
        place = first_to_end;
    *place = (struct back_off){.model = model, .member = member, .until_ns = until_ns};
}

/* --- the decision --- */

bool placement_is_request_sane(const struct placement *placement,
                               const struct placement_request *request)
{
    return request->part_count >= 1 && request->part_count <= POOL_GANG_MAX &&
           request->domain_max < PLACEMENT_DOMAIN_COUNT && request->model != POOL_MODEL_NONE &&
           request->shape.compute_milli <= SLICE_COMPUTE_MILLI_MAX &&
           request->shape.memory_bytes <= SLICE_MEMORY_BYTES_MAX && request->cold_start_s >= 0 &&
           request->recover_s >= 0 && (request->tiers != NULL || request->tier_count == 0) &&
           (placement->quota == NULL || request->tenant < quota_tree_count(placement->quota));
}

uint32_t placement_tier_count(const struct placement_request *request)
{
    return request->tier_count > 0 ? request->tier_count : 1;
}

struct placement_tier placement_tier_of(const struct placement_request *request, uint32_t i)
{
    if (request->tier_count > 0)
        return request->tiers[i];
    return (struct placement_tier){.weights = placement_preset(PLACEMENT_BALANCED)};
}

/* What the tenant may still take, and whose limit says so (of the scarcest resource's). */
static void measure_headroom(const struct placement *placement, struct choice *choice)
{
    uint32_t node = choice->request->tenant;

    for (int r = 0; r < QUOTA_RESOURCE_COUNT; r++)
        choice->headroom.of[r] = QUOTA_UNLIMITED;
    if (placement->quota == NULL)
        return;
    for (;; node = quota_tree_parent(placement->quota, node)) {
        const struct quota_config *config = quota_tree_config(placement->quota, node);
        const struct quota_amount *used = quota_tree_used(placement->quota, node);

        for (int r = 0; r < QUOTA_RESOURCE_COUNT; r++) {
            uint64_t limit = config->limit.of[r], left;

            left = limit == QUOTA_UNLIMITED ? limit : limit > used->of[r] ? limit - used->of[r] : 0;
            if (left < choice->headroom.of[r]) {
                choice->headroom.of[r] = left;
                choice->headroom_node = node;
            }
        }
        if (node == QUOTA_ROOT)
            break;
    }
}

void placement_begin(struct placement *placement, struct choice *choice)
{
    const struct placement_request *request = choice->request;

    measure_headroom(placement, choice);
    choice->refuses_spot =
        request->on_demand_min > 0 &&
        placement_count_on_demand(placement, request->model) < request->on_demand_min;
    placement_lay_out(placement, request, true);
    placement_count_nodes(placement, choice->view);
}

void placement_end(struct placement *placement, const struct choice *choice)
{
    placement_clear_nodes(placement);
    placement_clear(placement, choice->request, true);
}

static void pick_one(const struct placement *placement, const struct choice *choice,
                     struct placement_decision *out)
{
    const struct eligible *best = &placement->eligible[0];

    for (uint32_t i = 1; i < placement->eligible_count; i++) {
        if (placement->eligible[i].score > best->score)
            best = &placement->eligible[i];
    }
    placement_write_part(placement, choice, best, &out->parts[0]);
    out->part_count = 1;
}

/* A gang may be beyond a limit though each of its parts is not. */
static bool is_within_headroom(const struct placement *placement, const struct choice *choice,
                               const struct placement_decision *decision)
{
    struct quota_amount sum = {{0}};

    for (uint32_t i = 0; i < decision->part_count; i++) {
        const struct booking_part *part = &decision->parts[i].booking;

        sum.of[QUOTA_COMPUTE] += part->compute_milli;
        sum.of[QUOTA_MEMORY] += part->memory_bytes;
        sum.of[QUOTA_MONEY] += (uint64_t)pool_part_price(placement->pool, part->slice,
                                                         part->memory_bytes, part->compute_milli);
    }
    for (int r = 0; r < QUOTA_RESOURCE_COUNT; r++) {
        if (sum.of[r] > choice->headroom.of[r])
            return false;
    }
    return true;
}

static void refuse_eligible(struct placement *placement, enum placement_reason reason,
                            struct placement_decision *out)
{
    for (uint32_t i = 0; i < placement->eligible_count; i++)
        placement->reasons[placement->eligible[i].slice] = (uint8_t)reason;
    out->passed_over[reason] += placement->eligible_count;
    out->passed_over[PLACEMENT_FITS] = 0;
    out->part_count = 0;
}

static status choose_in_tier(struct placement *placement, struct choice *choice,
                             struct placement_decision *out)
{
    placement_filter(placement, choice, out->passed_over);
    out->quota_node = choice->headroom_node;
    if (placement->eligible_count == 0)
        return out->passed_over[PLACEMENT_QUOTA] > 0 ? STATUS_DENIED : STATUS_FULL;
    placement_score(placement, choice);
    if (choice->request->part_count == 1) {
        pick_one(placement, choice, out);
        return STATUS_OK;
    }
    if (!placement_pick_gang(placement, choice, out)) {
        refuse_eligible(placement, PLACEMENT_NO_DOMAIN, out);
        return STATUS_FULL;
    }
    if (!is_within_headroom(placement, choice, out)) {
        refuse_eligible(placement, PLACEMENT_QUOTA, out);
        return STATUS_DENIED;
    }
    return STATUS_OK;
}

status placement_choose_in(struct placement *placement, const struct view *view,
                           const struct placement_request *request, uint64_t now_ns,
                           struct placement_decision *out)
{
    struct choice choice = {.request = request, .view = view, .now_ns = now_ns};
    status result = STATUS_FULL;

    placement_begin(placement, &choice);
    for (uint32_t i = 0; i < placement_tier_count(request) && result != STATUS_OK; i++) {
        struct placement_tier tier = placement_tier_of(request, i);

        choice.tier = &tier;
        out->tier = i;
        out->part_count = 0;
        out->domain = PLACEMENT_NVLINK;
        memset(out->passed_over, 0, sizeof(out->passed_over));
        result = choose_in_tier(placement, &choice, out);
    }
    placement_end(placement, &choice);
    return result;
}

status placement_choose(struct placement *placement, const struct placement_request *request,
                        uint64_t now_ns, struct placement_decision *out)
{
    if (!placement_is_request_sane(placement, request))
        return STATUS_INVALID;
    return placement_choose_in(placement, &placement->now, request, now_ns, out);
}

status placement_explain(struct placement *placement, const struct placement_request *request,
                         uint32_t tier, uint64_t now_ns, struct placement_explanation *out)
{
    struct choice choice = {.request = request, .view = &placement->now, .now_ns = now_ns};
    uint32_t passed_over[PLACEMENT_REASON_COUNT] = {0};
    struct placement_tier entry;

    if (!placement_is_request_sane(placement, request) || tier >= placement_tier_count(request))
        return STATUS_INVALID;
    entry = placement_tier_of(request, tier);
    choice.tier = &entry;
    placement_begin(placement, &choice);
    placement_filter(placement, &choice, passed_over);
    placement_score(placement, &choice);
    for (uint32_t i = 0; i < placement->columns->count; i++)
        out[i] =
            (struct placement_explanation){.reason = (enum placement_reason)placement->reasons[i]};
    for (uint32_t i = 0; i < placement->eligible_count; i++) {
        const struct eligible *one = &placement->eligible[i];

        out[one->slice].score = one->score;
        placement_terms(placement, &choice, one, out[one->slice].terms);
    }
    placement_end(placement, &choice);
    return STATUS_OK;
}

/* --- reserve --- */

static void write_booked(const struct pool *pool, const struct booking *booking,
                         struct placement_decision *out)
{
    memset(out->passed_over, 0, sizeof(out->passed_over));
    out->tier = 0;
    out->quota_node = QUOTA_ROOT;
    out->domain = PLACEMENT_NVLINK;
    out->part_count = 0;
    for (uint32_t part = booking->part_first; part != POOL_SLICE_NONE;
         part = pool_part_next(pool, part))
        out->parts[out->part_count++] = (struct placement_part){.booking = *pool_part(pool, part)};
}

status placement_book(struct placement *placement, const struct placement_request *request,
                      const struct placement_decision *decision, uint64_t now_ns)
{
    struct booking_part parts[POOL_GANG_MAX];
    struct booking_request booking = {.uid = request->uid,
                                      .model = request->model,
                                      .tenant = request->tenant,
                                      .priority = request->priority,
                                      .is_preemptible = request->is_preemptible,
                                      .is_movable = request->is_movable,
                                      .shape = request->shape,
                                      .expires_ns = request->reserve_ns < UINT64_MAX - now_ns
                                                        ? now_ns + request->reserve_ns
                                                        : UINT64_MAX,
                                      .run_ns = request->run_ns,
                                      .part_count = decision->part_count,
                                      .parts = parts};

    for (uint32_t i = 0; i < decision->part_count; i++)
        parts[i] = decision->parts[i].booking;
    return pool_reserve(placement->pool, &booking, now_ns);
}

status placement_reserve(struct placement *placement, const struct placement_request *request,
                         uint64_t now_ns, struct placement_decision *out)
{
    const struct booking *booked = pool_booking_find(placement->pool, request->uid);
    status result;

    if (booked != NULL) {
        write_booked(placement->pool, booked, out);
        return STATUS_OK;
    }
    if (request->uid == 0)
        return STATUS_INVALID;
    result = placement_choose(placement, request, now_ns, out);
    if (result != STATUS_OK)
        return result;
    result = placement_book(placement, request, out, now_ns);
    if (result != STATUS_OK)
        out->part_count = 0;
    return result;
}
