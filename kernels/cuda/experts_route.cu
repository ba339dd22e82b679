/* Which experts the rows of a step go to, and the slots where they meet.
 *
 * Choosing: a warp a row; each lane keeps its share of the row's logits in registers, and the warp finds the highest n_used
 * times. Placing: a block an expert, each of its warps a run of the rows; it reads all choices twice, counting those of lower
 * experts (where its slots begin) and its own, and then numbering its own in the order of rows. Nothing is passed between blocks, so
 * that no counter needs a zero and nothing is ordered by chance. 8,192 rows with 8 experts each are 256 loads a lane and
 * pass, four at a time: by the latency of L2 some 25 us, beside a prefill's milliseconds a layer. */

#include "activation.h"
#include "check.h"
#include "experts.h"

#define ROUTE_THREADS 128u
#define ROUTE_WARPS   (ROUTE_THREADS / 32)
#define PLACE_THREADS 256u
#define PLACE_WARPS   (PLACE_THREADS / 32)
/* Choices that a lane of the placing kernel loads at a time. */
#define PLACE_LOADS 4u
/* Logits a lane keeps, of experts lane, lane + 32, ... */
#define LANE_LOGITS_MAX (EXPERTS_MAX / 32)

/* --- choosing --- */

/* The warp's highest logit, of equal ones that of the lowest expert. */
K_DEVICE uint32_t warp_highest(float *logit, uint32_t expert)
{
    for (uint32_t mask = 16; mask > 0; mask /= 2) {
        float other = k_shfl_xor(*logit, mask);
        uint32_t other_expert = k_shfl_xor(expert, mask);
        if (other > *logit || (other == *logit && other_expert < expert)) {
            *logit = other;
            expert = other_expert;
        }
    }
    return expert;
}

/* A lane's logits of a row: of experts lane, lane + 32, ... What is no number is as low as can be, so that there are always
 * experts to choose; its share will be no number either. */
template <uint32_t LOGITS> struct lane_logits {
    float values[LOGITS];
    uint32_t taken; /* bit i: chosen already, or there is no such expert */
};

template <uint32_t LOGITS>
K_DEVICE void load_logits(const float *row, uint32_t n_experts, struct lane_logits<LOGITS> *own)
{
    own->taken = 0;
    K_UNROLL
    for (uint32_t i = 0; i < LOGITS; i++) {
        uint32_t expert = 32 * i + k_lane();
        own->values[i] = -INFINITY;
        if (expert < n_experts) {
            float value = row[expert];
            own->values[i] = value == value ? value : -INFINITY;
        } else {
            own->taken |= 1u << i;
        }
    }
}

/* The best expert that is left, which is taken then. */
template <uint32_t LOGITS>
K_DEVICE uint32_t take_highest(struct lane_logits<LOGITS> *own, float *logit)
{
    uint32_t expert = UINT32_MAX;
    *logit = -INFINITY;
    K_UNROLL
    for (uint32_t i = 0; i < LOGITS; i++) {
        bool is_better = expert == UINT32_MAX || own->values[i] > *logit;
        if ((own->taken >> i & 1) == 0 && is_better) {
            *logit = own->values[i];
            expert = 32 * i + k_lane();
        }
    }
    expert = warp_highest(logit, expert);
    if (expert % 32 == k_lane())
        own->taken |= 1u << expert / 32;
    return expert;
}

/* The softmax's denominator over all experts. */
template <uint32_t LOGITS>
K_DEVICE float sum_of_all(const struct lane_logits<LOGITS> &own, float highest)
{
    float sum = 0.0f;
    K_UNROLL
    for (uint32_t i = 0; i < LOGITS; i++)
        sum += expf(own.values[i] - highest);
    return k_warp_sum(sum);
}

K_DEVICE bool is_held(const struct expert_shape &shape, uint32_t expert)
{
    return shape.held_count == 0 ||
           (expert >= shape.first_held && expert - shape.first_held < shape.held_count);
}

/* LOGITS: at least n_experts / 32. */
template <uint32_t LOGITS>
K_KERNEL_BOUNDS(ROUTE_THREADS, 4)
void choose_kernel(struct expert_route_args args)
{
    k_release_next();
    k_wait_previous();
    const struct expert_shape &shape = args.routes.shape;
    uint32_t row = k_block_x() * ROUTE_WARPS + k_warp(), lane = k_lane();
    if (row >= args.n_rows)
        return;
    uint64_t at = (uint64_t)row * shape.n_used + lane;
    if (args.row_count != nullptr && row >= *args.row_count) {
        if (lane < shape.n_used) {
            args.routes.experts[at] = EXPERT_SLOT_NONE;
            args.routes.shares[at] = 0.0f;
        }
        return;
    }
    struct lane_logits<LOGITS> logits;
    load_logits(args.logits + (uint64_t)row * shape.n_experts, shape.n_experts, &logits);
    uint32_t expert = UINT32_MAX; /* lane k keeps the k-th best */
    float logit = -INFINITY, highest = 0.0f;
    for (uint32_t k = 0; k < shape.n_used; k++) {
        float best;
        uint32_t chosen = take_highest(&logits, &best);
        highest = k == 0 ? best : highest;
        expert = k == lane ? chosen : expert;
        logit = k == lane ? best : logit;
    }
    float share = lane < shape.n_used ? expf(logit - highest) : 0.0f;
    float total = shape.router == ROUTER_SHARES ? sum_of_all(logits, highest) : k_warp_sum(share);
    if (lane < shape.n_used) {
        args.routes.experts[at] = is_held(shape, expert) ? expert : EXPERT_SLOT_NONE;
        args.routes.shares[at] = share / total;
    }
}

/* --- placing --- */

/* Of the warp's lanes, how many bits are set below this one's. */
K_DEVICE uint32_t rank_of(uint32_t votes)
{
    return k_popc(votes & ((1u << k_lane()) - 1));
}

/* How many of the choices [first, last) are of lower experts than `own`, and how many its own. */
K_DEVICE void count_pairs(const uint32_t *experts, uint32_t own, uint32_t first, uint32_t last,
                          uint32_t counts[2])
{
    uint32_t lower = 0, equal = 0;
    for (uint32_t pair = first + k_lane(); pair < last; pair += 32) {
        uint32_t expert = experts[pair];
        lower += expert < own;
        equal += expert == own;
    }
    counts[0] = k_warp_sum(lower);
    counts[1] = k_warp_sum(equal);
}

/* Gives the choices [first, last) that are `own`'s their slots, from `next` on. is_last: also tells those that have none. */
K_DEVICE void number_pairs(const struct expert_routes_view &routes, uint32_t own, bool is_last,
                           uint32_t first, uint32_t last, uint32_t next)
{
    for (; first < last; first += 32 * PLACE_LOADS) {
        uint32_t experts[PLACE_LOADS];
        K_UNROLL
        for (uint32_t i = 0; i < PLACE_LOADS; i++) {
            uint32_t pair = first + 32 * i + k_lane();
            experts[i] = pair < last ? routes.experts[pair] : own + 1;
        }
        K_UNROLL
        for (uint32_t i = 0; i < PLACE_LOADS; i++) {
            uint32_t pair = first + 32 * i + k_lane();
            uint32_t votes = k_ballot(experts[i] == own);
            if (experts[i] == own)
                routes.slots[pair] = next + rank_of(votes);
            if (is_last && pair < last && experts[i] == EXPERT_SLOT_NONE)
                routes.slots[pair] = EXPERT_SLOT_NONE;
            next += k_popc(votes);
        }
    }
}

/* Block n_experts has no pairs: it writes where the last expert's slots end, and marks pairs without a slot. */
K_KERNEL_BOUNDS(PLACE_THREADS, 4)
void place_kernel(struct expert_routes_view routes, uint32_t pairs)
{
    k_release_next();
    k_wait_previous();
    K_SHARED(uint32_t, lower, PLACE_WARPS);
    K_SHARED(uint32_t, equal, PLACE_WARPS);
    uint32_t own = k_block_x(), run = (pairs + PLACE_WARPS - 1) / PLACE_WARPS;
    uint32_t first = k_warp() * run, last = first + run < pairs ? first + run : pairs, counts[2];
    count_pairs(routes.experts, own, first, last, counts);
    if (k_lane() == 0) {
        lower[k_warp()] = counts[0];
        equal[k_warp()] = counts[1];
    }
    k_sync();
    uint32_t start = 0, before = 0;
    for (uint32_t warp = 0; warp < PLACE_WARPS; warp++) {
        uint32_t own_count = equal[warp], lower_count = lower[warp];
        start += lower_count;
        before += warp < k_warp() ? own_count : 0;
    }
    if (k_thread() == 0)
        routes.starts[own] = start;
    bool is_last = own == routes.shape.n_experts;
    if (counts[1] > 0 || is_last)
        number_pairs(routes, own, is_last, first, last, start + before);
}

/* --- launches --- */

uint32_t expert_slots_max(const struct expert_shape *shape, uint32_t rows_max)
{
    return rows_max * shape->n_used;
}

static uint64_t rounded(uint64_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

uint64_t expert_routes_bytes(const struct expert_shape *shape, uint32_t rows_max)
{
    uint64_t pairs = expert_slots_max(shape, rows_max);
    return 2 * rounded(pairs * sizeof(uint32_t)) + rounded(pairs * sizeof(float)) +
           rounded((shape->n_experts + 1) * sizeof(uint32_t)) +
           rounded(pairs * shape->d * sizeof(float));
}

struct expert_routes_view expert_routes_place(const struct expert_shape *shape, uint32_t rows_max,
                                              void *base)
{
    CHECK(shape->n_experts <= EXPERTS_MAX && shape->n_used >= 1 &&
          shape->n_used <= EXPERTS_USED_MAX && shape->n_used <= shape->n_experts);
    uint64_t pairs = expert_slots_max(shape, rows_max);
    struct expert_routes_view routes = {};
    routes.shape = *shape;
    routes.rows_max = rows_max;
    uint8_t *at = static_cast<uint8_t *>(base);
    routes.experts = reinterpret_cast<uint32_t *>(at);
    at += rounded(pairs * sizeof(uint32_t));
    routes.slots = reinterpret_cast<uint32_t *>(at);
    at += rounded(pairs * sizeof(uint32_t));
    routes.shares = reinterpret_cast<float *>(at);
    at += rounded(pairs * sizeof(float));
    routes.starts = reinterpret_cast<uint32_t *>(at);
    at += rounded((shape->n_experts + 1) * sizeof(uint32_t));
    routes.products = reinterpret_cast<float *>(at);
    return routes;
}

void expert_route_launch(device_stream *stream, const struct expert_route_args *args)
{
    const struct expert_shape *shape = &args->routes.shape;
    CHECK(args->n_rows <= args->routes.rows_max);
    struct k_grid rows((args->n_rows + ROUTE_WARPS - 1) / ROUTE_WARPS);
    if (shape->n_experts <= 64)
        K_LAUNCH(stream, (choose_kernel<2>), rows, ROUTE_THREADS, 0, *args);
    else if (shape->n_experts <= 256)
        K_LAUNCH(stream, (choose_kernel<8>), rows, ROUTE_THREADS, 0, *args);
    else
        K_LAUNCH(stream, (choose_kernel<LANE_LOGITS_MAX>), rows, ROUTE_THREADS, 0, *args);
    K_LAUNCH(stream, place_kernel, k_grid(shape->n_experts + 1), PLACE_THREADS, 0, args->routes,
             args->n_rows * shape->n_used);
}
