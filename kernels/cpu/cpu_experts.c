/* Mixtures of experts.
 *
 * Routing sorts a step's rows by expert: expert e has `count[e]` slots from slot start[e] on, which is a
 * multiple of TILE_ROWS, so that a tile of rows belongs to one expert and products run as they do for
 * plain rows. A gap behind an expert's last slot is never read. The products of all experts that have
 * slots are one job of the team: unit i is group i % n of the (i / n)-th busy expert.
 *
 * A row's share-weighted sum is made last, in the order of its experts' ranks, so that it depends on
 * nothing else in the batch. */

#include <math.h>
#include <string.h>

#include "check.h"
#include "cpu_products.h"
#include "memory.h"

#define NO_SLOT UINT32_MAX /* another rank has the expert */

struct expert_routes {
    struct expert_shape shape;
    uint32_t rows_max, n_rows;
    uint32_t *experts; /* owned; [rows_max][n_used], best first */
    uint32_t *slots;   /* owned; as experts: where row and expert meet, or NO_SLOT */
    float *shares;     /* owned; as experts */
    uint32_t *rows;    /* owned; [slots_max] the row of a slot */
    uint32_t *start;   /* owned; [n_experts] first slot */
    uint32_t *count;   /* owned; [n_experts] */
    uint32_t *busy;    /* owned; [n_experts] experts with slots */
    uint32_t busy_count;
    float *products; /* owned; [slots_max, d] */
};

void cpu_routes_destroy(backend *b, expert_routes *routes)
{
    (void)b;
    if (routes == NULL)
        return;
    memory_release(routes->experts);
    memory_release(routes->slots);
    memory_release(routes->shares);
    memory_release(routes->rows);
    memory_release(routes->start);
    memory_release(routes->count);
    memory_release(routes->busy);
    memory_release(routes->products);
    memory_release(routes);
}

/* Each busy expert may leave all but one row of its last tile empty. */
uint32_t cpu_routes_slots_max(const struct expert_shape *shape, uint32_t rows_max)
{
    uint32_t slots = rows_max * shape->n_used;
    uint32_t busy = slots < shape->n_experts ? slots : shape->n_experts;
    return slots + busy * (TILE_ROWS - 1);
}

status cpu_routes_create(backend *b, const struct expert_shape *shape, uint32_t rows_max,
                         expert_routes **out)
{
    CHECK(shape->n_used >= 1 && shape->n_used <= EXPERTS_USED_MAX &&
          shape->n_used <= shape->n_experts);
    expert_routes *routes = memory_allocate_array(1, sizeof(*routes));
    if (routes == NULL)
        return STATUS_NO_MEMORY;
    size_t pairs = (size_t)rows_max * shape->n_used, slots = cpu_routes_slots_max(shape, rows_max);
    routes->shape = *shape;
    routes->rows_max = rows_max;
    routes->experts = memory_allocate_array(pairs, sizeof(uint32_t));
    routes->slots = memory_allocate_array(pairs, sizeof(uint32_t));
    routes->shares = memory_allocate_array(pairs, sizeof(float));
    routes->rows = memory_allocate_array(slots, sizeof(uint32_t));
    routes->start = memory_allocate_array(shape->n_experts, sizeof(uint32_t));
    routes->count = memory_allocate_array(shape->n_experts, sizeof(uint32_t));
    routes->busy = memory_allocate_array(shape->n_experts, sizeof(uint32_t));
    routes->products = memory_allocate_array(slots * shape->d, sizeof(float));
    if (routes->experts == NULL || routes->slots == NULL || routes->shares == NULL ||
        routes->rows == NULL || routes->start == NULL || routes->count == NULL ||
        routes->busy == NULL || routes->products == NULL) {
        cpu_routes_destroy(b, routes);
        return STATUS_NO_MEMORY;
    }
    *out = routes;
    return STATUS_OK;
}

/* --- routing --- */

/* Keeps the n_used highest in falling order; of equal ones the first stays ahead. */
static void choose(const struct expert_shape *shape, const float *logits, uint32_t *experts)
{
    uint32_t chosen = 0;
    for (uint32_t e = 0; e < shape->n_experts; e++) {
        uint32_t k = chosen;
        for (; k > 0 && logits[e] > logits[experts[k - 1]]; k--)
            if (k < shape->n_used)
                experts[k] = experts[k - 1];
        if (k < shape->n_used)
            experts[k] = e;
        chosen = chosen < shape->n_used ? chosen + 1 : chosen;
    }
}

static void share_out(const struct expert_shape *shape, const float *logits,
                      const uint32_t *experts, float *shares)
{
    float highest = logits[experts[0]], total = 0;
    for (uint32_t k = 0; k < shape->n_used; k++) {
        shares[k] = expf(logits[experts[k]] - highest);
        total += shares[k];
    }
    if (shape->router == ROUTER_SHARES) {
        total = 0;
        for (uint32_t e = 0; e < shape->n_experts; e++)
            total += expf(logits[e] - highest);
    }
    for (uint32_t k = 0; k < shape->n_used; k++)
        shares[k] /= total;
}

static void place_slots(expert_routes *routes)
{
    uint32_t pairs = routes->n_rows * routes->shape.n_used, next = 0;
    memset(routes->count, 0, routes->shape.n_experts * sizeof(uint32_t));
    for (uint32_t i = 0; i < pairs; i++)
        routes->count[routes->experts[i]] += expert_is_held(&routes->shape, routes->experts[i]);
    routes->busy_count = 0;
    for (uint32_t e = 0; e < routes->shape.n_experts; e++) {
        routes->start[e] = next;
        if (routes->count[e] > 0)
            routes->busy[routes->busy_count++] = e;
        next += (routes->count[e] + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS;
        routes->count[e] = 0;
    }
    for (uint32_t i = 0; i < pairs; i++) {
        uint32_t e = routes->experts[i];
        routes->slots[i] = NO_SLOT;
        if (!expert_is_held(&routes->shape, e))
            continue;
        routes->slots[i] = routes->start[e] + routes->count[e]++;
        routes->rows[routes->slots[i]] = i / routes->shape.n_used;
    }
}

void cpu_route(backend *b, const float *logits, uint32_t n_rows, expert_routes *routes)
{
    (void)b;
    CHECK(n_rows <= routes->rows_max);
    const struct expert_shape *shape = &routes->shape;
    routes->n_rows = n_rows;
    for (uint32_t r = 0; r < n_rows; r++) {
        const float *row = logits + (size_t)r * shape->n_experts;
        uint32_t *experts = routes->experts + (size_t)r * shape->n_used;
        choose(shape, row, experts);
        share_out(shape, row, experts, routes->shares + (size_t)r * shape->n_used);
    }
    place_slots(routes);
}

/* --- rows of slots --- */

struct slots_job {
    struct cpu_backend *cpu;
    const expert_routes *routes;
    const float *x, *gain;
    float epsilon;
    uint32_t d;
    activation *out;
};

static void quantise_slots(const struct cpu_backend *cpu, activation *a, uint32_t slot,
                           uint32_t n_slots)
{
    if (a->tiles == NULL)
        return;
    for (uint32_t span = 0; span * a->span_blocks < a->n_blocks; span++)
        for (uint32_t done = 0; done < n_slots; done += TILE_ROWS) {
            uint32_t left = n_slots - done;
            cpu->kernels->quantise_span(a, slot + done, left < TILE_ROWS ? left : TILE_ROWS, span);
        }
}

/* Units are busy experts. */
static void norm_experts(void *context, uint32_t member, uint32_t first, uint32_t count)
{
    (void)member;
    const struct slots_job *job = context;
    for (uint32_t i = first; i < first + count; i++) {
        uint32_t expert = job->routes->busy[i];
        uint32_t start = job->routes->start[expert], n_slots = job->routes->count[expert];
        for (uint32_t slot = start; slot < start + n_slots; slot++)
            job->cpu->kernels->rms_norm_row(job->x + (size_t)job->routes->rows[slot] * job->d,
                                            job->gain, job->epsilon, job->d,
                                            job->out->floats + slot * job->out->float_stride);
        quantise_slots(job->cpu, job->out, start, n_slots);
    }
}

void cpu_rms_norm_routed(backend *b, const float *x, const float *gain, float epsilon, uint32_t d,
                         const expert_routes *routes, activation *out)
{
    CHECK(d == out->n_cols &&
          cpu_routes_slots_max(&routes->shape, routes->n_rows) <= out->rows_max);
    struct slots_job job = {cpu_of(b), routes, x, gain, epsilon, d, out};
    team_run(cpu_of(b)->team, routes->busy_count, 1, norm_experts, &job);
}

static void quantise_experts(void *context, uint32_t member, uint32_t first, uint32_t count)
{
    (void)member;
    const struct slots_job *job = context;
    for (uint32_t i = first; i < first + count; i++) {
        uint32_t expert = job->routes->busy[i];
        quantise_slots(job->cpu, job->out, job->routes->start[expert], job->routes->count[expert]);
    }
}

/* --- products --- */

struct experts_job {
    struct product_job product; /* of each expert, but for its weight, rows and bias */
    weight *const *experts;
    const expert_routes *routes;
    const float *bias; /* of all experts */
    uint32_t bias_width;
    uint32_t units; /* of one expert */
};

static struct product_job product_of(const struct experts_job *job, uint32_t expert)
{
    struct product_job product = job->product;
    product.w = job->experts[expert];
    product.row = job->routes->start[expert];
    product.n_rows = job->routes->count[expert];
    product.bias = job->bias != NULL ? job->bias + (size_t)expert * job->bias_width : NULL;
    return product;
}

static void gated_units(void *context, uint32_t member, uint32_t first, uint32_t count)
{
    const struct experts_job *job = context;
    for (uint32_t unit = first; unit < first + count; unit++) {
        struct product_job product = product_of(job, job->routes->busy[unit / job->units]);
        product_gated_unit(&product, unit % job->units, &job->product.cpu->scratch[member]);
    }
}

static void product_units(void *context, uint32_t member, uint32_t first, uint32_t count)
{
    const struct experts_job *job = context;
    for (uint32_t unit = first; unit < first + count; unit++) {
        struct product_job product = product_of(job, job->routes->busy[unit / job->units]);
        product_multiply_groups(&product, product.w->segments, unit % job->units, 1,
                                job->product.cpu->scratch[member].gate);
    }
}

static void run_experts(struct experts_job *job, team_body *body)
{
    struct team *team = job->product.cpu->team;
    uint32_t units = job->routes->busy_count * job->units;
    uint32_t chunk = units / (team_size(team) * PIECES_PER_MEMBER);
    team_run(team, units, chunk > 0 ? chunk : 1, body, job);
}

static void check_expert(const weight *w, const activation *a, bool is_gated)
{
    CHECK(w->is_gated == is_gated && a->n_cols == w->n_cols);
    CHECK(w->segment_count == (is_gated ? 2 : 1));
    CHECK((!w->needs_codes || a->tiles != NULL) && (!w->needs_floats || a->floats != NULL));
}

void cpu_matmul_gated_routed(backend *b, weight *const *experts, const activation *a,
                             const expert_routes *routes, const float *bias, enum gate_kind gate,
                             activation *out)
{
    const weight *any = experts[routes->shape.first_held];
    check_expert(any, a, true);
    CHECK(out->n_cols == any->n_outputs && a->rows_max == out->rows_max);
    struct experts_job job = {.product = {.cpu = cpu_of(b), .a = a, .gate = gate, .out = out},
                              .experts = experts,
                              .routes = routes,
                              .bias = bias,
                              .bias_width = 2 * any->n_outputs,
                              .units = product_gated_units(any)};
    run_experts(&job, gated_units);
    struct slots_job slots = {.cpu = cpu_of(b), .routes = routes, .out = out};
    if (out->tiles != NULL)
        team_run(cpu_of(b)->team, routes->busy_count, 1, quantise_experts, &slots);
}

struct sum_job {
    struct cpu_backend *cpu;
    const expert_routes *routes;
    bool accumulate;
    float *y;
};

static void sum_rows(void *context, uint32_t member, uint32_t first, uint32_t count)
{
    (void)member;
    const struct sum_job *job = context;
    const expert_routes *routes = job->routes;
    uint32_t d = routes->shape.d, n_used = routes->shape.n_used;
    for (uint32_t r = first; r < first + count; r++) {
        float *y = job->y + (size_t)r * d;
        if (!job->accumulate)
            memset(y, 0, d * sizeof(float));
        for (size_t i = (size_t)r * n_used; i < (size_t)(r + 1) * n_used; i++)
            if (routes->slots[i] != NO_SLOT)
                job->cpu->kernels->add_scaled(routes->products + (size_t)routes->slots[i] * d,
                                              routes->shares[i], d, y);
    }
}

void cpu_matmul_routed(backend *b, weight *const *experts, const activation *a,
                       expert_routes *routes, const float *bias, bool accumulate, float *y)
{
    const weight *any = experts[routes->shape.first_held];
    check_expert(any, a, false);
    CHECK(any->n_outputs == routes->shape.d);
    struct experts_job job = {.product = {.cpu = cpu_of(b), .a = a, .y = routes->products},
                              .experts = experts,
                              .routes = routes,
                              .bias = bias,
                              .bias_width = any->n_outputs,
                              .units = any->n_groups};
    run_experts(&job, product_units);
    struct sum_job sum = {cpu_of(b), routes, accumulate, y};
    team_run(cpu_of(b)->team, routes->n_rows, 4, sum_rows, &sum);
}
