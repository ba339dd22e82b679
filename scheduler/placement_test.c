/* WRAP: malloc calloc realloc aligned_alloc */
#include "unit_test.h"

#include "fail_nth.h"
#include "placement.h"
#include "pool_world.h"

#define S   WORLD_S
#define GIB WORLD_GIB

static struct placement_decision decision;

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

static struct placement_request whole(uint64_t uid)
{
    return (struct placement_request){.uid = uid,
                                      .model = 1,
                                      .shape = {.memory_bytes = 40 * GIB},
                                      .part_count = 1,
                                      .run_ns = POOL_NO_END,
                                      .reserve_ns = 60 * S,
                                      .cold_start_s = 30};
}

static struct placement_request gang(uint64_t uid, uint32_t count, enum placement_domain domain)
{
    struct placement_request request = whole(uid);

    request.part_count = count;
    request.domain_max = domain;
    return request;
}

static uint32_t reserve(struct placement *placement, const struct placement_request *request)
{
    assert_int_equal(placement_reserve(placement, request, 0, &decision), STATUS_OK);
    return decision.parts[0].booking.slice;
}

static uint32_t slice_of(const struct placement *placement, uint32_t member, const char *id)
{
    uint32_t slice = pool_slice_find(placement_pool(placement), member, id);

    assert_int_not_equal(slice, POOL_SLICE_NONE);
    return slice;
}

static uint32_t sum_of_reasons(void)
{
    uint32_t sum = 0;

    for (uint32_t i = 0; i < PLACEMENT_REASON_COUNT; i++)
        sum += decision.passed_over[i];
    return sum;
}

/* --- filters --- */

static void edit_for_filters(struct slice_report *report, uint32_t member, uint32_t node,
                             uint32_t slice)
{
    static const char *const labels[] = {"eu", "shared"};

    (void)member;
    (void)slice;
    report->labels = labels;
    switch (node) {
    case 0:
        report->health = SLICE_BAD;
        break;
    case 1:
        report->vendor = SLICE_AMD;
        break;
    case 2:
        report->compute_capability = 70;
        break;
    case 3: /* no label */
        break;
    case 4:
        report->label_count = 2; /* the forbidden one too */
        break;
    case 5:
        report->label_count = 1;
        report->owner = "somebody else";
        break;
    case 6:
        report->label_count = 1;
        report->is_preemptible = true;
        break;
    case 7:
        report->label_count = 1;
        report->price_nano_hour = 9000000000;
        break;
    case 8:
        report->label_count = 1;
        report->memory_bytes = 24 * GIB;
        break;
    default:
        report->label_count = 1;
    }
}

static void every_slice_that_is_passed_over_says_why(void **state)
{
    struct world world = {.members = 1, .nodes = 12, .slices = 1, .slice = world_gpu()};
    static const enum placement_reason expected[12] = {
        PLACEMENT_HEALTH,          PLACEMENT_KIND,
        PLACEMENT_CAPABILITY,      PLACEMENT_LABEL_MISSING,
        PLACEMENT_LABEL_FORBIDDEN, PLACEMENT_OWNER,
        PLACEMENT_PREEMPTIBLE,     PLACEMENT_PRICE,
        PLACEMENT_TOO_SMALL,       PLACEMENT_NO_ROOM,
        PLACEMENT_QUARANTINE,      PLACEMENT_FITS};
    struct placement *placement = make(&world, NULL);
    struct pool *pool = placement_pool(placement);
    struct placement_request request = whole(1), other = whole(2);

    (void)state;
    assert_int_equal(pool_label_declare(pool, "eu", &request.shape.labels_required), STATUS_OK);
    assert_int_equal(pool_label_declare(pool, "shared", &request.shape.labels_forbidden),
                     STATUS_OK);
    world.edit = edit_for_filters;
    for (uint32_t node = 0; node < 12; node++)
        world_report(pool, &world, 0, node, 0);
    other.shape.labels_required = request.shape.labels_required;
    other.shape.labels_forbidden = request.shape.labels_forbidden;
    for (uint32_t node = 10; node < 12; node++)
        pool_slice_quarantine(pool, slice_of(placement, 0, node == 10 ? "n10/g0" : "n11/g0"), true);
    request.shape.vendors = 1u << SLICE_NVIDIA;
    request.shape.compute_capability_min = 80;
    request.shape.price_max_nano_hour = 5000000000;
    other.shape.vendors = request.shape.vendors;
    other.shape.compute_capability_min = 80;
    other.shape.price_max_nano_hour = 5000000000;
    assert_int_equal(reserve(placement, &other), slice_of(placement, 0, "n9/g0"));
    pool_slice_quarantine(pool, slice_of(placement, 0, "n11/g0"), false);
    assert_int_equal(placement_choose(placement, &request, 0, &decision), STATUS_OK);
    assert_int_equal(decision.parts[0].booking.slice, slice_of(placement, 0, "n11/g0"));
    for (uint32_t i = 0; i < 12; i++)
        assert_int_equal(placement_reasons(placement)[i], expected[i]);
    assert_int_equal(sum_of_reasons(), 12);
    assert_int_equal(decision.passed_over[PLACEMENT_FITS], 1);
    destroy(placement);
}

static void members_that_are_not_synced_get_nothing(void **state)
{
    struct world world = {.members = 2, .nodes = 1, .slices = 2, .slice = world_gpu()};
    struct placement *placement = make(&world, NULL);
    struct placement_request request = whole(1);

    (void)state;
    pool_member_resync(placement_pool(placement), 0, 0);
    assert_int_equal(placement_choose(placement, &request, 0, &decision), STATUS_OK);
    assert_int_equal(decision.passed_over[PLACEMENT_MEMBER_STATE], 2);
    (void)pool_tick(placement_pool(placement), 30 * S);
    assert_int_equal(placement_choose(placement, &request, 30 * S, &decision), STATUS_FULL);
    assert_int_equal(decision.passed_over[PLACEMENT_MEMBER_STATE], 4);
    assert_int_equal(decision.part_count, 0);
    destroy(placement);
}

static void a_model_backs_off_from_a_member_where_it_failed(void **state)
{
    struct world world = {.members = 2, .nodes = 1, .slices = 1, .slice = world_gpu()};
    struct placement *placement = make(&world, NULL);
    struct placement_request request = whole(1), other = whole(2);

    (void)state;
    other.model = 2;
    placement_back_off(placement, 1, 0, 20 * S);
    assert_int_equal(placement_choose(placement, &request, 10 * S, &decision), STATUS_OK);
    assert_int_equal(decision.parts[0].booking.slice, slice_of(placement, 1, "n0/g0"));
    assert_int_equal(decision.passed_over[PLACEMENT_BACK_OFF], 1);
    assert_int_equal(placement_choose(placement, &other, 10 * S, &decision), STATUS_OK);
    assert_int_equal(decision.passed_over[PLACEMENT_BACK_OFF], 0);
    assert_int_equal(placement_choose(placement, &request, 20 * S, &decision), STATUS_OK);
    assert_int_equal(decision.passed_over[PLACEMENT_BACK_OFF], 0);
    placement_back_off(placement, PLACEMENT_ANY_MODEL, 1, 40 * S);
    pool_slice_avoid(placement_pool(placement), slice_of(placement, 0, "n0/g0"), 30 * S);
    assert_int_equal(placement_choose(placement, &request, 29 * S, &decision), STATUS_FULL);
    assert_int_equal(decision.passed_over[PLACEMENT_BACK_OFF], 2);
    for (uint32_t i = 0; i <= PLACEMENT_BACK_OFF_MAX; i++)
        placement_back_off(placement, 100 + i, 0, 50 * S + i);
    assert_int_equal(placement_choose(placement, &request, 30 * S, &decision), STATUS_OK);
    destroy(placement);
}

static void bad_requests_are_refused(void **state)
{
    struct world world = {.members = 1, .nodes = 1, .slices = 1, .slice = world_gpu()};
    struct placement *placement = make(&world, NULL);
    struct placement_request request = whole(0);

    (void)state;
    assert_int_equal(placement_reserve(placement, &request, 0, &decision), STATUS_INVALID);
    request = gang(1, POOL_GANG_MAX + 1, PLACEMENT_ZONE);
    assert_int_equal(placement_choose(placement, &request, 0, &decision), STATUS_INVALID);
    request = gang(1, 2, PLACEMENT_DOMAIN_COUNT);
    assert_int_equal(placement_choose(placement, &request, 0, &decision), STATUS_INVALID);
    request = whole(1);
    request.model = POOL_MODEL_NONE;
    assert_int_equal(placement_choose(placement, &request, 0, &decision), STATUS_INVALID);
    destroy(placement);
}

/* --- scores --- */

static void edit_prices(struct slice_report *report, uint32_t member, uint32_t node, uint32_t slice)
{
    (void)node;
    (void)slice;
    report->product = member == 0 ? "A100" : "H100";
    report->price_nano_hour = member == 0 ? 2000000000 : 3000000000;
}

static void what_it_does_for_its_price_counts_not_the_price(void **state)
{
    struct world world = {
        .members = 2, .nodes = 1, .slices = 1, .slice = world_gpu(), .edit = edit_prices};
    struct placement *placement = make(&world, NULL);
    struct pool *pool = placement_pool(placement);
    struct placement_known speeds[] = {{pool_name_find(pool, "A100"), 1000},
                                       {pool_name_find(pool, "H100"), 2000}};
    struct placement_tier cheapest = {.weights = placement_preset(PLACEMENT_CHEAPEST)};
    struct placement_request request = whole(1);

    (void)state;
    request.tiers = &cheapest;
    request.tier_count = 1;
    assert_int_equal(reserve(placement, &request), slice_of(placement, 0, "n0/g0"));
    assert_true(pool_release(pool, 1));
    request.speeds = speeds;
    request.speed_count = 2;
    assert_int_equal(reserve(placement, &request), slice_of(placement, 1, "n0/g0"));
    /* 1.5 a unit of speed against 2: a quarter cheaper than the dearest. */
    assert_float_equal(decision.parts[0].terms[PLACEMENT_COST], 0.25, 1e-6);
    destroy(placement);
}

static void the_near_and_the_warm_are_preferred(void **state)
{
    struct world world = {.members = 3, .nodes = 2, .slices = 1, .slice = world_gpu()};
    struct placement *placement = make(&world, NULL);
    struct pool *pool = placement_pool(placement);
    struct placement_known trips[] = {{pool_name_find(pool, "region0"), 150},
                                      {pool_name_find(pool, "region1"), 50},
                                      {pool_name_find(pool, "region2"), 150}};
    struct placement_known warm = {pool_member_name_find(pool, 1, "n1"), 0};
    struct placement_request request = whole(1);

    (void)state;
    request.round_trips_ms = trips;
    request.round_trip_count = 3;
    request.cold_starts_s = &warm;
    request.cold_start_count = 1;
    assert_int_equal(reserve(placement, &request), slice_of(placement, 1, "n1/g0"));
    assert_float_equal(decision.parts[0].terms[PLACEMENT_LATENCY], 0.5, 1e-6);
    assert_float_equal(decision.parts[0].terms[PLACEMENT_WARM], 1, 1e-6);
    request.uid = 2;
    (void)reserve(placement, &request);
    assert_int_equal(pool_columns(pool)->member[decision.parts[0].booking.slice], 1);
    assert_float_equal(decision.parts[0].terms[PLACEMENT_WARM], 0.5, 1e-6);
    destroy(placement);
}

static void replicas_of_one_model_spread_and_of_others_fill_up(void **state)
{
    struct world world = {.members = 4, .nodes = 2, .slices = 2, .slice = world_gpu()};
    struct placement *placement = make(&world, NULL);
    struct pool *pool = placement_pool(placement);
    bool has_member[4] = {false};
    struct placement_tier spread = {.weights = placement_preset(PLACEMENT_COMPLIANCE)};

    (void)state;
    for (uint64_t uid = 1; uid <= 4; uid++) {
        struct placement_request request = whole(uid);

        request.tiers = &spread;
        request.tier_count = 1;
        has_member[pool_columns(pool)->member[reserve(placement, &request)]] = true;
    }
    for (uint32_t i = 0; i < 4; i++)
        assert_true(has_member[i]);
    for (uint64_t uid = 5; uid <= 8; uid++) {
        struct placement_request request = whole(uid);
        uint32_t slice;

        request.model = (uint32_t)uid;
        slice = reserve(placement, &request);
        assert_true(decision.parts[0].terms[PLACEMENT_PACK] == 0.5f);
        assert_int_equal(pool_columns(pool)->tenants[slice], 1);
    }
    destroy(placement);
}

static void edit_sets(struct slice_report *report, uint32_t member, uint32_t node, uint32_t slice)
{
    (void)member;
    (void)slice;
    report->kind = SLICE_CPU_SET;
    report->vendor = SLICE_CPU;
    report->compute_milli = 4000 + 4000 * node;
    report->memory_bytes = (16 + 16 * node) * GIB;
    report->step_milli = 1000;
    report->tenants_max = 8;
    report->price_nano_hour = (int64_t)report->compute_milli * 1000;
}

static void a_fraction_goes_where_least_is_left(void **state)
{
    struct world world = {
        .members = 1, .nodes = 3, .slices = 1, .slice = world_gpu(), .edit = edit_sets};
    struct placement *placement = make(&world, NULL);
    struct placement_stranded_shape mix = {
        .shape = {.memory_bytes = 16 * GIB, .compute_milli = 4000}, .share = 1};
    struct placement_request request = whole(1);

    (void)state;
    request.shape.memory_bytes = 10 * GIB;
    request.shape.compute_milli = 2500; /* three cores */
    assert_int_equal(reserve(placement, &request), slice_of(placement, 0, "n0/g0"));
    assert_int_equal(decision.parts[0].booking.compute_milli, 3000);
    /* One core of 24 is left where four are asked for. */
    assert_float_equal(placement_stranded(placement, &mix, 1).stranded_share, 1.0 / 24, 1e-9);
    assert_int_equal(placement_stranded(placement, &mix, 1).free_milli, 21000);
    request.uid = 2;
    assert_int_equal(reserve(placement, &request), slice_of(placement, 0, "n1/g0"));
    destroy(placement);
}

static void an_explanation_agrees_with_the_decision(void **state)
{
    struct world world = {
        .members = 2, .nodes = 3, .slices = 1, .slice = world_gpu(), .edit = edit_sets};
    struct placement *placement = make(&world, NULL);
    struct placement_explanation explained[6];
    struct placement_request request = whole(1);
    uint32_t fitting = 0;

    (void)state;
    request.shape.memory_bytes = 20 * GIB;
    request.shape.compute_milli = 2000;
    assert_int_equal(placement_explain(placement, &request, 0, 0, explained), STATUS_OK);
    (void)reserve(placement, &request);
    for (uint32_t i = 0; i < 6; i++) {
        fitting += explained[i].reason == PLACEMENT_FITS;
        assert_true(explained[i].reason == (i % 3 == 0 ? PLACEMENT_TOO_SMALL : PLACEMENT_FITS));
        assert_true(explained[i].score <= decision.parts[0].score);
    }
    assert_int_equal(fitting, decision.passed_over[PLACEMENT_FITS]);
    assert_true(explained[decision.parts[0].booking.slice].score == decision.parts[0].score);
    assert_memory_equal(explained[decision.parts[0].booking.slice].terms, decision.parts[0].terms,
                        sizeof(decision.parts[0].terms));
    assert_int_equal(placement_explain(placement, &request, 1, 0, explained), STATUS_INVALID);
    destroy(placement);
}

/* --- policy --- */

static void the_first_entry_of_the_list_with_room_decides(void **state)
{
    struct world world = {.members = 3, .nodes = 1, .slices = 1, .slice = world_gpu()};
    struct placement *placement = make(&world, NULL);
    uint32_t first = 2, others[] = {0, 1};
    struct placement_tier tiers[] = {{.members = &first, .member_count = 1},
                                     {.members = others, .member_count = 2}};
    struct placement_request request = whole(1);

    (void)state;
    request.tiers = tiers;
    request.tier_count = 2;
    assert_int_equal(reserve(placement, &request), slice_of(placement, 2, "n0/g0"));
    assert_int_equal(decision.tier, 0);
    assert_int_equal(decision.passed_over[PLACEMENT_TIER], 2);
    request.uid = 2;
    assert_int_equal(reserve(placement, &request), slice_of(placement, 0, "n0/g0"));
    assert_int_equal(decision.tier, 1);
    request.uid = 3;
    (void)reserve(placement, &request);
    request.uid = 4;
    assert_int_equal(placement_reserve(placement, &request, 0, &decision), STATUS_FULL);
    assert_int_equal(decision.tier, 1);
    destroy(placement);
}

static void edit_spot(struct slice_report *report, uint32_t member, uint32_t node, uint32_t slice)
{
    (void)member;
    (void)slice;
    report->is_preemptible = node == 0;
    report->preemptions_hour = 0.1f;
    report->price_nano_hour = node == 0 ? 1000000000 : 3000000000;
}

static void spot_is_taken_above_a_floor_of_what_is_sure(void **state)
{
    struct world world = {
        .members = 1, .nodes = 2, .slices = 4, .slice = world_gpu(), .edit = edit_spot};
    struct placement *placement = make(&world, NULL);
    const struct pool_columns *columns = pool_columns(placement_pool(placement));
    struct placement_tier cheapest = {.weights = placement_preset(PLACEMENT_CHEAPEST)};
    struct placement_request request = whole(1);

    (void)state;
    request.tiers = &cheapest;
    request.tier_count = 1;
    request.shape.takes_preemptible = true;
    request.recover_s = 120;
    request.on_demand_min = 2;
    for (request.uid = 1; request.uid <= 4; request.uid++) {
        uint32_t slice = reserve(placement, &request);

        assert_int_equal(columns->is_preemptible[slice], request.uid > 2);
        assert_int_equal(decision.passed_over[PLACEMENT_ON_DEMAND_MIN], request.uid > 2 ? 0 : 4);
    }
    /* One that is sure drains: the next must be sure again. */
    assert_int_equal(pool_drain(placement_pool(placement), 1, 9 * S), STATUS_OK);
    assert_false(columns->is_preemptible[reserve(placement, &request)]);
    destroy(placement);
}

static void edit_risk(struct slice_report *report, uint32_t member, uint32_t node, uint32_t slice)
{
    (void)member;
    (void)slice;
    report->health = node == 0 ? SLICE_DEGRADED : SLICE_OK;
    report->is_preemptible = node == 1;
    report->preemptions_hour = 6;
}

static void what_may_fail_is_the_last_choice_at_the_same_price(void **state)
{
    struct world world = {
        .members = 1, .nodes = 3, .slices = 1, .slice = world_gpu(), .edit = edit_risk};
    struct placement *placement = make(&world, NULL);
    struct placement_request request = whole(1);

    (void)state;
    request.shape.takes_preemptible = true;
    request.recover_s = 60;
    assert_int_equal(reserve(placement, &request), slice_of(placement, 0, "n2/g0"));
    assert_true(decision.parts[0].terms[PLACEMENT_RISK] == 0);
    request.uid = 2;
    assert_int_equal(reserve(placement, &request), slice_of(placement, 0, "n1/g0"));
    /* Six an hour, a minute each. */
    assert_float_equal(decision.parts[0].terms[PLACEMENT_RISK], 0.1, 1e-6);
    request.uid = 3;
    (void)reserve(placement, &request);
    assert_float_equal(decision.parts[0].terms[PLACEMENT_RISK], 0.5, 1e-6);
    destroy(placement);
}

static void a_limit_of_the_tenant_is_told_from_a_lack_of_room(void **state)
{
    struct world world = {.members = 1, .nodes = 1, .slices = 8, .slice = world_gpu()};
    struct quota_config config = {.limit = {{3000, QUOTA_UNLIMITED, QUOTA_UNLIMITED}}, .weight = 1};
    struct quota_tree *quota;
    struct placement *placement;
    struct placement_request request;
    uint32_t team;

    (void)state;
    assert_int_equal(quota_tree_create(8, &quota), STATUS_OK);
    assert_int_equal(quota_tree_add(quota, QUOTA_ROOT, &config, &team), STATUS_OK);
    placement = make(&world, quota);
    request = gang(1, 4, PLACEMENT_NODE);
    request.tenant = team;
    assert_int_equal(placement_reserve(placement, &request, 0, &decision), STATUS_DENIED);
    assert_int_equal(decision.passed_over[PLACEMENT_QUOTA], 8);
    assert_int_equal(decision.quota_node, team);
    request.part_count = 3;
    assert_int_equal(placement_reserve(placement, &request, 0, &decision), STATUS_OK);
    request = whole(2);
    request.tenant = team;
    assert_int_equal(placement_reserve(placement, &request, 0, &decision), STATUS_DENIED);
    assert_int_equal(decision.passed_over[PLACEMENT_QUOTA], 5);
    assert_int_equal(decision.passed_over[PLACEMENT_NO_ROOM], 3);
    destroy(placement);
    quota_tree_destroy(quota);
}

/* --- gangs --- */

static void a_gang_takes_the_smallest_domain_with_room(void **state)
{
    struct world world = {
        .members = 1, .nodes = 4, .slices = 8, .nodes_rack = 2, .slice = world_gpu()};
    struct placement *placement = make(&world, NULL);
    struct placement_request request = gang(1, 4, PLACEMENT_ZONE);

    (void)state;
    (void)reserve(placement, &request);
    assert_int_equal(decision.domain, PLACEMENT_NVLINK);
    request = gang(2, 8, PLACEMENT_NODE);
    (void)reserve(placement, &request);
    assert_int_equal(decision.domain, PLACEMENT_NVLINK);
    request = gang(3, 16, PLACEMENT_NODE);
    assert_int_equal(placement_choose(placement, &request, 0, &decision), STATUS_FULL);
    assert_int_equal(decision.passed_over[PLACEMENT_NO_DOMAIN], 20);
    request.domain_max = PLACEMENT_LEAF;
    (void)reserve(placement, &request);
    assert_int_equal(decision.domain, PLACEMENT_LEAF);
    destroy(placement);
}

static void a_gang_on_several_nodes_takes_as_few_as_it_can(void **state)
{
    struct world world = {
        .members = 1, .nodes = 6, .slices = 8, .nodes_rack = 6, .slice = world_gpu()};
    struct placement *placement = make(&world, NULL);
    const struct pool_columns *columns = pool_columns(placement_pool(placement));
    static const uint32_t busy[6] = {5, 0, 2, 6, 3, 1}; /* free: 3 8 6 2 5 7 */
    struct placement_request request;
    uint32_t parts_on[64] = {0};

    (void)state;
    for (uint32_t node = 0; node < 6; node++) {
        for (uint32_t i = 0; i < busy[node]; i++) {
            uint32_t slice = node * 8 + i;
            struct booking_part part = {.slice = slice,
                                        .version = columns->version[slice],
                                        .memory_bytes = GIB,
                                        .compute_milli = 1000};
            struct booking_request one = {
                .uid = 1000 + slice, .expires_ns = S, .part_count = 1, .parts = &part};

            assert_int_equal(pool_reserve(placement_pool(placement), &one, 0), STATUS_OK);
        }
    }
    request = gang(1, 17, PLACEMENT_LEAF); /* 8 and 7, and the last two where only two are free */
    (void)reserve(placement, &request);
    for (uint32_t i = 0; i < 17; i++)
        parts_on[decision.parts[i].booking.slice / 8]++;
    assert_int_equal(parts_on[1], 8);
    assert_int_equal(parts_on[5], 7);
    assert_int_equal(parts_on[3], 2);
    destroy(placement);
}

static void a_gang_leaves_the_roomier_domain_whole(void **state)
{
    struct world world = {.members = 1, .nodes = 2, .slices = 8, .slice = world_gpu()};
    struct placement *placement = make(&world, NULL);
    struct placement_request request = gang(1, 3, PLACEMENT_NODE);

    (void)state;
    (void)reserve(placement, &request);
    request = gang(2, 5, PLACEMENT_NODE);
    (void)reserve(placement, &request);
    request = gang(3, 8, PLACEMENT_NODE);
    (void)reserve(placement, &request);
    assert_int_equal(decision.part_count, 8);
    destroy(placement);
}

static void a_gang_stays_in_one_member(void **state)
{
    struct world world = {.members = 2, .nodes = 1, .slices = 2, .slice = world_gpu()};
    struct placement *placement = make(&world, NULL);
    struct placement_request request = gang(1, 3, PLACEMENT_ZONE);

    (void)state;
    assert_int_equal(placement_choose(placement, &request, 0, &decision), STATUS_FULL);
    destroy(placement);
}

static void a_uid_is_placed_once(void **state)
{
    struct world world = {.members = 1, .nodes = 1, .slices = 8, .slice = world_gpu()};
    struct placement *placement = make(&world, NULL);
    struct placement_request request = gang(1, 2, PLACEMENT_NODE);
    uint32_t slice = reserve(placement, &request);

    (void)state;
    assert_int_equal(reserve(placement, &request), slice);
    assert_int_equal(decision.part_count, 2);
    assert_int_equal(pool_booking_count(placement_pool(placement)), 1);
    destroy(placement);
}

/* --- plans --- */

static void a_plan_places_what_single_decisions_would(void **state)
{
    struct world world = {
        .members = 2, .nodes = 4, .slices = 8, .slice = world_gpu(), .edit = edit_spot};
    struct placement *placement = make(&world, NULL);
    const struct pool_columns *columns = pool_columns(placement_pool(placement));
    struct placement_request single = whole(0), eight = gang(0, 8, PLACEMENT_NODE);
    uint32_t slices[40], used[64] = {0}, sure = 0;
    struct placement_plan_item items[] = {
        {.request = &eight, .replicas = 2, .slices = slices},
        {.request = &single, .replicas = 20, .slices = slices + 16},
    };

    (void)state;
    eight.model = 2;
    single.shape.takes_preemptible = true;
    single.on_demand_min = 15;
    placement_plan(placement, items, 2, true, 0);
    assert_int_equal(items[0].placed, 2);
    assert_int_equal(items[1].placed, 20);
    for (uint32_t i = 0; i < 36; i++) {
        assert_int_equal(used[slices[i]]++, 0);
        assert_true(i >= 16 || !columns->is_preemptible[slices[i]]);
        sure += i >= 16 && !columns->is_preemptible[slices[i]];
    }
    assert_true(sure >= 15);
    assert_int_equal(pool_booking_count(placement_pool(placement)), 0);
    items[0].replicas = 9; /* more than there is */
    items[0].slices = (uint32_t[72]){0};
    placement_plan(placement, items, 1, true, 0);
    assert_int_equal(items[0].placed, 6);
    /* Beside what is booked; the scratch tables are as they were. */
    for (single.uid = 1; single.uid <= 48; single.uid++) {
        single.on_demand_min = 48;
        (void)reserve(placement, &single);
    }
    placement_plan(placement, items, 2, false, 0);
    assert_int_equal(items[0].placed, 0);
    assert_int_equal(items[1].placed, 16);
    destroy(placement);
}

static void a_plan_spreads_the_replicas_of_a_model(void **state)
{
    struct world world = {.members = 4, .nodes = 2, .slices = 2, .slice = world_gpu()};
    struct placement *placement = make(&world, NULL);
    struct placement_tier spread = {.weights = placement_preset(PLACEMENT_COMPLIANCE)};
    struct placement_request request = whole(0);
    uint32_t slices[4], on_member[4] = {0};
    struct placement_plan_item item = {.request = &request, .replicas = 4, .slices = slices};

    (void)state;
    request.tiers = &spread;
    request.tier_count = 1;
    placement_plan(placement, &item, 1, true, 0);
    assert_int_equal(item.placed, 4);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(on_member[pool_columns(placement_pool(placement))->member[slices[i]]]++,
                         0);
    destroy(placement);
}

/* --- properties --- */

static void edit_any(struct slice_report *report, uint32_t member, uint32_t node, uint32_t slice)
{
    static const char *const labels[] = {"eu", "hipaa"};
    static const char *const us[] = {"us"};

    report->labels = member % 2 == 0 ? labels : us;
    report->label_count = member % 2 == 0 ? 1 + node % 2 : 1;
    report->is_preemptible = node % 3 == 0;
    report->price_nano_hour = 1000000000 * (1 + (member + node) % 4);
    if (node % 4 == 3) {
        report->kind = SLICE_CPU_SET;
        report->vendor = SLICE_CPU;
        report->compute_milli = 8000;
        report->step_milli = 1000;
        report->tenants_max = 4;
    }
    if (slice == 7)
        report->owner = "acme";
}

static struct placement_request any_request(uint64_t *seed, const uint64_t labels[3], uint64_t uid)
{
    struct placement_request request = whole(uid);

    request.model = (uint32_t)(world_random(seed) % 5);
    request.shape.memory_bytes = (1 + world_random(seed) % 60) * GIB;
    request.shape.compute_milli = (uint32_t)(world_random(seed) % 4) * 700;
    request.shape.vendors = (uint32_t)(world_random(seed) % 3) == 0 ? 1u << SLICE_CPU : 0;
    request.shape.takes_preemptible = world_random(seed) % 2 == 0;
    request.shape.labels_required = labels[world_random(seed) % 3];
    request.shape.labels_forbidden =
        labels[world_random(seed) % 3] & ~request.shape.labels_required;
    request.shape.price_max_nano_hour = (int64_t)(world_random(seed) % 4) * 1000000000;
    request.on_demand_min = (uint32_t)(world_random(seed) % 3);
    if (world_random(seed) % 4 == 0) {
        request.part_count = 2 + (uint32_t)(world_random(seed) % 7);
        request.domain_max = (enum placement_domain)(world_random(seed) % PLACEMENT_DOMAIN_COUNT);
    }
    return request;
}

static uint32_t domain_of(const struct pool_columns *columns, enum placement_domain domain,
                          uint32_t slice)
{
    const uint32_t *const by_domain[PLACEMENT_DOMAIN_COUNT] = {
        columns->nvlink, columns->pcie_switch, columns->node, columns->rack, columns->zone_here};

    return by_domain[domain][slice];
}

/* Everything that a request asks for holds of where it went. */
static void check_decision(const struct pool *pool, const struct placement_request *request)
{
    const struct pool_columns *columns = pool_columns(pool);

    assert_int_equal(decision.part_count, request->part_count);
    for (uint32_t i = 0; i < decision.part_count; i++) {
        const struct booking_part *part = &decision.parts[i].booking;
        uint32_t slice = part->slice;

        assert_true((columns->labels[slice] & request->shape.labels_required) ==
                    request->shape.labels_required);
        assert_true((columns->labels[slice] & request->shape.labels_forbidden) == 0);
        assert_true(columns->owner[slice] == NAME_NONE);
        assert_true(request->shape.takes_preemptible || !columns->is_preemptible[slice]);
        assert_true(part->memory_bytes >= request->shape.memory_bytes);
        assert_true(request->shape.price_max_nano_hour == 0 ||
                    pool_part_price(pool, slice, part->memory_bytes, part->compute_milli) <=
                        request->shape.price_max_nano_hour);
        assert_true(request->part_count == 1 ||
                    (domain_of(columns, decision.domain, slice) != NAME_NONE &&
                     domain_of(columns, decision.domain, slice) ==
                         domain_of(columns, decision.domain, decision.parts[0].booking.slice)));
        for (uint32_t j = 0; j < PLACEMENT_TERM_COUNT; j++)
            assert_true(decision.parts[i].terms[j] >= 0 && decision.parts[i].terms[j] <= 1);
    }
}

/* How many of the slices that fit share a domain of this kind with `slice`, by comparing it with each. */
static uint32_t count_near(const struct pool_columns *columns,
                           const struct placement_explanation *explained,
                           enum placement_domain domain, uint32_t slice)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < columns->count; i++)
        count += explained[i].reason == PLACEMENT_FITS &&
                 domain_of(columns, domain, i) != NAME_NONE &&
                 domain_of(columns, domain, i) == domain_of(columns, domain, slice);
    return count;
}

/* A single goes where the score is highest. A gang is placed exactly if some domain of an allowed kind has room, and
 * in the smallest kind that has. */
static void check_against_all_slices(const struct pool *pool,
                                     const struct placement_request *request,
                                     const struct placement_explanation *explained, status result)
{
    const struct pool_columns *columns = pool_columns(pool);
    uint32_t smallest = PLACEMENT_DOMAIN_COUNT, fitting = 0;
    float best = -1000;

    for (uint32_t i = 0; i < columns->count; i++) {
        if (explained[i].reason != PLACEMENT_FITS)
            continue;
        fitting++;
        best = explained[i].score > best ? explained[i].score : best;
        for (uint32_t domain = 0; domain < smallest; domain++) {
            if (count_near(columns, explained, (enum placement_domain)domain, i) >=
                request->part_count)
                smallest = domain;
        }
    }
    if (request->part_count == 1) {
        assert_int_equal(result == STATUS_OK, fitting > 0);
        assert_true(result != STATUS_OK || decision.parts[0].score == best);
    } else {
        assert_int_equal(result == STATUS_OK, smallest <= (uint32_t)request->domain_max);
        assert_true(result != STATUS_OK || (uint32_t)decision.domain == smallest);
    }
}

static void whatever_is_asked_holds_and_books_once(void **state)
{
    struct world world = {.members = 4,
                          .nodes = 8,
                          .slices = 8,
                          .nodes_rack = 4,
                          .slice = world_gpu(),
                          .edit = edit_any};

    (void)state;
    for (uint64_t first = 1; first <= 20; first++) {
        struct placement *placement = make(&(struct world){.members = 4}, NULL);
        struct pool *pool = placement_pool(placement);
        uint64_t seed = first, labels[3] = {0}, placed = 0;

        print_message("seed %llu\n", (unsigned long long)first);
        assert_int_equal(pool_label_declare(pool, "eu", &labels[1]), STATUS_OK);
        assert_int_equal(pool_label_declare(pool, "hipaa", &labels[2]), STATUS_OK);
        for (uint32_t i = 0; i < 4 * 64; i++)
            world_report(pool, &world, i / 64, i / 8 % 8, i % 8);
        for (uint64_t uid = 1; uid <= 300; uid++) {
            struct placement_request request = any_request(&seed, labels, uid);
            static struct placement_explanation explained[4 * 64];
            status result = placement_explain(placement, &request, 0, uid * S, explained);

            assert_int_equal(result, STATUS_OK);
            result = placement_reserve(placement, &request, uid * S, &decision);
            check_against_all_slices(pool, &request, explained, result);

            assert_int_equal(sum_of_reasons(), pool_columns(pool)->count);
            if (result == STATUS_OK) {
                check_decision(pool, &request);
                placed++;
            }
            if (world_random(&seed) % 3 == 0)
                (void)pool_release(pool, 1 + world_random(&seed) % uid);
            assert_true(pool_is_consistent(pool));
        }
        assert_true(placed > 50);
        destroy(placement);
    }
}

/* The same calls give the same decisions, bit for bit. */
static void the_same_input_gives_the_same_decision(void **state)
{
    struct world world = {.members = 4,
                          .nodes = 8,
                          .slices = 8,
                          .nodes_rack = 4,
                          .slice = world_gpu(),
                          .edit = edit_any};
    struct placement *one = make(&world, NULL), *other = make(&world, NULL);
    uint64_t seed = 5, labels[3] = {0};

    (void)state;
    for (uint64_t uid = 1; uid <= 200; uid++) {
        struct placement_request request = any_request(&seed, labels, uid);
        static struct placement_decision again;
        status result = placement_reserve(one, &request, uid, &decision);

        assert_int_equal(placement_reserve(other, &request, uid, &again), result);
        assert_int_equal(again.part_count, decision.part_count);
        assert_memory_equal(again.passed_over, decision.passed_over, sizeof(again.passed_over));
        for (uint32_t i = 0; i < again.part_count; i++) {
            assert_int_equal(again.parts[i].booking.slice, decision.parts[i].booking.slice);
            assert_true(again.parts[i].score == decision.parts[i].score);
        }
    }
    destroy(one);
    destroy(other);
}

static void edit_any_unlike(struct slice_report *report, uint32_t member, uint32_t node,
                            uint32_t slice)
{
    edit_any(report, member, node, slice);
    report->compute_capability = (uint16_t)(90 + slice); /* which nothing weighs */
}

/* Slices that cannot be told from each other are looked at together: that must not change where anything goes. */
static void a_plan_is_the_same_whether_or_not_slices_are_alike(void **state)
{
    enum { ITEMS = 40, REPLICAS = 12 };
    struct world world = {.members = 4,
                          .nodes = 8,
                          .slices = 8,
                          .nodes_rack = 4,
                          .slice = world_gpu(),
                          .edit = edit_any};
    struct world unlike = world;
    static struct placement_request requests[ITEMS];
    static uint32_t slices[2][ITEMS][REPLICAS * 8];
    uint32_t placed = 0;

    (void)state;
    unlike.edit = edit_any_unlike;
    for (uint64_t first = 1; first <= 10; first++) {
        struct placement *plans[2] = {make(&world, NULL), make(&unlike, NULL)};
        struct placement_plan_item items[2][ITEMS];
        uint64_t seed = first, labels[3] = {0};

        print_message("seed %llu\n", (unsigned long long)first);
        for (uint64_t uid = 1; uid <= 60; uid++) { /* some have something on them */
            struct placement_request request = any_request(&seed, labels, uid);

            status result = placement_reserve(plans[0], &request, uid, &decision);

            assert_int_equal(placement_reserve(plans[1], &request, uid, &decision), result);
        }
        for (uint32_t i = 0; i < ITEMS; i++)
            requests[i] = any_request(&seed, labels, 0);
        for (int from_empty = 0; from_empty < 2; from_empty++) {
            for (int i = 0; i < 2; i++) {
                for (uint32_t k = 0; k < ITEMS; k++)
                    items[i][k] = (struct placement_plan_item){
                        .request = &requests[k], .replicas = REPLICAS, .slices = slices[i][k]};
                placement_plan(plans[i], items[i], ITEMS, from_empty != 0, 1);
            }
            for (uint32_t k = 0; k < ITEMS; k++) {
                assert_int_equal(items[0][k].placed, items[1][k].placed);
                assert_memory_equal(slices[0][k], slices[1][k],
                                    items[0][k].placed * requests[k].part_count * sizeof(uint32_t));
                placed += items[0][k].placed;
            }
        }
        destroy(plans[0]);
        destroy(plans[1]);
    }
    assert_true(placed > 2000);
}

static void every_failed_allocation_is_survived(void **state)
{
    struct world world = {.members = 1, .nodes = 1, .slices = 1, .slice = world_gpu()};
    struct pool *pool = world_create(&world, NULL);

    (void)state;
    for (unsigned long n = 1;; n++) {
        struct placement *placement = NULL;
        status result;

        fail_nth_begin(n);
        result = placement_create(pool, NULL, &placement);
        if (!fail_nth_end()) {
            assert_int_equal(result, STATUS_OK);
            destroy(placement);
            return;
        }
        assert_int_equal(result, STATUS_NO_MEMORY);
    }
}

static void everything_has_a_name(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < PLACEMENT_REASON_COUNT; i++)
        assert_true(strlen(placement_reason_name((enum placement_reason)i)) > 0);
    for (uint32_t i = 0; i < PLACEMENT_TERM_COUNT; i++)
        assert_true(strlen(placement_term_name((enum placement_term)i)) > 0);
    for (uint32_t i = 0; i < PLACEMENT_PRESET_COUNT; i++)
        assert_true(strlen(placement_preset_name((enum placement_preset_kind)i)) > 0);
    assert_string_equal(placement_domain_name(PLACEMENT_LEAF), "leaf");
    assert_string_equal(slice_kind_name(SLICE_CPU_SET), "cpu_set");
    assert_string_equal(slice_vendor_name(SLICE_GAUDI), "gaudi");
    assert_string_equal(slice_health_name(SLICE_DRAINING), "draining");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_slice_that_is_passed_over_says_why),
        cmocka_unit_test(members_that_are_not_synced_get_nothing),
        cmocka_unit_test(a_model_backs_off_from_a_member_where_it_failed),
        cmocka_unit_test(bad_requests_are_refused),
        cmocka_unit_test(what_it_does_for_its_price_counts_not_the_price),
        cmocka_unit_test(the_near_and_the_warm_are_preferred),
        cmocka_unit_test(replicas_of_one_model_spread_and_of_others_fill_up),
        cmocka_unit_test(a_fraction_goes_where_least_is_left),
        cmocka_unit_test(an_explanation_agrees_with_the_decision),
        cmocka_unit_test(the_first_entry_of_the_list_with_room_decides),
        cmocka_unit_test(spot_is_taken_above_a_floor_of_what_is_sure),
        cmocka_unit_test(what_may_fail_is_the_last_choice_at_the_same_price),
        cmocka_unit_test(a_limit_of_the_tenant_is_told_from_a_lack_of_room),
        cmocka_unit_test(a_gang_takes_the_smallest_domain_with_room),
        cmocka_unit_test(a_gang_on_several_nodes_takes_as_few_as_it_can),
        cmocka_unit_test(a_gang_leaves_the_roomier_domain_whole),
        cmocka_unit_test(a_gang_stays_in_one_member),
        cmocka_unit_test(a_uid_is_placed_once),
        cmocka_unit_test(a_plan_places_what_single_decisions_would),
        cmocka_unit_test(a_plan_spreads_the_replicas_of_a_model),
        cmocka_unit_test(a_plan_is_the_same_whether_or_not_slices_are_alike),
        cmocka_unit_test(whatever_is_asked_holds_and_books_once),
        cmocka_unit_test(the_same_input_gives_the_same_decision),
        cmocka_unit_test(every_failed_allocation_is_survived),
        cmocka_unit_test(everything_has_a_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
