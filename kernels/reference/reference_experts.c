/* Experts: slot r * n_used + k is row r's k-th best. */
#include "reference_private.h"

#include <math.h>

#include "check.h"
#include "memory.h"

struct expert_routes {
    struct expert_shape shape;
    uint32_t rows_max, n_rows;
    uint32_t *experts; /* owned; [rows_max * n_used] */
    float *shares;     /* owned; as experts */
};

void reference_routes_destroy(backend *b, expert_routes *routes)
{
    (void)b;
    if (routes == NULL)
        return;
    memory_release(routes->experts);
    memory_release(routes->shares);
    memory_release(routes);
}

status reference_routes_create(backend *b, const struct expert_shape *shape, uint32_t rows_max,
                               expert_routes **out)
{
    CHECK(shape->n_used >= 1 && shape->n_used <= EXPERTS_USED_MAX &&
          shape->n_used <= shape->n_experts);
    expert_routes *routes = memory_allocate_array(1, sizeof(*routes));
    if (routes == NULL)
        return STATUS_NO_MEMORY;
    routes->shape = *shape;
    routes->rows_max = rows_max;
    routes->experts = memory_allocate_array((size_t)rows_max * shape->n_used, sizeof(uint32_t));
    routes->shares = memory_allocate_array((size_t)rows_max * shape->n_used, sizeof(float));
    if (routes->experts == NULL || routes->shares == NULL) {
        reference_routes_destroy(b, routes);
        return STATUS_NO_MEMORY;
    }
    *out = routes;
    return STATUS_OK;
}

uint32_t reference_routes_slots_max(const struct expert_shape *shape, uint32_t rows_max)
{
    return rows_max * shape->n_used;
}

static bool is_chosen(const uint32_t *experts, uint32_t count, uint32_t expert)
{
    for (uint32_t k = 0; k < count; k++)
        if (experts[k] == expert)
            return true;
    return false;
}

static void route_row(const struct expert_shape *shape, const float *logits, uint32_t *experts,
                      float *shares)
{
    double total = 0, chosen = 0;
    for (uint32_t k = 0; k < shape->n_used; k++) {
        uint32_t best = shape->n_experts;
        for (uint32_t e = 0; e < shape->n_experts; e++)
            if (!is_chosen(experts, k, e) && (best == shape->n_experts || logits[e] > logits[best]))
                best = e;
        experts[k] = best;
        chosen += exp((double)logits[best] - (double)logits[experts[0]]);
    }
    for (uint32_t e = 0; e < shape->n_experts; e++)
        total += exp((double)logits[e] - (double)logits[experts[0]]);
    for (uint32_t k = 0; k < shape->n_used; k++)
        shares[k] = (float)(exp((double)logits[experts[k]] - (double)logits[experts[0]]) /
                            (shape->router == ROUTER_SHARES ? total : chosen));
}

void reference_route(backend *b, const float *logits, uint32_t n_rows, expert_routes *routes)
{
    (void)b;
    CHECK(n_rows <= routes->rows_max);
    const struct expert_shape *shape = &routes->shape;
    routes->n_rows = n_rows;
    for (uint32_t r = 0; r < n_rows; r++)
        route_row(shape, logits + (size_t)r * shape->n_experts,
                  routes->experts + (size_t)r * shape->n_used,
                  routes->shares + (size_t)r * shape->n_used);
}

void reference_rms_norm_routed(backend *b, const float *x, const float *gain, float epsilon,
                               uint32_t d, const expert_routes *routes, activation *out)
{
    (void)b;
    uint32_t n_used = routes->shape.n_used;
    CHECK(d == out->n_cols && routes->n_rows * n_used <= out->rows_max);
    for (uint32_t slot = 0; slot < routes->n_rows * n_used; slot++)
        reference_norm_row(x + (size_t)(slot / n_used) * d, gain, epsilon, d,
                           out->values + (size_t)slot * d);
}

void reference_matmul_gated_routed(backend *b, weight *const *experts, const activation *a,
                                   const expert_routes *routes, const float *bias,
                                   enum gate_kind gate, activation *out)
{
    for (uint32_t slot = 0; slot < routes->n_rows * routes->shape.n_used; slot++) {
        const weight *w = experts[routes->experts[slot]];
        if (!expert_is_held(&routes->shape, routes->experts[slot]))
            continue;
        CHECK(w->is_gated && a->n_cols == w->n_cols && out->n_cols == w->n_outputs);
        const struct gated_terms own = {
            bias != NULL ? bias + (size_t)routes->experts[slot] * 2 * w->n_outputs : NULL, NULL};
        reference_gated_row(of_backend(b), w, a->values + (size_t)slot * a->n_cols, &own, gate,
                            out->values + (size_t)slot * out->n_cols);
    }
}

void reference_matmul_routed(backend *b, weight *const *experts, const activation *a,
                             expert_routes *routes, const float *bias, bool accumulate, float *y)
{
    uint32_t d = routes->shape.d, n_used = routes->shape.n_used;
    float *row = of_backend(b)->rows;
    for (uint32_t r = 0; r < routes->n_rows; r++) {
        for (uint32_t o = 0; o < d; o++) {
            double sum = accumulate ? (double)y[(size_t)r * d + o] : 0;
            for (uint32_t slot = r * n_used; slot < (r + 1) * n_used; slot++) {
                const weight *w = experts[routes->experts[slot]];
                if (!expert_is_held(&routes->shape, routes->experts[slot]))
                    continue;
                CHECK(!w->is_gated && w->n_outputs == d && a->n_cols == w->n_cols);
                reference_weight_row(w, o, row);
                double value = dot(row, a->values + (size_t)slot * a->n_cols, w->n_cols);
                if (bias != NULL)
                    value += (double)bias[(size_t)routes->experts[slot] * d + o];
                sum += (double)routes->shares[slot] * value;
            }
            y[(size_t)r * d + o] = (float)sum;
        }
    }
}
