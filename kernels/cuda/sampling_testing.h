#ifndef PENSTOCK_CUDA_SAMPLING_TESTING_H
#define PENSTOCK_CUDA_SAMPLING_TESTING_H

/* Samples on the device and on the host's sampler, side by side. */

#include <math.h>
#include <stdlib.h>

#include "arena.h"
#include "device_testing.h"
#include "philox.h"
#include "row_draw.h"
#include "row_math.h"
#include "sampler.h"
#include "sampling.h"

#define PAIR_SAMPLES_MAX 64u
#define PAIR_OUTPUTS_MAX 100u

static const struct sampling_params plain_params = {
    .temperature = 1.0f, .top_p = 1.0f, .repetition_penalty = 1.0f, .seed = 42, .logprobs = -1};

/* One sequence, as the host's sampler and as the device's sample. */
struct pair {
    struct sampling_params params;
    sampler *host;
    struct device_sample sample;
    uint32_t output_count;
};

struct pairs {
    struct device_rig device;
    arena *memory;
    uint32_t vocabulary, row_count, count;
    float *logits; /* [row_count, vocabulary], the test's */
    struct pair pairs[PAIR_SAMPLES_MAX];
    uint32_t masks[4][1024];
    uint32_t mask_count;
    struct sampling_slot *slots; /* device */
    struct device_sample_result results[PAIR_SAMPLES_MAX];
    int32_t tokens[PAIR_SAMPLES_MAX];
};

static inline void pairs_open(struct pairs *t)
{
    memset(t, 0, sizeof *t);
    device_rig_open(&t->device);
}

/* Forgets all samples; the next ones are of rows of `vocabulary`. */
static inline void pairs_begin(struct pairs *t, float *logits, uint32_t row_count,
                               uint32_t vocabulary)
{
    device_rig_clear(&t->device);
    arena_destroy(t->memory);
    assert_int_equal(arena_create(64 << 20, &t->memory), STATUS_OK);
    t->vocabulary = vocabulary;
    t->row_count = row_count;
    t->logits = logits;
    t->count = t->mask_count = 0;
    t->slots = device_rig_room(&t->device, PAIR_SAMPLES_MAX * sizeof *t->slots);
}

static inline void pairs_close(struct pairs *t)
{
    arena_destroy(t->memory);
    device_rig_close(&t->device);
}

/* A new mask of tokens, all bits clear. */
static inline uint32_t pairs_mask(struct pairs *t)
{
    assert_true(t->mask_count < 4 && t->vocabulary <= 32 * 1024);
    memset(t->masks[t->mask_count], 0, sizeof t->masks[0]);
    return t->mask_count++;
}

static inline struct pair *pairs_add(struct pairs *t, const struct sampling_params *params,
                                     uint32_t row, uint32_t position)
{
    assert_true(t->count < PAIR_SAMPLES_MAX);
    struct pair *p = &t->pairs[t->count++];
    *p = (struct pair){.params = *params};
    p->sample = (struct device_sample){
        .logit_row = row,
        .slot = DEVICE_SAMPLE_NONE,
        .mask = DEVICE_SAMPLE_NONE,
        .index = t->count % 3,
        .position = position,
        .top_k = params->top_k > 0 ? (uint32_t)params->top_k : 0,
        .logprobs = params->logprobs,
        .seed = params->seed,
        .temperature = params->temperature,
        .top_p = params->top_p,
        .min_p = params->min_p,
    };
    return p;
}

static const int32_t pair_end_tokens[] = {3, 17};

/* Creates the host's sampler, after the mask is filled. */
static inline void pairs_prepare(struct pairs *t, struct pair *p, const int32_t *prompt,
                                 uint32_t prompt_count)
{
    bool has_mask = p->sample.mask != DEVICE_SAMPLE_NONE;
    struct error_note note;
    assert_int_equal(sampling_params_check(&p->params, t->vocabulary, &note), STATUS_OK);
    struct sampler_options options = {.params = &p->params,
                                      .vocabulary = t->vocabulary,
                                      .index = p->sample.index,
                                      .prompt = prompt,
                                      .prompt_count = prompt_count,
                                      .output_count_max = PAIR_OUTPUTS_MAX,
                                      .end_tokens = pair_end_tokens,
                                      .end_token_count = 2,
                                      .allowed = has_mask ? t->masks[p->sample.mask] : NULL};
    assert_int_equal(sampler_create(&options, t->memory, &p->host), STATUS_OK);
}

static inline const void *put_array(struct pairs *t, const void *array, uint64_t bytes)
{
    return bytes > 0 ? device_rig_put(&t->device, array, bytes) : NULL;
}

/* Gives the sequence a slot on the device with all that its parameters wish. */
static inline void pairs_set_state(struct pairs *t, struct pair *p, const int32_t *prompt,
                                   uint32_t prompt_count, const int32_t *outputs,
                                   uint32_t output_count)
{
    uint32_t slot = (uint32_t)(p - t->pairs);
    p->sample.slot = slot;
    p->sample.output_count = p->output_count = output_count;
    struct device_logit_bias biases[DEVICE_BIASES_MAX];
    for (uint32_t i = 0; i < p->params.bias_count; i++)
        biases[i] = (struct device_logit_bias){p->params.biases[i].token, p->params.biases[i].bias};
    struct sampling_state_args args = {
        .slot = t->slots + slot,
        .words = device_rig_room(&t->device, t->vocabulary * sizeof(uint32_t)),
        .biases = device_rig_room(&t->device, sizeof biases),
        .vocabulary = t->vocabulary,
        .state = {.repetition_penalty = p->params.repetition_penalty,
                  .presence_penalty = p->params.presence_penalty,
                  .frequency_penalty = p->params.frequency_penalty,
                  .min_tokens = p->params.min_tokens,
                  .biases = put_array(t, biases, p->params.bias_count * sizeof biases[0]),
                  .bias_count = p->params.bias_count,
                  .held = put_array(t, pair_end_tokens, sizeof pair_end_tokens),
                  .held_count = 2,
                  .prompt = put_array(t, prompt, prompt_count * sizeof *prompt),
                  .prompt_count = prompt_count,
                  .outputs = put_array(t, outputs, output_count * sizeof *outputs),
                  .output_count = output_count}};
    sampling_state_launch(t->device.stream, &args);
}

/* One launch with all samples. */
static inline void pairs_sample_on_device(struct pairs *t)
{
    struct device_sample samples[PAIR_SAMPLES_MAX];
    for (uint32_t i = 0; i < t->count; i++)
        samples[i] = t->pairs[i].sample;
    uint64_t row_bytes = t->vocabulary * sizeof(float);
    uint32_t words = (t->vocabulary + 31) / 32;
    uint32_t *masks = device_rig_room(&t->device, (t->mask_count * words + 1) * sizeof *masks);
    for (uint32_t m = 0; m < t->mask_count; m++)
        device_copy_to_device(t->device.stream, masks + m * words, t->masks[m],
                              words * sizeof *masks);
    struct sampling_args args = {
        .logits = device_rig_put(&t->device, t->logits, t->row_count * row_bytes),
        .vocabulary = t->vocabulary,
        .samples = device_rig_put(&t->device, samples, t->count * sizeof *samples),
        .sample_count = t->count,
        .slots = t->slots,
        .masks = masks,
        .scratch = device_rig_room(&t->device, sampling_scratch_bytes(t->count, t->vocabulary)),
        .tokens = device_rig_room(&t->device, t->count * sizeof(int32_t)),
        .results = device_rig_room(&t->device, t->count * sizeof(struct device_sample_result)),
    };
    sampling_launch(t->device.stream, &args);
    device_rig_get(&t->device, t->results, args.results, t->count * sizeof t->results[0]);
    device_rig_get(&t->device, t->tokens, args.tokens, t->count * sizeof t->tokens[0]);
}

/* --- the comparison --- */

/* The row that the sample is drawn from, by plain definition, without penalties. */
static inline void wish_row(const struct pairs *t, const struct pair *p, float *row)
{
    memcpy(row, t->logits + (size_t)p->sample.logit_row * t->vocabulary,
           t->vocabulary * sizeof *row);
    if (p->sample.mask == DEVICE_SAMPLE_NONE)
        return;
    const uint32_t *mask = t->masks[p->sample.mask];
    for (uint32_t i = 0; i < t->vocabulary; i++)
        row[i] = (mask[i / 32] >> i % 32 & 1) != 0 ? row[i] : -INFINITY;
}

/* Would the host draw the device's token if its number, or its nucleus, were a millionth off? Only for rows whose wishes are no more
 * than a mask. */
static inline bool is_at_boundary(const struct pairs *t, const struct pair *p, int32_t token)
{
    if (p->sample.slot != DEVICE_SAMPLE_NONE || p->params.temperature <= 0.0f)
        return false;
    float *row = malloc(t->vocabulary * sizeof *row);
    assert_non_null(row);
    wish_row(t, p, row);
    bool is_sound, is_near = false;
    struct draw_rule rule = {.scale = 1.0f / p->params.temperature,
                             .max = row_max(row, t->vocabulary, &is_sound),
                             .top_k = p->sample.top_k,
                             .min_p = p->params.min_p};
    double uniform =
        philox_uniform(p->params.seed, p->sample.index, p->sample.position, PHILOX_TOKEN);
    for (int i = 0; i < 9 && !is_near; i++) {
        rule.uniform = fmin(fmax(uniform + (i % 3 - 1) * 1e-6, 0.0), 1.0 - 1e-9);
        rule.top_p = p->params.top_p;
        if (rule.top_p < 1.0f)
            rule.top_p = fminf(rule.top_p * (1.0f + (float)(i / 3 - 1) * 1e-6f), 1.0f - 6e-8f);
        is_near = (int32_t)row_draw(row, t->vocabulary, &rule) == token;
    }
    free(row);
    return is_near;
}

static inline void assert_close(float a, float b)
{
    if (isnan(a) && isnan(b))
        return;
    assert_float_equal(a, b, 2e-6f * fmaxf(1.0f, fabsf(a)));
}

static inline void assert_same_sample(const struct pairs *t, uint32_t i, const struct sample *host)
{
    const struct device_sample_result *given = &t->results[i];
    const struct pair *p = &t->pairs[i];
    if (given->token != host->token && !is_at_boundary(t, p, given->token))
        fail_msg("sample %u of vocabulary %u (temperature %g, top_k %u, top_p %g, min_p %g, "
                 "position %u): the device gives %d, the host %d",
                 i, t->vocabulary, (double)p->params.temperature, p->sample.top_k,
                 (double)p->params.top_p, (double)p->params.min_p, p->sample.position, given->token,
                 host->token);
    assert_int_equal(t->tokens[i], given->token);
    if (given->token == host->token)
        assert_close(given->logprob, host->logprob);
    assert_int_equal(given->alternative_count, host->alternative_count);
    for (uint32_t a = 0; a < host->alternative_count; a++) {
        assert_int_equal(given->alternatives[a].token, host->alternatives[a].token);
        assert_close(given->alternatives[a].logprob, host->alternatives[a].logprob);
    }
}

/* Samples on both, and compares status, token and log probabilities. The token counts as the sequence's next. */
static inline void pairs_compare(struct pairs *t)
{
    pairs_sample_on_device(t);
    for (uint32_t i = 0; i < t->count; i++) {
        struct pair *p = &t->pairs[i];
        struct sample host = {.token = -1};
        float *row = t->logits + (size_t)p->sample.logit_row * t->vocabulary;
        status s = sampler_sample(p->host, row, p->sample.position, p->output_count, &host);
        assert_int_equal(t->results[i].status, s);
        assert_in_range(t->tokens[i], 0, t->vocabulary - 1);
        if (s != STATUS_OK)
            continue;
        assert_same_sample(t, i, &host);
        sampler_accept(p->host, t->tokens[i]);
        p->output_count++;
    }
}

#endif
