#include "unit_test.h"

#include "placement_moves.h"
#include "pool_world.h"

#define S   WORLD_S
#define GIB WORLD_GIB

static struct placement_decision decision;
static struct placement_preemption preemption;
static struct placement_repacking repacking;

static struct placement *make(const struct world *world, struct quota_tree *quota)
{
    struct placement *placement;

    assert_int_equal(placement_create(world_create(world, quota), quota, &placement), STATUS_OK);
    return placement;
}

static void destroy(struct placement *placement)
{
    struct pool *pool = placement_pool(placement);

    placement_destroy(placement);
    assert_true(pool_is_consistent(pool));
    pool_destroy(pool);
}

static struct placement_request ask(uint64_t uid, uint32_t part_count, int32_t priority)
{
    return (struct placement_request){.uid = uid,
                                      .model = (uint32_t)uid,
                                      .priority = priority,
                                      .is_preemptible = true,
                                      .is_movable = true,
                                      .shape = {.memory_bytes = 10 * GIB},
                                      .part_count = part_count,
                                      .domain_max = PLACEMENT_NODE,
                                      .run_ns = POOL_NO_END,
                                      .reserve_ns = 60 * S};
}

/* Reserves and commits; the slice of the first part. */
static uint32_t run(struct placement *placement, const struct placement_request *request,
                    uint64_t now_ns)
{
    assert_int_equal(placement_reserve(placement, request, now_ns, &decision), STATUS_OK);
    assert_int_equal(pool_commit(placement_pool(placement), request->uid, now_ns), STATUS_OK);
    return decision.parts[0].booking.slice;
}

static void run_all(struct placement *placement, uint64_t first, uint32_t count, int32_t priority,
                    uint32_t tenant, uint64_t now_ns)
{
    for (uint64_t uid = first; uid < first + count; uid++) {
        struct placement_request request = ask(uid, 1, priority);

        request.tenant = tenant;
        (void)run(placement, &request, now_ns);
    }
}

static bool has_victim(uint64_t uid)
{
    for (uint32_t i = 0; i < preemption.victim_count; i++) {
        if (preemption.victims[i] == uid)
            return true;
    }
    return false;
}

/* --- preemption --- */

static void nobody_ends_for_what_fits(void **state)
{
    struct world world = {.members = 1, .nodes = 1, .slices = 2, .slice = world_gpu()};
    struct placement *placement = make(&world, NULL);
    struct placement_request request = ask(9, 1, 5);

    (void)state;
    run_all(placement, 1, 1, 0, 0, 0);
    assert_int_equal(placement_preempt(placement, &request, 0, S, &preemption), STATUS_OK);
    assert_int_equal(preemption.victim_count, 0);
    assert_int_equal(preemption.decision.part_count, 1);
    destroy(placement);
}

static void the_least_important_and_youngest_ends(void **state)
{
    struct world world = {.members = 1, .nodes = 1, .slices = 4, .slice = world_gpu()};
    struct placement *placement = make(&world, NULL);
    struct placement_request request = ask(9, 1, 5);

    (void)state;
    run_all(placement, 1, 1, 3, 0, 0);
    run_all(placement, 2, 1, 1, 0, 0);
    run_all(placement, 3, 1, 1, 0, 1000 * S);
    run_all(placement, 4, 1, 5, 0, 0);
    assert_int_equal(placement_preempt(placement, &request, 0, 2000 * S, &preemption), STATUS_OK);
    assert_int_equal(preemption.victim_count, 1);
    assert_int_equal(preemption.victims[0], 3);
    assert_int_equal(preemption.decision.parts[0].booking.slice,
                     pool_part(placement_pool(placement),
                               pool_booking_find(placement_pool(placement), 3)->part_first)
                         ->slice);
    /* It decides only: all run on. */
    assert_int_equal(pool_booking_count(placement_pool(placement)), 4);
    destroy(placement);
}

static void only_the_less_important_and_preemptible_end(void **state)
{
    struct world world = {.members = 1, .nodes = 1, .slices = 2, .slice = world_gpu()};
    struct placement *placement = make(&world, NULL);
    struct placement_request keeps = ask(1, 1, 0), equal = ask(2, 1, 5), request = ask(9, 1, 5);

    (void)state;
    keeps.is_preemptible = false;
    (void)run(placement, &keeps, 0);
    (void)run(placement, &equal, 0);
    assert_int_equal(placement_preempt(placement, &request, 0, S, &preemption), STATUS_FULL);
    assert_int_equal(preemption.victim_count, 0);
    request.priority = 6;
    assert_int_equal(placement_preempt(placement, &request, 0, S, &preemption), STATUS_OK);
    assert_int_equal(preemption.victims[0], 2);
    assert_int_equal(pool_drain(placement_pool(placement), 2, 9 * S), STATUS_OK);
    assert_int_equal(placement_preempt(placement, &request, 0, S, &preemption), STATUS_FULL);
    destroy(placement);
}

static void a_gang_ends_where_fewest_are_in_the_way(void **state)
{
    struct world world = {.members = 1, .nodes = 3, .slices = 4, .slice = world_gpu()};
    struct placement *placement = make(&world, NULL);
    struct placement_request request = ask(99, 4, 5), two = ask(50, 2, 0);
    struct pool *pool = placement_pool(placement);
    uint32_t per_node[3] = {0};

    (void)state;
    run_all(placement, 1, 12, 0, 0, 0);
    for (uint64_t uid = 1; uid <= 12; uid++)
        per_node[pool_part(pool, pool_booking_find(pool, uid)->part_first)->slice / 4]++;
    assert_int_equal(per_node[1], 4);
    /* One node with a gang of two and two of one: three to end there, four elsewhere. */
    for (uint64_t uid = 1; uid <= 12; uid++) {
        uint32_t slice = pool_part(pool, pool_booking_find(pool, uid)->part_first)->slice;

        if (slice == 4 || slice == 5)
            assert_true(pool_release(pool, uid));
    }
    assert_int_equal(run(placement, &two, 0) / 4, 1);
    assert_int_equal(placement_preempt(placement, &request, 0, S, &preemption), STATUS_OK);
    assert_int_equal(preemption.victim_count, 3);
    assert_true(has_victim(50));
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(preemption.decision.parts[i].booking.slice / 4, 1);
    destroy(placement);
}

static void edit_shared(struct slice_report *report, uint32_t member, uint32_t node, uint32_t slice)
{
    (void)member;
    (void)node;
    (void)slice;
    report->compute_milli = 8000;
    report->step_milli = 1000;
    report->tenants_max = 8;
}

static void on_a_shared_slice_no_more_end_than_need_be(void **state)
{
    struct world world = {
        .members = 1, .nodes = 1, .slices = 1, .slice = world_gpu(), .edit = edit_shared};
    struct placement *placement = make(&world, NULL);
    struct placement_request request = ask(9, 1, 5);

    (void)state;
    for (uint64_t uid = 1; uid <= 7; uid++) {
        struct placement_request small = ask(uid, 1, (int32_t)uid % 3);

        small.shape.compute_milli = 1000;
        (void)run(placement, &small, 0);
    }
    request.shape.compute_milli = 3000; /* one is free: two of the least important, 3 and 6 */
    request.shape.memory_bytes = 20 * GIB;
    assert_int_equal(placement_preempt(placement, &request, 0, S, &preemption), STATUS_OK);
    assert_int_equal(preemption.victim_count, 2);
    assert_true(has_victim(3) && has_victim(6));
    destroy(placement);
}

static void who_was_picked_first_is_spared_if_another_is_enough(void **state)
{
    struct world world = {
        .members = 1, .nodes = 1, .slices = 1, .slice = world_gpu(), .edit = edit_shared};
    struct placement *placement = make(&world, NULL);
    struct placement_request small = ask(1, 1, 0), large = ask(2, 1, 1), request = ask(9, 1, 5);
    struct placement_request rest = ask(3, 1, 6);

    (void)state;
    small.shape.compute_milli = 1000;
    large.shape.compute_milli = 4000;
    rest.shape.compute_milli = 3000;
    request.shape.compute_milli = 3000; /* the small one is the least important, and of no use */
    (void)run(placement, &small, 0);
    (void)run(placement, &large, 0);
    (void)run(placement, &rest, 0);
    assert_int_equal(placement_preempt(placement, &request, 0, S, &preemption), STATUS_OK);
    assert_int_equal(preemption.victim_count, 1);
    assert_true(has_victim(2));
    destroy(placement);
}

static uint32_t add_tenant(struct quota_tree *quota, uint64_t guaranteed, uint64_t limit)
{
    struct quota_config config = {.guaranteed = {{guaranteed}},
                                  .limit = {{limit, QUOTA_UNLIMITED, QUOTA_UNLIMITED}},
                                  .weight = 1};
    uint32_t node;

    assert_int_equal(quota_tree_add(quota, QUOTA_ROOT, &config, &node), STATUS_OK);
    return node;
}

static void what_is_guaranteed_comes_back_from_who_borrowed_it(void **state)
{
    struct world world = {.members = 1, .nodes = 1, .slices = 8, .slice = world_gpu()};
    struct quota_tree *quota;
    struct placement *placement;
    struct placement_request request = ask(99, 4, 0);
    uint32_t a, b;

    (void)state;
    assert_int_equal(quota_tree_create(8, &quota), STATUS_OK);
    a = add_tenant(quota, 4000, QUOTA_UNLIMITED);
    b = add_tenant(quota, 4000, QUOTA_UNLIMITED);
    placement = make(&world, quota);
    run_all(placement, 1, 4, 0, a, 0);
    run_all(placement, 5, 4, 0, a, 10 * S); /* the younger four are borrowed */
    request.tenant = b;
    assert_int_equal(placement_preempt(placement, &request, 120 * S, 60 * S, &preemption),
                     STATUS_FULL);
    assert_int_equal(placement_preempt(placement, &request, 120 * S, 130 * S, &preemption),
                     STATUS_OK);
    assert_int_equal(preemption.victim_count, 4);
    assert_int_equal(preemption.reclaimed, 4);
    for (uint64_t uid = 5; uid <= 8; uid++)
        assert_true(has_victim(uid));
    /* More than its guarantee it gets from nobody, however important it is. */
    request.part_count = 5;
    request.priority = 100;
    assert_int_equal(placement_preempt(placement, &request, 0, 130 * S, &preemption), STATUS_FULL);
    assert_int_equal(quota_tree_used(quota, a)->of[QUOTA_COMPUTE], 8000);
    destroy(placement);
    quota_tree_destroy(quota);
}

static void a_tenant_at_its_limit_ends_its_own(void **state)
{
    struct world world = {.members = 1, .nodes = 1, .slices = 8, .slice = world_gpu()};
    struct quota_tree *quota;
    struct placement *placement;
    struct placement_request request = ask(99, 1, 5);
    uint32_t a, b;

    (void)state;
    assert_int_equal(quota_tree_create(8, &quota), STATUS_OK);
    a = add_tenant(quota, 0, 2000);
    b = add_tenant(quota, 0, 2000);
    placement = make(&world, quota);
    run_all(placement, 1, 2, 0, a, 0);
    run_all(placement, 3, 2, 0, b, 0);
    request.tenant = a;
    assert_int_equal(placement_choose(placement, &request, S, &decision), STATUS_DENIED);
    assert_int_equal(placement_preempt(placement, &request, 0, S, &preemption), STATUS_OK);
    assert_int_equal(preemption.victim_count, 1);
    assert_true(has_victim(1) || has_victim(2));
    assert_int_equal(quota_tree_used(quota, a)->of[QUOTA_COMPUTE], 2000);
    destroy(placement);
    quota_tree_destroy(quota);
}

/* --- re-packing --- */

static void small_ones_move_for_a_gang(void **state)
{
    struct world world = {.members = 1, .nodes = 4, .slices = 4, .slice = world_gpu()};
    struct placement *placement = make(&world, NULL);
    struct pool *pool = placement_pool(placement);
    struct placement_request request = ask(99, 4, 0);

    (void)state;
    run_all(placement, 1, 16, 0, 0, 0);
    for (uint64_t uid = 1; uid <= 16; uid++) {
        uint32_t slice = pool_part(pool, pool_booking_find(pool, uid)->part_first)->slice;

        if (slice % 4 >= (slice / 4 == 2 ? 1u : 3u))
            assert_true(pool_release(pool, uid)); /* one free on three nodes, three on the third */
    }
    assert_int_equal(placement_choose(placement, &request, S, &decision), STATUS_FULL);
    assert_int_equal(placement_repack(placement, &request, 0, S, &repacking), STATUS_FULL);
    assert_int_equal(placement_repack(placement, &request, 2, S, &repacking), STATUS_OK);
    assert_int_equal(repacking.move_count, 1);
    assert_int_equal(repacking.moves[0].from.slice / 4, 2);
    assert_int_not_equal(repacking.moves[0].to.slice / 4, 2);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(repacking.decision.parts[i].booking.slice / 4, 2);
    assert_int_equal(placement_repack(placement, &request, PLACEMENT_MOVES_MAX + 1, S, &repacking),
                     STATUS_INVALID);
    destroy(placement);
}

static void who_cannot_go_elsewhere_does_not_move(void **state)
{
    struct world world = {.members = 1, .nodes = 2, .slices = 2, .slice = world_gpu()};
    struct placement *placement = make(&world, NULL);
    struct pool *pool = placement_pool(placement);
    struct placement_request request = ask(99, 2, 0), pinned = ask(1, 1, 0);

    (void)state;
    /* One on each node; one of them may not move, and the other's only other place is one of the gang's. */
    pinned.is_movable = false;
    (void)run(placement, &pinned, 0);
    run_all(placement, 2, 3, 0, 0, 0);
    for (uint64_t uid = 2; uid <= 4; uid++) {
        uint32_t slice = pool_part(pool, pool_booking_find(pool, uid)->part_first)->slice;

        if (slice != 2)
            assert_true(pool_release(pool, uid));
    }
    assert_int_equal(placement_repack(placement, &request, 2, S, &repacking), STATUS_OK);
    assert_int_equal(repacking.move_count, 1);
    assert_int_equal(repacking.moves[0].from.slice, 2);
    assert_int_equal(repacking.moves[0].to.slice, 1);
    run_all(placement, 5, 1, 0, 0, 0);
    assert_int_equal(placement_repack(placement, &request, 2, S, &repacking), STATUS_FULL);
    assert_int_equal(repacking.move_count, 0);
    destroy(placement);
}

static void edit_first_node(struct slice_report *report, uint32_t member, uint32_t node,
                            uint32_t slice)
{
    static const char *const labels[] = {"eu"};

    (void)member;
    (void)slice;
    report->labels = labels;
    report->label_count = node == 0;
}

static void book(struct pool *pool, uint64_t uid, uint32_t slice, uint64_t labels, bool is_movable)
{
    struct booking_part part = {.slice = slice,
                                .version = pool_columns(pool)->version[slice],
                                .memory_bytes = 10 * GIB,
                                .compute_milli = 1000};
    struct booking_request request = {
        .uid = uid,
        .is_movable = is_movable,
        .shape = {.memory_bytes = 10 * GIB, .labels_required = labels},
        .expires_ns = S,
        .run_ns = POOL_NO_END,
        .part_count = 1,
        .parts = &part};

    assert_int_equal(pool_reserve(pool, &request, 0), STATUS_OK);
    assert_int_equal(pool_commit(pool, uid, 0), STATUS_OK);
}

static void where_one_cannot_leave_another_domain_is_cleared(void **state)
{
    struct world world = {.members = 1, .slices = 2, .slice = world_gpu(), .edit = edit_first_node};
    struct placement *placement = make(&world, NULL);
    struct pool *pool = placement_pool(placement);
    struct placement_request request = ask(99, 2, 0);
    uint64_t eu;

    (void)state;
    assert_int_equal(pool_label_declare(pool, "eu", &eu), STATUS_OK);
    for (uint32_t i = 0; i < 8; i++)
        world_report(pool, &world, 0, i / 2, i % 2);
    book(pool, 1, 0, eu, true); /* one move would do here, but it may stand nowhere else */
    book(pool, 2, 2, 0, true);
    book(pool, 3, 3, 0, true);
    book(pool, 4, 5, 0, false);
    book(pool, 5, 7, 0, false);
    request.shape.memory_bytes = GIB;
    assert_int_equal(placement_repack(placement, &request, 1, S, &repacking), STATUS_FULL);
    /* The other place with the label is one of the gang's. */
    assert_int_equal(placement_repack(placement, &request, 2, S, &repacking), STATUS_OK);
    assert_int_equal(repacking.move_count, 2);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(repacking.moves[i].from.slice / 2, 1);
        assert_int_not_equal(repacking.moves[i].to.slice / 2, 1);
    }
    destroy(placement);
}

/* --- properties --- */

static void edit_any(struct slice_report *report, uint32_t member, uint32_t node, uint32_t slice)
{
    (void)member;
    if (node % 2 == 1)
        edit_shared(report, member, node, slice);
}

static void fill(struct placement *placement, uint64_t *seed, const uint32_t tenants[3],
                 uint64_t now_ns)
{
    for (uint64_t uid = 1; uid <= 120; uid++) {
        struct placement_request request = ask(uid, 1, (int32_t)(world_random(seed) % 4));

        request.tenant = tenants[world_random(seed) % 3];
        request.shape.compute_milli = (uint32_t)(world_random(seed) % 4) * 1000;
        request.is_preemptible = world_random(seed) % 3 > 0;
        request.is_movable = world_random(seed) % 3 > 0;
        if (world_random(seed) % 6 == 0)
            request.part_count = 2 + (uint32_t)(world_random(seed) % 3);
        if (placement_reserve(placement, &request, now_ns + uid, &decision) == STATUS_OK)
            assert_int_equal(pool_commit(placement_pool(placement), uid, now_ns + uid), STATUS_OK);
    }
}

/* Ends all victims but one (the count: none is left alone): does the request fit? Starts from a copy of the book each time. */
static bool fits_without(uint64_t first, uint32_t spared, const struct placement_request *request,
                         struct placement *(*build)(uint64_t))
{
    struct placement *placement = build(first);
    struct pool *pool = placement_pool(placement);
    bool fits;

    for (uint32_t i = 0; i < preemption.victim_count; i++) {
        if (i != spared)
            assert_true(pool_release(pool, preemption.victims[i]));
    }
    fits = placement_choose(placement, request, 9000 * S, &decision) == STATUS_OK;
    destroy(placement);
    return fits;
}

static struct quota_tree
    *world_quota; /* of the book that was built last but one: freed by the next */

static struct placement *build_world(uint64_t first)
{
    struct world world = {
        .members = 2, .nodes = 4, .slices = 4, .slice = world_gpu(), .edit = edit_any};
    struct placement *placement;
    uint32_t tenants[3];
    uint64_t seed = first;

    quota_tree_destroy(world_quota);
    assert_int_equal(quota_tree_create(8, &world_quota), STATUS_OK);
    for (uint32_t i = 0; i < 3; i++)
        tenants[i] = add_tenant(world_quota, 20000, QUOTA_UNLIMITED);
    placement = make(&world, world_quota);
    fill(placement, &seed, tenants, 0);
    quota_tree_divide(world_quota);
    return placement;
}

/* Every set of victims is enough, nobody in it could be spared, nobody in it was protected, and the book is as before. */
static void victims_are_enough_minimal_and_not_protected(void **state)
{
    uint32_t sets = 0;

    (void)state;
    for (uint64_t first = 1; first <= 60; first++) {
        struct placement *placement = build_world(first);
        struct pool *pool = placement_pool(placement);
        uint64_t seed = first * 77;
        struct placement_request request =
            ask(999, 1 + (uint32_t)(world_random(&seed) % 4), (int32_t)(world_random(&seed) % 5));
        uint64_t used = quota_tree_used(world_quota, QUOTA_ROOT)->of[QUOTA_COMPUTE];
        status result;

        print_message("seed %llu\n", (unsigned long long)first);
        request.tenant = 1 + (uint32_t)(world_random(&seed) % 3);
        result = placement_preempt(placement, &request, 0, 9000 * S, &preemption);
        assert_int_equal(quota_tree_used(world_quota, QUOTA_ROOT)->of[QUOTA_COMPUTE], used);
        assert_true(pool_is_consistent(pool));
        for (uint32_t i = 0; i < preemption.victim_count; i++) {
            const struct booking *victim = pool_booking_find(pool, preemption.victims[i]);

            assert_true(victim->tenant != request.tenant ||
                        (victim->is_preemptible && victim->priority < request.priority));
        }
        destroy(placement);
        if (result != STATUS_OK || preemption.victim_count == 0)
            continue;
        sets++;
        assert_true(fits_without(first, preemption.victim_count, &request, build_world));
        for (uint32_t i = 0; i < preemption.victim_count; i++)
            assert_false(fits_without(first, i, &request, build_world));
    }
    quota_tree_destroy(world_quota);
    world_quota = NULL;
    assert_true(sets > 10);
}

/* Moves can be made one after the other, each beside all that runs, and then the gang fits. */
static void moves_can_be_made_before_anything_breaks(void **state)
{
    uint32_t sets = 0;

    (void)state;
    for (uint64_t first = 1; first <= 60; first++) {
        struct placement *placement = build_world(first);
        struct pool *pool = placement_pool(placement);
        struct placement_request request = ask(999, 4, 0);
        uint64_t seed = first;

        print_message("seed %llu\n", (unsigned long long)first);
        for (uint64_t uid = 1; uid <= 120; uid++) {
            if (world_random(&seed) % 3 == 0)
                (void)pool_release(pool, uid);
        }
        request.tenant = 1;
        if (placement_repack(placement, &request, 8, 9000 * S, &repacking) == STATUS_OK) {
            sets += repacking.move_count > 0;
            for (uint32_t i = 0; i < repacking.move_count; i++) {
                const struct booking *booking = pool_booking_find(pool, repacking.moves[i].uid);
                struct booking_part to = repacking.moves[i].to;
                struct booking_request moved = {.uid = 5000 + i,
                                                .tenant = booking->tenant,
                                                .shape = booking->shape,
                                                .expires_ns = UINT64_MAX,
                                                .part_count = 1,
                                                .parts = &to};

                assert_true(booking->is_movable);
                to.version = pool_columns(pool)->version[to.slice];
                assert_int_equal(pool_reserve(pool, &moved, 0), STATUS_OK);
            }
            for (uint32_t i = 0; i < repacking.move_count; i++)
                assert_true(pool_release(pool, repacking.moves[i].uid));
            assert_int_equal(placement_choose(placement, &request, 9000 * S, &decision), STATUS_OK);
        }
        destroy(placement);
    }
    quota_tree_destroy(world_quota);
    world_quota = NULL;
    assert_true(sets > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_ends_for_what_fits),
        cmocka_unit_test(the_least_important_and_youngest_ends),
        cmocka_unit_test(only_the_less_important_and_preemptible_end),
        cmocka_unit_test(a_gang_ends_where_fewest_are_in_the_way),
        cmocka_unit_test(on_a_shared_slice_no_more_end_than_need_be),
        cmocka_unit_test(who_was_picked_first_is_spared_if_another_is_enough),
        cmocka_unit_test(what_is_guaranteed_comes_back_from_who_borrowed_it),
        cmocka_unit_test(a_tenant_at_its_limit_ends_its_own),
        cmocka_unit_test(small_ones_move_for_a_gang),
        cmocka_unit_test(who_cannot_go_elsewhere_does_not_move),
        cmocka_unit_test(where_one_cannot_leave_another_domain_is_cleared),
        cmocka_unit_test(victims_are_enough_minimal_and_not_protected),
        cmocka_unit_test(moves_can_be_made_before_anything_breaks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
