#include "load_totals.h"

/* The step thread is the only writer, so that no locked instruction is needed. */
static void add(_Atomic uint64_t *total, uint64_t amount)
{
    uint64_t before = atomic_load_explicit(total, memory_order_relaxed);
    atomic_store_explicit(total, before + amount, memory_order_relaxed);
}

void load_totals_note_step(engine *e, const struct step_plan *plan)
{
    uint64_t kv_tokens = 0;
    for (uint32_t i = 0; i < plan->entry_count; i++)
        kv_tokens += plan->entries[i].first + plan->entries[i].count;
    add(&e->totals.prefill_tokens, plan->row_count - plan->decode_count - plan->draft_count);
    add(&e->totals.kv_tokens, kv_tokens);
}

/* Tokens that the request was given here: not those that it has brought along. */
static uint64_t output_count(const struct live_request *r)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < r->batch.sequence_count; i++)
        count += r->batch.sequences[i].output_count -
                 (r->caller->past != NULL ? r->caller->past[i].count : 0);
    return count;
}

void load_totals_note_ended(engine *e, const struct live_request *r)
{
    uint64_t outputs = output_count(r);
    if (r->admitted_ns == 0)
        return;
    add(&e->totals.requests, 1);
    add(&e->totals.prompt_tokens, r->batch.prompt_count);
    add(&e->totals.cached_tokens, r->batch.cached_tokens);
    add(&e->totals.output_tokens, outputs);
    add(&e->totals.output_squares, outputs * outputs);
}

void load_totals_note_token(engine *e, const struct live_request *r, uint64_t now_ns)
{
    if (atomic_load_explicit(&e->totals.first_token_ns, memory_order_relaxed) != 0)
        return;
    atomic_store_explicit(&e->totals.first_submitted_ns, r->submitted_ns, memory_order_relaxed);
    atomic_store_explicit(&e->totals.first_token_ns, now_ns, memory_order_relaxed);
}
