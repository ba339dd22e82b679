#include "trie.h"

#include <stdlib.h>

#include "memory.h"

struct entry {
    struct text_slice text;
    int32_t token;
};

static int compare_entries(const void *a, const void *b)
{
    const struct entry *left = a;
    const struct entry *right = b;
    size_t common = left->text.bytes < right->text.bytes ? left->text.bytes : right->text.bytes;
    int order = memcmp(left->text.data, right->text.data, common);
    if (order != 0)
        return order;
    if (left->text.bytes != right->text.bytes)
        return left->text.bytes < right->text.bytes ? -1 : 1;
    return left->token < right->token ? -1 : 1;
}

static size_t common_bytes(struct text_slice a, struct text_slice b)
{
    size_t count = 0;
    while (count < a.bytes && count < b.bytes && a.data[count] == b.data[count])
        count++;
    return count;
}

static uint32_t count_nodes(const struct entry *entries, uint32_t count)
{
    uint64_t nodes = 0;
    struct text_slice before = {"", 0};
    for (uint32_t i = 0; i < count; i++) {
        nodes += entries[i].text.bytes - common_bytes(before, entries[i].text);
        before = entries[i].text;
    }
    return nodes < UINT32_MAX ? (uint32_t)nodes : UINT32_MAX;
}

/* Nodes of a depth stay open until a text leaves them. */
static void fill(struct trie *t, const struct entry *entries, uint32_t count)
{
    uint32_t open[TRIE_TEXT_BYTES_MAX + 1];
    uint32_t open_count = 0;
    uint32_t used = 0;
    struct text_slice before = {"", 0};
    for (uint32_t i = 0; i < count; i++) {
        struct text_slice text = entries[i].text;
        size_t common = common_bytes(before, text);
        while (open_count > common)
            t->nodes[open[--open_count]].next = used;
        for (size_t at = common; at < text.bytes; at++) {
            t->nodes[used] = (struct trie_node){
                .token_first = i, .depth = (uint16_t)(at + 1), .byte = (uint8_t)text.data[at]};
            open[open_count++] = used++;
        }
        t->tokens[i] = entries[i].token;
        struct trie_node *last = &t->nodes[open[open_count - 1]];
        if (last->token_count < UINT16_MAX)
            last->token_count++;
        before = text;
    }
    while (open_count > 0)
        t->nodes[open[--open_count]].next = used;
    t->node_count = used;
    t->token_count = count;
}

/* From the last node on: those below a node come after it. */
static void describe_below(struct trie *t)
{
    for (uint32_t i = t->node_count; i-- > 0;) {
        struct trie_node *node = &t->nodes[i];
        node->below = TRIE_CLASS_ALL;
        for (uint32_t child = i + 1; child < node->next; child = t->nodes[child].next) {
            const struct trie_node *below = &t->nodes[child];
            uint16_t height = (uint16_t)(below->height + 1);
            node->height = height > node->height ? height : node->height;
            node->below &= below->below & trie_classes(below->byte);
        }
    }
}

static status trie_init(struct trie *t, struct entry *entries, uint32_t count)
{
    if (count > 1)
        qsort(entries, count, sizeof *entries, compare_entries);
    uint32_t nodes = count_nodes(entries, count);
    t->nodes = memory_allocate_array(nodes, sizeof *t->nodes);
    t->tokens = memory_allocate_array(count, sizeof *t->tokens);
    if (t->nodes == NULL || t->tokens == NULL)
        return STATUS_NO_MEMORY;
    fill(t, entries, count);
    describe_below(t);
    return STATUS_OK;
}

static bool is_end(const int32_t *end_tokens, uint32_t count, int32_t token)
{
    for (uint32_t i = 0; i < count; i++) {
        if (end_tokens[i] == token)
            return true;
    }
    return false;
}

struct text_slice grammar_token_text(const grammar_vocabulary *v, int32_t token, bool with_control)
{
    struct text_slice none = {"", 0};
    if (token < 0 || (uint32_t)token >= v->token_count ||
        is_end(v->end_tokens, v->end_token_count, token))
        return none;
    struct text_slice text = tokenizer_piece(v->tokens, token, with_control);
    return text.bytes <= TRIE_TEXT_BYTES_MAX ? text : none;
}

/* The tokens of one kind, with their texts. */
static uint32_t collect(const grammar_vocabulary *v, bool is_control, struct entry *out)
{
    uint32_t count = 0;
    for (int32_t token = 0; (uint32_t)token < v->token_count; token++) {
        struct text_slice text = grammar_token_text(v, token, is_control);
        if (text.bytes > 0 && tokenizer_is_control(v->tokens, token) == is_control)
            out[count++] = (struct entry){text, token};
    }
    return count;
}

static uint32_t deepest(const struct trie *t, uint32_t depth)
{
    for (uint32_t i = 0; i < t->node_count; i++)
        depth = t->nodes[i].depth > depth ? t->nodes[i].depth : depth;
    return depth;
}

static status fill_tries(grammar_vocabulary *v)
{
    struct entry *entries = memory_allocate_array(v->token_count, sizeof *entries);
    if (entries == NULL)
        return STATUS_NO_MEMORY;
    status s = trie_init(&v->plain, entries, collect(v, false, entries));
    if (s == STATUS_OK)
        s = trie_init(&v->control, entries, collect(v, true, entries));
    memory_release(entries);
    v->depth_max = deepest(&v->control, deepest(&v->plain, 1));
    return s;
}

status grammar_vocabulary_create(const tokenizer *t, uint32_t row_tokens, const int32_t *end_tokens,
                                 uint32_t end_token_count, grammar_vocabulary **out)
{
    grammar_vocabulary *v = memory_allocate_array(1, sizeof *v);
    if (v == NULL)
        return STATUS_NO_MEMORY;
    v->tokens = t;
    v->token_count = tokenizer_token_count(t);
    v->token_count = v->token_count < row_tokens ? v->token_count : row_tokens;
    v->mask_words = (row_tokens + 31) / 32;
    v->end_tokens = memory_allocate_array(end_token_count, sizeof *v->end_tokens);
    status s = v->end_tokens != NULL ? STATUS_OK : STATUS_NO_MEMORY;
    if (s == STATUS_OK) {
        v->end_token_count = end_token_count;
        if (end_token_count > 0)
            memcpy(v->end_tokens, end_tokens, end_token_count * sizeof *end_tokens);
        s = fill_tries(v);
    }
    if (s != STATUS_OK) {
        grammar_vocabulary_destroy(v);
        return s;
    }
    *out = v;
    return STATUS_OK;
}

static void trie_deinit(struct trie *t)
{
    memory_release(t->nodes);
    memory_release(t->tokens);
}

void grammar_vocabulary_destroy(grammar_vocabulary *v)
{
    if (v == NULL)
        return;
    trie_deinit(&v->plain);
    trie_deinit(&v->control);
    memory_release(v->end_tokens);
    memory_release(v);
}

uint32_t grammar_mask_words(const grammar_vocabulary *v)
{
    return v->mask_words;
}
