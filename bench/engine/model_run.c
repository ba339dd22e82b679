#include "model_run.h"

#include "batcher.h"
#include "check.h"
#include "clock.h"
#include "memory.h"
#include "sampler.h"

#define SAMPLER_BYTES_MAX                                                                          \
    ((size_t)1 << 20) /* of all samplers; a greedy one is some hundred bytes */

struct model_run {
    struct model_run_options options;
    backend *b; /* borrowed */
    model *m;   /* owned */

    /* Arrays of a step; owned. `prompt`: [context_max]; `blocks`: [block_count]. */
    int32_t *tokens, *prompt;
    uint32_t *positions, *sequences, *row_start, *blocks, *logit_rows;
    uint32_t *block_tables; /* owned; [block_count]: sequence s has blocks s * n .. s * n + n - 1 */

    arena *memory;      /* owned; of the samplers */
    sampler **samplers; /* [sequence_count], in `memory` */
    struct sample *samples;
    float *logits; /* of the last step; the model's */
};

/* --- open and close --- */

static bool make_arrays(struct model_run *run)
{
    const struct model_run_options *o = &run->options;
    size_t rows = o->step_tokens > o->sequence_count ? o->step_tokens : o->sequence_count;
    run->tokens = memory_allocate_array(rows, sizeof *run->tokens);
    run->positions = memory_allocate_array(rows, sizeof *run->positions);
    run->sequences = memory_allocate_array(rows, sizeof *run->sequences);
    run->row_start = memory_allocate_array(rows + 1, sizeof *run->row_start);
    run->logit_rows = memory_allocate_array(rows, sizeof *run->logit_rows);
    run->prompt = memory_allocate_array(o->context_max, sizeof *run->prompt);
    run->blocks = memory_allocate_array(o->block_count, sizeof *run->blocks);
    run->block_tables = memory_allocate_array(o->block_count, sizeof *run->block_tables);
    run->samples = memory_allocate_array(o->sequence_count, sizeof *run->samples);
    return run->tokens != NULL && run->positions != NULL && run->sequences != NULL &&
           run->row_start != NULL && run->logit_rows != NULL && run->prompt != NULL &&
           run->blocks != NULL && run->block_tables != NULL && run->samples != NULL;
}

static status make_samplers(struct model_run *run)
{
    status s = arena_create(SAMPLER_BYTES_MAX, &run->memory);
    if (s != STATUS_OK)
        return s;
    uint32_t count = run->options.sequence_count;
    run->samplers = arena_allocate_array(run->memory, count, sizeof *run->samplers);
    if (run->samplers == NULL)
        return STATUS_NO_MEMORY;
    struct sampling_params greedy = {.top_p = 1, .repetition_penalty = 1, .logprobs = -1};
    struct sampler_options options = {
        .params = &greedy, .vocabulary = model_run_info(run)->vocabulary, .output_count_max = 1};
    for (uint32_t i = 0; s == STATUS_OK && i < count; i++)
        s = sampler_create(&options, run->memory, &run->samplers[i]);
    return s;
}

static status open_parts(struct model_run *run, struct error_note *note)
{
    const struct model_run_options *o = &run->options;
    if (!make_arrays(run))
        return STATUS_NO_MEMORY;
    struct model_options options = {
        .batch_tokens_max = o->step_tokens > o->sequence_count ? o->step_tokens : o->sequence_count,
        .logit_rows_max = o->sequence_count,
        .sequence_count_max = o->sequence_count,
        .context_max = o->context_max,
        .kv_blocks = o->block_count,
        .kv_type = o->kv_type};
    status s = model_open(o->source, run->b, &options, &run->m, note);
    return s == STATUS_OK ? make_samplers(run) : s;
}

status model_run_open(backend *b, const struct model_run_options *options, struct model_run **out,
                      struct error_note *note)
{
    CHECK(options->sequence_count > 0 && options->step_tokens > 0);
    CHECK(options->context_max >= KV_BLOCK_TOKENS);
    CHECK((uint64_t)options->block_count * KV_BLOCK_TOKENS > options->context_max);
    struct model_run *run = memory_allocate_array(1, sizeof *run);
    if (run == NULL)
        return STATUS_NO_MEMORY;
    run->options = *options;
    run->b = b;
    status s = open_parts(run, note);
    if (s != STATUS_OK) {
        model_run_close(run);
        return s;
    }
    uint32_t vocabulary = model_run_info(run)->vocabulary;
    for (uint32_t i = 0; i < options->context_max; i++)
        run->prompt[i] = (int32_t)((i * 7919u + 1) % vocabulary); /* any words will do */
    for (uint32_t i = 0; i < options->block_count; i++)
        run->block_tables[i] = i;
    *out = run;
    return STATUS_OK;
}

void model_run_close(struct model_run *run)
{
    if (run == NULL)
        return;
    model_close(run->m);
    arena_destroy(run->memory);
    memory_release(run->samples);
    memory_release(run->block_tables);
    memory_release(run->blocks);
    memory_release(run->prompt);
    memory_release(run->logit_rows);
    memory_release(run->row_start);
    memory_release(run->sequences);
    memory_release(run->positions);
    memory_release(run->tokens);
    memory_release(run);
}

const struct model_info *model_run_info(const struct model_run *run)
{
    return model_get_info(run->m);
}

/* --- one step --- */

/* Computes the rows laid out; logits of the rows in logit_rows. */
static void forward(struct model_run *run, uint32_t row_count, uint32_t sequence_count,
                    const uint32_t *tables, uint32_t stride, uint32_t logit_row_count)
{
    struct model_step step = {.tokens = run->tokens,
                              .batch = {.n_rows = row_count,
                                        .n_sequences = sequence_count,
                                        .row_start = run->row_start,
                                        .row_position = run->positions,
                                        .row_sequence = run->sequences,
                                        .block_tables = tables,
                                        .block_table_stride = stride},
                              .logit_rows = run->logit_rows,
                              .logit_row_count = logit_row_count};
    const float *logits = NULL;
    CHECK(model_forward(run->m, &step, &logits) == STATUS_OK);
    run->logits = (float *)(uintptr_t)logits; /* samplers patch a row and put it back */
}

static void draw_row(void *context, uint32_t row)
{
    struct model_run *run = context;
    float *logits = run->logits + (size_t)row * model_run_info(run)->vocabulary;
    CHECK(sampler_sample(run->samplers[row], logits, 1, 0, &run->samples[row]) == STATUS_OK);
}

static void draw(struct model_run *run, uint32_t row_count)
{
    run->b->operations->parallel_for(run->b, row_count, draw_row, run);
}

/* --- prefill --- */

/* Tokens [first, first + count) of the prompt, as rows of sequence 0. */
static void lay_out_chunk(struct model_run *run, uint32_t first, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        run->tokens[i] = run->prompt[first + i];
        run->positions[i] = first + i;
        run->sequences[i] = 0;
    }
    run->row_start[0] = 0;
    run->row_start[1] = count;
    run->logit_rows[0] = count - 1;
}

static uint64_t prefill_plainly(struct model_run *run, uint32_t tokens, uint32_t *step_count)
{
    uint64_t start_ns = clock_now_ns();
    *step_count = 0;
    for (uint32_t first = 0; first < tokens; ++*step_count) {
        uint32_t left = tokens - first;
        uint32_t count = left < run->options.step_tokens ? left : run->options.step_tokens;
        bool is_last = first + count == tokens;
        lay_out_chunk(run, first, count);
        forward(run, count, 1, run->block_tables, run->options.block_count, is_last ? 1 : 0);
        first += count;
    }
    draw(run, 1);
    return clock_now_ns() - start_ns;
}

/* Runs the batcher's steps until its only request has its first token. */
static uint64_t run_plans(struct model_run *run, batcher *batch, struct sequence *s,
                          uint32_t *step_count)
{
    uint64_t begin_ns = clock_now_ns();
    uint32_t sample_count = 0;
    for (*step_count = 0; sample_count == 0; ++*step_count) {
        uint64_t start_ns = clock_now_ns();
        const struct step_plan *plan = batcher_plan(batch);
        CHECK(plan != NULL && plan->entry_count == 1 && plan->copy_count == 0);
        const struct step_entry *entry = &plan->entries[0];
        lay_out_chunk(run, entry->first, entry->count);
        forward(run, entry->count, 1, s->table.blocks, s->table.count, plan->logit_row_count);
        (void)batcher_complete(batch, &sample_count);
        draw(run, sample_count);
        batcher_note_time(batch, plan, clock_now_ns() - start_ns);
    }
    batcher_append(batch, s, run->samples[0].token);
    return clock_now_ns() - begin_ns;
}

static uint64_t prefill_by_planner(struct model_run *run, uint32_t tokens, uint32_t *step_count)
{
    struct queue_gate gate;
    queue_gate_init(&gate, 1, tokens, 1);
    struct batcher_options options = {.block_count = run->options.block_count,
                                      .sequence_count_max = 1,
                                      .batch_tokens_max = run->options.step_tokens,
                                      .gate = &gate};
    batcher *batch = NULL;
    CHECK(batcher_create(&options, &batch) == STATUS_OK);
    CHECK(tokens < batcher_tokens_max(batch));
    CHECK(queue_gate_enter(&gate, tokens) == STATUS_OK);
    int32_t output = 0;
    struct sequence s = {.outputs = &output, .output_count_max = 1};
    struct batch_request request = {
        .prompt = run->prompt, .prompt_count = tokens, .sequences = &s, .sequence_count = 1};
    s.request = &request;
    block_table_init(&s.table, run->blocks, run->options.block_count);
    batcher_submit(batch, &request);
    uint64_t ns = run_plans(run, batch, &s, step_count);
    batcher_end_sequence(batch, &s);
    batcher_destroy(batch);
    return ns;
}

uint64_t model_run_prefill(struct model_run *run, uint32_t tokens, uint32_t *step_count)
{
    CHECK(tokens > 0 && tokens <= run->options.context_max);
    return run->options.uses_planner ? prefill_by_planner(run, tokens, step_count)
                                     : prefill_plainly(run, tokens, step_count);
}

/* --- decode --- */

void model_run_fill(struct model_run *run)
{
    uint32_t steps;
    (void)prefill_plainly(run, run->options.context_max, &steps);
    uint32_t filled = run->options.context_max / KV_BLOCK_TOKENS;
    for (uint32_t to = filled; to < run->options.block_count; to++) {
        uint32_t from = to % filled;
        model_kv_copy_blocks(run->m, &from, &to, 1);
    }
}

uint64_t model_run_decode(struct model_run *run, uint32_t batch, uint32_t context, uint32_t steps)
{
    uint32_t stride = (context + KV_BLOCK_TOKENS - 1) / KV_BLOCK_TOKENS;
    CHECK(batch <= run->options.sequence_count && context <= run->options.context_max);
    CHECK((uint64_t)batch * stride <= run->options.block_count);
    for (uint32_t i = 0; i < batch; i++) {
        run->tokens[i] = run->prompt[i % run->options.context_max];
        run->positions[i] = context - 1;
        run->sequences[i] = run->row_start[i] = run->logit_rows[i] = i;
    }
    run->row_start[batch] = batch;
    uint64_t start_ns = clock_now_ns();
    for (uint32_t step = 0; step < steps; step++) {
        forward(run, batch, batch, run->block_tables, stride, batch);
        draw(run, batch);
        for (uint32_t i = 0; i < batch; i++)
            run->tokens[i] = run->samples[i].token;
    }
    return clock_now_ns() - start_ns;
}
