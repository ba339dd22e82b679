#include "rank_tree.h"

#include <stddef.h>

#include "check.h"

static bool stands_before(const struct rank_node *a, const struct rank_node *b)
{
    return a->major != b->major ? a->major < b->major : a->minor < b->minor;
}

static void sums_update(struct rank_node *node)
{
    node->count = 1;
    node->cost_sum = node->cost;
    if (node->left != NULL) {
        node->count += node->left->count;
        node->cost_sum += node->left->cost_sum;
    }
    if (node->right != NULL) {
        node->count += node->right->count;
        node->cost_sum += node->right->cost_sum;
    }
}

/* Where the tree points to `node`. */
static struct rank_node **link_of(struct rank_tree *tree, const struct rank_node *node)
{
    if (node->parent == NULL)
        return &tree->root;
    return node->parent->left == node ? &node->parent->left : &node->parent->right;
}

/* Puts `node` in its parent's place, and the parent below it. */
static void rotate_up(struct rank_tree *tree, struct rank_node *node)
{
    struct rank_node *parent = node->parent, *moved;

    *link_of(tree, parent) = node;
    node->parent = parent->parent;
    if (parent->left == node) {
        moved = node->right;
        parent->left = moved;
        node->right = parent;
    } else {
        moved = node->left;
        parent->right = moved;
        node->left = parent;
    }
    parent->parent = node;
    if (moved != NULL)
        moved->parent = parent;
    sums_update(parent);
    sums_update(node);
}

/* The shape must not follow from the order of arrival: any well-mixed function of the node will do
 * (SplitMix64's finisher, Steele et al. 2014). */
static uint32_t shuffle_of(const struct rank_node *node)
{
    uint64_t value = node->major * 0x9E3779B97F4A7C15ull + node->minor;

    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9ull;
    value = (value ^ value >> 27) * 0x94D049BB133111EBull;
    return (uint32_t)(value >> 32);
}

void rank_tree_insert(struct rank_tree *tree, struct rank_node *node)
{
    struct rank_node **link = &tree->root, *parent = NULL;

    CHECK(!rank_node_is_in(node));
    while (*link != NULL) {
        parent = *link;
        link = stands_before(node, parent) ? &parent->left : &parent->right;
    }
    node->parent = parent;
    node->left = node->right = NULL;
    node->shuffle = shuffle_of(node);
    *link = node;
    sums_update(node);
    for (; parent != NULL; parent = parent->parent)
        sums_update(parent);
    while (node->parent != NULL && node->shuffle > node->parent->shuffle)
        rotate_up(tree, node);
}

void rank_tree_remove(struct rank_tree *tree, struct rank_node *node)
{
    struct rank_node *parent;

    CHECK(rank_node_is_in(node));
    while (node->left != NULL || node->right != NULL) {
        bool is_left = node->right == NULL ||
                       (node->left != NULL && node->left->shuffle > node->right->shuffle);

        rotate_up(tree, is_left ? node->left : node->right);
    }
    parent = node->parent;
    *link_of(tree, node) = NULL;
    node->parent = NULL;
    node->count = 0;
    for (; parent != NULL; parent = parent->parent)
        sums_update(parent);
}

struct rank_node *rank_tree_first(const struct rank_tree *tree)
{
    struct rank_node *node = tree->root;

    while (node != NULL && node->left != NULL)
        node = node->left;
    return node;
}

struct rank_node *rank_tree_last(const struct rank_tree *tree)
{
    struct rank_node *node = tree->root;

    while (node != NULL && node->right != NULL)
        node = node->right;
    return node;
}

struct rank_node *rank_tree_after(const struct rank_node *node)
{
    const struct rank_tree right = {node->right};

    if (node->right != NULL)
        return rank_tree_first(&right);
    while (node->parent != NULL && node->parent->right == node)
        node = node->parent;
    return node->parent;
}

void rank_tree_before(const struct rank_node *node, uint32_t *count, uint64_t *cost)
{
    *count = node->left != NULL ? node->left->count : 0;
    *cost = node->left != NULL ? node->left->cost_sum : 0;
    for (; node->parent != NULL; node = node->parent) {
        const struct rank_node *parent = node->parent;

        if (parent->right == node) {
            *count += parent->count - node->count;
            *cost += parent->cost_sum - node->cost_sum;
        }
    }
}
