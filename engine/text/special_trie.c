#include "special_trie.h"

#include "memory.h"

static uint32_t child_of(const struct special_trie *trie, uint32_t node, uint8_t byte)
{
    if (node == 0)
        return trie->root_child[byte];
    uint32_t child = trie->nodes[node].first_child;
    while (child != 0 && trie->nodes[child].byte != byte)
        child = trie->nodes[child].next_sibling;
    return child;
}

status special_trie_insert(struct special_trie *trie, struct text_slice text, int32_t id)
{
    uint32_t at = 0;
    for (size_t i = 0; i < text.bytes; i++) {
        uint8_t byte = (uint8_t)text.data[i];
        uint32_t child = child_of(trie, at, byte);
        if (child == 0) {
            if (trie->node_count == trie->capacity) {
                uint32_t capacity = trie->capacity * 2;
                void *grown = memory_resize(trie->nodes, capacity * sizeof(trie->nodes[0]));
                if (grown == NULL)
                    return STATUS_NO_MEMORY;
                trie->nodes = grown;
                trie->capacity = capacity;
            }
            child = trie->node_count++;
            trie->nodes[child] = (struct special_node){0, trie->nodes[at].first_child, -1, byte};
            trie->nodes[at].first_child = child;
            if (at == 0)
                trie->root_child[byte] = child;
        }
        at = child;
    }
    trie->nodes[at].id = id;
    return STATUS_OK;
}

status special_trie_init(struct special_trie *trie)
{
    *trie = (struct special_trie){.capacity = 256, .node_count = 1};
    trie->nodes = memory_allocate_array(trie->capacity, sizeof(trie->nodes[0]));
    return trie->nodes != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

void special_trie_deinit(struct special_trie *trie)
{
    memory_release(trie->nodes);
    *trie = (struct special_trie){0};
}

int32_t special_trie_match(const struct special_trie *trie, const struct vocabulary *v,
                           struct text_slice text, size_t at, size_t control_end, size_t *stop)
{
    int32_t best = -1;
    uint32_t node = 0;
    for (size_t i = at; i < text.bytes; i++) {
        node = child_of(trie, node, (uint8_t)text.data[i]);
        if (node == 0)
            break;
        int32_t id = trie->nodes[node].id;
        if (id >= 0 && (i + 1 <= control_end || !vocabulary_is_control(v, id))) {
            best = id;
            *stop = i + 1;
        }
    }
    return best;
}
