#include "sampling_testing.h"

/* The device's sampler against the host's, on rows of every shape and with every wish that both know. */

static uint64_t random_state;

static uint32_t random_below(uint32_t count)
{
    random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)((random_state >> 33) % count);
}

static float random_unit(void)
{
    return ((float)random_below(1 << 24) + 0.5f) / (float)(1 << 24);
}

enum row_kind {
    ROW_USUAL,  /* a bell, as a model's */
    ROW_PEAKED, /* one token has nearly everything */
    ROW_FLAT,   /* all equal */
    ROW_TIED,   /* few different values, zeros of both signs among them */
    ROW_SPARSE, /* most are impossible */
    ROW_RISING, /* sorted, and far apart */
    ROW_KIND_COUNT
};

static float row_value(enum row_kind kind, uint32_t i, uint32_t vocabulary)
{
    float bell = sqrtf(-2.0f * logf(random_unit())) * cosf(6.2831853f * random_unit());
    switch (kind) {
    case ROW_PEAKED:
        return i == vocabulary / 3 ? 31.0f : bell;
    case ROW_FLAT:
        return -1.5f;
    case ROW_TIED:
        return i % 7 == 0 ? -0.0f : roundf(bell * 2.0f) * 0.5f;
    case ROW_SPARSE:
        return i % 5 == 2 ? bell * 3.0f : -INFINITY;
    case ROW_RISING:
        return -40.0f + 80.0f * (float)i / (float)vocabulary;
    default:
        return bell * 3.0f;
    }
}

/* [ROW_KIND_COUNT, vocabulary] */
static float *make_rows(uint32_t vocabulary)
{
    float *rows = malloc((size_t)ROW_KIND_COUNT * vocabulary * sizeof *rows);
    assert_non_null(rows);
    random_state = vocabulary;
    for (uint32_t kind = 0; kind < ROW_KIND_COUNT; kind++)
        for (uint32_t i = 0; i < vocabulary; i++)
            rows[(size_t)kind * vocabulary + i] = row_value((enum row_kind)kind, i, vocabulary);
    return rows;
}

struct rule {
    float temperature;
    int32_t top_k;
    float top_p, min_p;
};

/* Each way of a draw, and the edges between them. */
static const struct rule rules[] = {
    {0.0f, 0, 1.0f, 0.0f},   {1e-39f, 5, 0.5f, 0.0f},  {1.0f, 0, 1.0f, 0.0f},
    {0.6f, 0, 1.0f, 0.0f},   {3.0f, 0, 1.0f, 0.05f},   {1.0f, 1, 1.0f, 0.0f},
    {1.0f, 40, 1.0f, 0.0f},  {1.5f, 40, 0.9f, 0.1f},   {1.0f, 256, 1.0f, 0.0f},
    {1.0f, 257, 1.0f, 0.0f}, {2.0f, 1000, 0.8f, 0.0f}, {1.0f, 300, 1.0f, 0.01f},
    {0.7f, 0, 0.1f, 0.0f},   {1.0f, 0, 0.9f, 0.0f},    {1.0f, 0, 0.999f, 0.0f},
    {2.0f, 0, 0.95f, 0.02f}, {0.05f, 0, 0.95f, 0.0f},  {1.0f, 1 << 20, 0.99f, 0.0f},
    {50.0f, 0, 0.5f, 0.0f},  {1.0f, 0, 1.0f, 1.0f},
};
#define RULE_COUNT (sizeof rules / sizeof rules[0])

static void add_rule(struct pairs *t, const struct rule *rule, uint32_t row, uint32_t position)
{
    struct sampling_params params = plain_params;
    params.temperature = rule->temperature;
    params.top_k = rule->top_k;
    params.top_p = rule->top_p;
    params.min_p = rule->min_p;
    params.seed = UINT64_C(0x9E3779B97F4A7C15) * (position + 1);
    pairs_prepare(t, pairs_add(t, &params, row, position), NULL, 0);
}

/* Every stride-th rule with each row; others with each. */
static void assert_rows_agree(struct pairs *t, uint32_t vocabulary, uint32_t stride)
{
    float *rows = make_rows(vocabulary);
    for (uint32_t row = 0; row < ROW_KIND_COUNT; row++) {
        pairs_begin(t, rows, ROW_KIND_COUNT, vocabulary);
        for (uint32_t r = row % stride; r < RULE_COUNT; r += stride)
            add_rule(t, &rules[r], row, 1000 * row + 10 * r);
        pairs_compare(t);
    }
    free(rows);
}

static void every_way_of_a_draw_gives_the_hosts_token(void **state)
{
    struct pairs *t = *state;
    static const uint32_t vocabularies[] = {1, 33, 257, 1000};
    for (size_t i = 0; i < sizeof vocabularies / sizeof vocabularies[0]; i++)
        assert_rows_agree(t, vocabularies[i], i < 3 ? 2 : 1);
}

static void rows_of_many_parts_give_the_hosts_token(void **state)
{
    struct pairs *t = *state;
    assert_rows_agree(t, 3 * 8192 + 17, 3);
}

static void the_largest_vocabularies_have_longer_chunks(void **state)
{
    struct pairs *t = *state;
    const uint32_t vocabulary = 262144;
    float *rows = make_rows(vocabulary);
    pairs_begin(t, rows, ROW_KIND_COUNT, vocabulary);
    for (uint32_t row = 0; row < ROW_KIND_COUNT; row += 2)
        for (uint32_t r = 2 + row; r < RULE_COUNT; r += 11)
            add_rule(t, &rules[r], row, row + r);
    pairs_compare(t);
    free(rows);
}

/* A flat row tells tokens apart by nothing but the number drawn: its first bits have to be equal. */
static void the_numbers_are_the_hosts(void **state)
{
    struct pairs *t = *state;
    const uint32_t vocabulary = 65536;
    float *row = calloc(vocabulary, sizeof *row);
    assert_non_null(row);
    pairs_begin(t, row, 1, vocabulary);
    for (uint32_t i = 0; i < 20; i++)
        add_rule(t, &rules[2], 0, i < 10 ? i : UINT32_MAX - i);
    pairs_sample_on_device(t);
    for (uint32_t i = 0; i < t->count; i++) {
        const struct device_sample *s = &t->pairs[i].sample;
        double uniform = philox_uniform(s->seed, s->index, s->position, PHILOX_TOKEN);
        assert_int_equal(t->tokens[i], (int32_t)(uniform * vocabulary));
    }
    free(row);
}

static void logprobs_are_of_the_row_as_it_came(void **state)
{
    struct pairs *t = *state;
    static const uint32_t vocabularies[] = {5, 21, 9001};
    for (size_t v = 0; v < 3; v++) {
        float *rows = make_rows(vocabularies[v]);
        pairs_begin(t, rows, ROW_KIND_COUNT, vocabularies[v]);
        uint32_t mask = pairs_mask(t);
        t->masks[mask][0] = 1u << 1 | 1u << 4;
        for (uint32_t row = 0; row < ROW_KIND_COUNT; row++) {
            for (int32_t logprobs = 0; logprobs <= 20; logprobs += 5) {
                struct sampling_params params = plain_params;
                params.logprobs = logprobs;
                params.temperature = 0.2f * (float)logprobs;
                params.top_k = 3;
                struct pair *p = pairs_add(t, &params, row, row);
                if (logprobs == 10)
                    p->sample.mask = mask;
                pairs_prepare(t, p, NULL, 0);
            }
        }
        pairs_compare(t);
        free(rows);
    }
}

static void only_what_the_mask_allows_is_drawn(void **state)
{
    struct pairs *t = *state;
    const uint32_t vocabulary = 9001;
    float *rows = make_rows(vocabulary);
    for (uint32_t row = 0; row < ROW_KIND_COUNT; row += 3) {
        pairs_begin(t, rows, ROW_KIND_COUNT, vocabulary);
        for (uint32_t m = 0; m < 3; m++) {
            uint32_t mask = pairs_mask(t);
            for (uint32_t i = 0; i < vocabulary; i += m == 0 ? 1 : m == 1 ? 7 : 3000)
                t->masks[mask][i / 32] |= 1u << i % 32;
        }
        for (uint32_t r = row / 3; r < RULE_COUNT; r += 2) {
            for (uint32_t m = 0; m < 3; m++) {
                add_rule(t, &rules[r], row, r + m);
                struct pair *p = &t->pairs[t->count - 1];
                p->sample.mask = m;
                pairs_prepare(t, p, NULL, 0);
            }
        }
        pairs_compare(t);
        for (uint32_t i = 0; i < t->count; i++)
            assert_true((t->masks[i % 3][t->tokens[i] / 32] >> t->tokens[i] % 32 & 1) != 0);
    }
    free(rows);
}

/* --- wishes --- */

/* Several biases of one token are added one after the other; a ban stays one. */
static const struct logit_bias biases[] = {{12, 4.5f},  {9, -100.0f}, {700, 2.25f}, {12, 0.3f},
                                           {3, 100.0f}, {9, 50.0f},   {0, -7.0f}};

static const struct sampling_params wished_params[] = {
    {.temperature = 0.0f, .top_p = 1.0f, .repetition_penalty = 1.3f},
    {.temperature = 0.0f, .top_p = 1.0f, .repetition_penalty = 1.0f, .frequency_penalty = 0.7f},
    {.temperature = 0.8f, .top_p = 0.9f, .repetition_penalty = 1.0f, .presence_penalty = 1.5f},
    {.temperature = 1.0f,
     .top_p = 1.0f,
     .repetition_penalty = 0.8f,
     .presence_penalty = -0.5f,
     .frequency_penalty = 0.1f},
    {.temperature = 1.0f,
     .top_p = 1.0f,
     .repetition_penalty = 1.0f,
     .biases = biases,
     .bias_count = 7},
    {.temperature = 0.0f,
     .top_p = 1.0f,
     .repetition_penalty = 1.1f,
     .biases = biases,
     .bias_count = 7,
     .min_tokens = 4},
    {.temperature = 1.0f,
     .top_p = 1.0f,
     .repetition_penalty = 1.0f,
     .biases = biases,
     .bias_count = 5,
     .min_tokens = 3,
     .top_k = 50},
};
#define WISHED_COUNT (sizeof wished_params / sizeof wished_params[0])

static const int32_t prompt[] = {5, 5, 12, 700, 1, 0, 3, 800};
#define PROMPT_COUNT 8u

/* The device counts the tokens that it gives itself: it is told of none of them. */
static void wishes_are_followed_over_many_steps(void **state)
{
    struct pairs *t = *state;
    const uint32_t vocabulary = 999;
    float *rows = make_rows(vocabulary);
    pairs_begin(t, rows, ROW_KIND_COUNT, vocabulary);
    for (size_t w = 0; w < WISHED_COUNT; w++) {
        for (uint32_t row = 0; row < ROW_KIND_COUNT; row += 3) {
            struct sampling_params params = wished_params[w];
            params.seed = 77 + w;
            params.logprobs = w % 2 == 0 ? 3 : -1;
            struct pair *p = pairs_add(t, &params, row, 50);
            pairs_prepare(t, p, prompt, PROMPT_COUNT);
            pairs_set_state(t, p, prompt, PROMPT_COUNT, NULL, 0);
        }
    }
    for (uint32_t step = 0; step < 8; step++) {
        pairs_compare(t);
        for (uint32_t i = 0; i < t->count; i++) {
            t->pairs[i].sample.position++;
            t->pairs[i].sample.output_count++;
        }
    }
    free(rows);
}

/* As after a preemption: the outputs so far come with the state. */
static void a_state_with_outputs_goes_on_where_they_end(void **state)
{
    struct pairs *t = *state;
    static const int32_t outputs[] = {12, 12, 400, 12, 700};
    const uint32_t vocabulary = 999;
    float *rows = make_rows(vocabulary);
    pairs_begin(t, rows, ROW_KIND_COUNT, vocabulary);
    for (size_t w = 0; w < WISHED_COUNT; w++) {
        struct pair *p = pairs_add(t, &wished_params[w], (uint32_t)w % 2, 50);
        pairs_prepare(t, p, prompt, PROMPT_COUNT);
        for (uint32_t i = 0; i < 5; i++)
            sampler_accept(p->host, outputs[i]);
        pairs_set_state(t, p, prompt, 3, outputs, 2); /* a state of before is replaced */
        pairs_set_state(t, p, prompt, PROMPT_COUNT, outputs, 5);
    }
    pairs_compare(t);
    free(rows);
}

static void rows_that_are_broken_get_the_hosts_status(void **state)
{
    struct pairs *t = *state;
    enum { VOCABULARY = 300, ROWS = 5 };
    static float rows[ROWS][VOCABULARY];
    static const struct logit_bias bans[] = {{9, -100.0f}};
    static const struct logit_bias all[] = {{0, -100.0f}, {9, -100.0f}};
    for (uint32_t i = 0; i < VOCABULARY; i++) {
        rows[0][i] = rows[1][i] = rows[4][i] = (float)(i % 17);
        rows[2][i] = -INFINITY;
        rows[3][i] = i == 0 || i == 9 ? 1.0f : -INFINITY;
    }
    rows[0][9] = NAN;
    rows[1][9] = INFINITY;
    pairs_begin(t, rows[0], ROWS, VOCABULARY);
    uint32_t none = pairs_mask(t), nine = pairs_mask(t);
    t->masks[nine][0] = 1u << 9;
    for (uint32_t row = 0; row < ROWS; row++) {
        for (uint32_t kind = 0; kind < 8; kind++) {
            struct sampling_params params = plain_params;
            params.temperature = kind % 2 == 0 ? 0.0f : 1.0f;
            params.logprobs = kind == 3 ? 0 : -1;
            params.biases = kind == 4 || kind == 6 ? bans : all;
            params.bias_count = kind < 4 ? 0 : kind == 5 ? 2 : 1;
            struct pair *p = pairs_add(t, &params, row, 1);
            p->sample.mask = kind == 2 ? none : kind >= 6 ? nine : DEVICE_SAMPLE_NONE;
            pairs_prepare(t, p, NULL, 0);
            if (kind >= 4)
                pairs_set_state(t, p, NULL, 0, NULL, 0);
        }
    }
    pairs_compare(t);
    uint32_t statuses[STATUS_COUNT] = {0};
    for (uint32_t i = 0; i < t->count; i++)
        statuses[t->results[i].status]++;
    assert_true(statuses[STATUS_OK] > 0 && statuses[STATUS_INTERNAL] > 0 &&
                statuses[STATUS_UNSUPPORTED] > 0);
}

static void a_row_alone_gives_what_it_gives_in_a_batch(void **state)
{
    struct pairs *t = *state;
    const uint32_t vocabulary = 12345;
    float *rows = make_rows(vocabulary);
    struct device_sample_result together[PAIR_SAMPLES_MAX];
    pairs_begin(t, rows, ROW_KIND_COUNT, vocabulary);
    for (uint32_t i = 0; i < 12; i++) {
        struct sampling_params params = plain_params;
        params.logprobs = (int32_t)i;
        params.top_p = i % 2 == 0 ? 1.0f : 0.97f;
        params.seed = i;
        pairs_add(t, &params, i % ROW_KIND_COUNT, i);
    }
    pairs_sample_on_device(t);
    memcpy(together, t->results, sizeof together);
    for (uint32_t i = 0; i < 12; i++) {
        struct device_sample sample = t->pairs[i].sample;
        pairs_begin(t, rows, ROW_KIND_COUNT, vocabulary);
        t->pairs[0].sample = sample;
        t->count = 1;
        pairs_sample_on_device(t);
        size_t bytes = offsetof(struct device_sample_result, alternatives) +
                       together[i].alternative_count * sizeof together[i].alternatives[0];
        assert_memory_equal(&t->results[0], &together[i], bytes);
    }
    free(rows);
}

static int open_pairs(void **state)
{
    struct pairs *t = malloc(sizeof *t);
    assert_non_null(t);
    pairs_open(t);
    *state = t;
    return 0;
}

static int close_pairs(void **state)
{
    pairs_close(*state);
    free(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_way_of_a_draw_gives_the_hosts_token),
        cmocka_unit_test(rows_of_many_parts_give_the_hosts_token),
        cmocka_unit_test(the_largest_vocabularies_have_longer_chunks),
        cmocka_unit_test(the_numbers_are_the_hosts),
        cmocka_unit_test(logprobs_are_of_the_row_as_it_came),
        cmocka_unit_test(only_what_the_mask_allows_is_drawn),
        cmocka_unit_test(wishes_are_followed_over_many_steps),
        cmocka_unit_test(a_state_with_outputs_goes_on_where_they_end),
        cmocka_unit_test(rows_that_are_broken_get_the_hosts_status),
        cmocka_unit_test(a_row_alone_gives_what_it_gives_in_a_batch),
    };
    return cmocka_run_group_tests(tests, open_pairs, close_pairs);
}
