#include "matcher_private.h"

/* Masks: of one state, learnt once for all who come by; and of all readings that hold, put together from those. */

/* --- walks --- */

static void take_tokens(uint32_t *mask, const struct trie *t, uint32_t first, uint32_t end)
{
    for (uint32_t i = first; i < end; i++)
        mask_set(mask, (uint32_t)t->tokens[i]);
}

/* Do all texts below the node, which has led to this frame, go on inside the rule? */
static bool takes_all_below(const grammar_matcher *m, const struct frame *f,
                            const struct trie_node *node)
{
    if (node->below == 0 || f->count != 1 || !f->is_inside)
        return false;
    const struct state_runs *runs = &m->g->runs[m->readings[f->first].state];
    for (unsigned c = 0; c < TRIE_CLASSES; c++) {
        if ((node->below >> c & 1) != 0 && runs->bytes[c] >= node->height)
            return true;
    }
    return false;
}

/* Goes through the vocabulary, leaving out what is below a text that has no reading. The tokens that stay inside the rule
 * of the walk go to the mask, those that leave it on all ways to m->checked. False: that is full. */
static bool walk_trie(grammar_matcher *m, const struct trie *t, uint32_t *mask,
                      uint32_t *checked_count)
{
    for (uint32_t i = 0; i < t->node_count;) {
        const struct trie_node *node = &t->nodes[i];
        const struct frame *f = &m->frames[node->depth];
        if (!matcher_step(m, node->depth - 1u, node->byte)) {
            i = node->next;
            continue;
        }
        i++;
        if (takes_all_below(m, f, node)) {
            i = node->next;
            uint32_t end = i < t->node_count ? t->nodes[i].token_first : t->token_count;
            take_tokens(mask, t, node->token_first, end);
        } else if (f->is_inside) {
            take_tokens(mask, t, node->token_first, node->token_first + node->token_count);
        } else {
            if (*checked_count + node->token_count > m->checked_max)
                return false;
            for (uint32_t j = 0; j < node->token_count; j++)
                m->checked[(*checked_count)++] = t->tokens[node->token_first + j];
        }
    }
    return true;
}

/* The whole vocabulary. */
static bool walk(grammar_matcher *m, uint32_t *mask, uint32_t *checked_count)
{
    const grammar_vocabulary *v = m->g->vocabulary;
    return walk_trie(m, &v->plain, mask, checked_count) &&
           (!m->g->with_control || walk_trie(m, &v->control, mask, checked_count));
}

/* --- entries --- */

static uint32_t count_tokens(const uint32_t *mask, uint32_t words)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < words; i++)
        count += (uint32_t)__builtin_popcount(mask[i]);
    return count;
}

static void list_tokens(const uint32_t *mask, uint32_t words, uint32_t *out)
{
    for (uint32_t i = 0; i < words; i++) {
        for (uint32_t rest = mask[i]; rest != 0; rest &= rest - 1)
            *out++ = i * 32 + (uint32_t)__builtin_ctz(rest);
    }
}

/* What has been learnt, as an entry; NULL: there is no room. */
static struct mask_entry *make_entry(grammar_matcher *m, uint32_t checked_count)
{
    uint32_t words = m->g->vocabulary->mask_words;
    uint32_t tokens = count_tokens(m->learnt, words);
    bool is_dense = tokens > words;
    uint32_t accept_count = is_dense ? words : tokens;
    struct mask_entry *entry = network_mask_allocate(m->g, (size_t)accept_count + checked_count);
    if (entry == NULL)
        return NULL;
    entry->is_dense = is_dense;
    entry->accept_count = accept_count;
    entry->checked_count = checked_count;
    if (is_dense)
        memcpy(entry->data, m->learnt, words * sizeof *m->learnt);
    else
        list_tokens(m->learnt, words, entry->data);
    if (checked_count > 0)
        memcpy(entry->data + accept_count, m->checked, checked_count * sizeof *m->checked);
    return entry;
}

const struct mask_entry *matcher_entry(grammar_matcher *m, uint32_t state)
{
    grammar *g = m->g;
    /* Acquire pairs with the release below: the entry's numbers are seen with its address. */
    struct mask_entry *entry = atomic_load_explicit(&g->masks[state], memory_order_acquire);
    if (entry != NULL)
        return entry;
    uint32_t checked_count = 0;
    memset(m->learnt, 0, g->vocabulary->mask_words * sizeof *m->learnt);
    matcher_start_reading(m, (struct reading){state, NODE_UNKNOWN, 0});
    if (!walk(m, m->learnt, &checked_count) || m->overflow_count > 0)
        return NULL;
    entry = make_entry(m, checked_count);
    /* Another thread may have been here at the same time; both say the same, and the later stays. */
    if (entry != NULL)
        atomic_store_explicit(&g->masks[state], entry, memory_order_release);
    return entry;
}

/* --- the mask of all readings --- */

static void apply_accepted(const struct mask_entry *entry, uint32_t *mask)
{
    for (uint32_t i = 0; i < entry->accept_count; i++) {
        if (entry->is_dense)
            mask[i] |= entry->data[i];
        else
            mask_set(mask, entry->data[i]);
    }
}

static uint32_t common_bytes(struct text_slice a, struct text_slice b)
{
    uint32_t count = 0;
    while (count < a.bytes && count < b.bytes && a.data[count] == b.data[count])
        count++;
    return count;
}

/* Tries the tokens that leave the state's rule under the reading's own stack. They come by text, so each goes on from what it
 * has in common with the one before. */
static void apply_checked(grammar_matcher *m, const struct mask_entry *entry,
                          struct reading reading, uint32_t *mask)
{
    const uint32_t *tokens = entry->data + entry->accept_count;
    struct text_slice before = {"", 0};
    uint32_t alive = 0; /* bytes of `before` that some reading has survived */
    if (entry->checked_count == 0)
        return;
    matcher_start_reading(m, reading);
    for (uint32_t i = 0; i < entry->checked_count; i++) {
        if (mask_has(mask, tokens[i]))
            continue;
        struct text_slice text =
            grammar_token_text(m->g->vocabulary, (int32_t)tokens[i], m->g->with_control);
        uint32_t common = common_bytes(before, text);
        if (alive < common)
            continue;
        alive = common;
        while (alive < text.bytes && matcher_step(m, alive, (uint8_t)text.data[alive]))
            alive++;
        if (alive == text.bytes)
            mask_set(mask, tokens[i]);
        before = text;
    }
}

/* False: the mask of some state cannot be kept. */
static bool fill_by_states(grammar_matcher *m, uint32_t *mask)
{
    for (uint32_t i = 0; i < m->holding_count; i++) {
        struct reading reading = m->readings[i];
        if ((reading.flags & READING_CALLED) != 0 ||
            (m->g->flags[reading.state] & STATE_HAS_NEXT) == 0)
            continue;
        const struct mask_entry *entry = matcher_entry(m, reading.state);
        if (entry == NULL)
            return false;
        apply_accepted(entry, mask);
        apply_checked(m, entry, reading, mask);
    }
    return true;
}

status grammar_matcher_fill(grammar_matcher *m, uint32_t *mask)
{
    const grammar_vocabulary *v = m->g->vocabulary;
    uint32_t nodes = m->live.node_count;
    uint32_t edges = m->live.edge_count;
    memset(mask, 0, v->mask_words * sizeof *mask);
    /* What is known of a state holds where there is room for more nesting. */
    bool has_room = nodes <= m->g->depth_max && edges <= 2 * m->g->depth_max;
    bool is_done = has_room && fill_by_states(m, mask);
    m->live.node_count = nodes;
    m->live.edge_count = edges;
    if (!is_done) {
        uint32_t checked_count = 0; /* stays: readings that hold know who called them */
        memset(mask, 0, v->mask_words * sizeof *mask);
        matcher_start_holding(m);
        (void)walk(m, mask, &checked_count);
        m->live.node_count = nodes;
        m->live.edge_count = edges;
    }
    for (uint32_t i = 0; m->is_complete && i < v->end_token_count; i++)
        mask_set(mask, (uint32_t)v->end_tokens[i]);
    for (uint32_t i = 0; i < v->mask_words; i++) {
        if (mask[i] != 0)
            return STATUS_OK;
    }
    return STATUS_TOO_LARGE;
}
