#ifndef PENSTOCK_ADMISSION_RANK_TREE_H
#define PENSTOCK_ADMISSION_RANK_TREE_H

#include <stdbool.h>
#include <stdint.h>

/* An ordered set whose nodes stand inside what they order: first, last, and how much stands before
 * a node, each in O(log n). Treap (Seidel and Aragon 1996) with the count and cost of each
 * subtree; no allocation, no recursion. One owner. */

struct rank_node {
    struct rank_node *parent, *left, *right; /* private */
    uint64_t major, minor;                   /* the order; no two nodes of a tree have both alike */
    uint64_t cost;
    uint64_t cost_sum; /* of the subtree; private */
    uint32_t count;    /* of the subtree; 0: in no tree; private */
    uint32_t shuffle;  /* private */
};

struct rank_tree {
    struct rank_node *root;
};

/* `node` with major, minor and cost set, in no tree. */
void rank_tree_insert(struct rank_tree *tree, struct rank_node *node);
void rank_tree_remove(struct rank_tree *tree, struct rank_node *node);

struct rank_node *rank_tree_first(const struct rank_tree *tree); /* NULL: empty */
struct rank_node *rank_tree_last(const struct rank_tree *tree);
struct rank_node *rank_tree_after(const struct rank_node *node); /* NULL: it is the last */

/* How many nodes stand before `node`, and their cost. */
void rank_tree_before(const struct rank_node *node, uint32_t *count, uint64_t *cost);

static inline bool rank_node_is_in(const struct rank_node *node)
{
    return node->count > 0;
}

#endif
