#include "batcher_private.h"

#include "check.h"
#include "memory.h"

/* The tier below the cache. A block that the allocator gives up is copied to a slot of the host's memory first, if nobody
 * holds a copy there yet; and a prompt that goes on where the device's cache ends is looked up there, block by block.
 *
 *      prefix cache   --- given up: save --->   slots of the host   --- given up: gone
 *                     <-- asked for: load ---   (the slot keeps its copy, so that giving up the block again costs nothing)
 *
 * What is worth it. Copying a block down and up again must be quicker than computing its 16 tokens at the start of a sequence,
 * where they cost least; and bringing one up quicker than computing it where it is. Computing is what the cost model says of
 * rows added to a step; copying was measured when the tier was opened.
 *
 * Preemption needs nothing of its own: who loses its blocks leaves the full ones to the prefix cache, and if they are given up
 * there they come here.
 *
 * Order. A device makes the copies in the order in which they are queued, between the step before and the step that the plan
 * is for: saves, then loads, then copies between blocks. A block that is given up was last written by a step that is queued
 * already, and is written again by a load, a copy or the step behind its save. A slot that is loaded from is held until the
 * load is queued, and what is saved to it later is queued behind that. A plan that nothing came of leaves its copies to
 * the next one: blocks that count as loaded are findable, and slots that count as saved too.
 *
 * How many. A step waits for its loads, and saves pass through a small ring of device memory: while somebody waits for tokens a
 * plan has copies for a share of the time between them, and what is given up beyond that is lost. A sequence
 * whose blocks do not all come in one plan stands still until they have; its blocks that are missing count as not computed,
 * and should their slots be gone by then they are. */

/* Of the inter-token target, what copies of one step may take. */
#define COPY_SHARE 0.25
/* And at least so many of them: as many as a device has under way at a time. */
#define COPIES_MIN 8u

status batch_host_create(batcher *b)
{
    struct batch_host *h = &b->host;
    if (b->options.host_slots == 0)
        return STATUS_OK;
    uint32_t count = b->options.block_count;
    h->save_from = memory_allocate_array(count, sizeof *h->save_from);
    h->save_to = memory_allocate_array(count, sizeof *h->save_to);
    h->load_from = memory_allocate_array(count, sizeof *h->load_from);
    h->load_to = memory_allocate_array(count, sizeof *h->load_to);
    if (h->save_from == NULL || h->save_to == NULL || h->load_from == NULL || h->load_to == NULL)
        return STATUS_NO_MEMORY;
    return host_tier_create(b->options.host_slots, &b->options.hash_key, &h->tier);
}

void batch_host_destroy(batcher *b)
{
    struct batch_host *h = &b->host;
    host_tier_destroy(h->tier);
    memory_release(h->load_to);
    memory_release(h->load_from);
    memory_release(h->save_to);
    memory_release(h->save_from);
}

/* Is it quicker to copy for so long than to compute a block from position `first` on? */
static bool is_quicker(const batcher *b, uint64_t copies_ns, uint32_t first)
{
    if (!cost_model_is_ready(&b->cost))
        return true;
    const struct step_shape empty = {0};
    const struct step_shape rows = {.rows = BLOCK_TOKENS,
                                    .context = context_of_rows(first, BLOCK_TOKENS)};
    return (double)copies_ns <
           cost_model_predict_ns(&b->cost, &rows) - cost_model_predict_ns(&b->cost, &empty);
}

/* The prefix cache gives up a block. */
static void save_block(void *context, struct hash128 hash, uint32_t block)
{
    batcher *b = context;
    struct batch_host *h = &b->host;
    uint32_t slot;
    bool has_room = h->copies_left > 0 && h->save_count < b->options.block_count;
    if (!host_tier_has(h->tier, hash) && (!has_room || !is_quicker(b, 2 * h->block_ns, 0)))
        return;
    if (!host_tier_put(h->tier, hash, &slot))
        return;
    h->save_from[h->save_count] = block;
    h->save_to[h->save_count++] = slot;
    h->copies_left--;
    h->totals.saved_blocks++;
}

void batcher_open_host(batcher *b, uint64_t block_ns)
{
    struct batch_host *h = &b->host;
    CHECK(h->tier != NULL);
    h->is_open = true;
    h->block_ns = block_ns;
    prefix_cache_set_leave(b->prefixes, save_block, b);
}

void batch_host_begin(batcher *b, bool is_generating)
{
    struct batch_host *h = &b->host;
    double target = (double)b->options.inter_token_target_ns;
    h->copies_left = UINT32_MAX;
    if (!is_generating || target <= 0.0 || h->block_ns == 0)
        return;
    double most = COPY_SHARE * target / (double)h->block_ns;
    if (most < (double)UINT32_MAX)
        h->copies_left = most > COPIES_MIN ? (uint32_t)most : COPIES_MIN;
}

static void add_load(batcher *b, uint32_t slot, const struct sequence *s, uint32_t index)
{
    struct batch_host *h = &b->host;
    struct batch_request *request = s->request;
    h->load_from[h->load_count] = slot;
    h->load_to[h->load_count++] = s->table.blocks[index];
    h->copies_left--;
    h->totals.loaded_blocks++;
    bool is_first = s->index == 0 && request->preemption_count == 0;
    if (is_first && index < request->prompt_count / BLOCK_TOKENS) {
        request->cached_tokens += BLOCK_TOKENS;
        request->host_tokens += BLOCK_TOKENS;
    }
}

bool batch_host_load(batcher *b, struct sequence *s)
{
    struct batch_host *h = &b->host;
    if (!h->is_open || s->request->computes_all)
        return false;
    uint32_t end = batcher_shareable_blocks(s), slot;
    while (s->computed_count % BLOCK_TOKENS == 0 && s->computed_count / BLOCK_TOKENS < end) {
        uint32_t index = s->computed_count / BLOCK_TOKENS;
        struct hash128 hash = sequence_block_hash(s, index);
        bool is_above = prefix_cache_has(b->prefixes, hash); /* behind one that was not */
        if (!is_above) {
            if (!host_tier_has(h->tier, hash) || !is_quicker(b, h->block_ns, s->computed_count))
                return false;
            if (h->load_count == b->options.block_count)
                return false;
            if (h->copies_left == 0)
                return true;
            bool is_held = host_tier_hold(h->tier, hash, &slot);
            CHECK(is_held);
            add_load(b, slot, s, index);
        }
        uint32_t written = s->request->written_tokens;
        batcher_count_computed(b, s, BLOCK_TOKENS);
        s->request->written_tokens = written; /* not by this request */
    }
    return false;
}

void batch_host_tell(const batcher *b, struct step_plan *plan)
{
    const struct batch_host *h = &b->host;
    plan->save_from = h->save_from;
    plan->save_to = h->save_to;
    plan->save_count = h->save_count;
    plan->load_from = h->load_from;
    plan->load_to = h->load_to;
    plan->load_count = h->load_count;
}

void batch_host_done(batcher *b)
{
    struct batch_host *h = &b->host;
    for (uint32_t i = 0; i < h->load_count; i++)
        host_tier_release(h->tier, h->load_from[i]);
    h->save_count = h->load_count = 0;
}

void batch_host_forget(batcher *b)
{
    if (b->host.tier == NULL)
        return;
    batch_host_done(b);
    host_tier_forget(b->host.tier);
}

void batch_host_get_stats(const batcher *b, struct batcher_host_stats *out)
{
    *out = b->host.totals;
    out->slots = b->host.is_open ? host_tier_slots(b->host.tier) : 0;
    out->used = b->host.is_open ? host_tier_count(b->host.tier) : 0;
}
