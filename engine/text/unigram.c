/* The division of a word into tokens whose scores (log probabilities) sum highest, by Viterbi's
 * algorithm over byte positions. Tokens are found through a trie whose edges lie in one hash table.
 * A character that no token begins with alone may be unknown, at a score below every token's.
 * Kudo 2018, "Subword Regularization"; ties and the unknown's score as in the `tokenizers` library
 * (models/unigram/model.rs). */
#include "memory.h"
#include "unicode_class.h"
#include "word_models.h"

/* How far below the worst token an unknown character lies. */
#define UNKNOWN_PENALTY 10.0
#define ID_UNKNOWN      (-1)

struct unigram_node {
    double score; /* of the best way to here */
    size_t start; /* of its last token */
    int32_t id;   /* that token; ID_UNKNOWN */
    bool is_reached;
};

/* Walks or makes the node of `text`; the edges' ranks are 0 but for ends of tokens. */
static void trie_put(struct bpe_table *trie, int32_t *node_count, struct text_slice text,
                     int32_t id)
{
    int32_t node = 0;
    for (size_t i = 0; i < text.bytes; i++) {
        int32_t byte = (uint8_t)text.data[i];
        const struct bpe_pair *edge = bpe_table_find(trie, node, byte);
        int32_t next = edge != NULL ? edge->merged : (*node_count)++;
        uint32_t token = edge != NULL ? edge->rank : 0;
        if (i + 1 == text.bytes)
            token = (uint32_t)id + 1;
        bpe_table_put(trie, node, byte, token, next);
        node = next;
    }
}

static bool is_ordinary(const struct vocabulary *v, uint32_t i)
{
    return !vocabulary_is_control(v, (int32_t)i) && v->attributes[i] != TOKEN_BYTE &&
           vocabulary_text(v, (int32_t)i).bytes > 0;
}

status unigram_init(struct word_model *m, const struct vocabulary *v, const double *scores)
{
    size_t bytes = 0;
    double worst = 0;
    for (uint32_t i = 0; i < v->count; i++) {
        bytes += is_ordinary(v, i) ? vocabulary_text(v, (int32_t)i).bytes : 0;
        worst = scores[i] < worst ? scores[i] : worst;
    }
    if (bytes > UINT32_MAX / 4)
        return STATUS_TOO_LARGE;
    m->scores = memory_allocate_array(v->count, sizeof *m->scores);
    status s = m->scores != NULL ? bpe_table_init(&m->trie, (uint32_t)bytes) : STATUS_NO_MEMORY;
    int32_t node_count = 1;
    for (uint32_t i = 0; i < v->count && s == STATUS_OK; i++) {
        m->scores[i] = scores[i];
        if (is_ordinary(v, i))
            trie_put(&m->trie, &node_count, vocabulary_text(v, (int32_t)i), (int32_t)i);
    }
    m->unknown_score = worst - UNKNOWN_PENALTY;
    return s;
}

static void reach(struct unigram_node *node, double score, size_t start, int32_t id)
{
    if (!node->is_reached || score > node->score)
        *node = (struct unigram_node){score, start, id, true};
}

/* Every token that begins at `at`. */
static void extend(const struct word_model *m, struct text_slice word, size_t at,
                   struct unigram_node *nodes)
{
    size_t character = text_character_at(word.data, at, word.bytes).bytes;
    double here = nodes[at].score;
    bool has_single = false;
    int32_t node = 0;
    for (size_t i = at; i < word.bytes; i++) {
        const struct bpe_pair *edge = bpe_table_find(&m->trie, node, (uint8_t)word.data[i]);
        if (edge == NULL)
            break;
        node = edge->merged;
        if (edge->rank == 0)
            continue;
        int32_t id = (int32_t)edge->rank - 1;
        reach(&nodes[i + 1], here + m->scores[id], at, id);
        has_single = has_single || i + 1 == at + character;
    }
    if (!has_single)
        reach(&nodes[at + character], here + m->unknown_score, at, ID_UNKNOWN);
}

static status reserve_nodes(struct word_scratch *scratch, size_t count)
{
    if (count > scratch->node_capacity) {
        memory_release(scratch->nodes);
        scratch->node_capacity = 0;
        scratch->nodes = memory_allocate_array(count + count / 2, sizeof *scratch->nodes);
        if (scratch->nodes == NULL)
            return STATUS_NO_MEMORY;
        scratch->node_capacity = count + count / 2;
    }
    for (size_t i = 0; i < count; i++)
        scratch->nodes[i] = (struct unigram_node){.is_reached = false};
    return STATUS_OK;
}

/* Turns the chain from the end into one from the start: `start` of a node becomes the next border. */
static void reverse_path(struct unigram_node *nodes, size_t end)
{
    size_t next = end, at = end;
    int32_t id = 0;
    while (at > 0) {
        size_t start = nodes[at].start;
        int32_t own = nodes[at].id;
        nodes[at].start = next;
        nodes[at].id = id;
        next = at;
        id = own;
        at = start;
    }
    nodes[0].start = next;
    nodes[0].id = id;
}

status unigram_encode(const struct word_model *m, const struct vocabulary *v,
                      struct text_slice word, struct word_scratch *scratch, struct token_list *out)
{
    status s = reserve_nodes(scratch, word.bytes + 1);
    if (s != STATUS_OK || word.bytes == 0)
        return s;
    struct unigram_node *nodes = scratch->nodes;
    nodes[0].is_reached = true;
    for (size_t at = 0; at < word.bytes; at += text_character_at(word.data, at, word.bytes).bytes) {
        if (nodes[at].is_reached)
            extend(m, word, at, nodes);
    }
    reverse_path(nodes, word.bytes);
    bool is_unknown = false;
    for (size_t at = 0; at < word.bytes && s == STATUS_OK; at = nodes[at].start) {
        struct text_slice part = {word.data + at, nodes[at].start - at};
        if (nodes[at].id != ID_UNKNOWN) {
            is_unknown = false;
            s = token_list_append(out, nodes[at].id);
        } else {
            s = word_model_add_missing(m, v, part, &is_unknown, out);
        }
    }
    return s != STATUS_OK || out->count <= out->count_max ? s : STATUS_TOO_LARGE;
}
