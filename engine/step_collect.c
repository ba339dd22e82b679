#include "step_collect.h"

#include "clock.h"
#include "embeddings.h"
#include "load_totals.h"
#include "prompt_scores.h"
#include "step_ends.h"
#include "step_figures.h"
#include "step_flight.h"
#include "step_sampling.h"

/* Appends a sampled token, ends the sequence if it is time, and tells the publisher. `own_finish`: what else than end tokens
 * and its length ends it now. */
static void take_sample(engine *e, struct sequence *s, const struct sample *sample,
                        enum finish_reason own_finish, uint64_t now_ns)
{
    struct live_request *r = (struct live_request *)s->request;
    uint32_t index = s->index;
    batcher_append(e->batch, s, sample->token);
    load_totals_note_token(e, r, now_ns);
    bool ends = sampler_token_ends(r->samplers[index], sample->token);
    enum finish_reason finish = own_finish;
    if (ends)
        finish = FINISH_STOP;
    else if (finish != FINISH_STOP && s->output_count == s->output_count_max)
        finish = FINISH_LENGTH;
    if (finish != FINISH_NONE)
        leave_batch(e, s);
    struct token_message *m = message_start(e, r, index);
    m->has_token = true;
    m->sample = *sample;
    m->predicted_count = s->lookup != NULL ? prompt_lookup_predicted_count(s->lookup) : 0;
    m->finish = finish;
    m->stop_token = ends ? sample->token : -1;
    m->time_ns = now_ns;
    message_send(e, m);
}

static bool is_broken(const engine *e, const struct step_sample *sample, uint32_t number)
{
    return sample->sequence != NULL && e->step.sample_results[number].status != STATUS_OK;
}

/* Ends the requests whose row was broken, or left no token. Several sequences may be of one request: all are held first, so that none is
 * freed by its last message while the loop still looks at it. */
static void end_broken(engine *e, const struct step_sample *samples, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (is_broken(e, &samples[i], i))
            live_request_retain((struct live_request *)samples[i].sequence->request);
    }
    for (uint32_t i = 0; i < count; i++) {
        if (!is_broken(e, &samples[i], i))
            continue;
        struct live_request *r = (struct live_request *)samples[i].sequence->request;
        status why = e->step.sample_results[i].status;
        if (r->batch.live_count > 0 && why == STATUS_INTERNAL)
            engine_metrics_corrupted(e->metrics);
        end_request(e, r, FINISH_ERROR, why);
        live_request_release(r);
    }
}

/* Ends the requests whose prompts could not be scored. */
static void end_unscored(engine *e)
{
    struct live_request *r;
    while ((r = prompt_scores_pop_broken(e)) != NULL) {
        if (r->batch.live_count > 0)
            engine_metrics_corrupted(e->metrics);
        end_request(e, r, FINISH_ERROR, STATUS_INTERNAL);
        live_request_release(r);
    }
}

/* Ends the requests whose prompts are all that was wanted, and are computed. Before any other request of the plan may be
 * freed. */
static void end_prompt_only(engine *e, const struct step_plan *plan)
{
    for (uint32_t i = 0; i < plan->entry_count; i++) {
        const struct step_entry *entry = &plan->entries[i];
        struct sequence *s = entry->sequence;
        if (s == NULL || !s->request->is_prompt_only)
            continue;
        embeddings_note(entry);
        if (!step_entry_reaches_end(entry))
            continue;
        status made = embeddings_finish((struct live_request *)s->request);
        if (made != STATUS_OK)
            engine_metrics_corrupted(e->metrics);
        end_sequence(e, s, made == STATUS_OK ? FINISH_STOP : FINISH_ERROR, made);
    }
}

static void take_samples(engine *e, const struct step_sample *samples, uint32_t count,
                         uint64_t now_ns)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct sample_result *result = &e->step.sample_results[i];
        if (samples[i].sequence == NULL)
            continue;
        note_drafts(e, &samples[i], result);
        /* The last of them may end the sequence, and the request with it. */
        for (uint32_t j = 0; j < result->count; j++)
            take_sample(e, samples[i].sequence, &e->step.results[result->first + j],
                        j + 1 == result->count ? result->finish : FINISH_NONE, now_ns);
    }
    end_broken(e, samples, count);
}

status step_collect(engine *e)
{
    struct model_result result;
    struct step_flight *f = step_flights_pop(e);
    uint64_t begin_ns = clock_now_ns();
    status s = model_collect(e->model, f->ticket, &result);
    f->device_wait_ns = 0;
    if (e->device_samples) {
        f->device_wait_ns = clock_now_ns() - begin_ns;
        atomic_fetch_add_explicit(&e->stats.device_wait_ns, f->device_wait_ns,
                                  memory_order_relaxed);
    }
    if (s == STATUS_OK) {
        prompt_scores_compute(e, &f->plan, result.logits);
        sample_rows(e, f, &result);
        uint64_t end_ns = clock_now_ns();
        note_step_time(e, f, end_ns);
        end_prompt_only(e, &f->plan);
        take_samples(e, f->samples, f->sample_count, end_ns);
        end_unscored(e);
    }
    step_flight_finish(f);
    return s;
}
