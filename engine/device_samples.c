#include "device_samples.h"

#include <string.h>

#include "sampling_rules.h"

_Static_assert(LOGPROBS_MAX <= DEVICE_ALTERNATIVES_MAX, "or alternatives would be lost");

/* --- what a request wants --- */

/* Nothing of it is for rules that only the host knows. */
static bool is_for_device(const struct live_request *r)
{
    const struct sampling_params *p = &r->caller->sampling;
    return r->reasoning == NULL && !sampling_has_filters(p) && !sampling_has_dry(p) &&
           p->ban_count == 0 && p->bias_count <= DEVICE_BIASES_MAX;
}

static uint32_t mask_words(const engine *e)
{
    return (e->info.vocabulary + 31) / 32;
}

/* Tokens that are held back until min_tokens. */
static status make_held(const engine *e, struct live_request *r)
{
    const struct sampling_params *p = &r->caller->sampling;
    struct device_sampling_state *state = &r->device_wishes->state;
    uint32_t ends = p->ignore_eos ? 0 : e->end_token_count;
    if (p->min_tokens == 0)
        return STATUS_OK;
    int32_t *held = arena_allocate_array(r->memory, ends + p->stop_token_count, sizeof *held);
    if (held == NULL)
        return STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < ends; i++)
        held[i] = e->end_tokens[i];
    for (uint32_t i = 0; i < p->stop_token_count; i++)
        held[ends + i] = p->stop_tokens[i];
    state->min_tokens = p->min_tokens;
    state->held = held;
    state->held_count = ends + p->stop_token_count;
    return STATUS_OK;
}

static status make_biases(struct live_request *r)
{
    const struct sampling_params *p = &r->caller->sampling;
    struct device_sampling_state *state = &r->device_wishes->state;
    if (p->bias_count == 0)
        return STATUS_OK;
    struct device_logit_bias *biases =
        arena_allocate_array(r->memory, p->bias_count, sizeof *biases);
    if (biases == NULL)
        return STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < p->bias_count; i++)
        biases[i] = (struct device_logit_bias){p->biases[i].token, p->biases[i].bias};
    state->biases = biases;
    state->bias_count = p->bias_count;
    return STATUS_OK;
}

static status make_allowed(const engine *e, struct live_request *r)
{
    const struct sampling_params *p = &r->caller->sampling;
    if (p->allowed_token_count == 0)
        return STATUS_OK;
    uint32_t *words = arena_allocate_array(r->memory, mask_words(e), sizeof *words);
    if (words == NULL)
        return STATUS_NO_MEMORY;
    sampling_allow_tokens(p, words);
    r->device_wishes->allowed = words;
    return STATUS_OK;
}

status device_wishes_create(engine *e, struct live_request *r)
{
    const struct sampling_params *p = &r->caller->sampling;
    if (!e->device_samples || !is_for_device(r))
        return STATUS_OK;
    r->device_wishes = arena_allocate(r->memory, sizeof *r->device_wishes);
    if (r->device_wishes == NULL)
        return STATUS_NO_MEMORY;
    struct device_sampling_state *state = &r->device_wishes->state;
    state->repetition_penalty = p->repetition_penalty;
    state->presence_penalty = p->presence_penalty;
    state->frequency_penalty = p->frequency_penalty;
    if (p->repetition_penalty != 1.0f) {
        state->prompt = r->batch.prompt;
        state->prompt_count = r->batch.prompt_count;
    }
    status s = make_held(e, r);
    if (s == STATUS_OK)
        s = make_biases(r);
    if (s == STATUS_OK)
        s = make_allowed(e, r);
    r->device_wishes->has_state =
        sampling_has_penalties(p) || state->bias_count > 0 || state->held_count > 0;
    return s;
}

/* --- what a step asks for --- */

/* Writes the mask of the sample's next token. False: the grammar's cannot be had, and the host will say why. */
static bool fill_mask(engine *e, struct live_request *r, uint32_t index, uint32_t *out)
{
    const uint32_t *chosen = r->device_wishes->allowed;
    const uint32_t *allowed = NULL;
    if (r->grammar != NULL) {
        struct constraint *c = &r->constraints[index];
        if (grammar_matcher_fill(c->matcher, c->allowed) != STATUS_OK)
            return false;
        allowed = c->allowed;
    }
    for (uint32_t i = 0; i < mask_words(e); i++)
        out[i] =
            (chosen != NULL ? chosen[i] : UINT32_MAX) & (allowed != NULL ? allowed[i] : UINT32_MAX);
    return true;
}

/* Gives the sequence's slot its wishes and its outputs, all of which are known: it has just got the slot, or the host has
 * sampled for it until now. */
static status set_state(engine *e, struct live_request *r, struct sequence *s)
{
    struct device_sampling_state state = r->device_wishes->state;
    if (!r->device_wishes->has_state || s->has_slot_state)
        return STATUS_OK;
    CHECK(s->unknown_count == 0);
    state.outputs = s->outputs;
    state.output_count = s->output_count;
    s->has_slot_state = true;
    return model_set_sampling(e->model, s->slot, &state);
}

static struct device_sample sample_of(const struct live_request *r, const struct sequence *s,
                                      uint32_t logit_row)
{
    const struct sampling_params *p = &r->caller->sampling;
    return (struct device_sample){
        .logit_row = logit_row,
        .slot = r->device_wishes->has_state ? s->slot : DEVICE_SAMPLE_NONE,
        .mask = DEVICE_SAMPLE_NONE,
        .index = s->index,
        .position = sequence_token_count(s),
        .output_count = s->output_count + s->unknown_count,
        .top_k = p->top_k > 0 ? (uint32_t)p->top_k : 0,
        .logprobs = p->logprobs,
        .seed = p->seed,
        .temperature = p->temperature,
        .top_p = p->top_p,
        .min_p = p->min_p,
    };
}

/* Adds the sample to those of the device; true: it is one of them. */
static bool ask_device(engine *e, const struct step_sample *sample, struct model_step *step,
                       status *result)
{
    struct step_buffers *b = &e->step;
    struct sequence *s = sample->sequence;
    struct live_request *r = (struct live_request *)s->request;
    if (r->device_wishes == NULL || sample->draft_count > 0)
        return false;
    struct device_sample own = sample_of(r, s, sample->logit_row);
    if (r->grammar != NULL || r->device_wishes->allowed != NULL) {
        if (!fill_mask(e, r, s->index, b->masks + (size_t)step->mask_count * mask_words(e)))
            return false;
        own.mask = step->mask_count++;
    }
    *result = set_state(e, r, s);
    b->device_samples[step->sample_count++] = own;
    return true;
}

/* The logits that somebody on the host reads: of prompts that are scored, and of samples that are not the device's. */
static void ask_rows(engine *e, const struct step_flight *f, struct model_step *step)
{
    struct step_buffers *b = &e->step;
    const struct step_plan *plan = &f->plan;
    memset(b->is_host_row, 0, plan->logit_row_count * sizeof *b->is_host_row);
    for (uint32_t i = 0; i < plan->entry_count; i++)
        for (uint32_t j = 0; j < plan->entries[i].score_count; j++)
            b->is_host_row[plan->entries[i].score_row + j] = true;
    for (uint32_t i = 0; i < f->sample_count; i++)
        for (uint32_t j = 0; j <= f->samples[i].draft_count; j++)
            if (f->device_numbers[i] == DEVICE_SAMPLE_NONE)
                b->is_host_row[f->samples[i].logit_row + j] = true;
    for (uint32_t row = 0; row < plan->logit_row_count; row++)
        if (b->is_host_row[row])
            b->host_rows[step->host_row_count++] = row;
    step->host_rows = b->host_rows;
}

status device_samples_ask(engine *e, struct step_flight *f, struct model_step *step)
{
    status s = STATUS_OK;
    for (uint32_t i = 0; i < f->sample_count && s == STATUS_OK; i++) {
        uint32_t number = step->sample_count;
        if (ask_device(e, &f->samples[i], step, &s))
            f->device_numbers[i] = number;
        else /* what the device has counted for the slot is of no use any more */
            f->samples[i].sequence->has_slot_state = false;
    }
    ask_rows(e, f, step);
    step->samples = e->step.device_samples;
    step->masks = e->step.masks;
    return s;
}

/* --- what comes of it --- */

status device_sample_read(const struct device_sample_result *result, struct sample *out)
{
    if (result->status != STATUS_OK)
        return (status)result->status;
    out->token = result->token;
    out->logprob = result->logprob;
    out->alternative_count = result->alternative_count;
    for (uint32_t i = 0; i < result->alternative_count; i++)
        out->alternatives[i] =
            (struct token_logprob){result->alternatives[i].token, result->alternatives[i].logprob};
    return STATUS_OK;
}
