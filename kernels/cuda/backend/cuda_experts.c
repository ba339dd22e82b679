/* Mixtures of experts. */

#include "check.h"
#include "cuda_backend.h"
#include "memory.h"

/* --- tables of weights --- */

void expert_tables_clear(struct cuda_backend *b)
{
    while (b->expert_tables != NULL) {
        struct expert_table *table = b->expert_tables;
        b->expert_tables = table->next;
        device_release(b->device, table->parts);
        memory_release(table);
    }
}

/* The first that is here: all have its shape. */
static const weight *first_of(weight *const *experts, uint32_t n_experts)
{
    for (uint32_t e = 0; e < n_experts; e++)
        if (experts[e] != NULL)
            return experts[e];
    return NULL;
}

static status table_create(struct cuda_backend *b, weight *const *experts, uint32_t n_experts,
                           struct expert_table **out)
{
    uint32_t part_count = first_of(experts, n_experts)->view.part_count;
    size_t count = (size_t)n_experts * part_count;
    struct expert_table *table = memory_allocate_array(1, sizeof(*table));
    struct weight_part *parts = memory_allocate_array(count, sizeof(*parts));
    void *on_device = device_allocate(b->device, count * sizeof(*parts));
    if (table == NULL || parts == NULL || on_device == NULL) {
        memory_release(table);
        memory_release(parts);
        device_release(b->device, on_device);
        return STATUS_NO_MEMORY;
    }
    for (uint32_t e = 0; e < n_experts; e++)
        for (uint32_t i = 0; experts[e] != NULL && i < part_count; i++)
            parts[e * part_count + i] = experts[e]->view.parts[i];
    device_copy_to_device(b->stream, on_device, parts, count * sizeof(*parts));
    memory_release(parts);
    *table = (struct expert_table){experts, on_device, b->expert_tables};
    b->expert_tables = *out = table;
    return STATUS_OK;
}

/* The device's table of an array of experts, made when it is first used (in the first step). */
static struct expert_weights weights_of(struct cuda_backend *b, weight *const *experts,
                                        uint32_t n_experts)
{
    struct expert_table *table = b->expert_tables;
    while (table != NULL && table->experts != experts)
        table = table->next;
    if (table == NULL && table_create(b, experts, n_experts, &table) != STATUS_OK) {
        device_stream_fail(b->stream, "a table of experts", "no memory is left");
        return (struct expert_weights){.parts = NULL};
    }
    return (struct expert_weights){first_of(experts, n_experts)->view, table->parts};
}

/* --- routes --- */

status cuda_routes_create(backend *base, const struct expert_shape *shape, uint32_t rows_max,
                          expert_routes **out)
{
    struct cuda_backend *b = of_cuda(base);
    if (shape->n_experts > EXPERTS_MAX)
        return STATUS_UNSUPPORTED;
    expert_routes *routes = memory_allocate_array(1, sizeof(*routes));
    if (routes == NULL)
        return STATUS_NO_MEMORY;
    routes->memory = device_allocate(b->device, expert_routes_bytes(shape, rows_max));
    if (routes->memory == NULL) {
        memory_release(routes);
        return STATUS_NO_MEMORY;
    }
    routes->view = expert_routes_place(shape, rows_max, routes->memory);
    *out = routes;
    return STATUS_OK;
}

void cuda_routes_destroy(backend *base, expert_routes *routes)
{
    struct cuda_backend *b = of_cuda(base);
    if (routes == NULL)
        return;
    graphs_drop(b);
    device_release(b->device, routes->memory);
    memory_release(routes);
}

uint32_t cuda_routes_slots_max(const struct expert_shape *shape, uint32_t rows_max)
{
    return expert_slots_max(shape, rows_max);
}

void cuda_route(backend *base, const float *logits, uint32_t n_rows, expert_routes *routes)
{
    struct cuda_backend *b = of_cuda(base);
    routes->n_rows = n_rows;
    const struct expert_route_args args = {
        .logits = logits,
        .n_rows = n_rows,
        .row_count = b->step.is_open ? b->step.state.counts : NULL,
        .routes = routes->view,
    };
    expert_route_launch(b->stream, &args);
}

void cuda_rms_norm_routed(backend *base, const float *x, const float *gain, float epsilon,
                          uint32_t d, const expert_routes *routes, activation *out)
{
    const struct expert_norm_args args = {
        .x = x,
        .gain = gain,
        .epsilon = epsilon,
        .n_rows = routes->n_rows,
        .d = d,
        .routes = routes->view,
        .out = activation_write_slots(out),
    };
    expert_norm_launch(of_cuda(base)->stream, &args);
}

void cuda_matmul_gated_routed(backend *base, weight *const *experts, const activation *a,
                              const expert_routes *routes, const float *bias, enum gate_kind gate,
                              activation *out)
{
    struct cuda_backend *b = of_cuda(base);
    const struct expert_gated_args args = {
        .w = weights_of(b, experts, routes->view.shape.n_experts),
        .a = activation_read(a),
        .n_rows = routes->n_rows,
        .bias = bias,
        .gate = gate,
        .routes = routes->view,
        .out = activation_write_slots(out),
    };
    if (args.w.parts != NULL)
        expert_gated_launch(b->stream, &args);
}

void cuda_matmul_routed(backend *base, weight *const *experts, const activation *a,
                        expert_routes *routes, const float *bias, bool accumulate, float *y)
{
    struct cuda_backend *b = of_cuda(base);
    const struct expert_product_args args = {
        .w = weights_of(b, experts, routes->view.shape.n_experts),
        .a = activation_read(a),
        .n_rows = routes->n_rows,
        .bias = bias,
        .routes = routes->view,
        .accumulate = accumulate,
        .y = y,
    };
    if (args.w.parts != NULL)
        expert_product_launch(b->stream, &args);
}
