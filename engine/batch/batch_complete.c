#include "batcher_private.h"

#include "check.h"

/* What a computed step has brought: filled blocks become findable, pending siblings start, samples
 * are due. A draft's row counts only once its token has been sampled: until then its block is no fuller than without
 * it, so neither the prefix cache nor a copy ever takes a wrong guess for text. */

/* Learns the hashes of those that hold generated tokens. */
void batcher_publish_blocks(batcher *b, struct sequence *s, uint32_t first)
{
    uint32_t known = sequence_known_count(s);
    uint32_t full = (s->computed_count < known ? s->computed_count : known) / BLOCK_TOKENS;
    uint32_t prompt_blocks = s->request->prompt_count / BLOCK_TOKENS;
    for (uint32_t i = first; i < full; i++) {
        if (i == s->hash_count) {
            int32_t tokens[BLOCK_TOKENS];
            for (uint32_t j = 0; j < BLOCK_TOKENS; j++)
                tokens[j] = sequence_token_at(s, i * BLOCK_TOKENS + j);
            struct hash128 parent = i > 0 ? sequence_block_hash(s, i - 1) : s->request->hash_root;
            s->output_hashes[i - prompt_blocks] =
                prefix_hash_next(&b->options.hash_key, parent, i, tokens);
            s->hash_count++;
        }
        uint32_t own = s->table.blocks[i];
        s->table.blocks[i] = prefix_cache_insert(b->prefixes, sequence_block_hash(s, i), own);
        if (i < prompt_blocks)
            batcher_pin_block(b, s, i);
        if (i < prompt_blocks && s->table.blocks[i] == own && s->index == 0 &&
            s->request->preemption_count == 0)
            s->request->written_tokens += BLOCK_TOKENS;
    }
}

/* Names the beginnings of the prompt that the blocks of `s` now hold whole. */
static void put_marks(batcher *b, const struct sequence *s)
{
    struct batch_request *request = s->request;
    uint32_t full = s->computed_count / BLOCK_TOKENS;
    for (; request->mark_next < request->mark_count; request->mark_next++) {
        const struct prefix_mark *mark = &request->marks[request->mark_next];
        if (mark->block >= full)
            break;
        prefix_marks_put(b->marks, s->table.blocks[mark->block], mark->hash);
    }
}

void batcher_count_computed(batcher *b, struct sequence *s, uint32_t count)
{
    uint32_t first = s->computed_count;
    uint32_t end = first + count;
    for (uint32_t block = first / BLOCK_TOKENS; block * BLOCK_TOKENS < end; block++) {
        uint32_t filled = end - block * BLOCK_TOKENS;
        block_set_filled(b->blocks, s->table.blocks[block],
                         filled < BLOCK_TOKENS ? filled : BLOCK_TOKENS);
    }
    s->computed_count = end;
    if (b->prefixes != NULL)
        batcher_publish_blocks(b, s, first / BLOCK_TOKENS);
    if (b->marks != NULL && s->index == 0)
        put_marks(b, s);
}

/* The prompt of `first` is done: its pending siblings go on from the same blocks, or queue for a
 * slot. */
static void start_siblings(batcher *b, struct sequence *first, uint32_t logit_row, uint32_t *count)
{
    struct batch_request *request = first->request;
    for (uint32_t i = 1; i < request->sequence_count; i++) {
        struct sequence *s = &request->sequences[i];
        if (s->state != SEQUENCE_PENDING)
            continue;
        if (b->running_count == b->options.sequence_count_max) {
            batcher_queue_sequence(b, s);
            continue;
        }
        block_table_share(&s->table, &first->table, b->blocks);
        s->computed_count = first->computed_count;
        batcher_start_sequence(b, s);
        b->samples[(*count)++] = (struct step_sample){.sequence = s, .logit_row = logit_row};
    }
}

const struct step_sample *batcher_complete(batcher *b, uint32_t *sample_count)
{
    CHECK(b->has_plan);
    b->has_plan = false;
    batch_host_done(b);
    uint32_t count = 0;
    for (uint32_t i = 0; i < b->plan.entry_count; i++) {
        const struct step_entry *entry = &b->entries[i];
        struct sequence *s = entry->sequence;
        batcher_count_computed(b, s, entry->count - entry->draft_count);
        s->request->scored_count += entry->score_count;
        if (entry->logit_row == UINT32_MAX)
            continue;
        s->drafts = entry->drafts;
        s->draft_count = entry->draft_count;
        b->samples[count++] = (struct step_sample){.sequence = s,
                                                   .logit_row = entry->logit_row,
                                                   .drafts = entry->drafts,
                                                   .draft_count = entry->draft_count};
        bool is_first = s->output_count + s->unknown_count == 0;
        if (s->index == 0 && is_first && s->request->sequence_count > 1)
            start_siblings(b, s, entry->logit_row, &count);
    }
    *sample_count = count;
    return b->samples;
}

void batcher_note_time(batcher *b, const struct step_plan *plan, uint64_t elapsed_ns)
{
    struct step_shape shape = {plan->row_count, plan->logit_row_count, plan->context};
    cost_model_observe(&b->cost, &shape, elapsed_ns);
}
