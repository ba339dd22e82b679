#include "prompt_scores.h"

struct score_work {
    engine *e;
    const float *logits;
};

static void score_row(void *context, uint32_t index)
{
    const struct score_work *work = context;
    struct score_task *task = &work->e->step.score_tasks[index];
    const struct engine_request *caller = task->request->caller;
    const float *row = work->logits + (size_t)task->logit_row * work->e->info.vocabulary;
    uint32_t width = caller->prompt_alternative_count;
    struct token_logprob *alternatives = NULL;
    if (width > 0)
        alternatives = caller->prompt_alternatives + (size_t)task->position * width;
    task->status = row_score_token(row, work->e->info.vocabulary, caller->prompt[task->position],
                                   width, &caller->prompt_scores[task->position], alternatives);
}

void prompt_scores_compute(engine *e, const struct step_plan *plan, const float *logits)
{
    struct step_buffers *b = &e->step;
    uint32_t count = 0;
    for (uint32_t i = 0; i < plan->entry_count && count < plan->score_count; i++) {
        const struct step_entry *entry = &plan->entries[i];
        for (uint32_t j = 0; j < entry->score_count; j++)
            b->score_tasks[count++] =
                (struct score_task){.request = (struct live_request *)entry->sequence->request,
                                    .position = entry->first + j + 1, /* the row's next token */
                                    .logit_row = entry->score_row + j};
    }
    struct score_work work = {e, logits};
    if (count > 0)
        e->device->operations->parallel_for(e->device, count, score_row, &work);
    b->broken_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct live_request *r = b->score_tasks[i].request;
        if (b->score_tasks[i].status == STATUS_OK ||
            (b->broken_count > 0 && b->broken[b->broken_count - 1] == r))
            continue;
        live_request_retain(r);
        b->broken[b->broken_count++] = r;
    }
}

struct live_request *prompt_scores_pop_broken(engine *e)
{
    struct step_buffers *b = &e->step;
    return b->broken_count > 0 ? b->broken[--b->broken_count] : NULL;
}
