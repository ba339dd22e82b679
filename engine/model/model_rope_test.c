#include "model_rope.h"

#include <math.h>

#include "unit_test.h"

static const struct rope_shape PLAIN = {.d_rope = 64,
                                        .base = 10000,
                                        .scaling = ROPE_SCALING_NONE,
                                        .factor = 4,
                                        .context_original = 4096,
                                        .attention_factor = 1,
                                        .beta_fast = 32,
                                        .beta_slow = 1};

static void assert_near(double a, double b)
{
    if (fabs(a - b) > 1e-6 * fabs(b))
        fail_msg("%.9g is not near %.9g", a, b);
}

static void plain_frequencies_fall_from_one_by_powers_of_the_base(void **state)
{
    (void)state;
    float f[32];
    model_rope_frequencies(&PLAIN, NULL, f);
    assert_near((double)f[0], 1);
    assert_near((double)f[16], 0.01);
    assert_near((double)f[31], pow(10000, -62.0 / 64));
    assert_near((double)model_rope_magnitude(&PLAIN), 1);
}

static void linear_scaling_slows_every_pair_by_the_factor(void **state)
{
    (void)state;
    struct rope_shape rope = PLAIN;
    float plain[32], f[32];
    rope.scaling = ROPE_SCALING_LINEAR;
    model_rope_frequencies(&PLAIN, NULL, plain);
    model_rope_frequencies(&rope, NULL, f);
    for (int i = 0; i < 32; i++)
        assert_near((double)f[i], (double)plain[i] / 4);
    assert_near((double)model_rope_magnitude(&rope), 1);
}

/* Pairs of more than 32 turns in 4,096 positions: up to index floor(64 ln(4096 / (64 pi)) / (2 ln
 * 10000)) = 10. Pairs of less than one turn: from ceil(64 ln(4096 / (2 pi)) / (2 ln 10000)) = 23.
 */
static void yarn_keeps_fast_pairs_and_slows_slow_ones(void **state)
{
    (void)state;
    struct rope_shape rope = PLAIN;
    float plain[32], f[32];
    rope.scaling = ROPE_SCALING_YARN;
    model_rope_frequencies(&PLAIN, NULL, plain);
    model_rope_frequencies(&rope, NULL, f);
    for (int i = 0; i <= 10; i++)
        assert_near((double)f[i], (double)plain[i]);
    for (int i = 11; i < 23; i++) {
        double ramp = (i - 10) / 13.0;
        assert_near((double)f[i], (double)plain[i] * (1 - ramp) + (double)plain[i] / 4 * ramp);
    }
    for (int i = 23; i < 32; i++)
        assert_near((double)f[i], (double)plain[i] / 4);
    assert_near((double)model_rope_magnitude(&rope), 1 + 0.1 * log(4));
    rope.attention_factor = 2;
    assert_near((double)model_rope_magnitude(&rope), 2 * (1 + 0.1 * log(4)));
}

static void divisors_come_before_the_scaling(void **state)
{
    (void)state;
    struct rope_shape rope = PLAIN;
    float divisors[32], f[32];
    for (int i = 0; i < 32; i++)
        divisors[i] = 8;
    rope.scaling = ROPE_SCALING_LINEAR;
    model_rope_frequencies(&rope, divisors, f);
    assert_near((double)f[0], 1.0 / 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_frequencies_fall_from_one_by_powers_of_the_base),
        cmocka_unit_test(linear_scaling_slows_every_pair_by_the_factor),
        cmocka_unit_test(yarn_keeps_fast_pairs_and_slows_slow_ones),
        cmocka_unit_test(divisors_come_before_the_scaling),
    };
    return cmocka_run_group_tests_name("model rope", tests, NULL, NULL);
}
