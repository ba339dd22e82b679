/* Mixtures of experts on the device: the routes against a choice made here in double, the whole layer against the reference
 * backend, and each row's bits the same whatever is beside it. */
#include "experts.h"

#include "tile_testing.h"

static struct device_rig rig;

/* --- routes --- */

struct host_routes {
    uint32_t *experts, *slots, *starts;
    float *shares;
};

static struct host_routes get_routes(const struct expert_routes_view *view, uint32_t n_rows)
{
    size_t pairs = (size_t)n_rows * view->shape.n_used, starts = view->shape.n_experts + 1;
    struct host_routes routes = {malloc(4 * pairs), malloc(4 * pairs), malloc(4 * starts),
                                 malloc(4 * pairs)};
    device_rig_get(&rig, routes.experts, view->experts, 4 * pairs);
    device_rig_get(&rig, routes.slots, view->slots, 4 * pairs);
    device_rig_get(&rig, routes.shares, view->shares, 4 * pairs);
    device_rig_get(&rig, routes.starts, view->starts, 4 * starts);
    return routes;
}

static void host_routes_free(struct host_routes *routes)
{
    free(routes->experts);
    free(routes->slots);
    free(routes->starts);
    free(routes->shares);
}

static struct expert_routes_view put_routes(const struct expert_shape *shape, uint32_t rows_max)
{
    return expert_routes_place(shape, rows_max,
                               device_rig_room(&rig, expert_routes_bytes(shape, rows_max)));
}

static void route(const float *logits, uint32_t n_rows, const uint32_t *row_count,
                  const struct expert_routes_view *routes)
{
    struct expert_route_args args = {
        .logits =
            device_rig_put(&rig, logits, (size_t)n_rows * routes->shape.n_experts * sizeof(float)),
        .n_rows = n_rows,
        .row_count = row_count != NULL ? device_rig_put(&rig, row_count, sizeof *row_count) : NULL,
        .routes = *routes};
    expert_route_launch(rig.stream, &args);
}

/* The k-th best of a row, the lower number among equals. */
static uint32_t best_of(const float *logits, uint32_t n_experts, const uint32_t *taken,
                        uint32_t taken_count)
{
    uint32_t best = n_experts;
    for (uint32_t e = 0; e < n_experts; e++) {
        bool is_taken = false;
        for (uint32_t k = 0; k < taken_count; k++)
            is_taken |= taken[k] == e;
        if (!is_taken && (best == n_experts || logits[e] > logits[best]))
            best = e;
    }
    return best;
}

static void check_choice(const struct expert_shape *shape, const float *logits,
                         const struct host_routes *routes, uint32_t row)
{
    uint32_t chosen[EXPERTS_USED_MAX];
    double all = 0, used = 0;
    for (uint32_t k = 0; k < shape->n_used; k++) {
        chosen[k] = best_of(logits, shape->n_experts, chosen, k);
        used += exp((double)logits[chosen[k]] - (double)logits[chosen[0]]);
    }
    for (uint32_t e = 0; e < shape->n_experts; e++)
        all += exp((double)logits[e] - (double)logits[chosen[0]]);
    for (uint32_t k = 0; k < shape->n_used; k++) {
        size_t at = (size_t)row * shape->n_used + k;
        double share = exp((double)logits[chosen[k]] - (double)logits[chosen[0]]) /
                       (shape->router == ROUTER_SHARES ? all : used);
        assert_int_equal(routes->experts[at],
                         expert_is_held(shape, chosen[k]) ? chosen[k] : EXPERT_SLOT_NONE);
        assert_true(fabs((double)routes->shares[at] - share) <= 2e-6 * share + 1e-30);
    }
}

/* Slots are numbered by expert and then by row; none is left out. */
static void check_slots(const struct expert_shape *shape, const struct host_routes *routes,
                        uint32_t n_rows)
{
    uint32_t next = 0;
    for (uint32_t e = 0; e < shape->n_experts; e++) {
        assert_int_equal(routes->starts[e], next);
        for (uint32_t i = 0; i < n_rows * shape->n_used; i++)
            if (routes->experts[i] == e)
                assert_int_equal(routes->slots[i], next++);
    }
    assert_int_equal(routes->starts[shape->n_experts], next);
    for (uint32_t i = 0; i < n_rows * shape->n_used; i++)
        if (routes->experts[i] == EXPERT_SLOT_NONE)
            assert_int_equal(routes->slots[i], EXPERT_SLOT_NONE);
}

/* levels: how many different logits there are; 0: as many as floats. */
static void check_routes(const struct expert_shape *shape, uint32_t n_rows, uint32_t levels,
                         uint64_t *seed)
{
    float *logits = random_floats((size_t)n_rows * shape->n_experts, seed);
    for (size_t i = 0; i < (size_t)n_rows * shape->n_experts; i++)
        logits[i] = levels > 0 ? (float)(random_next(seed) % levels) : 8 * logits[i];
    struct expert_routes_view view = put_routes(shape, n_rows + 3);
    route(logits, n_rows, NULL, &view);
    struct host_routes routes = get_routes(&view, n_rows);
    for (uint32_t r = 0; r < n_rows; r++)
        check_choice(shape, logits + (size_t)r * shape->n_experts, &routes, r);
    check_slots(shape, &routes, n_rows);
    host_routes_free(&routes);
    free(logits);
    device_rig_clear(&rig);
}

static void rows_go_to_their_best_experts(void **state)
{
    (void)state;
    static const struct expert_shape shapes[] = {
        {.n_experts = 1, .n_used = 1, .router = ROUTER_SHARES},
        {.n_experts = 4, .n_used = 2, .router = ROUTER_SHARES_NORMED},
        {.n_experts = 8, .n_used = 8, .router = ROUTER_SHARES},
        {.n_experts = 60, .n_used = 4, .router = ROUTER_SHARES},
        {.n_experts = 128, .n_used = 8, .router = ROUTER_SHARES_NORMED},
        {.n_experts = 257, .n_used = 32, .router = ROUTER_SHARES_NORMED},
        {.n_experts = 1024, .n_used = 3, .router = ROUTER_SHARES},
        {.n_experts = 32, .n_used = 5, .first_held = 8, .held_count = 16}};
    static const uint32_t row_counts[] = {1, 3, 31, 65, 257};
    uint64_t seed = 1;
    for (size_t i = 0; i < ARRAY_COUNT(shapes); i++)
        for (size_t k = 0; k < ARRAY_COUNT(row_counts); k++)
            if (row_counts[k] * shapes[i].n_experts <= 16384)
                check_routes(&shapes[i], row_counts[k], k == 1 ? 3 : k == 2 ? 1 : 0, &seed);
}

static void padding_has_no_slots(void **state)
{
    (void)state;
    struct expert_shape shape = {.n_experts = 8, .n_used = 2, .router = ROUTER_SHARES_NORMED};
    uint64_t seed = 2;
    uint32_t row_count = 5;
    float *logits = random_floats((size_t)8 * 8, &seed);
    struct expert_routes_view view = put_routes(&shape, 8);
    route(logits, 8, &row_count, &view);
    struct host_routes routes = get_routes(&view, 8);
    check_slots(&shape, &routes, 8);
    assert_int_equal(routes.starts[8], 5 * 2);
    for (uint32_t i = 0; i < 16; i++)
        assert_int_equal(routes.slots[i] == EXPERT_SLOT_NONE, i >= 10);
    host_routes_free(&routes);
    free(logits);
    device_rig_clear(&rig);
}

/* What a broken step leaves goes to experts that there are, and says that it is broken. */
static void what_is_no_number_is_routed_all_the_same(void **state)
{
    (void)state;
    struct expert_shape shape = {.n_experts = 8, .n_used = 2, .router = ROUTER_SHARES_NORMED};
    float logits[24];
    for (uint32_t i = 0; i < 24; i++)
        logits[i] = i < 8 || i % 5 == 0 ? NAN : i < 16 ? -INFINITY : INFINITY;
    struct expert_routes_view view = put_routes(&shape, 3);
    route(logits, 3, NULL, &view);
    struct host_routes routes = get_routes(&view, 3);
    check_slots(&shape, &routes, 3);
    for (uint32_t i = 0; i < 6; i++)
        assert_true(routes.experts[i] < 8 &&
                    (i % 2 == 0 || routes.experts[i] != routes.experts[i - 1]));
    assert_true(isnan(routes.shares[0]));
    host_routes_free(&routes);
    device_rig_clear(&rig);
}

/* --- a layer --- */

struct layer {
    struct expert_shape shape;
    uint32_t d_ffn;
    enum gate_kind gate;
    struct tensor_source *gates, *ups, *downs; /* [n_experts] */
    float *gated_bias, *bias;                  /* or NULL */
    float *gain;
};

#define EPSILON 1e-5f

static struct layer layer_create(const struct expert_shape *shape, enum tensor_type type,
                                 uint32_t d_ffn, bool has_bias, uint64_t *seed)
{
    struct layer layer = {.shape = *shape, .d_ffn = d_ffn};
    size_t n = shape->n_experts;
    layer.gates = calloc(n, sizeof *layer.gates);
    layer.ups = calloc(n, sizeof *layer.ups);
    layer.downs = calloc(n, sizeof *layer.downs);
    for (size_t e = 0; e < n; e++) {
        layer.gates[e] = random_tensor(type, d_ffn, shape->d, seed);
        layer.ups[e] = random_tensor(type, d_ffn, shape->d, seed);
        layer.downs[e] = random_tensor(type, shape->d, d_ffn, seed);
    }
    layer.gain = random_floats(shape->d, seed);
    layer.gate = has_bias ? GATE_SILU_CLAMPED : GATE_SILU;
    if (has_bias) {
        layer.gated_bias = random_floats(2 * n * d_ffn, seed);
        layer.bias = random_floats(n * shape->d, seed);
    }
    return layer;
}

static void layer_free(struct layer *layer)
{
    for (uint32_t e = 0; e < layer->shape.n_experts; e++) {
        tensor_free(&layer->gates[e]);
        tensor_free(&layer->ups[e]);
        tensor_free(&layer->downs[e]);
    }
    free(layer->gates);
    free(layer->ups);
    free(layer->downs);
    free(layer->gated_bias);
    free(layer->bias);
    free(layer->gain);
}

/* y by the reference backend; y holds what is added to. */
static void run_reference(const struct layer *layer, const float *logits, const float *x,
                          uint32_t n_rows, bool accumulate, float *y)
{
    backend *b = backend_open_or_die(BACKEND_REFERENCE, 1);
    const struct backend_operations *op = b->operations;
    uint32_t n = layer->shape.n_experts, slots = op->routes_slots_max(&layer->shape, n_rows);
    weight **gated = calloc(n, sizeof(weight *)), **downs = calloc(n, sizeof(weight *));
    expert_routes *routes;
    activation *in = NULL, *middle = NULL;
    for (uint32_t e = 0; e < n; e++) {
        if (!expert_is_held(&layer->shape, e))
            continue;
        assert_int_equal(op->weight_create_gated(b, &layer->gates[e], &layer->ups[e], &gated[e]),
                         STATUS_OK);
        assert_int_equal(op->weight_create(b, &layer->downs[e], 1, &downs[e]), STATUS_OK);
        if (in == NULL) {
            assert_int_equal(op->activation_create(b, gated[e], slots, &in), STATUS_OK);
            assert_int_equal(op->activation_create(b, downs[e], slots, &middle), STATUS_OK);
        }
    }
    assert_int_equal(op->routes_create(b, &layer->shape, n_rows, &routes), STATUS_OK);
    op->route(b, logits, n_rows, routes);
    op->rms_norm_routed(b, x, layer->gain, EPSILON, layer->shape.d, routes, in);
    op->matmul_gated_routed(b, gated, in, routes, layer->gated_bias, layer->gate, middle);
    op->matmul_routed(b, downs, middle, routes, layer->bias, accumulate, y);
    for (uint32_t e = 0; e < n; e++) {
        op->weight_destroy(b, gated[e]);
        op->weight_destroy(b, downs[e]);
    }
    op->activation_destroy(b, in);
    op->activation_destroy(b, middle);
    op->routes_destroy(b, routes);
    free(gated);
    free(downs);
    backend_close(b);
}

/* The weights of all experts in one run of memory, `count` sources each; parts of experts that are not held point nowhere. */
static struct expert_weights
put_experts(const struct layer *layer, const struct tensor_source *const sources[], uint32_t count)
{
    uint32_t n = layer->shape.n_experts;
    struct tensor_source own[2];
    struct weight_layout layout;
    for (uint32_t i = 0; i < count; i++)
        own[i] = sources[i][0];
    assert_int_equal(weight_layout_plan(own, count, count == 2, &layout), STATUS_OK);
    uint8_t *images = calloc(n, layout.bytes);
    for (uint32_t e = 0; e < n; e++) {
        for (uint32_t i = 0; i < count; i++)
            own[i] = sources[i][e];
        for (uint32_t i = 0; expert_is_held(&layer->shape, e) && i < layout.piece_count; i++)
            weight_piece_pack(&layout, own, i,
                              images + e * layout.bytes + weight_layout_piece(&layout, i).offset);
    }
    uint8_t *base = device_rig_put(&rig, images, n * layout.bytes);
    struct weight_part *parts = malloc((size_t)n * count * sizeof *parts);
    memset(parts, 0xff, (size_t)n * count * sizeof *parts);
    struct expert_weights weights = {.like = weight_layout_view(&layout, NULL)};
    for (uint32_t e = 0; e < n; e++) {
        struct weight_view view = weight_layout_view(&layout, base + e * layout.bytes);
        if (expert_is_held(&layer->shape, e))
            memcpy(parts + (size_t)e * count, view.parts, count * sizeof *parts);
    }
    weights.parts = device_rig_put(&rig, parts, (size_t)n * count * sizeof *parts);
    free(parts);
    free(images);
    return weights;
}

static struct activation_view slot_rows(const struct expert_shape *shape, uint32_t n_rows,
                                        uint32_t n_cols)
{
    uint64_t bytes = (uint64_t)expert_slots_max(shape, n_rows) * n_cols * sizeof(uint16_t);
    return (struct activation_view){.n_cols = n_cols,
                                    .bf16 = device_rig_room(&rig, bytes),
                                    .f16 = device_rig_room(&rig, bytes)};
}

static const void *put_or_none(const float *values, size_t count)
{
    return values != NULL ? device_rig_put(&rig, values, count * sizeof *values) : NULL;
}

/* The same on the device. */
static void run_device(const struct layer *layer, const struct expert_weights *gated,
                       const struct expert_weights *downs, const float *logits, const float *x,
                       uint32_t n_rows, bool accumulate, float *y)
{
    uint32_t d = layer->shape.d, n = layer->shape.n_experts;
    size_t bytes = (size_t)n_rows * d * sizeof(float);
    struct expert_routes_view routes = put_routes(&layer->shape, n_rows);
    route(logits, n_rows, NULL, &routes);
    struct expert_norm_args norm = {.x = device_rig_put(&rig, x, bytes),
                                    .gain = device_rig_put(&rig, layer->gain, d * sizeof(float)),
                                    .epsilon = EPSILON,
                                    .n_rows = n_rows,
                                    .d = d,
                                    .routes = routes,
                                    .out = slot_rows(&layer->shape, n_rows, d)};
    expert_norm_launch(rig.stream, &norm);
    struct expert_gated_args first = {
        .w = *gated,
        .a = norm.out,
        .n_rows = n_rows,
        .bias = put_or_none(layer->gated_bias, (size_t)2 * n * layer->d_ffn),
        .gate = layer->gate,
        .routes = routes,
        .out = slot_rows(&layer->shape, n_rows, layer->d_ffn)};
    expert_gated_launch(rig.stream, &first);
    struct expert_product_args second = {.w = *downs,
                                         .a = first.out,
                                         .n_rows = n_rows,
                                         .bias = put_or_none(layer->bias, (size_t)n * d),
                                         .routes = routes,
                                         .accumulate = accumulate,
                                         .y = accumulate ? device_rig_put(&rig, y, bytes)
                                                         : device_rig_room(&rig, bytes)};
    expert_product_launch(rig.stream, &second);
    device_rig_get(&rig, y, second.y, bytes);
}

/* What is multiplied is rounded to bf16 twice, inputs and weights each; where weights have minimums, sums are much smaller than
 * what they are of, and that comes to a hundredth of y, in rows of chance to two. A slot is a tenth of it, and more. */
static void check_layer_rows(const float *y, const float *expected, uint32_t n_rows, uint32_t d)
{
    for (uint32_t r = 0; r < n_rows; r++) {
        double error = 0, size = 0;
        for (uint32_t o = 0; o < d; o++) {
            double e = (double)expected[(size_t)r * d + o], got = (double)y[(size_t)r * d + o];
            error += (got - e) * (got - e);
            size += e * e;
        }
        if (!(error <= 16e-4 * size))
            fail_msg("row %u of %u: off by %g of %g", r, n_rows, sqrt(error), sqrt(size));
    }
}

static void check_layer(const struct expert_shape *shape, enum tensor_type type, uint32_t d_ffn,
                        uint32_t n_rows, bool has_bias, bool goes_to_one, uint64_t *seed)
{
    uint32_t d = shape->d;
    struct layer layer = layer_create(shape, type, d_ffn, has_bias, seed);
    const struct tensor_source *const both[] = {layer.gates, layer.ups}, *const down[] = {
                                                                             layer.downs};
    struct expert_weights gated = put_experts(&layer, both, 2),
                          downs = put_experts(&layer, down, 1);
    float *logits = random_floats((size_t)n_rows * shape->n_experts, seed);
    for (uint32_t r = 0; goes_to_one && r < n_rows; r++)
        logits[(size_t)r * shape->n_experts + shape->n_experts / 2] += 9;
    float *x = random_floats((size_t)n_rows * d, seed);
    float *first = random_floats((size_t)n_rows * d, seed);
    size_t bytes = (size_t)n_rows * d * sizeof(float);
    float *y = malloc(bytes), *expected = malloc(bytes);
    memcpy(y, first, bytes);
    memcpy(expected, first, bytes);
    for (size_t i = 0; has_bias && i < (size_t)n_rows * d; i++)
        y[i] = expected[i] = 0.01f * first[i];
    run_reference(&layer, logits, x, n_rows, has_bias, expected);
    run_device(&layer, &gated, &downs, logits, x, n_rows, has_bias, y);
    check_layer_rows(y, expected, n_rows, d);
    /* the last row alone */
    float *alone = malloc(d * sizeof(float));
    size_t last = n_rows - 1;
    for (uint32_t o = 0; o < d; o++)
        alone[o] = has_bias ? 0.01f * first[last * d + o] : 0;
    run_device(&layer, &gated, &downs, logits + last * shape->n_experts, x + last * d, 1, has_bias,
               alone);
    assert_memory_equal(alone, y + last * d, d * sizeof(float));
    free(alone);
    free(y);
    free(expected);
    free(first);
    free(x);
    free(logits);
    layer_free(&layer);
    device_rig_clear(&rig);
}

static void layers_are_those_of_the_reference(void **state)
{
    (void)state;
    static const struct {
        struct expert_shape shape;
        enum tensor_type type;
        uint32_t d_ffn, n_rows;
        bool has_bias, goes_to_one;
    } cases[] = {
        {{.n_experts = 1, .n_used = 1, .d = 96}, TENSOR_Q4_0, 64, 9, false, false},
        {{.n_experts = 4, .n_used = 2, .d = 256, .router = ROUTER_SHARES_NORMED},
         TENSOR_Q4_K,
         256,
         33,
         false,
         false},
        {{.n_experts = 8, .n_used = 2, .d = 96, .router = ROUTER_SHARES_NORMED},
         TENSOR_MXFP4,
         160,
         17,
         true,
         false},
        {{.n_experts = 8, .n_used = 8, .d = 72}, TENSOR_F16, 40, 15, false, false},
        {{.n_experts = 60, .n_used = 4, .d = 64}, TENSOR_Q8_0, 96, 65, true, false},
        {{.n_experts = 60, .n_used = 4, .d = 64}, TENSOR_Q5_0, 32, 1, false, false},
        {{.n_experts = 4, .n_used = 1, .d = 136}, TENSOR_BF16, 72, 64, false, true},
        {{.n_experts = 4, .n_used = 1, .d = 96}, TENSOR_Q5_1, 64, 257, false, true},
        {{.n_experts = 3, .n_used = 2, .d = 256}, TENSOR_Q6_K, 256, 31, false, false},
        {{.n_experts = 3, .n_used = 2, .d = 96}, TENSOR_F8_E4M3, 72, 16, false, false},
    };
    uint64_t seed = 4;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        check_layer(&cases[i].shape, cases[i].type, cases[i].d_ffn, cases[i].n_rows,
                    cases[i].has_bias, cases[i].goes_to_one, &seed);
}

static void many_experts_have_few_rows_or_none(void **state)
{
    (void)state;
    struct expert_shape shape = {
        .n_experts = 128, .n_used = 8, .d = 64, .router = ROUTER_SHARES_NORMED};
    uint64_t seed = 5;
    check_layer(&shape, TENSOR_Q4_1, 32, 8, false, false, &seed);
}

/* Of a rank that holds some of them: the others' slots are left out, and rows none of whose experts is here get nothing. */
static void experts_of_other_ranks_are_left_out(void **state)
{
    (void)state;
    struct expert_shape shape = {.n_experts = 16,
                                 .n_used = 2,
                                 .d = 64,
                                 .router = ROUTER_SHARES_NORMED,
                                 .first_held = 4,
                                 .held_count = 4};
    uint64_t seed = 6;
    check_layer(&shape, TENSOR_Q4_0, 64, 19, true, false, &seed);
    check_layer(&shape, TENSOR_Q4_0, 64, 19, false, false, &seed);
}

static int open_device(void **state)
{
    (void)state;
    device_rig_open(&rig);
    return 0;
}

static int close_device(void **state)
{
    (void)state;
    device_rig_close(&rig);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_go_to_their_best_experts),
        cmocka_unit_test(padding_has_no_slots),
        cmocka_unit_test(what_is_no_number_is_routed_all_the_same),
        cmocka_unit_test(layers_are_those_of_the_reference),
        cmocka_unit_test(many_experts_have_few_rows_or_none),
        cmocka_unit_test(experts_of_other_ranks_are_left_out),
    };
    return cmocka_run_group_tests(tests, open_device, close_device);
}
