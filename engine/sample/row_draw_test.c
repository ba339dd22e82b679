#include "unit_test.h"

#include <math.h>
#include <stdlib.h>

#include "row_draw.h"
#include "row_math.h"

/* The oracle: the distribution that a rule leaves, by sorting everything in double precision. A
 * draw is the inverse of a cumulative distribution, so a sweep of `uniform` over a fine grid must
 * hit each token as often as its probability says, to within a grid point or two: an exact test, no
 * statistics. */

#define COUNT_MAX 6000u
#define SWEEP     2000u

static uint64_t random_state;

static double next_uniform(void)
{
    random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
    return (double)(random_state >> 11) * 0x1p-53;
}

struct ranked {
    double weight;
    uint32_t token;
};

static int compare_ranked(const void *left, const void *right)
{
    const struct ranked *a = left, *b = right;
    if (a->weight != b->weight)
        return a->weight > b->weight ? -1 : 1;
    return a->token < b->token ? -1 : 1;
}

static void oracle(const float *logits, uint32_t count, const struct draw_rule *rule,
                   double *probabilities)
{
    static struct ranked ranked[COUNT_MAX];
    for (uint32_t i = 0; i < count; i++)
        ranked[i] =
            (struct ranked){exp(((double)logits[i] - (double)rule->max) * (double)rule->scale), i};
    qsort(ranked, count, sizeof ranked[0], compare_ranked);
    uint32_t kept = rule->top_k > 0 && rule->top_k < count ? rule->top_k : count;
    double total = 0.0;
    for (uint32_t i = 0; i < kept; i++)
        total += ranked[i].weight;
    if (rule->top_p < 1.0f) {
        double mass = 0.0;
        uint32_t in = 0;
        while (in < kept && mass < (double)rule->top_p * total)
            mass += ranked[in++].weight;
        kept = in;
    }
    while (kept > 1 && ranked[kept - 1].weight < (double)rule->min_p)
        kept--;
    total = 0.0;
    for (uint32_t i = 0; i < kept; i++)
        total += ranked[i].weight;
    memset(probabilities, 0, count * sizeof *probabilities);
    for (uint32_t i = 0; i < kept; i++)
        probabilities[ranked[i].token] = ranked[i].weight / total;
}

static void assert_sweep_matches(const float *logits, uint32_t count, struct draw_rule rule,
                                 const char *name)
{
    static double probabilities[COUNT_MAX];
    static uint32_t hits[COUNT_MAX];
    bool is_sound;
    rule.max = row_max(logits, count, &is_sound);
    oracle(logits, count, &rule, probabilities);
    memset(hits, 0, sizeof hits);
    for (uint32_t i = 0; i < SWEEP; i++) {
        rule.uniform = ((double)i + 0.5) / SWEEP;
        uint32_t token = row_draw(logits, count, &rule);
        assert_true(token < count);
        hits[token]++;
    }
    for (uint32_t i = 0; i < count; i++) {
        double expected = probabilities[i] * SWEEP;
        /* Two grid points, and what float sums of a nucleus may move its edge. */
        if (fabs(hits[i] - expected) > 2.0 + 1e-4 * expected)
            fail_msg("%s, %u tokens: token %u came %u times, not %.2f", name, count, i, hits[i],
                     expected);
    }
}

static float logits[COUNT_MAX];

static void fill(uint32_t count, double spread, uint64_t seed)
{
    random_state = seed;
    for (uint32_t i = 0; i < count; i++)
        logits[i] = (float)(spread * (next_uniform() + next_uniform() + next_uniform() - 1.5));
}

static void every_rule_draws_what_the_oracle_says(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint32_t top_k;
        float top_p, min_p, temperature;
    } rows[] = {
        {"plain", 0, 1.0f, 0.0f, 1.0f},
        {"cold", 0, 1.0f, 0.0f, 0.2f},
        {"hot", 0, 1.0f, 0.0f, 3.0f},
        {"one", 1, 1.0f, 0.0f, 1.0f},
        {"few", 40, 1.0f, 0.0f, 0.8f},
        {"few, nucleus", 40, 0.9f, 0.0f, 1.5f},
        {"few, nucleus, floor", 40, 0.95f, 0.1f, 1.0f},
        {"nucleus", 0, 0.9f, 0.0f, 0.3f},
        {"tiny nucleus", 0, 0.001f, 0.0f, 1.0f},
        {"flat nucleus", 0, 0.95f, 0.0f, 5.0f},
        {"flat nucleus, floor", 0, 0.95f, 0.3f, 5.0f},
        {"many", 700, 1.0f, 0.0f, 1.0f},
        {"many, nucleus", 700, 0.8f, 0.0f, 4.0f},
        {"all by k", 100000, 0.9f, 0.0f, 4.0f},
        {"floor", 0, 1.0f, 0.05f, 1.0f},
        {"floor of one", 0, 1.0f, 1.0f, 1.0f},
    };
    static const uint32_t counts[] = {1, 9, 1000};
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
            fill(counts[c], 12.0, r * 100 + c);
            struct draw_rule rule = {.scale = 1.0f / rows[r].temperature,
                                     .top_k = rows[r].top_k,
                                     .top_p = rows[r].top_p,
                                     .min_p = rows[r].min_p};
            assert_sweep_matches(logits, counts[c], rule, rows[r].name);
        }
    }
}

static void banned_tokens_never_come(void **state)
{
    (void)state;
    fill(1000, 6.0, 9);
    for (uint32_t i = 0; i < 1000; i += 2)
        logits[i] = -INFINITY;
    struct draw_rule rules[] = {
        {.scale = 1.0f, .top_p = 1.0f},
        {.scale = 1.0f, .top_p = 0.99f},
        {.scale = 1.0f, .top_p = 1.0f, .top_k = 200},
        {.scale = 0.01f, .top_p = 0.99f, .top_k = 600},
    };
    for (size_t r = 0; r < sizeof rules / sizeof rules[0]; r++) {
        bool is_sound;
        rules[r].max = row_max(logits, 1000, &is_sound);
        for (uint32_t i = 0; i <= 2000; i++) {
            rules[r].uniform = i < 2000 ? i / 2000.0 : 1.0 - 0x1p-53;
            assert_int_equal(row_draw(logits, 1000, &rules[r]) % 2, 1);
        }
    }
}

static void a_row_of_ties_is_drawn_evenly(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < COUNT_MAX; i++)
        logits[i] = 1.0f;
    struct draw_rule rule = {.scale = 1.0f, .max = 1.0f, .top_p = 1.0f};
    uint32_t before = 0;
    for (uint32_t i = 0; i < 1000; i++) {
        rule.uniform = i / 1000.0;
        uint32_t token = row_draw(logits, COUNT_MAX, &rule);
        assert_in_range(token, i * 6 > 0 ? i * 6 - 1 : 0, i * 6 + 1);
        assert_true(token >= before);
        before = token;
    }
    rule.top_k = 10;
    for (uint32_t i = 0; i < 1000; i++) {
        rule.uniform = i / 1000.0;
        assert_in_range(row_draw(logits, COUNT_MAX, &rule), 0, 9);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_rule_draws_what_the_oracle_says),
        cmocka_unit_test(banned_tokens_never_come),
        cmocka_unit_test(a_row_of_ties_is_drawn_evenly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
