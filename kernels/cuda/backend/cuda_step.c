#include "cuda_step.h"

#include <string.h>

#include "check.h"
#include "cuda_backend.h"

#define DESCRIPTION_COUNTS 4u /* words; three are used, the fourth keeps what follows aligned */

/* --- room --- */

static uint64_t aligned(uint64_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

/* Gives out runs of one block of memory; with memory NULL it only adds up what they need. */
struct layout {
    uint8_t *memory;
    uint64_t used;
};

static void *take(struct layout *layout, uint64_t bytes)
{
    uint8_t *at = layout->memory != NULL ? layout->memory + layout->used : NULL;
    layout->used += aligned(bytes);
    return at;
}

/* Bytes of a description up to its block tables, and with them. */
static uint64_t description_head_bytes(const struct step_limits *limits)
{
    uint64_t words = DESCRIPTION_COUNTS + 3ull * limits->rows_max + limits->sequences_max + 1 +
                     limits->logit_rows_max;
    return aligned(4 * words);
}

static uint64_t description_bytes(const struct step_limits *limits)
{
    return description_head_bytes(limits) +
           4ull * limits->sequences_max * limits->block_table_stride;
}

/* Where the arrays of a description that begins at `base` are. */
static struct step_state description_view(const struct step_limits *limits, const uint8_t *base)
{
    const uint32_t *words = (const uint32_t *)(const void *)base + DESCRIPTION_COUNTS;
    struct step_state state = {.counts = words - DESCRIPTION_COUNTS,
                               .tokens = (const int32_t *)words,
                               .block_table_stride = limits->block_table_stride};
    state.row_position = words += limits->rows_max;
    state.row_sequence = words += limits->rows_max;
    state.row_start = words += limits->rows_max;
    state.logit_rows = words + limits->sequences_max + 1;
    state.block_tables = (const uint32_t *)(const void *)(base + description_head_bytes(limits));
    return state;
}

static uint64_t place_pinned(struct cuda_step *step, uint8_t *memory)
{
    const struct step_limits *limits = &step->limits;
    struct layout layout = {memory, 0};
    for (uint32_t i = 0; i < step->slot_count; i++) {
        struct step_slot *slot = &step->slots[i];
        slot->description = take(&layout, description_bytes(limits));
        slot->samples = take(&layout, limits->logit_rows_max * sizeof(*slot->samples));
        slot->masks = take(&layout, 4ull * limits->logit_rows_max * step->mask_words);
        slot->results = take(&layout, limits->logit_rows_max * sizeof(*slot->results));
    }
    return layout.used;
}

static uint64_t place_device(struct cuda_step *step, uint8_t *memory)
{
    const struct step_limits *limits = &step->limits;
    struct layout layout = {memory, 0};
    step->description = take(&layout, description_bytes(limits));
    step->samples = take(&layout, limits->logit_rows_max * sizeof(*step->samples));
    step->masks = take(&layout, 4ull * limits->logit_rows_max * step->mask_words);
    step->results = take(&layout, limits->logit_rows_max * sizeof(*step->results));
    step->sampled = take(&layout, 4ull * limits->logit_rows_max);
    step->sampling_scratch =
        take(&layout, sampling_scratch_bytes(step->samples_max, limits->vocabulary));
    step->sampling_slots = take(&layout, limits->slots_max * sizeof(*step->sampling_slots));
    step->sampling_words = take(&layout, 4ull * limits->slots_max * limits->vocabulary);
    step->sampling_biases = take(&layout, (uint64_t)limits->slots_max * DEVICE_BIASES_MAX *
                                              sizeof(*step->sampling_biases));
    return layout.used;
}

static status create_events(struct cuda_backend *b)
{
    for (uint32_t i = 0; i < b->step.slot_count; i++) {
        struct step_slot *slot = &b->step.slots[i];
        status result = device_event_create(b->device, &slot->begun);
        if (result == STATUS_OK)
            result = device_event_create(b->device, &slot->ended);
        if (result != STATUS_OK)
            return result;
    }
    return STATUS_OK;
}

void step_close(struct cuda_backend *b)
{
    for (uint32_t i = 0; i < b->step.slot_count; i++) {
        device_event_destroy(b->step.slots[i].begun);
        device_event_destroy(b->step.slots[i].ended);
    }
    device_release(b->device, b->step.device);
    device_release_pinned(b->device, b->step.pinned);
    b->step = (struct cuda_step){.is_prepared = false};
}

/* Samples of one launch: its scratch holds several floats a token of the vocabulary. */
#define SAMPLES_AT_ONCE 64u

status cuda_step_prepare(backend *base, const struct step_limits *limits)
{
    struct cuda_backend *b = of_cuda(base);
    struct cuda_step *step = &b->step;
    CHECK(!step->is_prepared && limits->steps_max >= 1 && limits->steps_max < STEP_SLOTS_MAX);
    step->limits = *limits;
    step->slot_count = limits->steps_max + 1;
    step->mask_words = (limits->vocabulary + 31) / 32;
    step->samples_max =
        limits->logit_rows_max < SAMPLES_AT_ONCE ? limits->logit_rows_max : SAMPLES_AT_ONCE;
    uint64_t bytes = place_device(step, NULL);
    step->pinned = device_allocate_pinned(b->device, place_pinned(step, NULL));
    step->device = device_allocate(b->device, bytes);
    status result =
        step->pinned != NULL && step->device != NULL ? create_events(b) : STATUS_NO_MEMORY;
    if (result == STATUS_OK)
        result = attention_reserve(b, limits);
    if (result != STATUS_OK) {
        step_close(b);
        return result;
    }
    (void)place_pinned(step, step->pinned);
    (void)place_device(step, step->device);
    step->state = description_view(limits, step->description);
    device_fill(b->stream, step->sampled, 0, 4ull * limits->logit_rows_max);
    device_fill(b->stream, step->sampling_slots, 0,
                limits->slots_max * sizeof(*step->sampling_slots));
    step->is_prepared = true;
    return device_status(b->device);
}

/* --- describing a step --- */

static void write_rows(const struct step_batch *batch, const int32_t *tokens, uint32_t n_rows,
                       const struct step_state *to)
{
    int32_t *tokens_out = (int32_t *)(uintptr_t)to->tokens;
    uint32_t *positions = (uint32_t *)(uintptr_t)to->row_position;
    uint32_t *sequences = (uint32_t *)(uintptr_t)to->row_sequence;
    memcpy(tokens_out, tokens, batch->n_rows * sizeof(*tokens));
    memcpy(positions, batch->row_position, batch->n_rows * sizeof(*positions));
    memcpy(sequences, batch->row_sequence, batch->n_rows * sizeof(*sequences));
    for (uint32_t r = batch->n_rows; r < n_rows; r++) {
        tokens_out[r] = 0;
        positions[r] = 0;
        sequences[r] = r;
    }
}

/* Entries of a sequence's table up to its last row's; nothing looks at those behind. */
static uint32_t used_entries(const struct step_batch *batch, uint32_t s)
{
    return batch->row_position[batch->row_start[s + 1] - 1] / KV_BLOCK_TOKENS + 1;
}

/* Padded sequences have a row each and the trash block. */
static void write_sequences(const struct step_batch *batch, uint32_t n_sequences, uint32_t trash,
                            const struct step_state *to)
{
    uint32_t *starts = (uint32_t *)(uintptr_t)to->row_start;
    uint32_t *tables = (uint32_t *)(uintptr_t)to->block_tables;
    uint32_t to_stride = to->block_table_stride, stride = batch->block_table_stride;
    memcpy(starts, batch->row_start, (batch->n_sequences + 1) * sizeof(*starts));
    for (uint32_t s = 0; s < batch->n_sequences; s++)
        memcpy(tables + (size_t)s * to_stride, batch->block_tables + (size_t)s * stride,
               used_entries(batch, s) * sizeof(*tables));
    for (uint32_t s = batch->n_sequences; s < n_sequences; s++) {
        starts[s + 1] = starts[s] + 1;
        tables[(size_t)s * to_stride] = trash;
    }
}

static void write_description(const struct cuda_backend *b, const struct step_batch *batch,
                              const int32_t *tokens, const uint32_t *logit_rows,
                              uint32_t logit_row_count, uint8_t *out)
{
    const struct cuda_step *step = &b->step;
    struct step_state to = description_view(&step->limits, out);
    uint32_t *counts = (uint32_t *)(uintptr_t)to.counts;
    uint32_t *logits = (uint32_t *)(uintptr_t)to.logit_rows;
    counts[0] = batch->n_rows;
    counts[1] = batch->n_sequences;
    counts[2] = logit_row_count;
    counts[3] = 0;
    write_rows(batch, tokens, step->extent.n_rows, &to);
    write_sequences(batch, step->n_sequences, b->trash_block, &to);
    memcpy(logits, logit_rows, logit_row_count * sizeof(*logits));
    for (uint32_t i = logit_row_count; i < step->extent.n_logit_rows; i++)
        logits[i] = 0;
}

static void find_kinds(const struct step_batch *batch, bool *has_split, bool *has_long)
{
    *has_split = *has_long = false;
    for (uint32_t s = 0; s < batch->n_sequences; s++) {
        bool is_long = batch->row_start[s + 1] - batch->row_start[s] > ATTENTION_SPLIT_ROWS;
        *has_long |= is_long;
        *has_split |= !is_long;
    }
}

static void set_extent(struct cuda_step *step, const struct step_batch *batch,
                       uint32_t logit_row_count, bool is_padded)
{
    const struct step_limits *limits = &step->limits;
    uint32_t most =
        limits->rows_max < limits->sequences_max ? limits->rows_max : limits->sequences_max;
    step->extent.n_rows = is_padded ? graphs_bucket(batch->n_rows, most) : batch->n_rows;
    step->extent.n_logit_rows = is_padded && logit_row_count > 0
                                    ? graphs_bucket(logit_row_count, limits->logit_rows_max)
                                    : logit_row_count;
    step->n_sequences = is_padded ? step->extent.n_rows : batch->n_sequences;
    step->extent.is_replayed = false;
}

/* --- a step --- */

static void check_limits(const struct step_limits *limits, const struct step_batch *batch,
                         uint32_t logit_row_count)
{
    CHECK(batch->n_rows >= 1 && batch->n_rows <= limits->rows_max);
    CHECK(batch->n_sequences >= 1 && batch->n_sequences <= limits->sequences_max);
    CHECK(logit_row_count <= limits->logit_rows_max);
}

status cuda_step_begin(backend *base, const struct step_batch *batch, const int32_t *tokens,
                       const uint32_t *logit_rows, uint32_t logit_row_count, bool is_usual,
                       struct step_extent *out)
{
    struct cuda_backend *b = of_cuda(base);
    struct cuda_step *step = &b->step;
    CHECK(step->is_prepared && !step->is_open);
    check_limits(&step->limits, batch, logit_row_count);
    struct step_slot *slot = &step->slots[step->begun % step->slot_count];
    status result = cuda_told(b, device_event_synchronize(slot->ended));
    if (result != STATUS_OK)
        return result;
    bool is_padded = is_usual && batch->n_rows == batch->n_sequences;
    set_extent(step, batch, logit_row_count, is_padded);
    find_kinds(batch, &step->has_split, &step->has_long);
    write_description(b, batch, tokens, logit_rows, logit_row_count, slot->description);
    slot->is_counted = false;
    device_event_record(slot->begun, b->stream);
    device_copy_to_device(
        b->stream, step->description, slot->description,
        (uint64_t)((const uint8_t *)step->state.block_tables - step->description) +
            4ull * step->n_sequences * step->limits.block_table_stride);
    step->begun++;
    step->is_open = true;
    step->tokens = tokens;
    step->logit_rows = logit_rows;
    if (is_padded)
        step->extent.is_replayed = graphs_begin(b, step->extent.n_rows, step->extent.n_logit_rows);
    *out = step->extent;
    return cuda_told(b, device_status(b->device));
}

status cuda_step_end(backend *base, uint64_t *ticket)
{
    struct cuda_backend *b = of_cuda(base);
    struct cuda_step *step = &b->step;
    CHECK(step->is_open);
    graphs_finish(b);
    *ticket = step->ended++;
    device_event_record(step->slots[*ticket % step->slot_count].ended, b->stream);
    step->is_open = false;
    return cuda_told(b, device_status(b->device));
}

status cuda_step_wait(backend *base, uint64_t ticket, const struct device_sample_result **results)
{
    struct cuda_backend *b = of_cuda(base);
    struct cuda_step *step = &b->step;
    CHECK(ticket < step->ended && ticket + step->slot_count >= step->begun);
    struct step_slot *slot = &step->slots[ticket % step->slot_count];
    status result = cuda_told(b, device_event_synchronize(slot->ended));
    if (result != STATUS_OK)
        return result;
    if (!slot->is_counted)
        step->busy_ns += device_event_elapsed_ns(slot->begun, slot->ended);
    slot->is_counted = true;
    *results = slot->results;
    return STATUS_OK;
}

uint64_t cuda_device_busy_ns(backend *base)
{
    return of_cuda(base)->step.busy_ns;
}

/* --- what operations read --- */

static struct step_view loose_view(struct cuda_backend *b, const struct step_batch *batch)
{
    const uint32_t counts[DESCRIPTION_COUNTS] = {batch->n_rows, batch->n_sequences};
    struct step_view view = {.n_rows = batch->n_rows, .n_sequences = batch->n_sequences};
    uint64_t rows = 4ull * batch->n_rows, sequences = batch->n_sequences;
    view.state = (struct step_state){
        .row_position = loose_copy(b, batch->row_position, rows),
        .row_sequence = loose_copy(b, batch->row_sequence, rows),
        .row_start = loose_copy(b, batch->row_start, 4 * (sequences + 1)),
        .block_tables =
            loose_copy(b, batch->block_tables, 4 * sequences * batch->block_table_stride),
        .block_table_stride = batch->block_table_stride,
        .counts = loose_copy(b, counts, sizeof(counts)),
    };
    find_kinds(batch, &view.has_split, &view.has_long);
    view.positions_max = batch->block_table_stride * KV_BLOCK_TOKENS;
    return view;
}

struct step_view step_view_of(struct cuda_backend *b, const struct step_batch *batch)
{
    const struct cuda_step *step = &b->step;
    if (!step->is_open)
        return loose_view(b, batch);
    return (struct step_view){
        .state = step->state,
        .n_rows = step->extent.n_rows,
        .n_sequences = step->n_sequences,
        .has_split = step->has_split,
        .has_long = step->has_long,
        .positions_max = step->limits.block_table_stride * KV_BLOCK_TOKENS,
    };
}
