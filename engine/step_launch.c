#include "step_launch.h"

#include <string.h>

#include "adapter_upload.h"
#include "device_samples.h"
#include "embeddings.h"
#include "load_totals.h"
#include "step_figures.h"
#include "step_flight.h"

/* True: some of the rows have an adapter. */
static bool lay_out_rows(engine *e, const struct step_plan *plan, uint32_t stride)
{
    struct step_buffers *b = &e->step;
    uint32_t row = 0;
    bool has_adapters = false;
    for (uint32_t i = 0; i < plan->entry_count; i++) {
        const struct step_entry *entry = &plan->entries[i];
        const struct sequence *s = entry->sequence;
        const engine_adapter *adapter = ((const struct live_request *)s->request)->adapter;
        b->row_start[i] = row;
        b->adapters[i] = adapter != NULL ? adapter->weights : NULL;
        has_adapters |= adapter != NULL;
        if (adapter != NULL)
            adapter_upload_rest(e, adapter->weights);
        memcpy(b->block_tables + (size_t)i * stride, s->table.blocks,
               s->table.count * sizeof *s->table.blocks);
        for (uint32_t j = 0; j < entry->count; j++, row++) {
            b->tokens[row] = step_entry_token(entry, j);
            b->row_position[row] = entry->first + j;
            b->row_sequence[row] = i;
        }
        for (uint32_t j = 0; j < entry->score_count; j++)
            b->logit_rows[entry->score_row + j] = b->row_start[i] + j;
        for (uint32_t j = 0; entry->logit_row != UINT32_MAX && j <= entry->draft_count; j++)
            b->logit_rows[entry->logit_row + j] = row - 1 - entry->draft_count + j;
    }
    b->row_start[plan->entry_count] = row;
    return has_adapters;
}

static void copy_blocks(engine *e, const struct step_plan *plan)
{
    if (plan->save_count > 0)
        model_kv_save_blocks(e->model, plan->save_from, plan->save_to, plan->save_count);
    if (plan->load_count > 0)
        model_kv_load_blocks(e->model, plan->load_from, plan->load_to, plan->load_count);
    for (uint32_t at = 0; at < plan->copy_count;) {
        uint32_t run = step_plan_copy_run(plan, at);
        model_kv_copy_blocks(e->model, plan->copy_from + at, plan->copy_to + at, run);
        at += run;
    }
}

/* Entries of a row of block tables: a device wants the same in every step. */
static uint32_t table_stride(const engine *e, const struct step_plan *plan)
{
    if (model_is_queued(e->model))
        return blocks_for_tokens(e->info.context_max);
    uint32_t stride = 1;
    for (uint32_t i = 0; i < plan->entry_count; i++) {
        uint32_t count = plan->entries[i].sequence->table.count;
        stride = count > stride ? count : stride;
    }
    return stride;
}

/* The plan as the model wants it; what it points to is good until the next one. */
static struct model_step make_step(engine *e, const struct step_plan *plan)
{
    struct step_buffers *b = &e->step;
    uint32_t stride = table_stride(e, plan);
    bool has_adapters = lay_out_rows(e, plan, stride);
    struct model_step step = {
        .tokens = b->tokens,
        .batch = {.n_rows = plan->row_count,
                  .n_sequences = plan->entry_count,
                  .row_start = b->row_start,
                  .row_position = b->row_position,
                  .row_sequence = b->row_sequence,
                  .block_tables = b->block_tables,
                  .block_table_stride = stride},
        .logit_rows = b->logit_rows,
        .logit_row_count = plan->logit_row_count,
        .adapters = has_adapters ? b->adapters : NULL,
    };
    embeddings_ask(e, plan, &step);
    return step;
}

/* Can the next step be planned while nobody knows what this one samples? */
static bool may_wait(const engine *e, const struct step_flight *f, const struct model_step *step)
{
    const struct step_plan *plan = &f->plan;
    if (!model_runs_ahead(e->model) || step->host_row_count > 0 || step->hidden_row_count > 0 ||
        plan->draft_count > 0 || plan->awaits_drafts)
        return false;
    for (uint32_t i = 0; i < f->sample_count; i++)
        if (f->device_numbers[i] == DEVICE_SAMPLE_NONE ||
            ((const struct live_request *)f->samples[i].sequence->request)->grammar != NULL)
            return false;
    return true;
}

/* Takes the samples of the plan that has just been completed. */
static void take_plan_samples(struct step_flight *f, const struct step_sample *samples,
                              uint32_t count)
{
    memcpy(f->samples, samples, count * sizeof *samples);
    f->sample_count = count;
    for (uint32_t i = 0; i < count; i++)
        f->device_numbers[i] = DEVICE_SAMPLE_NONE;
}

status step_launch(engine *e, const struct step_plan *plan, uint64_t now_ns)
{
    note_admissions(e, plan, now_ns);
    load_totals_note_step(e, plan);
    copy_blocks(e, plan);
    struct model_step step = make_step(e, plan);
    struct step_flight *f = step_flights_add(e, plan);
    f->start_ns = now_ns;
    if (step_flights_oldest(e) == f)
        tell_step(e, f, false, now_ns, 0);
    uint32_t sample_count;
    const struct step_sample *samples = batcher_complete(e->batch, &sample_count);
    take_plan_samples(f, samples, sample_count);
    status s = STATUS_OK;
    if (model_is_queued(e->model))
        s = device_samples_ask(e, f, &step);
    if (s == STATUS_OK)
        s = model_launch(e->model, &step, &f->ticket);
    if (s != STATUS_OK)
        return s;
    f->may_wait = may_wait(e, f, &step);
    for (uint32_t i = 0; f->may_wait && i < sample_count; i++)
        batcher_extend(e->batch, f->samples[i].sequence, f->device_numbers[i]);
    return STATUS_OK;
}
