/* Quotas in a tree
 *
 * Nodes are rows; a parent's number is below its children's, so one pass upwards sums and one pass downwards divides, with no
 * recursion.
 *
 * Covering. A holding is covered at a node if it fits into what the node is guaranteed, beside those that come before it. The
 * passes go from the deepest level up: what is covered below counts first (it fits, since children's guarantees sum to no more than
 * their parent's), then what is not, in the order of importance and age. So what a team cannot cover may still be
 * covered by what its organisation has not handed down.
 *
 * Why a guarantee can always be had. Let the claimant's side be within its guarantee with the request. On every other side only what
 * is covered cannot be reclaimed, and that is within those sides' guarantees; together they are no more than the parent
 * has. So reclaiming all that may be reclaimed always makes room in quantity, at each level from the claimant's team up. That
 * a holding is covered wholly or not at all keeps this true for pieces of any size.
 *
 * Why it does not swing. Who reclaims by fair share ends at or below its own, and loses nothing by fair share until it is above. */
#include "quota_tree.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "memory.h"

#define NO_NODE UINT32_MAX

struct quota_node {
    uint32_t parent, first_child, next_sibling; /* NO_NODE: none */
    uint8_t depth;
    struct quota_config config;
    struct quota_amount used;
    struct quota_amount waiting; /* leaves: set; others: summed in a division */
    struct quota_amount fair;
    struct quota_amount promised; /* to its children */
};

struct claim { /* of a child for a part of what remains */
    uint32_t node, weight;
    int32_t priority;
    uint64_t need;
};

struct quota_tree {
    struct quota_node *nodes;     /* owned: [count_max] */
    struct claim *claims;         /* owned: [count_max], scratch of a division */
    struct quota_amount *covered; /* owned: [count_max], scratch of covering */
    uint32_t count, count_max;
    uint32_t guarded[QUOTA_RESOURCE_COUNT]; /* nodes that are guaranteed some of it */
};

/* --- life --- */

status quota_tree_create(uint32_t count_max, struct quota_tree **out)
{
    struct quota_tree *tree = memory_allocate_array(1, sizeof(*tree));

    CHECK(count_max >= 1 && count_max <= QUOTA_NODES_MAX);
    if (tree == NULL)
        return STATUS_NO_MEMORY;
    tree->count_max = count_max;
    tree->nodes = memory_allocate_array(count_max, sizeof(*tree->nodes));
    tree->claims = memory_allocate_array(count_max, sizeof(*tree->claims));
    tree->covered = memory_allocate_array(count_max, sizeof(*tree->covered));
    if (tree->nodes == NULL || tree->claims == NULL || tree->covered == NULL) {
        quota_tree_destroy(tree);
        return STATUS_NO_MEMORY;
    }
    tree->count = 1;
    tree->nodes[QUOTA_ROOT] = (struct quota_node){
        .parent = NO_NODE, .first_child = NO_NODE, .next_sibling = NO_NODE, .config.weight = 1};
    for (int r = 0; r < QUOTA_RESOURCE_COUNT; r++)
        tree->nodes[QUOTA_ROOT].config.limit.of[r] = QUOTA_UNLIMITED;
    *out = tree;
    return STATUS_OK;
}

void quota_tree_destroy(struct quota_tree *tree)
{
    if (tree == NULL)
        return;
    memory_release(tree->covered);
    memory_release(tree->claims);
    memory_release(tree->nodes);
    memory_release(tree);
}

static uint64_t sum_capped(uint64_t a, uint64_t b)
{
    return b < UINT64_MAX - a ? a + b : UINT64_MAX;
}

static uint64_t lesser(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Whether `parent` can promise so much to a child that has `before` now. */
static bool can_promise(const struct quota_tree *tree, uint32_t parent,
                        const struct quota_amount *before, const struct quota_amount *wanted)
{
    const struct quota_node *node = &tree->nodes[parent];

    for (int r = 0; r < QUOTA_RESOURCE_COUNT && parent != QUOTA_ROOT; r++) {
        if (sum_capped(node->promised.of[r] - before->of[r], wanted->of[r]) >
            node->config.guaranteed.of[r])
            return false;
    }
    return true;
}

static void promise(struct quota_tree *tree, uint32_t parent, const struct quota_amount *before,
                    const struct quota_amount *wanted)
{
    for (int r = 0; r < QUOTA_RESOURCE_COUNT; r++) {
        uint64_t *promised = &tree->nodes[parent].promised.of[r];

        *promised = sum_capped(*promised - before->of[r], wanted->of[r]);
        tree->guarded[r] -= before->of[r] > 0;
        tree->guarded[r] += wanted->of[r] > 0;
    }
}

/* Sums of promises stay exact below this. */
static bool is_config_sane(const struct quota_config *config)
{
    for (int r = 0; r < QUOTA_RESOURCE_COUNT; r++) {
        if (config->guaranteed.of[r] > UINT64_MAX / QUOTA_NODES_MAX / 2)
            return false;
    }
    return config->weight > 0;
}

status quota_tree_add(struct quota_tree *tree, uint32_t parent, const struct quota_config *config,
                      uint32_t *out)
{
    static const struct quota_amount nothing;
    struct quota_node *node;

    CHECK(parent < tree->count);
    if (tree->count == tree->count_max)
        return STATUS_FULL;
    if (tree->nodes[parent].depth == QUOTA_DEPTH_MAX)
        return STATUS_TOO_LARGE;
    if (!is_config_sane(config) || !can_promise(tree, parent, &nothing, &config->guaranteed))
        return STATUS_INVALID;
    promise(tree, parent, &nothing, &config->guaranteed);
    node = &tree->nodes[tree->count];
    *node = (struct quota_node){.parent = parent,
                                .first_child = NO_NODE,
                                .next_sibling = tree->nodes[parent].first_child,
                                .depth = (uint8_t)(tree->nodes[parent].depth + 1),
                                .config = *config};
    tree->nodes[parent].first_child = tree->count;
    *out = tree->count++;
    return STATUS_OK;
}

status quota_tree_change(struct quota_tree *tree, uint32_t node, const struct quota_config *config)
{
    struct quota_node *changed = &tree->nodes[node];

    CHECK(node < tree->count && node != QUOTA_ROOT);
    if (!is_config_sane(config) ||
        !can_promise(tree, changed->parent, &changed->config.guaranteed, &config->guaranteed))
        return STATUS_INVALID;
    for (int r = 0; r < QUOTA_RESOURCE_COUNT; r++) {
        if (changed->promised.of[r] > config->guaranteed.of[r])
            return STATUS_INVALID;
    }
    promise(tree, changed->parent, &changed->config.guaranteed, &config->guaranteed);
    changed->config = *config;
    return STATUS_OK;
}

void quota_tree_set_capacity(struct quota_tree *tree, const struct quota_amount *capacity)
{
    tree->nodes[QUOTA_ROOT].config.guaranteed = *capacity;
}

bool quota_tree_is_overcommitted(const struct quota_tree *tree)
{
    const struct quota_node *root = &tree->nodes[QUOTA_ROOT];

    for (int r = 0; r < QUOTA_RESOURCE_COUNT; r++) {
        if (root->promised.of[r] > root->config.guaranteed.of[r])
            return true;
    }
    return false;
}

/* --- looking --- */

uint32_t quota_tree_count(const struct quota_tree *tree)
{
    return tree->count;
}

bool quota_tree_is_leaf(const struct quota_tree *tree, uint32_t node)
{
    CHECK(node < tree->count);
    return tree->nodes[node].first_child == NO_NODE;
}

uint32_t quota_tree_parent(const struct quota_tree *tree, uint32_t node)
{
    CHECK(node < tree->count && node != QUOTA_ROOT);
    return tree->nodes[node].parent;
}

const struct quota_config *quota_tree_config(const struct quota_tree *tree, uint32_t node)
{
    CHECK(node < tree->count);
    return &tree->nodes[node].config;
}

const struct quota_amount *quota_tree_used(const struct quota_tree *tree, uint32_t node)
{
    CHECK(node < tree->count);
    return &tree->nodes[node].used;
}

const struct quota_amount *quota_tree_fair(const struct quota_tree *tree, uint32_t node)
{
    CHECK(node < tree->count);
    return &tree->nodes[node].fair;
}

/* --- holding --- */

bool quota_tree_allows(const struct quota_tree *tree, uint32_t node,
                       const struct quota_amount *amount, uint32_t *at)
{
    CHECK(node < tree->count);
    for (uint32_t i = node; i != NO_NODE; i = tree->nodes[i].parent) {
        for (int r = 0; r < QUOTA_RESOURCE_COUNT; r++) {
            if (amount->of[r] == 0 || sum_capped(tree->nodes[i].used.of[r], amount->of[r]) <=
                                          tree->nodes[i].config.limit.of[r])
                continue;
            if (at != NULL)
                *at = i;
            return false;
        }
    }
    return true;
}

void quota_tree_charge(struct quota_tree *tree, uint32_t node, const struct quota_amount *amount)
{
    CHECK(node < tree->count);
    for (uint32_t i = node; i != NO_NODE; i = tree->nodes[i].parent) {
        for (int r = 0; r < QUOTA_RESOURCE_COUNT; r++)
            tree->nodes[i].used.of[r] += amount->of[r];
    }
}

void quota_tree_credit(struct quota_tree *tree, uint32_t node, const struct quota_amount *amount)
{
    CHECK(node < tree->count);
    for (uint32_t i = node; i != NO_NODE; i = tree->nodes[i].parent) {
        for (int r = 0; r < QUOTA_RESOURCE_COUNT; r++) {
            CHECK(tree->nodes[i].used.of[r] >= amount->of[r]);
            tree->nodes[i].used.of[r] -= amount->of[r];
        }
    }
}

/* --- fair shares --- */

void quota_tree_set_waiting(struct quota_tree *tree, uint32_t leaf,
                            const struct quota_amount *amount)
{
    CHECK(leaf < tree->count && tree->nodes[leaf].first_child == NO_NODE);
    tree->nodes[leaf].waiting = *amount;
}

void quota_tree_add_waiting(struct quota_tree *tree, uint32_t leaf,
                            const struct quota_amount *amount)
{
    CHECK(leaf < tree->count && tree->nodes[leaf].first_child == NO_NODE);
    for (int r = 0; r < QUOTA_RESOURCE_COUNT; r++)
        tree->nodes[leaf].waiting.of[r] =
            sum_capped(tree->nodes[leaf].waiting.of[r], amount->of[r]);
}

/* What a node could use: what it holds and what waits, within its limit. */
static uint64_t asked_for(const struct quota_node *node, int r)
{
    return lesser(sum_capped(node->used.of[r], node->waiting.of[r]), node->config.limit.of[r]);
}

/* The higher priority first; within one, who needs least for its weight. */
static int compare_claims(const void *left, const void *right)
{
    const struct claim *a = left, *b = right;
    unsigned __int128 x = (unsigned __int128)a->need * b->weight;
    unsigned __int128 y = (unsigned __int128)b->need * a->weight;

    if (a->priority != b->priority)
        return a->priority > b->priority ? -1 : 1;
    if (x != y)
        return x < y ? -1 : 1;
    return a->node < b->node ? -1 : a->node > b->node;
}

/* Shares `rest` among claims of one priority by weight: in the order of need for weight, whoever needs less than its part
 * leaves the difference to those after it, so one pass does. Returns what is left. */
static uint64_t share(struct quota_tree *tree, const struct claim *claims, uint32_t count,
                      uint64_t rest, int r)
{
    uint64_t weights = 0;

    for (uint32_t i = 0; i < count; i++)
        weights += claims[i].weight;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t part = (uint64_t)((unsigned __int128)rest * claims[i].weight / weights);
        uint64_t given = lesser(part, claims[i].need);

        tree->nodes[claims[i].node].fair.of[r] += given;
        rest -= given;
        weights -= claims[i].weight;
    }
    return rest;
}

static void share_by_priority(struct quota_tree *tree, uint32_t count, uint64_t rest, int r)
{
    uint32_t first = 0;

    qsort(tree->claims, count, sizeof(*tree->claims), compare_claims);
    while (first < count) {
        uint32_t end = first;

        while (end < count && tree->claims[end].priority == tree->claims[first].priority)
            end++;
        rest = share(tree, &tree->claims[first], end - first, rest, r);
        first = end;
    }
}

/* Gives a node's children their parts of its fair share. When promises exceed it (slices have gone), they shrink alike. */
static void divide_node(struct quota_tree *tree, uint32_t parent, int r)
{
    uint64_t whole = tree->nodes[parent].fair.of[r], due = 0, rest = whole;
    uint32_t count = 0;

    for (uint32_t i = tree->nodes[parent].first_child; i != NO_NODE;
         i = tree->nodes[i].next_sibling)
        due += lesser(tree->nodes[i].config.guaranteed.of[r], asked_for(&tree->nodes[i], r));
    for (uint32_t i = tree->nodes[parent].first_child; i != NO_NODE;
         i = tree->nodes[i].next_sibling) {
        struct quota_node *child = &tree->nodes[i];
        uint64_t asked = asked_for(child, r);
        uint64_t given = lesser(child->config.guaranteed.of[r], asked);

        if (due > whole)
            given = (uint64_t)((unsigned __int128)given * whole / due);
        child->fair.of[r] = given;
        rest -= given;
        if (asked > given)
            tree->claims[count++] = (struct claim){.node = i,
                                                   .weight = child->config.weight,
                                                   .priority = child->config.priority,
                                                   .need = asked - given};
    }
    if (rest > 0)
        share_by_priority(tree, count, rest, r);
}

/* Sums what waits, up the tree: no node asks for more than its limit lets it have. */
static void sum_waiting(struct quota_tree *tree)
{
    static const struct quota_amount nothing;

    for (uint32_t i = 0; i < tree->count; i++) {
        if (tree->nodes[i].first_child != NO_NODE)
            tree->nodes[i].waiting = nothing;
    }
    for (uint32_t i = tree->count - 1; i > QUOTA_ROOT; i--) {
        struct quota_amount *above = &tree->nodes[tree->nodes[i].parent].waiting;

        for (int r = 0; r < QUOTA_RESOURCE_COUNT; r++) {
            uint64_t asked = asked_for(&tree->nodes[i], r), used = tree->nodes[i].used.of[r];

            above->of[r] = sum_capped(above->of[r], asked > used ? asked - used : 0);
        }
    }
}

void quota_tree_divide(struct quota_tree *tree)
{
    sum_waiting(tree);
    for (int r = 0; r < QUOTA_RESOURCE_COUNT; r++) {
        struct quota_node *root = &tree->nodes[QUOTA_ROOT];

        root->fair.of[r] = lesser(root->config.guaranteed.of[r], asked_for(root, r));
        for (uint32_t i = 0; i < tree->count; i++) {
            if (tree->nodes[i].first_child != NO_NODE)
                divide_node(tree, i, r);
        }
    }
}

/* --- covering --- */

static int compare_holdings(const void *left, const void *right)
{
    const struct quota_holding *a = left, *b = right;

    if (a->priority != b->priority)
        return a->priority > b->priority ? -1 : 1;
    if (a->started_ns != b->started_ns)
        return a->started_ns < b->started_ns ? -1 : 1;
    return a->uid < b->uid ? -1 : a->uid > b->uid;
}

/* The node at `depth` above (or at) `node`. */
static uint32_t ancestor_at(const struct quota_tree *tree, uint32_t node, uint32_t depth)
{
    while (tree->nodes[node].depth > depth)
        node = tree->nodes[node].parent;
    return node;
}

/* Whether `sum` and `amount` together are within what a node is guaranteed, of what anybody is guaranteed. */
static bool is_within(const struct quota_tree *tree, uint32_t node, const struct quota_amount *sum,
                      const struct quota_amount *amount)
{
    bool is_looked_at = false;

    for (int r = 0; r < QUOTA_RESOURCE_COUNT; r++) {
        if (tree->guarded[r] == 0)
            continue;
        is_looked_at = true;
        if (sum_capped(sum->of[r], amount->of[r]) > tree->nodes[node].config.guaranteed.of[r])
            return false;
    }
    return is_looked_at;
}

static void add(struct quota_amount *sum, const struct quota_amount *amount)
{
    for (int r = 0; r < QUOTA_RESOURCE_COUNT; r++)
        sum->of[r] += amount->of[r];
}

static void cover_level(const struct quota_tree *tree, struct quota_holding *holdings,
                        uint32_t count, uint8_t depth)
{
    for (uint32_t i = 0; i < count; i++) {
        if (holdings[i].covered_depth != QUOTA_NO_DEPTH)
            add(&tree->covered[ancestor_at(tree, holdings[i].node, depth)], &holdings[i].amount);
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t node = ancestor_at(tree, holdings[i].node, depth);

        if (holdings[i].covered_depth != QUOTA_NO_DEPTH || tree->nodes[node].depth != depth ||
            !is_within(tree, node, &tree->covered[node], &holdings[i].amount))
            continue;
        holdings[i].covered_depth = depth;
        add(&tree->covered[node], &holdings[i].amount);
    }
}

void quota_tree_cover(const struct quota_tree *tree, struct quota_holding *holdings, uint32_t count)
{
    uint8_t deepest = 0;

    memset(tree->covered, 0, tree->count * sizeof(*tree->covered));
    for (uint32_t i = 0; i < count; i++) {
        CHECK(holdings[i].node < tree->count);
        holdings[i].covered_depth = QUOTA_NO_DEPTH;
        if (tree->nodes[holdings[i].node].depth > deepest)
            deepest = tree->nodes[holdings[i].node].depth;
    }
    qsort(holdings, count, sizeof(*holdings), compare_holdings);
    for (uint8_t depth = deepest; depth > 0; depth--)
        cover_level(tree, holdings, count, depth);
}

/* --- reclaim --- */

/* The nodes just below the one where the paths of `a` and `b` part; false: one lies above the other. */
static bool part_ways(const struct quota_tree *tree, uint32_t a, uint32_t b, uint32_t *a_side,
                      uint32_t *b_side)
{
    uint8_t depth =
        tree->nodes[a].depth < tree->nodes[b].depth ? tree->nodes[a].depth : tree->nodes[b].depth;

    a = ancestor_at(tree, a, depth);
    b = ancestor_at(tree, b, depth);
    if (a == b)
        return false;
    while (tree->nodes[a].parent != tree->nodes[b].parent) {
        a = tree->nodes[a].parent;
        b = tree->nodes[b].parent;
    }
    *a_side = a;
    *b_side = b;
    return true;
}

/* Fair shares are compared in what somebody is guaranteed, or in compute when nobody is guaranteed anything: what a request will take of
 * the others is not known before it has a place, so a holder would always be short of them. */
static bool is_compared(const struct quota_tree *tree, int resource)
{
    uint32_t guarded = 0;

    for (int r = 0; r < QUOTA_RESOURCE_COUNT; r++)
        guarded += tree->guarded[r];
    return guarded > 0 ? tree->guarded[resource] > 0 : resource == QUOTA_COMPUTE;
}

static bool is_within_fair(const struct quota_tree *tree, const struct quota_node *node,
                           const struct quota_amount *amount)
{
    for (int r = 0; r < QUOTA_RESOURCE_COUNT; r++) {
        if (is_compared(tree, r) && sum_capped(node->used.of[r], amount->of[r]) > node->fair.of[r])
            return false;
    }
    return true;
}

static bool stays_above_fair(const struct quota_tree *tree, const struct quota_node *node,
                             const struct quota_amount *amount)
{
    for (int r = 0; r < QUOTA_RESOURCE_COUNT; r++) {
        if (is_compared(tree, r) && node->used.of[r] < sum_capped(node->fair.of[r], amount->of[r]))
            return false;
    }
    return true;
}

bool quota_tree_may_reclaim(const struct quota_tree *tree, uint32_t claimant,
                            const struct quota_amount *amount, const struct quota_holding *holding,
                            uint64_t min_run_ns, uint64_t now_ns)
{
    uint32_t ours, theirs;

    CHECK(claimant < tree->count && holding->node < tree->count);
    if (quota_tree_protects(tree, claimant, holding) ||
        !part_ways(tree, claimant, holding->node, &ours, &theirs))
        return false;
    if (now_ns < holding->started_ns || now_ns - holding->started_ns < min_run_ns)
        return false;
    if (is_within(tree, ours, &tree->nodes[ours].used, amount))
        return true;
    return is_within_fair(tree, &tree->nodes[ours], amount) &&
           stays_above_fair(tree, &tree->nodes[theirs], &holding->amount);
}

bool quota_tree_is_owed(const struct quota_tree *tree, uint32_t node,
                        const struct quota_amount *amount)
{
    CHECK(node < tree->count);
    for (; node != QUOTA_ROOT; node = tree->nodes[node].parent) {
        if (is_within(tree, node, &tree->nodes[node].used, amount))
            return true;
    }
    return false;
}

bool quota_tree_protects(const struct quota_tree *tree, uint32_t claimant,
                         const struct quota_holding *holding)
{
    uint32_t ours, theirs;

    return part_ways(tree, claimant, holding->node, &ours, &theirs) &&
           holding->covered_depth != QUOTA_NO_DEPTH &&
           holding->covered_depth >= tree->nodes[theirs].depth;
}

uint32_t quota_tree_saturation(const struct quota_tree *tree, uint32_t node)
{
    uint64_t most = 0;

    CHECK(node < tree->count);
    for (int r = 0; r < QUOTA_RESOURCE_COUNT; r++) {
        uint64_t used = tree->nodes[node].used.of[r], fair = tree->nodes[node].fair.of[r], times;

        if (used == 0)
            continue;
        times = fair > 0 ? (uint64_t)((unsigned __int128)used * 1000 / fair) : UINT32_MAX;
        most = times > most ? times : most;
    }
    return most < UINT32_MAX ? (uint32_t)most : UINT32_MAX;
}
