#include "step_sampling.h"

#include "device_samples.h"

/* From rows of logits to tokens. What a device has sampled is only read; all else that hangs on a token is the same. */

struct sample_work {
    engine *e;
    const struct step_flight *flight;
    float *logits;
    const struct device_sample_result *device_results;
};

/* Moves the grammar on by a token that does not end the sequence. False: nothing can follow, or it failed. */
static bool follow_grammar(struct constraint *c, int32_t token, struct sample_result *result)
{
    status s = grammar_matcher_accept(c->matcher, token);
    if (s != STATUS_OK) {
        /* The token was allowed: only room can be lacking. It does not count. */
        result->status = s;
        result->count--;
        return false;
    }
    if (grammar_matcher_is_finished(c->matcher))
        result->finish = FINISH_STOP;
    return result->finish == FINISH_NONE;
}

/* The token that has to come next because the reasoning has had its tokens; -1: none has to. */
static int32_t forced_token(struct live_request *r, uint32_t index)
{
    int32_t token = r->reasoning != NULL ? reasoning_watch_forced(&r->reasoning[index]) : -1;
    if (token < 0 || r->grammar == NULL ||
        (r->constraints[index].allowed[token / 32] >> token % 32 & 1) != 0)
        return token;
    reasoning_watch_refuse(&r->reasoning[index]);
    return -1;
}

/* The token `ahead` tokens behind a sequence's last known one, from its row of logits. */
static status sample_token(struct live_request *r, const struct sequence *s, uint32_t ahead,
                           float *row, struct sample *out)
{
    sampler *own = r->samplers[s->index];
    int32_t forced = forced_token(r, s->index);
    if (forced >= 0)
        return sampler_force(own, row, forced, out);
    return sampler_sample(own, row, sequence_known_count(s) + ahead, s->output_count + ahead, out);
}

/* The token became part of the output. */
static void accept_token(const engine *e, struct live_request *r, uint32_t index, int32_t token)
{
    sampler_accept(r->samplers[index], token);
    if (r->reasoning != NULL)
        reasoning_watch_accept(&r->reasoning[index], tokenizer_piece(e->tokens, token, true));
}

/* The next token of a sample that the host chooses. */
static status choose_token(const struct sample_work *work, const struct step_sample *sample,
                           uint32_t ahead, struct sample *out)
{
    const struct sequence *s = sample->sequence;
    struct live_request *r = (struct live_request *)s->request;
    float *row = work->logits + (size_t)(sample->logit_row + ahead) * work->e->info.vocabulary;
    status result = STATUS_OK;
    if (r->grammar != NULL) {
        struct constraint *c = &r->constraints[s->index];
        result = grammar_matcher_fill(c->matcher, c->allowed);
    }
    return result == STATUS_OK ? sample_token(r, s, ahead, row, out) : result;
}

/* The tokens of one sample: as long as the token is the draft, the next row is that of the text to come. */
static void sample_tokens(const struct sample_work *work, uint32_t number,
                          struct sample_result *result)
{
    engine *e = work->e;
    const struct step_sample *sample = &work->flight->samples[number];
    const struct sequence *s = sample->sequence;
    struct live_request *r = (struct live_request *)s->request;
    struct constraint *constraint = r->grammar != NULL ? &r->constraints[s->index] : NULL;
    uint32_t device_number = work->flight->device_numbers[number];
    for (uint32_t i = 0; i <= sample->draft_count; i++) {
        struct sample *out = &e->step.results[result->first + i];
        result->status = device_number != DEVICE_SAMPLE_NONE
                             ? device_sample_read(&work->device_results[device_number], out)
                             : choose_token(work, sample, i, out);
        if (result->status != STATUS_OK)
            return;
        accept_token(e, r, s->index, out->token);
        result->count++;
        if (sampler_token_ends(r->samplers[s->index], out->token) ||
            (constraint != NULL && !follow_grammar(constraint, out->token, result)))
            return;
        if (sampler_output_loops(r->samplers[s->index]))
            result->finish = FINISH_REPETITION;
        if (result->finish != FINISH_NONE || i == sample->draft_count ||
            out->token != sample->drafts[i])
            return;
    }
}

/* All samples of one logit row, one after the other: a sampler changes the row while it looks at it. */
static void sample_row(void *context, uint32_t task)
{
    struct sample_work *work = context;
    struct step_buffers *b = &work->e->step;
    for (uint32_t i = b->task_first[task]; i < b->task_first[task + 1]; i++)
        if (work->flight->samples[i].sequence != NULL)
            sample_tokens(work, i, &b->sample_results[i]);
}

void sample_rows(engine *e, const struct step_flight *flight, const struct model_result *result)
{
    const struct step_sample *samples = flight->samples;
    uint32_t tasks = 0;
    uint32_t result_count = 0;
    for (uint32_t i = 0; i < flight->sample_count; i++) {
        if (i == 0 || samples[i].logit_row != samples[i - 1].logit_row)
            e->step.task_first[tasks++] = i;
        e->step.sample_results[i] =
            (struct sample_result){.first = result_count, .count = 0, .status = STATUS_OK};
        result_count += 1 + samples[i].draft_count;
    }
    e->step.task_first[tasks] = flight->sample_count;
    /* The model's own buffer, ours until the next step; samplers leave it as it was. */
    struct sample_work work = {e, flight, (float *)(uintptr_t)result->logits, result->samples};
    if (tasks > 0)
        e->device->operations->parallel_for(e->device, tasks, sample_row, &work);
}
