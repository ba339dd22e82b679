#include "unit_test.h"

#include <math.h>

#include "cost_model.h"

static uint64_t random_state;

static uint32_t next_random(uint32_t bound)
{
    random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(random_state >> 33) % bound;
}

/* A made-up machine: 8 ms a step, 0.4 ms a row, 0.1 ms a row with logits, 1 us a position; `load`
 * slows all. */
static double truth_ns(const struct step_shape *shape, double load)
{
    return (8e6 + 4e5 * shape->rows + 1e5 * shape->logit_rows + 1e3 * shape->context) * load;
}

static uint64_t machine_ns(const struct step_shape *shape, double load)
{
    double noise = 0.97 + 0.0006 * next_random(100);
    return (uint64_t)(truth_ns(shape, load) * noise);
}

static void observe_mixed_steps(struct cost_model *model, uint32_t count, double load)
{
    for (uint32_t i = 0; i < count; i++) {
        struct step_shape shape = {.rows = 1 + next_random(128)};
        shape.logit_rows = next_random(shape.rows + 1);
        shape.context = context_of_rows(next_random(2000), shape.rows);
        cost_model_observe(model, &shape, machine_ns(&shape, load));
    }
}

static void assert_predicts(const struct cost_model *model, struct step_shape shape, double load,
                            double tolerance)
{
    double truth = truth_ns(&shape, load);
    assert_true(fabs(cost_model_predict_ns(model, &shape) / truth - 1.0) < tolerance);
}

static void it_learns_the_machine(void **state)
{
    (void)state;
    random_state = 1;
    struct cost_model model;
    cost_model_init(&model);
    assert_false(cost_model_is_ready(&model));
    observe_mixed_steps(&model, 60, 1.0);
    assert_true(cost_model_is_ready(&model));
    assert_predicts(&model, (struct step_shape){1, 1, 100}, 1.0, 0.10);
    assert_predicts(&model, (struct step_shape){64, 32, 64000}, 1.0, 0.05);
    assert_predicts(&model, (struct step_shape){128, 0, 128000}, 1.0, 0.05);
    assert_predicts(&model, (struct step_shape){128, 128, 128000}, 1.0, 0.05);
}

static void it_follows_a_machine_that_gets_slower(void **state)
{
    (void)state;
    random_state = 2;
    struct cost_model model;
    cost_model_init(&model);
    observe_mixed_steps(&model, 100, 1.0);
    observe_mixed_steps(&model, 250, 2.5);
    assert_predicts(&model, (struct step_shape){64, 32, 64000}, 2.5, 0.06);
}

static void a_long_decode_phase_does_not_erase_the_price_of_a_row(void **state)
{
    (void)state;
    random_state = 3;
    struct cost_model model;
    cost_model_init(&model);
    observe_mixed_steps(&model, 100, 1.0);
    const struct step_shape decodes = {8, 8, 8 * 500};
    for (int i = 0; i < 2000; i++)
        cost_model_observe(&model, &decodes, machine_ns(&decodes, 1.0));
    assert_predicts(&model, decodes, 1.0, 0.03);
    assert_predicts(&model, (struct step_shape){72, 8, 72 * 500}, 1.0, 0.25);
}

static void terms_are_never_negative(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        random_state = seed;
        struct cost_model model;
        cost_model_init(&model);
        for (int i = 0; i < 50; i++) {
            struct step_shape shape = {.rows = 1 + next_random(64)};
            shape.logit_rows = next_random(shape.rows + 1);
            shape.context = next_random(100000);
            cost_model_observe(&model, &shape, 1 + next_random(50000000));
            for (int term = 0; term < COST_TERMS; term++)
                assert_true(model.cost[term] >= 0.0 && isfinite(model.cost[term]));
        }
    }
}

static void one_stalled_step_moves_little(void **state)
{
    (void)state;
    random_state = 4;
    struct cost_model model;
    cost_model_init(&model);
    observe_mixed_steps(&model, 100, 1.0);
    const struct step_shape stalled = {8, 8, 4000};
    const struct step_shape later = {64, 8, 64000};
    cost_model_observe(&model, &stalled, 60ull * 1000 * 1000 * 1000);
    assert_true(cost_model_predict_ns(&model, &later) < 1.5 * truth_ns(&later, 1.0));
}

static void the_fitted_chunk_is_the_largest_inside_the_target(void **state)
{
    (void)state;
    random_state = 5;
    struct cost_model model;
    cost_model_init(&model);
    observe_mixed_steps(&model, 100, 1.0);
    const double limit_ns = 40e6;
    const struct step_shape decodes = {8, 8, 4000};
    uint32_t count = cost_model_fit_rows(&model, &decodes, 0, 1000, limit_ns);
    assert_in_range(count, 20, 100);
    struct step_shape with = {8 + count, 8, 4000 + context_of_rows(0, count)};
    assert_true(cost_model_predict_ns(&model, &with) <= limit_ns);
    with = (struct step_shape){9 + count, 8, 4000 + context_of_rows(0, count + 1)};
    assert_true(cost_model_predict_ns(&model, &with) > limit_ns);
    assert_int_equal(cost_model_fit_rows(&model, &decodes, 0, 10, limit_ns), 10);
    assert_int_equal(cost_model_fit_rows(&model, &decodes, 0, 10, 1), 0);
    /* Deeper in the context each row costs more. */
    assert_true(cost_model_fit_rows(&model, &decodes, 3000, 1000, limit_ns) < count);
}

static void context_counts_each_position_that_a_row_attends_to(void **state)
{
    (void)state;
    double sum = 0;
    for (uint32_t position = 5; position < 12; position++)
        sum += position + 1;
    assert_true(fabs(context_of_rows(5, 7) - sum) < 1e-9);
    assert_true(context_of_rows(5, 0) == 0.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_learns_the_machine),
        cmocka_unit_test(it_follows_a_machine_that_gets_slower),
        cmocka_unit_test(a_long_decode_phase_does_not_erase_the_price_of_a_row),
        cmocka_unit_test(terms_are_never_negative),
        cmocka_unit_test(one_stalled_step_moves_little),
        cmocka_unit_test(the_fitted_chunk_is_the_largest_inside_the_target),
        cmocka_unit_test(context_counts_each_position_that_a_row_attends_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
