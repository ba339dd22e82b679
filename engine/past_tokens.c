#include "engine_private.h"

#include <math.h>

/* What a request has said elsewhere is said again here, without being computed: every part that looks at the output is given
 * the tokens as it would have been while they were sampled. What a sequence says next is a function of its tokens, its seed,
 * index and position, so it goes on as it would have there. The KV of these tokens is computed as after a preemption. */

/* The parts that choose tokens. */
static status take_choice(engine *e, struct live_request *r, uint32_t index, int32_t token)
{
    struct reasoning_watch *watch = r->reasoning != NULL ? &r->reasoning[index] : NULL;
    if (sampler_token_ends(r->samplers[index], token))
        return STATUS_INVALID;
    if (watch != NULL) {
        int32_t forced = reasoning_watch_forced(watch);
        if (forced >= 0 && forced != token) /* the text's form did not allow it */
            reasoning_watch_refuse(watch);
        reasoning_watch_accept(watch, tokenizer_piece(e->tokens, token, true));
    }
    sampler_accept(r->samplers[index], token);
    if (r->grammar != NULL) {
        grammar_matcher *matcher = r->constraints[index].matcher;
        status s = grammar_matcher_accept(matcher, token);
        if (s != STATUS_OK)
            return s;
        if (grammar_matcher_is_finished(matcher))
            return STATUS_INVALID;
    }
    return sampler_output_loops(r->samplers[index]) ? STATUS_INVALID : STATUS_OK;
}

static status take_token(engine *e, struct live_request *r, uint32_t index, int32_t token)
{
    struct sequence *s = &r->batch.sequences[index];
    status taken = take_choice(e, r, index, token);
    if (taken != STATUS_OK)
        return taken;
    s->outputs[s->output_count++] = token;
    if (s->lookup != NULL)
        prompt_lookup_append(s->lookup);
    struct token_message m = {
        .request = r,
        .index = index,
        .has_token = true,
        .sample = {.token = token, .logprob = NAN},
        .predicted_count = s->lookup != NULL ? prompt_lookup_predicted_count(s->lookup) : 0,
        .finish = FINISH_NONE,
        .stop_token = -1,
    };
    return publisher_take_past(e, &m);
}

status past_tokens_take(engine *e, struct live_request *r)
{
    const struct engine_request *caller = r->caller;
    for (uint32_t i = 0; i < caller->n; i++) {
        for (uint32_t j = 0; j < caller->past[i].count; j++) {
            status s = take_token(e, r, i, caller->past[i].tokens[j]);
            if (s != STATUS_OK)
                return s;
        }
    }
    return STATUS_OK;
}
