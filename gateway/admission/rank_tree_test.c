#include "unit_test.h"

#include <stdlib.h>

#include "rank_tree.h"

#define COUNT 200u

static uint64_t random_next(uint64_t *state)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return *state >> 33;
}

static int node_compare(const void *a, const void *b)
{
    const struct rank_node *left = *(struct rank_node *const *)a,
                           *right = *(struct rank_node *const *)b;

    if (left->major != right->major)
        return left->major < right->major ? -1 : 1;
    return left->minor < right->minor ? -1 : 1;
}

/* The tree against a sorted array of what should be in it. */
static void compare(const struct rank_tree *tree, struct rank_node *nodes)
{
    struct rank_node *in[COUNT];
    struct rank_node *at = rank_tree_first(tree);
    uint32_t count = 0, before;
    uint64_t cost = 0, before_cost;

    for (uint32_t i = 0; i < COUNT; i++) {
        if (rank_node_is_in(&nodes[i]))
            in[count++] = &nodes[i];
    }
    qsort(in, count, sizeof(in[0]), node_compare);
    for (uint32_t i = 0; i < count; i++) {
        assert_ptr_equal(at, in[i]);
        rank_tree_before(at, &before, &before_cost);
        assert_int_equal(before, i);
        assert_int_equal(before_cost, cost);
        cost += at->cost;
        at = rank_tree_after(at);
    }
    assert_null(at);
    assert_ptr_equal(rank_tree_last(tree), count > 0 ? in[count - 1] : NULL);
}

static void it_orders_and_counts_like_a_sorted_array(void **state)
{
    static struct rank_node nodes[COUNT];
    uint64_t seed = 7;

    (void)state;
    for (int round = 0; round < 20; round++) {
        struct rank_tree tree = {NULL};

        memset(nodes, 0, sizeof(nodes));
        for (int step = 0; step < 600; step++) {
            uint32_t i = (uint32_t)(random_next(&seed) % COUNT);

            if (rank_node_is_in(&nodes[i])) {
                rank_tree_remove(&tree, &nodes[i]);
            } else {
                /* Few majors, so that the minor decides often. */
                nodes[i].major = random_next(&seed) % 8;
                nodes[i].minor = (uint64_t)step * COUNT + i;
                nodes[i].cost = random_next(&seed) % 100;
                rank_tree_insert(&tree, &nodes[i]);
            }
            if (step % 10 == 0)
                compare(&tree, nodes);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(it_orders_and_counts_like_a_sorted_array)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
