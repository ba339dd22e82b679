#include "unit_test.h"

#include <math.h>

#include "check.h"
#include "philox.h"
#include "sampler.h"

#define VOCABULARY 500u
#define END_TOKEN  7

static const int32_t end_tokens[] = {END_TOKEN, 8};

static const struct sampling_params plain = {
    .temperature = 1.0f, .top_p = 1.0f, .repetition_penalty = 1.0f, .seed = 42, .logprobs = -1};

struct rig {
    arena *memory;
    sampler *s;
    float logits[VOCABULARY], pristine[VOCABULARY];
};

static void rig_open(struct rig *rig, const struct sampling_params *params, uint32_t index,
                     const int32_t *prompt, uint32_t prompt_count)
{
    struct error_note note;
    assert_int_equal(sampling_params_check(params, VOCABULARY, &note), STATUS_OK);
    assert_int_equal(arena_create(1 << 20, &rig->memory), STATUS_OK);
    struct sampler_options options = {.params = params,
                                      .vocabulary = VOCABULARY,
                                      .index = index,
                                      .prompt = prompt,
                                      .prompt_count = prompt_count,
                                      .output_count_max = 100,
                                      .end_tokens = end_tokens,
                                      .end_token_count = 2};
    assert_int_equal(sampler_create(&options, rig->memory, &rig->s), STATUS_OK);
    for (uint32_t i = 0; i < VOCABULARY; i++)
        rig->logits[i] = 4.0f * sinf((float)(i * i));
    memcpy(rig->pristine, rig->logits, sizeof rig->logits);
}

static struct sample draw(struct rig *rig, uint32_t position, uint32_t output_count)
{
    struct sample sample = {.token = -1};
    assert_int_equal(sampler_sample(rig->s, rig->logits, position, output_count, &sample),
                     STATUS_OK);
    assert_memory_equal(rig->logits, rig->pristine, sizeof rig->logits);
    return sample;
}

static void rig_close(struct rig *rig)
{
    arena_destroy(rig->memory);
}

static void set_logit(struct rig *rig, int32_t token, float value)
{
    rig->logits[token] = rig->pristine[token] = value;
}

/* What is allowed comes first: then bias, penalty and draw are those of a row that has no other tokens. */
static void only_allowed_tokens_are_drawn_and_logprobs_are_of_the_whole_row(void **state)
{
    (void)state;
    static uint32_t allowed[(VOCABULARY + 31) / 32];
    static const struct logit_bias biases[] = {{7, 100.0f}, {33, -100.0f}};
    static const int32_t good[] = {33, 64, 100, 499};
    for (size_t i = 0; i < 4; i++)
        allowed[good[i] / 32] |= 1u << (good[i] % 32);
    struct sampling_params params = plain;
    params.biases = biases;
    params.bias_count = 2;
    params.logprobs = 2;
    params.presence_penalty = 0.5f;
    struct rig rig;
    rig_open(&rig, &params, 0, NULL, 0);
    struct sampler_options options = {
        .params = &params, .vocabulary = VOCABULARY, .output_count_max = 100, .allowed = allowed};
    sampler *bound;
    bool seen[VOCABULARY] = {false};
    assert_int_equal(sampler_create(&options, rig.memory, &bound), STATUS_OK);
    struct sample free_sample = draw(&rig, 0, 0);
    for (uint32_t position = 0; position < 300; position++) {
        struct sample sample;
        assert_int_equal(sampler_sample(bound, rig.logits, position, position, &sample), STATUS_OK);
        assert_memory_equal(rig.logits, rig.pristine, sizeof rig.logits);
        assert_int_equal(sample.alternatives[0].token, free_sample.alternatives[0].token);
        assert_true(sample.alternatives[0].logprob == free_sample.alternatives[0].logprob);
        seen[sample.token] = true;
    }
    for (int32_t token = 0; token < (int32_t)VOCABULARY; token++)
        assert_int_equal(seen[token], token == 64 || token == 100 || token == 499);
    memset(allowed, 0, sizeof allowed);
    allowed[1] = 1u << 1; /* 33, which the bias bans */
    struct sample none;
    assert_int_equal(sampler_sample(bound, rig.logits, 0, 0, &none), STATUS_UNSUPPORTED);
    rig_close(&rig);
}

static void greedy_takes_the_highest_and_of_equals_the_first(void **state)
{
    (void)state;
    struct sampling_params params = plain;
    params.temperature = 0.0f;
    struct rig rig;
    rig_open(&rig, &params, 0, NULL, 0);
    set_logit(&rig, 300, 9.0f);
    set_logit(&rig, 120, 9.0f);
    set_logit(&rig, 499, 9.0f);
    for (uint32_t position = 0; position < 5; position++)
        assert_int_equal(draw(&rig, position, 0).token, 120);
    rig_close(&rig);
}

static void the_same_seed_index_and_position_draw_the_same_token(void **state)
{
    (void)state;
    struct rig one, two, other_index, other_seed;
    struct sampling_params reseeded = plain;
    reseeded.seed = 43;
    rig_open(&one, &plain, 0, NULL, 0);
    rig_open(&two, &plain, 0, NULL, 0);
    rig_open(&other_index, &plain, 1, NULL, 0);
    rig_open(&other_seed, &reseeded, 0, NULL, 0);
    uint32_t differ_by_index = 0, differ_by_seed = 0;
    for (uint32_t position = 0; position < 200; position++) {
        int32_t token = draw(&one, position, 0).token;
        assert_int_equal(draw(&two, position, 0).token, token);
        differ_by_index += draw(&other_index, position, 0).token != token;
        differ_by_seed += draw(&other_seed, position, 0).token != token;
    }
    assert_true(differ_by_index > 100 && differ_by_seed > 100);
    rig_close(&one);
    rig_close(&two);
    rig_close(&other_index);
    rig_close(&other_seed);
}

/* Pearson's test of 200,000 draws over all tokens that are expected at least 20 times. The critical
 * value is that of Wilson and Hilferty's approximation at z = 4.5, one false alarm in 300,000; the
 * seed is fixed. */
static void frequencies_follow_the_exact_probabilities(void **state)
{
    (void)state;
    const uint32_t draws = 200000;
    struct sampling_params params = plain;
    params.temperature = 1.3f;
    struct rig rig;
    rig_open(&rig, &params, 0, NULL, 0);
    static uint32_t hits[VOCABULARY];
    for (uint32_t position = 0; position < draws; position++)
        hits[draw(&rig, position, 0).token]++;
    double total = 0.0;
    for (uint32_t i = 0; i < VOCABULARY; i++)
        total += exp((double)rig.logits[i] / 1.3);
    double statistic = 0.0, rest_expected = 0.0, rest_hits = 0.0;
    double freedom = 0.0;
    for (uint32_t i = 0; i < VOCABULARY; i++) {
        double expected = draws * exp((double)rig.logits[i] / 1.3) / total;
        if (expected < 20.0) {
            rest_expected += expected;
            rest_hits += hits[i];
            continue;
        }
        statistic += (hits[i] - expected) * (hits[i] - expected) / expected;
        freedom += 1.0;
    }
    if (rest_expected > 0.0)
        statistic += (rest_hits - rest_expected) * (rest_hits - rest_expected) / rest_expected;
    double base = 1.0 - 2.0 / (9.0 * freedom) + 4.5 * sqrt(2.0 / (9.0 * freedom));
    assert_true(statistic < freedom * base * base * base);
    assert_true(statistic > freedom / 2); /* nor too even to be random */
    rig_close(&rig);
}

static void logprobs_are_those_of_the_unmodified_row(void **state)
{
    (void)state;
    struct logit_bias bias = {11, 100.0f};
    struct sampling_params params = plain;
    params.temperature = 0.0f;
    params.logprobs = 5;
    params.biases = &bias;
    params.bias_count = 1;
    struct rig rig;
    rig_open(&rig, &params, 0, NULL, 0);
    double total = 0.0;
    for (uint32_t i = 0; i < VOCABULARY; i++)
        total += exp((double)rig.logits[i]);
    struct sample sample = draw(&rig, 3, 0);
    assert_int_equal(sample.token, 11);
    assert_true(fabs((double)sample.logprob - ((double)rig.logits[11] - log(total))) < 1e-5);
    assert_int_equal(sample.alternative_count, 5);
    for (uint32_t i = 0; i < 5; i++) {
        uint32_t better = 0;
        int32_t token = sample.alternatives[i].token;
        for (uint32_t j = 0; j < VOCABULARY; j++)
            better += rig.logits[j] > rig.logits[token];
        assert_int_equal(better, i);
        assert_true(fabs((double)sample.alternatives[i].logprob -
                         ((double)rig.logits[token] - log(total))) < 1e-5);
    }
    rig_close(&rig);
    params.logprobs = 0;
    rig_open(&rig, &params, 0, NULL, 0);
    sample = draw(&rig, 3, 0);
    assert_false(isnan(sample.logprob));
    assert_int_equal(sample.alternative_count, 0);
    rig_close(&rig);
    params.logprobs = -1;
    rig_open(&rig, &params, 0, NULL, 0);
    assert_true(isnan(draw(&rig, 3, 0).logprob));
    rig_close(&rig);
}

static void a_bias_of_minus_100_bans_a_token(void **state)
{
    (void)state;
    struct logit_bias bias = {120, -100.0f};
    struct sampling_params params = plain;
    params.temperature = 0.0f;
    params.biases = &bias;
    params.bias_count = 1;
    struct rig rig;
    rig_open(&rig, &params, 0, NULL, 0);
    set_logit(&rig, 120, 5000.0f);
    set_logit(&rig, 130, 50.0f);
    assert_int_equal(draw(&rig, 0, 0).token, 130);
    rig_close(&rig);
}

static void penalties_follow_their_formulas(void **state)
{
    (void)state;
    static const int32_t prompt[] = {10, 11, 10};
    struct sampling_params params = plain;
    params.temperature = 0.0f;
    params.repetition_penalty = 2.0f;
    params.presence_penalty = 1.0f;
    params.frequency_penalty = 0.5f;
    struct rig rig;
    rig_open(&rig, &params, 0, prompt, 3);
    for (int32_t i = 0; i < (int32_t)VOCABULARY; i++)
        set_logit(&rig, i, -50.0f);
    set_logit(&rig, 10, 20.0f); /* in the prompt: 20 / 2 = 10 */
    set_logit(&rig, 20, 13.0f);
    assert_int_equal(draw(&rig, 0, 0).token, 20);
    sampler_accept(rig.s, 20); /* 13 / 2 - 1 - 0.5 = 5 */
    assert_int_equal(draw(&rig, 1, 1).token, 10);
    sampler_accept(rig.s, 10);
    sampler_accept(rig.s, 10); /* 20 / 2 - 1 - 2 * 0.5 = 8 */
    set_logit(&rig, 30, 8.1f);
    assert_int_equal(draw(&rig, 2, 3).token, 30);
    set_logit(&rig, 30, 7.9f);
    assert_int_equal(draw(&rig, 2, 3).token, 10);
    /* A negative logit is made lower, not higher: -4 * 2 = -8 for a token of the prompt. */
    set_logit(&rig, 10, -50.0f);
    set_logit(&rig, 20, -50.0f);
    set_logit(&rig, 30, -50.0f);
    set_logit(&rig, 11, -4.0f);
    set_logit(&rig, 40, -7.9f);
    assert_int_equal(draw(&rig, 2, 3).token, 40);
    set_logit(&rig, 40, -8.1f);
    assert_int_equal(draw(&rig, 2, 3).token, 11);
    rig_close(&rig);
}

static void end_tokens_wait_for_min_tokens(void **state)
{
    (void)state;
    static const int32_t stops[] = {9};
    struct sampling_params params = plain;
    params.temperature = 0.0f;
    params.min_tokens = 3;
    params.stop_tokens = stops;
    params.stop_token_count = 1;
    struct rig rig;
    rig_open(&rig, &params, 0, NULL, 0);
    set_logit(&rig, 9, 52.0f);
    set_logit(&rig, END_TOKEN, 51.0f);
    set_logit(&rig, 100, 50.0f);
    assert_int_equal(draw(&rig, 0, 2).token, 100);
    assert_int_equal(draw(&rig, 0, 3).token, 9);
    assert_true(sampler_token_ends(rig.s, 9));
    assert_true(sampler_token_ends(rig.s, END_TOKEN));
    assert_false(sampler_token_ends(rig.s, 100));
    rig_close(&rig);
    params.ignore_eos = true; /* then the model's own are ordinary tokens, the client's are not */
    rig_open(&rig, &params, 0, NULL, 0);
    set_logit(&rig, 9, 52.0f);
    set_logit(&rig, END_TOKEN, 51.0f);
    assert_int_equal(draw(&rig, 0, 0).token, END_TOKEN);
    assert_false(sampler_token_ends(rig.s, END_TOKEN));
    assert_true(sampler_token_ends(rig.s, 9));
    rig_close(&rig);
}

static void a_broken_row_is_an_error_and_not_a_token(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, &plain, 0, NULL, 0);
    struct sample sample = {.token = -7};
    rig.logits[499] = NAN;
    assert_int_equal(sampler_sample(rig.s, rig.logits, 0, 0, &sample), STATUS_INTERNAL);
    rig.logits[499] = INFINITY;
    assert_int_equal(sampler_sample(rig.s, rig.logits, 0, 0, &sample), STATUS_INTERNAL);
    for (uint32_t i = 0; i < VOCABULARY; i++)
        rig.logits[i] = -INFINITY;
    assert_int_equal(sampler_sample(rig.s, rig.logits, 0, 0, &sample), STATUS_INTERNAL);
    assert_int_equal(sample.token, -7);
    rig_close(&rig);
}

static void only_allowed_tokens_are_chosen(void **state)
{
    (void)state;
    static const int32_t allowed[] = {3, 40, 41, 499};
    struct rig rig;
    struct sampling_params p = plain;
    p.allowed_tokens = allowed;
    p.allowed_token_count = 4;
    p.logprobs = 1;
    rig_open(&rig, &p, 0, NULL, 0);
    uint32_t seen[4] = {0};
    for (int i = 0; i < 4; i++)
        set_logit(&rig, allowed[i], 1.0f);
    for (uint32_t i = 0; i < 400; i++) {
        struct sample sample = draw(&rig, i, i);
        uint32_t which = 0;
        while (which < 4 && allowed[which] != sample.token)
            which++;
        assert_true(which < 4);
        seen[which]++;
        assert_true(isfinite(sample.logprob)); /* of the whole distribution */
    }
    for (int i = 0; i < 4; i++)
        assert_true(seen[i] > 0);
    rig_close(&rig);
    p.biases = (struct logit_bias[]){{3, -100}, {40, -100}, {41, -100}, {499, -100}};
    p.bias_count = 4;
    rig_open(&rig, &p, 0, NULL, 0);
    struct sample sample;
    assert_int_equal(sampler_sample(rig.s, rig.logits, 0, 0, &sample), STATUS_UNSUPPORTED);
    rig_close(&rig);
}

static void a_banned_run_is_broken_before_its_last_token(void **state)
{
    (void)state;
    static const int32_t run[] = {5, 6, 7}, single[] = {9};
    static const struct token_run bans[] = {{run, 3}, {single, 1}};
    struct rig rig;
    struct sampling_params p = plain;
    p.temperature = 0.0f;
    p.bans = bans;
    p.ban_count = 2;
    rig_open(&rig, &p, 0, NULL, 0);
    set_logit(&rig, 7, 50.0f);
    set_logit(&rig, 9, 60.0f);
    static const int32_t outputs[] = {6, 5, 5, 6, 6, 5, 6};
    static const int32_t expected[] = {7,  7, 7, 7,
                                       20, 7, 7}; /* before the output of the same place */
    set_logit(&rig, 20, 40.0f);
    for (uint32_t i = 0; i < ARRAY_COUNT(outputs); i++) {
        assert_int_equal(draw(&rig, i, i).token, expected[i]);
        sampler_accept(rig.s, outputs[i]);
    }
    assert_int_equal(draw(&rig, 7, 7).token, 20); /* 5 6 have come again */
    rig_close(&rig);
}

static void a_forced_token_has_the_log_probability_of_its_row(void **state)
{
    (void)state;
    struct sampling_params params = plain;
    struct rig rig;
    params.logprobs = 3;
    params.temperature = 0.0f;
    rig_open(&rig, &params, 0, NULL, 0);
    struct sample likeliest = draw(&rig, 5, 0);
    struct sample same, other;
    assert_int_equal(sampler_force(rig.s, rig.logits, likeliest.token, &same), STATUS_OK);
    assert_int_equal(same.token, likeliest.token);
    assert_true(same.logprob == likeliest.logprob);
    int32_t token = (likeliest.token + 1) % (int32_t)VOCABULARY;
    assert_int_equal(sampler_force(rig.s, rig.logits, token, &other), STATUS_OK);
    assert_int_equal(other.token, token);
    float gap = rig.logits[token] - rig.logits[likeliest.token];
    assert_float_equal(other.logprob - likeliest.logprob, gap, 1e-5f);
    assert_int_equal(other.alternative_count, 3);
    assert_int_equal(other.alternatives[0].token, likeliest.token);
    assert_memory_equal(rig.logits, rig.pristine, sizeof rig.logits);
    rig.logits[3] = NAN;
    assert_int_equal(sampler_force(rig.s, rig.logits, token, &other), STATUS_INTERNAL);
    rig_close(&rig);
    params.logprobs = -1;
    rig_open(&rig, &params, 0, NULL, 0);
    assert_int_equal(sampler_force(rig.s, rig.logits, token, &other), STATUS_OK);
    assert_true(isnan(other.logprob));
    assert_int_equal(other.alternative_count, 0);
    rig.logits[3] = INFINITY;
    assert_int_equal(sampler_force(rig.s, rig.logits, token, &other), STATUS_INTERNAL);
    rig_close(&rig);
}

/* The five likeliest tokens have probabilities of which the first two are top choices. */
static void top_choices_are_excluded_as_often_as_was_asked(void **state)
{
    (void)state;
    struct sampling_params params = plain;
    params.xtc_probability = 0.25f;
    params.xtc_threshold = 0.2f;
    params.top_k = 3;
    struct rig rig;
    rig_open(&rig, &params, 0, NULL, 0);
    for (uint32_t i = 0; i < VOCABULARY; i++)
        set_logit(&rig, (int32_t)i, -5.0f);
    set_logit(&rig, 10, 3.0f); /* 0.58, 0.35 and 0.07 of the three */
    set_logit(&rig, 20, 2.5f);
    set_logit(&rig, 30, 0.9f);
    uint32_t counts[3] = {0};
    const uint32_t draws = 20000;
    for (uint32_t position = 0; position < draws; position++) {
        int32_t token = draw(&rig, position, 0).token;
        assert_true(token == 10 || token == 20 || token == 30);
        counts[token / 10 - 1]++;
    }
    double weights[3] = {1.0, exp(-0.5), exp(-2.1)};
    double all = weights[0] + weights[1] + weights[2], rest = weights[1] + weights[2];
    for (int i = 0; i < 3; i++) {
        double share = 0.75 * weights[i] / all + (i > 0 ? 0.25 * weights[i] / rest : 0.0);
        /* The seed is fixed; five standard deviations of 20,000 draws are 0.018. */
        assert_true(fabs((double)counts[i] / draws - share) < 0.018);
    }
    rig_close(&rig);
}

/* What is cut before temperature 0 does not matter, nor what is masked after; and the rest of the row is as it was. */
static void filters_and_masks_go_together_and_greedy_ignores_filters(void **state)
{
    (void)state;
    static const int32_t allowed[] = {40, 41, 42, 43};
    struct sampling_params params = plain;
    params.allowed_tokens = allowed;
    params.allowed_token_count = 4;
    params.typical_p = 0.9f;
    params.top_n_sigma = 1.0f;
    params.top_a = 0.2f;
    params.xtc_probability = 1.0f;
    params.xtc_threshold = 0.1f;
    struct rig rig;
    rig_open(&rig, &params, 0, NULL, 0);
    for (uint32_t i = 0; i < 4; i++)
        set_logit(&rig, allowed[i], 2.0f - (float)i * 0.1f);
    /* sigma 0.112: the first two; both are top choices, of which the first goes */
    for (uint32_t position = 0; position < 50; position++)
        assert_int_equal(draw(&rig, position, 0).token, 41);
    rig_close(&rig);
    params.temperature = 0.0f;
    rig_open(&rig, &params, 0, NULL, 0);
    set_logit(&rig, 43, 9.0f);
    assert_int_equal(draw(&rig, 0, 0).token, 43);
    rig_close(&rig);
}

/* Basu et al.'s claim: the mean surprise of the text comes near to tau, whatever the rows are like. */
static void mirostat_brings_the_surprise_to_its_target(void **state)
{
    (void)state;
    for (float tau = 2.5f; tau <= 4.0f; tau += 0.75f) {
        struct sampling_params params = plain;
        params.top_k = 1; /* does not count */
        params.mirostat = (struct mirostat_params){.is_on = true, .tau = tau, .eta = 0.1f};
        struct rig rig;
        rig_open(&rig, &params, 0, NULL, 0);
        double surprise = 0.0, max = 2.0 * (double)tau;
        for (uint32_t position = 0; position < 2000; position++) {
            double all = 0.0, best = -INFINITY;
            for (uint32_t i = 0; i < VOCABULARY; i++) {
                /* Zipf's law: 4.9 bits a token, and the likeliest has 1.7 */
                uint32_t rank = (7 * i + position) % VOCABULARY;
                set_logit(&rig, (int32_t)i, -1.3f * logf((float)rank + 1.0f));
                all += exp((double)rig.logits[i]);
                best = fmax(best, (double)rig.logits[i]);
            }
            int32_t token = draw(&rig, position, 0).token;
            draw(&rig, position, 0); /* what is not taken teaches nothing */
            double bits = log2(all) - (double)rig.logits[token] / M_LN2;
            assert_true(bits <= max + 1e-3 || (double)rig.logits[token] == best);
            max -= 0.1 * (bits - (double)tau);
            surprise += position >= 500 ? bits / 1500 : 0;
            sampler_accept(rig.s, token);
        }
        assert_true(fabs(surprise - (double)tau) < 0.1);
        rig_close(&rig);
    }
}

static struct text_slice no_text(const void *context, int32_t token)
{
    (void)token;
    *(uint32_t *)(uintptr_t)context += 1;
    return (struct text_slice){"x", 1};
}

static void repetitions_of_the_prompt_lose_what_their_length_says(void **state)
{
    (void)state;
    static const int32_t prompt[] = {1, 2, 3, 4, 9, 1, 2};
    static const struct text_slice breakers[] = {{"never", 5}};
    uint32_t asked = 0;
    struct sampling_params params = plain;
    params.temperature = 0.0f;
    params.dry = (struct dry_params){.multiplier = 1.0f,
                                     .base = 2.0f,
                                     .allowed_length = 2,
                                     .last_n = -1,
                                     .breakers = breakers,
                                     .breaker_count = 1};
    struct rig rig;
    rig_open(&rig, &params, 0, NULL, 0);
    struct sampler_options options = {.params = &params,
                                      .vocabulary = VOCABULARY,
                                      .prompt = prompt,
                                      .prompt_count = 7,
                                      .output_count_max = 10,
                                      .piece = no_text,
                                      .piece_context = &asked};
    assert_int_equal(sampler_create(&options, rig.memory, &rig.s), STATUS_OK);
    assert_true(asked >= 7);
    /* 1 2 | 3 loses 1; after 3, 4 loses 2; after 4, 9 loses 4. */
    for (int32_t i = 0; i < 3; i++) {
        int32_t repeat = i < 2 ? 3 + i : 9;
        float loss = (float)(1 << i);
        set_logit(&rig, repeat, 20.0f);
        set_logit(&rig, 100, 20.0f - loss + 0.01f);
        assert_int_equal(draw(&rig, 0, 0).token, 100);
        set_logit(&rig, 100, 20.0f - loss - 0.01f);
        assert_int_equal(draw(&rig, 0, 0).token, repeat);
        set_logit(&rig, repeat, 0.0f);
        sampler_accept(rig.s, repeat);
    }
    rig_close(&rig);
}

static void loops_are_told_once_there_are_min_tokens(void **state)
{
    (void)state;
    struct sampling_params params = plain;
    params.repetition = (struct repetition_params){.max_pattern = 2, .min_count = 3};
    params.min_tokens = 8;
    struct rig rig;
    rig_open(&rig, &params, 0, NULL, 0);
    for (uint32_t i = 0; i < 8; i++) {
        assert_false(sampler_output_loops(rig.s));
        sampler_accept(rig.s, 5 + (int32_t)(i % 2));
    }
    assert_true(sampler_output_loops(rig.s));
    sampler_accept(rig.s, 90);
    assert_false(sampler_output_loops(rig.s));
    rig_close(&rig);
}

static void parameters_out_of_range_are_named(void **state)
{
    (void)state;
    struct error_note note;
    struct logit_bias bad_token = {(int32_t)VOCABULARY, 1.0f}, bad_bias = {1, 101.0f};
    int32_t bad_stop = -1;
    struct sampling_params p;
#define EXPECT_INVALID(field, value, word)                                                         \
    do {                                                                                           \
        p = plain;                                                                                 \
        p.field = (value);                                                                         \
        note.text[0] = '\0';                                                                       \
        assert_int_equal(sampling_params_check(&p, VOCABULARY, &note), STATUS_INVALID);            \
        assert_non_null(strstr(note.text, word));                                                  \
    } while (0)
    EXPECT_INVALID(temperature, -0.1f, "temperature");
    EXPECT_INVALID(temperature, NAN, "temperature");
    EXPECT_INVALID(temperature, INFINITY, "temperature");
    EXPECT_INVALID(top_p, 0.0f, "top_p");
    EXPECT_INVALID(top_p, 1.01f, "top_p");
    EXPECT_INVALID(min_p, -0.01f, "min_p");
    EXPECT_INVALID(top_k, -2, "top_k");
    EXPECT_INVALID(repetition_penalty, 0.0f, "repetition_penalty");
    EXPECT_INVALID(presence_penalty, NAN, "presence_penalty");
    EXPECT_INVALID(frequency_penalty, 101.0f, "frequency_penalty");
    EXPECT_INVALID(logprobs, 21, "logprobs");
    EXPECT_INVALID(top_n_sigma, -2.0f, "top_n_sigma");
    EXPECT_INVALID(top_a, 1.5f, "top_a");
    EXPECT_INVALID(typical_p, -0.5f, "typical_p");
    EXPECT_INVALID(xtc_probability, NAN, "xtc_probability");
    EXPECT_INVALID(xtc_threshold, 2.0f, "xtc_threshold");
    EXPECT_INVALID(mirostat.tau, -1.0f, "mirostat_tau");
    EXPECT_INVALID(mirostat.eta, 1.5f, "mirostat_eta");
    EXPECT_INVALID(dry, ((struct dry_params){.multiplier = -1}), "dry_multiplier");
    EXPECT_INVALID(dry, ((struct dry_params){.multiplier = 1, .allowed_length = 2}), "dry_base");
    EXPECT_INVALID(dry, ((struct dry_params){.multiplier = 1, .base = 2}), "dry_allowed_length");
    EXPECT_INVALID(dry, ((struct dry_params){.last_n = -2}), "dry_penalty_last_n");
    EXPECT_INVALID(dry, ((struct dry_params){.breaker_count = 65}), "dry_sequence_breakers");
    EXPECT_INVALID(repetition, ((struct repetition_params){2, 1, 2}), "repetition_detection");
    EXPECT_INVALID(repetition, ((struct repetition_params){0, 4097, 2}), "repetition_detection");
    EXPECT_INVALID(repetition, ((struct repetition_params){0, 1, 1}), "min_count");
    EXPECT_INVALID(repetition, ((struct repetition_params){0, 1, 1025}), "min_count");
    EXPECT_INVALID(logprobs, -2, "logprobs");
#undef EXPECT_INVALID
    p = plain;
    p.biases = &bad_token;
    p.bias_count = 1;
    assert_int_equal(sampling_params_check(&p, VOCABULARY, &note), STATUS_INVALID);
    p.biases = &bad_bias;
    assert_int_equal(sampling_params_check(&p, VOCABULARY, &note), STATUS_INVALID);
    p = plain;
    p.stop_tokens = &bad_stop;
    p.stop_token_count = 1;
    assert_int_equal(sampling_params_check(&p, VOCABULARY, &note), STATUS_INVALID);
    p = plain;
    p.allowed_tokens = &bad_stop;
    p.allowed_token_count = 1;
    assert_int_equal(sampling_params_check(&p, VOCABULARY, &note), STATUS_INVALID);
    p = plain;
    p.bans = &(struct token_run){&bad_stop, 1};
    p.ban_count = 1;
    assert_int_equal(sampling_params_check(&p, VOCABULARY, &note), STATUS_INVALID);
    p.bans = &(struct token_run){&bad_stop, 0};
    assert_int_equal(sampling_params_check(&p, VOCABULARY, &note), STATUS_INVALID);
    p = plain;
    p.logprobs = 20;
    p.temperature = 100.0f;
    assert_int_equal(sampling_params_check(&p, VOCABULARY, NULL), STATUS_OK);
}

static void creation_fails_cleanly_when_the_arena_is_small(void **state)
{
    (void)state;
    static int32_t prompt[3000];
    struct sampling_params params = plain;
    params.repetition_penalty = 1.1f;
    for (size_t bytes = 0; bytes <= 4096; bytes += 512) {
        arena *memory;
        sampler *s = NULL;
        assert_int_equal(arena_create(bytes, &memory), STATUS_OK);
        struct sampler_options options = {.params = &params,
                                          .vocabulary = VOCABULARY,
                                          .prompt = prompt,
                                          .prompt_count = 3000,
                                          .output_count_max = 10};
        assert_int_equal(sampler_create(&options, memory, &s), STATUS_NO_MEMORY);
        assert_null(s);
        arena_destroy(memory);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_allowed_tokens_are_drawn_and_logprobs_are_of_the_whole_row),
        cmocka_unit_test(greedy_takes_the_highest_and_of_equals_the_first),
        cmocka_unit_test(the_same_seed_index_and_position_draw_the_same_token),
        cmocka_unit_test(frequencies_follow_the_exact_probabilities),
        cmocka_unit_test(logprobs_are_those_of_the_unmodified_row),
        cmocka_unit_test(a_bias_of_minus_100_bans_a_token),
        cmocka_unit_test(penalties_follow_their_formulas),
        cmocka_unit_test(end_tokens_wait_for_min_tokens),
        cmocka_unit_test(a_broken_row_is_an_error_and_not_a_token),
        cmocka_unit_test(only_allowed_tokens_are_chosen),
        cmocka_unit_test(a_banned_run_is_broken_before_its_last_token),
        cmocka_unit_test(a_forced_token_has_the_log_probability_of_its_row),
        cmocka_unit_test(top_choices_are_excluded_as_often_as_was_asked),
        cmocka_unit_test(filters_and_masks_go_together_and_greedy_ignores_filters),
        cmocka_unit_test(mirostat_brings_the_surprise_to_its_target),
        cmocka_unit_test(repetitions_of_the_prompt_lose_what_their_length_says),
        cmocka_unit_test(loops_are_told_once_there_are_min_tokens),
        cmocka_unit_test(parameters_out_of_range_are_named),
        cmocka_unit_test(creation_fails_cleanly_when_the_arena_is_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
