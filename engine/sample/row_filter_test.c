#include "unit_test.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "row_filter.h"

/* The oracle sorts all tokens in double precision and walks each rule's definition over the sorted list. Rows of random
 * floats have no ties, and none so near that float and double would tell the edge of a set differently, or the test would
 * fail for its seed: it has none. */

#define COUNT_MAX 5000u

static const struct row_filter off = {.scale = 1.0f,
                                      .typical_p = 1.0f,
                                      .top_p = 1.0f,
                                      .xtc_threshold = 1.0f,
                                      .surprise_max = INFINITY};

static uint64_t random_state;

static double next_uniform(void)
{
    random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
    return (double)(random_state >> 11) * 0x1p-53;
}

struct ranked {
    double logit, probability, key;
    uint32_t token;
    bool is_kept;
};

static int by_logit(const void *left, const void *right)
{
    const struct ranked *a = left, *b = right;
    return a->logit > b->logit ? -1 : a->logit < b->logit;
}

static int by_key(const void *left, const void *right)
{
    const struct ranked *a = left, *b = right;
    return a->key < b->key ? -1 : a->key > b->key;
}

static struct ranked ranked[COUNT_MAX];

/* Probabilities of what is kept. */
static void renormalise(uint32_t count, double scale)
{
    double total = 0.0, max = -INFINITY;
    for (uint32_t i = 0; i < count; i++)
        if (ranked[i].is_kept)
            max = fmax(max, ranked[i].logit);
    for (uint32_t i = 0; i < count; i++) {
        ranked[i].probability = ranked[i].is_kept ? exp((ranked[i].logit - max) * scale) : 0.0;
        total += ranked[i].probability;
    }
    for (uint32_t i = 0; i < count; i++)
        ranked[i].probability /= total;
}

/* Keeps the first in the list's order that hold `share` of the probability. */
static void keep_share(uint32_t count, double share)
{
    double mass = 0.0;
    for (uint32_t i = 0; i < count; i++) {
        ranked[i].is_kept = ranked[i].is_kept && mass < share;
        mass += ranked[i].probability;
    }
}

static void oracle_typical(uint32_t count, double share)
{
    double entropy = 0.0;
    for (uint32_t i = 0; i < count; i++)
        if (ranked[i].probability > 0.0)
            entropy -= ranked[i].probability * log(ranked[i].probability);
    for (uint32_t i = 0; i < count; i++)
        ranked[i].key =
            ranked[i].probability > 0.0 ? fabs(-log(ranked[i].probability) - entropy) : INFINITY;
    qsort(ranked, count, sizeof ranked[0], by_key);
    keep_share(count, share);
    qsort(ranked, count, sizeof ranked[0], by_logit);
}

static void oracle_sigma(uint32_t count, double n)
{
    double mean = 0.0, variance = 0.0;
    for (uint32_t i = 0; i < count; i++)
        mean += ranked[i].logit / count;
    for (uint32_t i = 0; i < count; i++)
        variance += (ranked[i].logit - mean) * (ranked[i].logit - mean) / count;
    for (uint32_t i = 0; i < count; i++)
        ranked[i].is_kept = ranked[i].logit >= ranked[0].logit - n * sqrt(variance);
}

static double highest(uint32_t count)
{
    double best = 0.0;
    for (uint32_t i = 0; i < count; i++)
        best = fmax(best, ranked[i].probability);
    return best;
}

static void keep_from(uint32_t count, double least)
{
    for (uint32_t i = 0; i < count; i++)
        ranked[i].is_kept = ranked[i].is_kept && ranked[i].probability >= least;
}

static void oracle_xtc(uint32_t count, double threshold)
{
    int last = -1;
    for (uint32_t i = 0; i < count; i++)
        if (ranked[i].is_kept && ranked[i].probability >= threshold)
            last = (int)i;
    for (int i = 0; i < last; i++)
        ranked[i].is_kept = false;
}

static void oracle_surprise(uint32_t count, double bits)
{
    for (uint32_t i = 0; i < count; i++)
        ranked[i].is_kept = i == 0 || -log2(ranked[i].probability) <= bits;
}

static void oracle(const struct row_filter *f, const float *row, uint32_t count)
{
    double scale = (double)f->scale;
    for (uint32_t i = 0; i < count; i++)
        ranked[i] = (struct ranked){.logit = (double)row[i], .token = i, .is_kept = true};
    qsort(ranked, count, sizeof ranked[0], by_logit);
    if (f->top_n_sigma > 0)
        oracle_sigma(count, (double)f->top_n_sigma);
    for (uint32_t i = f->top_k; f->top_k > 0 && i < count; i++)
        ranked[i].is_kept = false;
    renormalise(count, scale);
    if (f->top_a > 0)
        keep_from(count, (double)f->top_a * highest(count) * highest(count));
    renormalise(count, scale);
    if (f->typical_p < 1)
        oracle_typical(count, (double)f->typical_p);
    renormalise(count, scale);
    if (f->top_p < 1)
        keep_share(count, (double)f->top_p);
    if (f->min_p > 0)
        keep_from(count, (double)f->min_p * highest(count));
    renormalise(count, scale);
    if (f->xtc_threshold <= 0.5f)
        oracle_xtc(count, (double)f->xtc_threshold);
    if (f->surprise_max < INFINITY)
        oracle_surprise(count, (double)f->surprise_max);
}

static float row[COUNT_MAX], filtered[COUNT_MAX], weights[COUNT_MAX];

static void fill(uint32_t count, double spread)
{
    for (uint32_t i = 0; i < count; i++)
        row[i] = (float)(spread * (next_uniform() + next_uniform() + next_uniform() - 1.5));
}

static void assert_kept(const struct row_filter *f, uint32_t count, const char *name)
{
    memcpy(filtered, row, count * sizeof row[0]);
    row_filter_apply(f, filtered, weights, count);
    oracle(f, row, count);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t token = ranked[i].token;
        float expected = ranked[i].is_kept ? row[token] : -INFINITY;
        if (filtered[token] != expected)
            fail_msg("%s: of %u tokens, the %u. likeliest (%g) is %s", name, count, i + 1,
                     (double)row[token], ranked[i].is_kept ? "cut" : "kept");
    }
}

static void each_rule_keeps_what_its_definition_says(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        float sigma, a, typical, p, min_p, xtc, bits;
        uint32_t k;
    } rows[] = {
        {"sigma", 1.0f, 0, 1, 1, 0, 1, INFINITY, 0},
        {"wide sigma", 2.5f, 0, 1, 1, 0, 1, INFINITY, 0},
        {"top-a", 0, 0.3f, 1, 1, 0, 1, INFINITY, 0},
        {"small top-a", 0, 0.001f, 1, 1, 0, 1, INFINITY, 0},
        {"typical", 0, 0, 0.2f, 1, 0, 1, INFINITY, 0},
        {"mostly typical", 0, 0, 0.95f, 1, 0, 1, INFINITY, 0},
        {"hardly typical", 0, 0, 0.001f, 1, 0, 1, INFINITY, 0},
        {"xtc", 0, 0, 1, 1, 0, 0.1f, INFINITY, 0},
        {"sharp xtc", 0, 0, 1, 1, 0, 0.002f, INFINITY, 0},
        {"xtc of all", 0, 0, 1, 1, 0, 0.0f, INFINITY, 0},
        {"no xtc", 0, 0, 1, 1, 0, 0.5f, INFINITY, 0},
        {"surprise", 0, 0, 1, 1, 0, 1, 5.0f, 0},
        {"no surprise", 0, 0, 1, 1, 0, 1, -3.0f, 0},
        {"sigma, few, typical, nucleus, floor, xtc", 2, 0.01f, 0.9f, 0.9f, 0.05f, 0.05f, INFINITY,
         50},
        {"typical, nucleus", 0, 0, 0.7f, 0.6f, 0, 1, INFINITY, 0},
        {"few, typical", 0, 0, 0.5f, 1, 0, 1, INFINITY, 30},
        {"floor, xtc", 0, 0, 1, 1, 0.2f, 0.02f, INFINITY, 0},
    };
    static const uint32_t counts[] = {1, 2, 9, 100, 1000, COUNT_MAX};
    static const double spreads[] = {0.5, 4.0, 20.0};
    static const float scales[] = {0.5f, 1.0f, 2.0f};
    random_state = 5;
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++)
        for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++)
            for (int i = 0; i < 9; i++) {
                struct row_filter f = {.scale = scales[i % 3],
                                       .top_n_sigma = rows[r].sigma,
                                       .top_k = rows[r].k,
                                       .top_a = rows[r].a,
                                       .typical_p = rows[r].typical,
                                       .top_p = rows[r].p,
                                       .min_p = rows[r].min_p,
                                       .xtc_threshold = rows[r].xtc,
                                       .surprise_max = rows[r].bits};
                fill(counts[c], spreads[i / 3]);
                assert_kept(&f, counts[c], rows[r].name);
            }
}

/* Masked tokens are not there: not for the deviation, not as the least of the top choices. */
static void what_is_masked_changes_nothing(void **state)
{
    (void)state;
    static const struct row_filter filters[] = {
        {1, 1.5f, 0, 0, 1, 1, 0, 1, INFINITY},  {1, 0, 0, 0.2f, 1, 1, 0, 1, INFINITY},
        {1, 0, 0, 0, 0.6f, 1, 0, 1, INFINITY},  {1, 0, 0, 0, 1, 1, 0, 0, INFINITY},
        {1, 0, 0, 0, 1, 1, 0, 0.01f, INFINITY}, {1, 0, 0, 0, 1, 1, 0, 1, 4},
    };
    random_state = 9;
    for (size_t i = 0; i < sizeof filters / sizeof filters[0]; i++) {
        float alone[300], among[900];
        fill(300, 6.0);
        for (uint32_t j = 0; j < 900; j++)
            among[j] = j % 3 == 1 ? row[j / 3] : -INFINITY;
        memcpy(alone, row, sizeof alone);
        row_filter_apply(&filters[i], alone, weights, 300);
        row_filter_apply(&filters[i], among, weights, 900);
        for (uint32_t j = 0; j < 900; j++)
            assert_true(among[j] == (j % 3 == 1 ? alone[j / 3] : -INFINITY));
    }
}

static void equal_tokens_stay_or_go_together(void **state)
{
    (void)state;
    struct row_filter typical = off, xtc = off;
    typical.typical_p = 0.3f;
    xtc.xtc_threshold = 0.1f;
    float flat[64];
    for (int i = 0; i < 64; i++)
        flat[i] = 2.0f;
    row_filter_apply(&typical, flat, weights, 64);
    for (int i = 0; i < 64; i++)
        assert_true(flat[i] == 2.0f);
    float pairs[] = {3, 1, 3, 1, -9};
    row_filter_apply(&xtc, pairs, weights, 5);
    assert_true(pairs[0] == 3 && pairs[2] == 3);
    xtc.xtc_threshold = 0.05f;
    row_filter_apply(&xtc, pairs, weights, 5);
    assert_true(pairs[0] == -INFINITY && pairs[1] == 1 && pairs[3] == 1 && pairs[4] == -9);
}

static void the_log_of_the_sum_is_that_of_double_precision(void **state)
{
    (void)state;
    static const float two[] = {1.0f, 1.0f, -INFINITY};
    assert_true(fabs(row_scaled_log_sum(two, 3, 0.7f) - (0.7 + log(2.0))) < 1e-6);
    random_state = 3;
    fill(COUNT_MAX, 9.0);
    double sum = 0.0;
    for (uint32_t i = 0; i < COUNT_MAX; i++)
        sum += exp((double)row[i] * 1.25);
    assert_true(fabs(row_scaled_log_sum(row, COUNT_MAX, 1.25f) - log(sum)) < 1e-5);
}

/* tests/parity/make_sampler_reference.py says what the file is. */
static void transformers_keeps_the_same_tokens(void **state)
{
    (void)state;
    FILE *file = fopen("tests/data/sampler_reference.txt", "r");
    assert_non_null(file);
    char rule[32], flags[256];
    float parameter, temperature;
    uint32_t count = 0, cases = 0;
    assert_int_equal(fscanf(file, "#%*[^\n]"), 0);
    while (fscanf(file, "%31s", rule) == 1) {
        struct row_filter f = off;
        if (strcmp(rule, "row") == 0) {
            assert_int_equal(fscanf(file, "%u", &count), 1);
            assert_true(count < sizeof flags);
            for (uint32_t i = 0; i < count; i++)
                assert_int_equal(fscanf(file, "%f", &row[i]), 1);
            continue;
        }
        assert_int_equal(fscanf(file, "%f %f %255s", &parameter, &temperature, flags), 3);
        assert_int_equal(strlen(flags), count);
        f.scale = 1.0f / temperature;
        f.top_k = strcmp(rule, "top_k") == 0 ? (uint32_t)parameter : 0;
        f.typical_p = strcmp(rule, "typical_p") == 0 ? parameter : 1.0f;
        f.top_p = strcmp(rule, "top_p") == 0 ? parameter : 1.0f;
        f.min_p = strcmp(rule, "min_p") == 0 ? parameter : 0.0f;
        memcpy(filtered, row, count * sizeof row[0]);
        row_filter_apply(&f, filtered, weights, count);
        for (uint32_t i = 0; i < count; i++)
            if ((filtered[i] > -INFINITY) != (flags[i] == '1'))
                fail_msg("%s %g at temperature %g: token %u", rule, (double)parameter,
                         (double)temperature, i);
        cases++;
    }
    fclose(file);
    assert_int_equal(cases, 9 * 15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_rule_keeps_what_its_definition_says),
        cmocka_unit_test(what_is_masked_changes_nothing),
        cmocka_unit_test(equal_tokens_stay_or_go_together),
        cmocka_unit_test(the_log_of_the_sum_is_that_of_double_precision),
        cmocka_unit_test(transformers_keeps_the_same_tokens),
    };
    return cmocka_run_group_tests_name("row filter", tests, NULL, NULL);
}
