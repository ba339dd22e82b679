/* What is weighed. Everything that hangs on a name (a product's speed, a region's latency, a node's warmth) is laid out in tables
 * by the name's number before the scan and wiped after it, entry by entry, so that a choice costs what it names and not the tables' size. */
#include <string.h>

#include "check.h"
#include "placement_internal.h"

#define LATENCY_HALF_MS                                                                            \
    50.0f /* a round trip that halves the term: about what an interactive reader notices */
#define COLD_HALF_S   30.0f /* a cold start that does: a model of 8B loaded from a local disk */
#define DEGRADED_RISK 0.5f

/* 1 / (1 + n) of the replicas that share a zone, a member, a node. A zone is what fails together most often beyond a
 * node; a node's loss is the smallest. */
#define SPREAD_ZONE   0.4f
#define SPREAD_MEMBER 0.3f
#define SPREAD_NODE   0.3f

/* --- what hangs on names --- */

static void set_known(const struct placement *placement, float *table,
                      const struct placement_known *known, uint32_t count, float half)
{
    for (uint32_t i = 0; i < count; i++) {
        if (known[i].name == NAME_NONE || known[i].name > placement->names_max ||
            (half == 0 && known[i].value <= 0))
            continue;
        /* Speeds as they are; times as the term that follows from them. */
        table[known[i].name] = half > 0 ? half / (half + known[i].value) : known[i].value;
    }
}

static void unset_known(const struct placement *placement, float *table,
                        const struct placement_known *known, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (known[i].name <= placement->names_max)
            table[known[i].name] = UNKNOWN;
    }
}

void placement_note_replica(struct placement *placement, uint32_t slice, int32_t change)
{
    const struct pool_columns *columns = placement->columns;

    placement->near_zone[columns->zone[slice]] += (uint32_t)change;
    placement->near_node[columns->node[slice]] += (uint32_t)change;
    placement->near_member[columns->member[slice]] += (uint32_t)change;
}

/* A gang counts where its first part is. */
static void note_replicas(struct placement *placement, uint32_t model, int32_t change)
{
    const uint32_t *models = pool_booking_models(placement->pool);
    uint32_t bound = pool_booking_bound(placement->pool);

    for (uint32_t row = 0; row < bound; row++) {
        if (models[row] == model)
            placement_note_replica(
                placement,
                pool_part(placement->pool, pool_booking_at(placement->pool, row)->part_first)
                    ->slice,
                change);
    }
}

uint32_t placement_count_on_demand(const struct placement *placement, uint32_t model)
{
    const struct pool_columns *columns = placement->columns;
    const uint32_t *models = pool_booking_models(placement->pool);
    uint32_t bound = pool_booking_bound(placement->pool), count = 0;

    for (uint32_t row = 0; row < bound; row++) {
        const struct booking *booking;

        if (models[row] != model)
            continue;
        booking = pool_booking_at(placement->pool, row);
        count += booking->phase != BOOKING_DRAINING &&
                 !columns->is_preemptible[pool_part(placement->pool, booking->part_first)->slice];
    }
    return count;
}

void placement_lay_out(struct placement *placement, const struct placement_request *request,
                       bool with_booked)
{
    set_known(placement, placement->speeds, request->speeds, request->speed_count, 0);
    set_known(placement, placement->latencies, request->round_trips_ms, request->round_trip_count,
              LATENCY_HALF_MS);
    set_known(placement, placement->warmths, request->cold_starts_s, request->cold_start_count,
              COLD_HALF_S);
    if (with_booked)
        note_replicas(placement, request->model, 1);
}

void placement_clear(struct placement *placement, const struct placement_request *request,
                     bool with_booked)
{
    unset_known(placement, placement->speeds, request->speeds, request->speed_count);
    unset_known(placement, placement->latencies, request->round_trips_ms,
                request->round_trip_count);
    unset_known(placement, placement->warmths, request->cold_starts_s, request->cold_start_count);
    if (with_booked)
        note_replicas(placement, request->model, -1);
}

void placement_count_nodes(struct placement *placement, const struct view *view)
{
    const struct pool_columns *columns = placement->columns;

    for (uint32_t i = 0; i < columns->count; i++) {
        uint32_t node = columns->node[i];

        if (columns->presence[i] == SLICE_ABSENT)
            continue;
        placement->node_slices[node]++;
        placement->node_busy[node] += view->tenants[i] > 0;
    }
}

void placement_clear_nodes(struct placement *placement)
{
    const struct pool_columns *columns = placement->columns;

    for (uint32_t i = 0; i < columns->count; i++) {
        if (columns->presence[i] == SLICE_ABSENT)
            continue;
        placement->node_slices[columns->node[i]] = 0;
        placement->node_busy[columns->node[i]] = 0;
    }
}

/* --- terms --- */

static inline __attribute__((always_inline)) float known_or(float value, float otherwise)
{
    return value != UNKNOWN ? value : otherwise;
}

static inline __attribute__((always_inline)) float inverse(const struct placement *placement,
                                                           uint32_t n)
{
    return n < INVERSE_COUNT ? placement->inverses[n] : 1.0f / (float)n;
}

/* Units an hour for each unit of speed. A product that nobody has measured does 1 for each 1000 milli. */
static inline __attribute__((always_inline)) float rate_of(const struct placement *placement,
                                                           const struct eligible *one)
{
    const struct pool_columns *columns = placement->columns;
    uint32_t whole = columns->compute_milli[one->slice];
    float speed =
        known_or(placement->speeds[columns->product[one->slice]], 1.0f) * (float)one->compute_milli;
    float share = 1;

    if (one->compute_milli != whole) {
        float memory = (float)one->memory_bytes / (float)columns->memory_bytes[one->slice];
        float compute = (float)one->compute_milli / (float)whole;

        share = compute > memory ? compute : memory;
    }

    return speed > 0 ? (float)columns->price_nano_hour[one->slice] * share / speed : 0;
}

static inline __attribute__((always_inline)) float
pack_of(const struct placement *placement, const struct choice *choice, const struct eligible *one)
{
    const struct pool_columns *columns = placement->columns;
    uint32_t slice = one->slice, node = columns->node[slice];
    uint32_t compute_left = choice->view->compute_free[slice] - one->compute_milli;
    uint64_t memory_left = choice->view->memory_free[slice] - one->memory_bytes;

    if (one->compute_milli == columns->compute_milli[slice])
        return (float)placement->node_busy[node] * inverse(placement, placement->node_slices[node]);
    return 1.0f - ((float)compute_left / (float)columns->compute_milli[slice] +
                   (float)memory_left / (float)columns->memory_bytes[slice]) *
                      0.5f;
}

static inline __attribute__((always_inline)) float spread_of(const struct placement *placement,
                                                             uint32_t slice)
{
    const struct pool_columns *columns = placement->columns;

    return SPREAD_ZONE * inverse(placement, 1 + placement->near_zone[columns->zone[slice]]) +
           SPREAD_MEMBER * inverse(placement, 1 + placement->near_member[columns->member[slice]]) +
           SPREAD_NODE * inverse(placement, 1 + placement->near_node[columns->node[slice]]);
}

static inline __attribute__((always_inline)) float
risk_of(const struct pool_columns *columns, const struct placement_request *request, uint32_t slice)
{
    float risk = columns->health[slice] == SLICE_DEGRADED ? DEGRADED_RISK : 0;

    if (columns->is_preemptible[slice])
        risk += columns->preemptions_hour[slice] * request->recover_s * (1.0f / 3600);
    return risk < 1 ? risk : 1;
}

/* Inlined into the scan; the compiler unrolls it and keeps the terms in registers. */
static inline __attribute__((always_inline)) void weigh(const struct placement *placement,
                                                        const struct choice *choice,
                                                        const struct eligible *one,
                                                        float terms[PLACEMENT_TERM_COUNT])
{
    const struct pool_columns *columns = placement->columns;
    const struct placement_request *request = choice->request;
    uint32_t slice = one->slice;

    terms[PLACEMENT_COST] = 1.0f - one->rate * choice->rate_inverse;
    terms[PLACEMENT_LATENCY] = known_or(placement->latencies[columns->region[slice]], 1.0f);
    terms[PLACEMENT_WARM] = known_or(placement->warmths[columns->node[slice]],
                                     COLD_HALF_S / (COLD_HALF_S + request->cold_start_s));
    terms[PLACEMENT_PACK] = pack_of(placement, choice, one);
    terms[PLACEMENT_TOPOLOGY] = 0;
    terms[PLACEMENT_SPREAD] = spread_of(placement, slice);
    terms[PLACEMENT_RISK] = risk_of(columns, request, slice);
}

static inline __attribute__((always_inline)) float sum(const struct placement_weights *weights,
                                                       const float terms[PLACEMENT_TERM_COUNT])
{
    float result = 0;

    for (int i = 0; i < PLACEMENT_RISK; i++)
        result += weights->of[i] * terms[i];
    return result - weights->of[PLACEMENT_RISK] * terms[PLACEMENT_RISK];
}

void placement_terms(const struct placement *placement, const struct choice *choice,
                     const struct eligible *one, float terms[PLACEMENT_TERM_COUNT])
{
    weigh(placement, choice, one, terms);
}

float placement_sum(const struct placement_weights *weights,
                    const float terms[PLACEMENT_TERM_COUNT])
{
    return sum(weights, terms);
}

float placement_score_one(const struct placement *placement, const struct choice *choice,
                          const struct eligible *one)
{
    float terms[PLACEMENT_TERM_COUNT];

    weigh(placement, choice, one, terms);
    return sum(&choice->tier->weights, terms);
}

void placement_score(struct placement *placement, struct choice *choice)
{
    float dearest = 0;

    for (uint32_t i = 0; i < placement->eligible_count; i++) {
        struct eligible *one = &placement->eligible[i];

        one->rate = rate_of(placement, one);
        dearest = one->rate > dearest ? one->rate : dearest;
    }
    choice->rate_inverse = dearest > 0 ? 1.0f / dearest : 0;
    for (uint32_t i = 0; i < placement->eligible_count; i++) {
        struct eligible *one = &placement->eligible[i];
        float terms[PLACEMENT_TERM_COUNT];

        weigh(placement, choice, one, terms);
        one->score = sum(&choice->tier->weights, terms);
        if (choice->view->penalties != NULL)
            one->score -= choice->view->penalties[one->slice];
    }
}
