#ifndef PENSTOCK_GRAMMAR_TRIE_H
#define PENSTOCK_GRAMMAR_TRIE_H

#include "grammar.h"

/* Token texts as a trie, its nodes in the order of a walk: after a node come those below it, up to `next`. Tokens are listed
 * in the order of their texts, so those at and below a node are one run. */

struct trie_node {
    uint32_t next;        /* first node that is not below this one */
    uint32_t token_first; /* in `tokens`; those of the nodes below follow */
    uint16_t token_count; /* tokens with exactly this text */
    uint16_t depth;       /* bytes of the text, from 1 */
    uint8_t byte;         /* the last of them */
    uint8_t below;        /* enum trie_class: those that all bytes of the nodes below are in */
    uint16_t height;      /* levels of nodes below */
};

/* Bytes that most tokens are made of, and which states often do not tell apart. */
enum trie_class {
    TRIE_PLAIN = 1,   /* stand for themselves inside a JSON string */
    TRIE_NAME = 2,    /* letters and digits */
    TRIE_LETTERS = 4, /* of ASCII */
    TRIE_CLASS_ALL = 7
};
enum { TRIE_CLASSES = 3 };

static inline uint8_t trie_classes(uint8_t byte)
{
    uint8_t lower = byte | 0x20;
    bool is_plain = byte >= 0x20 && byte <= 0x7E && byte != '"' && byte != '\\';
    if (lower >= 'a' && lower <= 'z')
        return TRIE_CLASS_ALL;
    if (byte >= '0' && byte <= '9')
        return TRIE_PLAIN | TRIE_NAME;
    return is_plain ? TRIE_PLAIN : 0;
}

struct trie {
    struct trie_node *nodes; /* owned; [node_count] */
    uint32_t node_count;
    int32_t *tokens; /* owned; [token_count] */
    uint32_t token_count;
};

struct grammar_vocabulary {
    const tokenizer *tokens;
    uint32_t token_count;
    uint32_t mask_words;
    uint32_t depth_max;         /* longest text, bytes */
    struct trie plain, control; /* ordinary tokens; control tokens that do not end the output */
    int32_t *end_tokens;        /* owned */
    uint32_t end_token_count;
};

/* Longer texts are no tokens to a grammar: they are never allowed. */
#define TRIE_TEXT_BYTES_MAX 512u

/* The token's text as a grammar sees it. */
struct text_slice grammar_token_text(const grammar_vocabulary *v, int32_t token, bool with_control);

#endif
