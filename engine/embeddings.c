#include "embeddings.h"

#include <math.h>

static struct live_request *request_of(const struct step_entry *entry)
{
    return (struct live_request *)entry->sequence->request;
}

/* The first of the entry's rows that is wanted. */
static uint32_t first_wanted(const struct step_entry *entry)
{
    const struct live_request *r = request_of(entry);
    if (r->caller->pooling == EMBEDDING_LAST)
        return step_entry_reaches_end(entry) ? entry->count - 1 : entry->count;
    uint32_t seen = r->hidden_count > entry->first ? r->hidden_count - entry->first : 0;
    return seen < entry->count ? seen : entry->count;
}

void embeddings_ask(engine *e, const struct step_plan *plan, struct model_step *step)
{
    struct step_buffers *b = &e->step;
    uint32_t count = 0;
    for (uint32_t i = 0; i < plan->entry_count; i++) {
        const struct step_entry *entry = &plan->entries[i];
        if (!entry->sequence->request->is_prompt_only)
            continue;
        for (uint32_t j = first_wanted(entry); j < entry->count; j++, count++) {
            b->hidden_rows[count] = b->row_start[i] + j;
            b->hidden_sums[count] = request_of(entry)->hidden;
        }
    }
    step->hidden_rows = b->hidden_rows;
    step->hidden_sums = b->hidden_sums;
    step->hidden_row_count = count;
}

void embeddings_note(const struct step_entry *entry)
{
    struct live_request *r = request_of(entry);
    uint32_t end = entry->first + entry->count;
    r->hidden_count = end > r->hidden_count ? end : r->hidden_count;
}

status embeddings_finish(struct live_request *r)
{
    /* Of a sum and a mean the direction is the same, and that is all an embedding keeps. */
    uint32_t width = r->engine->info.width;
    double squares = 0.0;
    for (uint32_t c = 0; c < width; c++)
        squares += r->hidden[c] * r->hidden[c];
    if (!isfinite(squares) || squares == 0.0)
        return STATUS_INTERNAL;
    double length = sqrt(squares);
    for (uint32_t c = 0; c < width; c++)
        r->caller->embedding[c] = (float)(r->hidden[c] / length);
    return STATUS_OK;
}
