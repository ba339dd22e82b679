#ifndef PENSTOCK_FAKE_QUEUE_TESTING_H
#define PENSTOCK_FAKE_QUEUE_TESTING_H

#include <stdlib.h>

#include "device_sampling.h"
#include "model.h"
#include "sampler.h"

/* A device with a queue for the made-up model, as lazy as can be: what it is asked to do it does when somebody waits for it, in the
 * order of asking, with copies of all that it was given, and not a moment before. It samples by a sampler of its own that
 * is made anew for each token. */

static bool fake_is_queued; /* set between engines */

enum fake_operation_kind { FAKE_COPY, FAKE_STATE, FAKE_STEP };

struct fake_operation {
    struct fake_operation *next;
    enum fake_operation_kind kind;
    void *owned[16];
    uint32_t owned_count;
    uint32_t count, slot; /* of blocks; of the state */
    const uint32_t *from, *to;
    struct device_sampling_state state;
    struct model_step step;
    uint64_t ticket;
};

#define FAKE_SLOTS_MAX   64u
#define FAKE_OUTPUTS_MAX 4096u

static struct {
    struct fake_operation *first, **end;
    uint64_t launched;
    struct device_sample_result results[FAKE_SLOTS_MAX];
    struct {
        struct fake_operation *given; /* holds the arrays of its state */
        int32_t outputs[FAKE_OUTPUTS_MAX];
        uint32_t output_count;
    } slots[FAKE_SLOTS_MAX];
} fake_queue;

/* A copy that lives as long as the operation. */
static inline const void *fake_keep(struct fake_operation *o, const void *data, size_t count,
                                    size_t bytes)
{
    if (data == NULL || count == 0)
        return NULL;
    CHECK(o->owned_count < ARRAY_COUNT(o->owned));
    void *copy = malloc(count * bytes);
    CHECK(copy != NULL);
    memcpy(copy, data, count * bytes);
    return o->owned[o->owned_count++] = copy;
}

static inline void fake_operation_free(struct fake_operation *o)
{
    for (uint32_t i = 0; o != NULL && i < o->owned_count; i++)
        free(o->owned[i]);
    free(o);
}

static inline struct fake_operation *fake_ask(enum fake_operation_kind kind)
{
    struct fake_operation *o = calloc(1, sizeof *o);
    CHECK(o != NULL);
    o->kind = kind;
    if (fake_queue.first == NULL)
        fake_queue.end = &fake_queue.first;
    *fake_queue.end = o;
    fake_queue.end = &o->next;
    return o;
}

/* Forgets all, as at the end of a device. */
static inline void fake_queue_clear(void)
{
    while (fake_queue.first != NULL) {
        struct fake_operation *o = fake_queue.first;
        fake_queue.first = o->next;
        fake_operation_free(o);
    }
    for (uint32_t i = 0; i < FAKE_SLOTS_MAX; i++) {
        fake_operation_free(fake_queue.slots[i].given);
        fake_queue.slots[i].given = NULL;
    }
}

static inline void fake_ask_copy(const uint32_t *from, const uint32_t *to, uint32_t count)
{
    struct fake_operation *o = fake_ask(FAKE_COPY);
    o->count = count;
    o->from = fake_keep(o, from, count, sizeof *from);
    o->to = fake_keep(o, to, count, sizeof *to);
}

static inline void fake_ask_state(uint32_t slot, const struct device_sampling_state *state)
{
    struct fake_operation *o = fake_ask(FAKE_STATE);
    CHECK(slot < FAKE_SLOTS_MAX);
    o->slot = slot;
    o->state = *state;
    o->state.biases = fake_keep(o, state->biases, state->bias_count, sizeof *state->biases);
    o->state.held = fake_keep(o, state->held, state->held_count, sizeof *state->held);
    o->state.prompt = fake_keep(o, state->prompt, state->prompt_count, sizeof *state->prompt);
    o->state.outputs = fake_keep(o, state->outputs, state->output_count, sizeof *state->outputs);
}

static inline uint64_t fake_ask_step(const struct model_step *step, uint32_t mask_words)
{
    struct fake_operation *o = fake_ask(FAKE_STEP);
    const struct step_batch *b = &step->batch;
    o->step = *step;
    o->step.tokens = fake_keep(o, step->tokens, b->n_rows, sizeof *step->tokens);
    o->step.batch.row_start = fake_keep(o, b->row_start, b->n_sequences + 1, sizeof(uint32_t));
    o->step.batch.row_position = fake_keep(o, b->row_position, b->n_rows, sizeof(uint32_t));
    o->step.batch.row_sequence = fake_keep(o, b->row_sequence, b->n_rows, sizeof(uint32_t));
    o->step.batch.block_tables = fake_keep(
        o, b->block_tables, (size_t)b->n_sequences * b->block_table_stride, sizeof(uint32_t));
    o->step.logit_rows =
        fake_keep(o, step->logit_rows, step->logit_row_count, sizeof *step->logit_rows);
    o->step.adapters = fake_keep(o, step->adapters, b->n_sequences, sizeof *step->adapters);
    o->step.samples = fake_keep(o, step->samples, step->sample_count, sizeof *step->samples);
    o->step.masks =
        fake_keep(o, step->masks, (size_t)step->mask_count * mask_words, sizeof *step->masks);
    return o->ticket = ++fake_queue.launched;
}

static inline void fake_set_state(struct fake_operation *o)
{
    fake_operation_free(fake_queue.slots[o->slot].given);
    fake_queue.slots[o->slot].given = o;
    fake_queue.slots[o->slot].output_count = o->state.output_count;
    CHECK(o->state.output_count <= FAKE_OUTPUTS_MAX);
    if (o->state.output_count > 0)
        memcpy(fake_queue.slots[o->slot].outputs, o->state.outputs,
               o->state.output_count * sizeof *o->state.outputs);
}

/* What the client must have wished for. */
static inline struct sampling_params fake_params(const struct device_sample *sample,
                                                 const struct device_sampling_state *state,
                                                 struct logit_bias *biases)
{
    for (uint32_t i = 0; i < state->bias_count; i++)
        biases[i] = (struct logit_bias){state->biases[i].token, state->biases[i].bias};
    return (struct sampling_params){
        .temperature = sample->temperature,
        .top_p = sample->top_p,
        .min_p = sample->min_p,
        .top_k = (int32_t)sample->top_k,
        .repetition_penalty = state->repetition_penalty,
        .presence_penalty = state->presence_penalty,
        .frequency_penalty = state->frequency_penalty,
        .seed = sample->seed,
        .biases = biases,
        .bias_count = state->bias_count,
        .logprobs = sample->logprobs,
        .min_tokens = state->min_tokens,
        .ignore_eos = true,
        .stop_tokens = state->held,
        .stop_token_count = state->held_count,
    };
}

static inline status fake_sample_row(const struct device_sample *sample, const uint32_t *mask,
                                     float *row, uint32_t vocabulary, struct sample *out)
{
    static const struct device_sampling_state none = {.repetition_penalty = 1.0f};
    struct logit_bias biases[DEVICE_BIASES_MAX];
    bool has_state = sample->slot != DEVICE_SAMPLE_NONE;
    const struct device_sampling_state *state =
        has_state ? &fake_queue.slots[sample->slot].given->state : &none;
    struct sampling_params params = fake_params(sample, state, biases);
    uint32_t words[64] = {0};
    if (mask != NULL)
        memcpy(words, mask, (vocabulary + 31) / 32 * sizeof *words);
    struct sampler_options options = {.params = &params,
                                      .vocabulary = vocabulary,
                                      .index = sample->index,
                                      .prompt = state->prompt,
                                      .prompt_count = state->prompt_count,
                                      .output_count_max = FAKE_OUTPUTS_MAX,
                                      .allowed = mask != NULL ? words : NULL};
    arena *memory = NULL;
    sampler *s = NULL;
    CHECK(arena_create(1 << 24, &memory) == STATUS_OK);
    CHECK(sampler_create(&options, memory, &s) == STATUS_OK);
    for (uint32_t i = 0; has_state && i < fake_queue.slots[sample->slot].output_count; i++)
        sampler_accept(s, fake_queue.slots[sample->slot].outputs[i]);
    status result = sampler_sample(s, row, sample->position, sample->output_count, out);
    arena_destroy(memory);
    return result;
}

/* Samples what the step asks for of its logits. A device's memory is not ours: its allocations are none of the step thread's. */
static inline void fake_sample(const struct model_step *step, float *logits, uint32_t vocabulary,
                               uint32_t mask_words)
{
    uint32_t guards = 0;
    for (; alloc_guard_is_on(); guards++)
        alloc_guard_end();
    for (uint32_t i = 0; i < step->sample_count; i++) {
        const struct device_sample *sample = &step->samples[i];
        struct device_sample_result *result = &fake_queue.results[i];
        struct sample got = {.token = 0};
        const uint32_t *mask = sample->mask != DEVICE_SAMPLE_NONE
                                   ? step->masks + (size_t)sample->mask * mask_words
                                   : NULL;
        status s = fake_sample_row(sample, mask, logits + (size_t)sample->logit_row * vocabulary,
                                   vocabulary, &got);
        *result = (struct device_sample_result){.token = got.token,
                                                .logprob = got.logprob,
                                                .status = (uint32_t)s,
                                                .alternative_count = got.alternative_count};
        for (uint32_t j = 0; j < got.alternative_count; j++)
            result->alternatives[j] =
                (struct device_alternative){got.alternatives[j].token, got.alternatives[j].logprob};
        if (sample->slot != DEVICE_SAMPLE_NONE) {
            uint32_t n = fake_queue.slots[sample->slot].output_count++;
            CHECK(n < FAKE_OUTPUTS_MAX);
            fake_queue.slots[sample->slot].outputs[n] = got.token;
        }
    }
    for (; guards > 0; guards--)
        alloc_guard_begin();
}

#endif
