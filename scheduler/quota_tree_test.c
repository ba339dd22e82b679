/* WRAP: malloc calloc realloc aligned_alloc */
#include "unit_test.h"

#include "fail_nth.h"
#include "quota_tree.h"

#define S 1000000000ull
#define UNLIMITED                                                                                  \
    {                                                                                              \
        {                                                                                          \
            QUOTA_UNLIMITED, QUOTA_UNLIMITED, QUOTA_UNLIMITED                                      \
        }                                                                                          \
    }

static struct quota_tree *make(uint64_t compute)
{
    struct quota_amount capacity = {{compute, 0, 0}};
    struct quota_tree *tree;

    assert_int_equal(quota_tree_create(64, &tree), STATUS_OK);
    quota_tree_set_capacity(tree, &capacity);
    return tree;
}

static uint32_t add(struct quota_tree *tree, uint32_t parent, uint64_t guaranteed, uint32_t weight,
                    int32_t priority)
{
    struct quota_config config = {
        .guaranteed = {{guaranteed}}, .limit = UNLIMITED, .weight = weight, .priority = priority};
    uint32_t node;

    assert_int_equal(quota_tree_add(tree, parent, &config, &node), STATUS_OK);
    return node;
}

static void hold(struct quota_tree *tree, uint32_t node, uint64_t compute)
{
    struct quota_amount amount = {{compute}};

    quota_tree_charge(tree, node, &amount);
}

static void wait_for(struct quota_tree *tree, uint32_t node, uint64_t compute)
{
    struct quota_amount amount = {{compute}};

    quota_tree_set_waiting(tree, node, &amount);
}

static uint64_t fair(const struct quota_tree *tree, uint32_t node)
{
    return quota_tree_fair(tree, node)->of[QUOTA_COMPUTE];
}

static void charges_reach_all_above_and_limits_name_the_node(void **state)
{
    struct quota_tree *tree = make(100);
    struct quota_config config = {.limit = UNLIMITED, .weight = 1};
    struct quota_amount six = {{6}}, five = {{5}};
    uint32_t organisation, team, at = 99;

    (void)state;
    config.limit.of[QUOTA_COMPUTE] = 10;
    assert_int_equal(quota_tree_add(tree, QUOTA_ROOT, &config, &organisation), STATUS_OK);
    team = add(tree, organisation, 0, 1, 0);
    assert_true(quota_tree_allows(tree, team, &six, &at));
    quota_tree_charge(tree, team, &six);
    assert_int_equal(quota_tree_used(tree, organisation)->of[QUOTA_COMPUTE], 6);
    assert_int_equal(quota_tree_used(tree, QUOTA_ROOT)->of[QUOTA_COMPUTE], 6);
    assert_false(quota_tree_allows(tree, team, &five, &at));
    assert_int_equal(at, organisation);
    quota_tree_credit(tree, team, &six);
    assert_int_equal(quota_tree_used(tree, QUOTA_ROOT)->of[QUOTA_COMPUTE], 0);
    assert_int_equal(quota_tree_parent(tree, team), organisation);
    quota_tree_destroy(tree);
}

static void a_parent_promises_no_more_than_it_has(void **state)
{
    struct quota_tree *tree = make(100);
    struct quota_config config = {.guaranteed = {{6}}, .limit = UNLIMITED, .weight = 1};
    uint32_t organisation = add(tree, QUOTA_ROOT, 10, 1, 0),
             team = add(tree, organisation, 5, 1, 0);
    uint32_t other;

    (void)state;
    assert_int_equal(quota_tree_add(tree, organisation, &config, &other), STATUS_INVALID);
    config.guaranteed.of[QUOTA_COMPUTE] = 5;
    assert_int_equal(quota_tree_add(tree, organisation, &config, &other), STATUS_OK);
    config.guaranteed.of[QUOTA_COMPUTE] = 6;
    assert_int_equal(quota_tree_change(tree, team, &config), STATUS_INVALID);
    config.guaranteed.of[QUOTA_COMPUTE] = 9;
    assert_int_equal(quota_tree_change(tree, organisation, &config), STATUS_INVALID);
    config.guaranteed.of[QUOTA_COMPUTE] = 4;
    assert_int_equal(quota_tree_change(tree, team, &config), STATUS_OK);
    config.weight = 0;
    assert_int_equal(quota_tree_change(tree, team, &config), STATUS_INVALID);
    assert_false(quota_tree_is_overcommitted(tree));
    (void)add(tree, QUOTA_ROOT, 91, 1, 0);
    assert_true(quota_tree_is_overcommitted(tree));
    quota_tree_destroy(tree);
}

static void depth_and_count_are_bounded(void **state)
{
    struct quota_config config = {.limit = UNLIMITED, .weight = 1};
    struct quota_tree *tree = make(1);
    uint32_t node = QUOTA_ROOT;

    (void)state;
    for (uint32_t i = 0; i < QUOTA_DEPTH_MAX; i++)
        assert_int_equal(quota_tree_add(tree, node, &config, &node), STATUS_OK);
    assert_int_equal(quota_tree_add(tree, node, &config, &node), STATUS_TOO_LARGE);
    while (quota_tree_count(tree) < 64)
        (void)add(tree, QUOTA_ROOT, 0, 1, 0);
    assert_int_equal(quota_tree_add(tree, QUOTA_ROOT, &config, &node), STATUS_FULL);
    quota_tree_destroy(tree);
}

static void what_remains_goes_by_priority_then_by_weight(void **state)
{
    struct quota_tree *tree = make(100);
    uint32_t a = add(tree, QUOTA_ROOT, 20, 1, 0), b = add(tree, QUOTA_ROOT, 20, 3, 0);
    uint32_t c = add(tree, QUOTA_ROOT, 0, 1, 5);

    (void)state;
    wait_for(tree, a, 1000);
    wait_for(tree, b, 1000);
    wait_for(tree, c, 20);
    quota_tree_divide(tree);
    /* 40 are guaranteed, 20 go to c before the others, the last 40 in the ratio of 1 to 3. */
    assert_int_equal(fair(tree, c), 20);
    assert_int_equal(fair(tree, a), 30);
    assert_int_equal(fair(tree, b), 50);
    wait_for(tree, b, 25);
    quota_tree_divide(tree);
    assert_int_equal(fair(tree, b), 25);
    assert_int_equal(fair(tree, a), 55);
    quota_tree_destroy(tree);
}

static void nobody_gets_more_than_a_limit_on_its_way(void **state)
{
    struct quota_tree *tree = make(100);
    struct quota_config config = {.guaranteed = {{10}}, .limit = UNLIMITED, .weight = 1};
    uint32_t organisation, team, other = add(tree, QUOTA_ROOT, 0, 1, 0);

    (void)state;
    config.limit.of[QUOTA_COMPUTE] = 30;
    assert_int_equal(quota_tree_add(tree, QUOTA_ROOT, &config, &organisation), STATUS_OK);
    team = add(tree, organisation, 5, 1, 0);
    wait_for(tree, team, 90);
    wait_for(tree, other, 90);
    quota_tree_divide(tree);
    assert_int_equal(fair(tree, team), 30);
    assert_int_equal(fair(tree, other), 70);
    quota_tree_destroy(tree);
}

static void promises_shrink_alike_when_slices_are_gone(void **state)
{
    struct quota_tree *tree = make(50);
    uint32_t a = add(tree, QUOTA_ROOT, 60, 1, 0), b = add(tree, QUOTA_ROOT, 40, 1, 0);

    (void)state;
    wait_for(tree, a, 60);
    wait_for(tree, b, 40);
    quota_tree_divide(tree);
    assert_int_equal(fair(tree, a), 30);
    assert_int_equal(fair(tree, b), 20);
    assert_int_equal(quota_tree_saturation(tree, a), 0);
    hold(tree, a, 45);
    assert_int_equal(quota_tree_saturation(tree, a), 1500);
    quota_tree_destroy(tree);
}

static struct quota_holding holding(uint64_t uid, uint32_t node, uint64_t compute, int32_t priority,
                                    uint64_t started_ns)
{
    return (struct quota_holding){.uid = uid,
                                  .node = node,
                                  .amount = {{compute}},
                                  .priority = priority,
                                  .started_ns = started_ns};
}

static void the_important_and_the_old_are_covered_first(void **state)
{
    struct quota_tree *tree = make(100);
    uint32_t a = add(tree, QUOTA_ROOT, 8, 1, 0);
    struct quota_holding holdings[] = {holding(1, a, 4, 0, 30), holding(2, a, 4, 0, 10),
                                       holding(3, a, 4, 5, 40), holding(4, a, 4, 0, 20)};

    (void)state;
    quota_tree_cover(tree, holdings, 4);
    assert_int_equal(holdings[0].uid, 3);
    assert_int_equal(holdings[1].uid, 2);
    assert_int_equal(holdings[0].covered_depth, 1);
    assert_int_equal(holdings[1].covered_depth, 1);
    assert_int_equal(holdings[2].covered_depth, QUOTA_NO_DEPTH);
    assert_int_equal(holdings[3].covered_depth, QUOTA_NO_DEPTH);
    quota_tree_destroy(tree);
}

static void an_organisation_covers_what_its_teams_cannot(void **state)
{
    struct quota_tree *tree = make(100);
    uint32_t organisation = add(tree, QUOTA_ROOT, 10, 1, 0),
             other = add(tree, QUOTA_ROOT, 10, 1, 0);
    uint32_t team = add(tree, organisation, 4, 1, 0), sister = add(tree, organisation, 4, 1, 0);
    struct quota_holding holdings[] = {holding(1, team, 4, 0, 1), holding(2, team, 2, 0, 2)};
    struct quota_amount two = {{2}};

    (void)state;
    hold(tree, team, 6);
    quota_tree_divide(tree);
    quota_tree_cover(tree, holdings, 2);
    assert_int_equal(holdings[0].covered_depth, 2);
    assert_int_equal(holdings[1].covered_depth, 1);
    /* The sister's own guarantee is worth more than what the team borrowed of their organisation; another organisation's is not. */
    assert_true(quota_tree_may_reclaim(tree, sister, &two, &holdings[1], 0, S));
    assert_false(quota_tree_may_reclaim(tree, sister, &two, &holdings[0], 0, S));
    assert_false(quota_tree_may_reclaim(tree, other, &two, &holdings[1], 0, S));
    assert_true(quota_tree_protects(tree, other, &holdings[1]));
    assert_false(quota_tree_protects(tree, sister, &holdings[1]));
    quota_tree_destroy(tree);
}

static void who_has_run_shortly_is_left_alone_and_nobody_reclaims_at_home(void **state)
{
    struct quota_tree *tree = make(10);
    uint32_t a = add(tree, QUOTA_ROOT, 5, 1, 0), b = add(tree, QUOTA_ROOT, 5, 1, 0);
    struct quota_holding one = holding(1, a, 7, 0, 100 * S);
    struct quota_amount three = {{3}}, six = {{6}};

    (void)state;
    hold(tree, a, 7);
    quota_tree_cover(tree, &one, 1);
    assert_false(quota_tree_may_reclaim(tree, b, &three, &one, 120 * S, 220 * S - 1));
    assert_true(quota_tree_may_reclaim(tree, b, &three, &one, 120 * S, 220 * S));
    assert_false(quota_tree_may_reclaim(tree, b, &six, &one, 0, 220 * S));
    assert_false(quota_tree_may_reclaim(tree, a, &three, &one, 0, 220 * S));
    quota_tree_destroy(tree);
}

static void fair_shares_are_reclaimed_only_down_to_the_holders_own(void **state)
{
    struct quota_tree *tree = make(12);
    uint32_t a = add(tree, QUOTA_ROOT, 0, 1, 0), b = add(tree, QUOTA_ROOT, 0, 1, 0);
    struct quota_holding one = holding(1, a, 4, 0, 1), large = holding(2, a, 8, 0, 1);
    struct quota_amount four = {{4}};

    (void)state;
    hold(tree, a, 12);
    wait_for(tree, b, 12);
    quota_tree_divide(tree);
    quota_tree_cover(tree, &one, 1);
    quota_tree_cover(tree, &large, 1);
    assert_int_equal(fair(tree, a), 6);
    assert_true(quota_tree_may_reclaim(tree, b, &four, &one, 0, S));
    assert_false(quota_tree_may_reclaim(tree, b, &four, &large, 0, S));
    quota_tree_destroy(tree);
}

/* --- properties --- */

static uint64_t next(uint64_t *seed) /* SplitMix64 */
{
    uint64_t value = *seed += 0x9E3779B97F4A7C15ull;

    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9ull;
    value = (value ^ value >> 27) * 0x94D049BB133111EBull;
    return value ^ value >> 31;
}

#define HOLDINGS_MAX 256u

struct world {
    struct quota_tree *tree;
    struct quota_holding holdings[HOLDINGS_MAX];
    uint32_t count, leaves[32], leaf_count;
    uint64_t capacity, uid, now_ns;
};

/* Organisations of teams of projects with random guarantees that sum to no more than there is. */
static void grow(struct world *world, uint64_t *seed)
{
    uint64_t left = world->capacity;

    world->tree = make(world->capacity);
    for (uint32_t i = 0; i < 3; i++) {
        uint64_t all = next(seed) % (left + 1), of_teams = all;
        uint32_t organisation = add(world->tree, QUOTA_ROOT, all, 1 + (uint32_t)(next(seed) % 4),
                                    (int32_t)(next(seed) % 2));

        left -= all;
        for (uint32_t j = 0; j < 3; j++) {
            uint64_t own = next(seed) % (of_teams + 1);

            of_teams -= own;
            world->leaves[world->leaf_count++] =
                add(world->tree, organisation, own, 1 + (uint32_t)(next(seed) % 4), 0);
        }
    }
}

static void drop(struct world *world, uint32_t i)
{
    quota_tree_credit(world->tree, world->holdings[i].node, &world->holdings[i].amount);
    world->holdings[i] = world->holdings[--world->count];
}

static uint64_t used(const struct world *world, uint32_t node)
{
    return quota_tree_used(world->tree, node)->of[QUOTA_COMPUTE];
}

/* Takes what may be taken, one by one, until `amount` fits; false: it does not. */
static bool reclaim(struct world *world, uint32_t leaf, const struct quota_amount *amount)
{
    while (used(world, QUOTA_ROOT) + amount->of[QUOTA_COMPUTE] > world->capacity) {
        uint32_t i = 0;

        quota_tree_cover(world->tree, world->holdings, world->count);
        while (i < world->count && !quota_tree_may_reclaim(world->tree, leaf, amount,
                                                           &world->holdings[i], 0, world->now_ns))
            i++;
        if (i == world->count)
            return false;
        drop(world, i);
    }
    return true;
}

static bool is_below_guarantee(const struct world *world, uint32_t node, uint64_t more)
{
    return used(world, node) + more <=
           quota_tree_config(world->tree, node)->guaranteed.of[QUOTA_COMPUTE];
}

/* What is covered at the organisations' and the teams' level, by holdings in any order, sums to no more than is guaranteed, and
 * fair shares sum to no more than there is and are never below min(guaranteed, asked for). */
static void check_sums(struct world *world)
{
    uint64_t of_root = 0;

    quota_tree_cover(world->tree, world->holdings, world->count);
    quota_tree_divide(world->tree);
    for (uint32_t node = 1; node < quota_tree_count(world->tree); node++) {
        uint64_t guaranteed = quota_tree_config(world->tree, node)->guaranteed.of[QUOTA_COMPUTE];
        uint64_t covered = 0, held = used(world, node);
        bool is_leaf = quota_tree_parent(world->tree, node) != QUOTA_ROOT;

        for (uint32_t i = 0; i < world->count; i++) {
            uint32_t at = world->holdings[i].node;

            if (is_leaf ? at == node && world->holdings[i].covered_depth == 2
                        : quota_tree_parent(world->tree, at) == node &&
                              world->holdings[i].covered_depth != QUOTA_NO_DEPTH)
                covered += world->holdings[i].amount.of[QUOTA_COMPUTE];
        }
        assert_true(covered <= guaranteed);
        assert_true(fair(world->tree, node) >= (held < guaranteed ? held : guaranteed));
        of_root += is_leaf ? 0 : fair(world->tree, node);
    }
    assert_true(of_root <= world->capacity);
}

static void request(struct world *world, uint64_t *seed)
{
    uint32_t leaf = world->leaves[next(seed) % world->leaf_count];
    struct quota_amount amount = {{1 + next(seed) % 12}};
    uint64_t more = amount.of[QUOTA_COMPUTE];
    bool is_due = is_below_guarantee(world, leaf, more);
    bool fits = used(world, QUOTA_ROOT) + more <= world->capacity;

    if (!fits && !is_due)
        return;
    if (!fits)
        assert_true(reclaim(world, leaf, &amount));
    if (world->count == HOLDINGS_MAX)
        return;
    world->holdings[world->count++] = (struct quota_holding){.uid = ++world->uid,
                                                             .node = leaf,
                                                             .amount = amount,
                                                             .priority = (int32_t)(next(seed) % 3),
                                                             .started_ns = world->now_ns};
    quota_tree_charge(world->tree, leaf, &amount);
}

static void a_guarantee_can_always_be_had_and_sums_hold(void **state)
{
    (void)state;
    for (uint64_t first = 1; first <= 60; first++) {
        struct world world = {.capacity = 100};
        uint64_t seed = first;

        print_message("seed %llu\n", (unsigned long long)first);
        grow(&world, &seed);
        for (uint32_t step = 0; step < 300; step++) {
            world.now_ns += S;
            if (world.count > 0 && next(&seed) % 4 == 0)
                drop(&world, (uint32_t)(next(&seed) % world.count));
            else
                request(&world, &seed);
            check_sums(&world);
        }
        quota_tree_destroy(world.tree);
    }
}

/* Two of nothing but equal weight that keep asking: after at most one reclaim for each piece they hold the same, and then nobody
 * takes anything any more. */
static void fair_reclaim_comes_to_rest(void **state)
{
    struct world world = {.capacity = 60};
    struct quota_amount piece = {{4}};
    uint32_t a, b, reclaimed = 0;

    (void)state;
    world.tree = make(world.capacity);
    a = add(world.tree, QUOTA_ROOT, 0, 1, 0);
    b = add(world.tree, QUOTA_ROOT, 0, 1, 0);
    for (uint32_t i = 0; i < 15; i++) {
        world.holdings[world.count++] = holding(i + 1, a, 4, 0, i);
        hold(world.tree, a, 4);
    }
    wait_for(world.tree, a, 1000);
    wait_for(world.tree, b, 1000);
    for (uint32_t turn = 0; turn < 40; turn++) {
        uint32_t who = turn % 2 == 0 ? b : a;

        quota_tree_divide(world.tree);
        world.now_ns += S;
        if (!reclaim(&world, who, &piece))
            continue;
        reclaimed++;
        world.holdings[world.count++] = holding(100 + turn, who, 4, 0, world.now_ns);
        quota_tree_charge(world.tree, who, &piece);
    }
    assert_true(reclaimed <= 8);
    assert_in_range(used(&world, b), 26, 30);
    quota_tree_destroy(world.tree);
}

static void creation_survives_every_failed_allocation(void **state)
{
    (void)state;
    for (unsigned long n = 1;; n++) {
        struct quota_tree *tree = NULL;
        status result;

        fail_nth_begin(n);
        result = quota_tree_create(8, &tree);
        if (!fail_nth_end()) {
            assert_int_equal(result, STATUS_OK);
            quota_tree_destroy(tree);
            return;
        }
        assert_int_equal(result, STATUS_NO_MEMORY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(charges_reach_all_above_and_limits_name_the_node),
        cmocka_unit_test(a_parent_promises_no_more_than_it_has),
        cmocka_unit_test(depth_and_count_are_bounded),
        cmocka_unit_test(what_remains_goes_by_priority_then_by_weight),
        cmocka_unit_test(nobody_gets_more_than_a_limit_on_its_way),
        cmocka_unit_test(promises_shrink_alike_when_slices_are_gone),
        cmocka_unit_test(the_important_and_the_old_are_covered_first),
        cmocka_unit_test(an_organisation_covers_what_its_teams_cannot),
        cmocka_unit_test(who_has_run_shortly_is_left_alone_and_nobody_reclaims_at_home),
        cmocka_unit_test(fair_shares_are_reclaimed_only_down_to_the_holders_own),
        cmocka_unit_test(a_guarantee_can_always_be_had_and_sums_hold),
        cmocka_unit_test(fair_reclaim_comes_to_rest),
        cmocka_unit_test(creation_survives_every_failed_allocation),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
