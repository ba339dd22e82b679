/* WRAP: malloc calloc realloc aligned_alloc */
#include "unit_test.h"

#include "fail_nth.h"
#include "placement_log.h"
#include "pool_world.h"

#define S   WORLD_S
#define GIB WORLD_GIB

struct place {
    struct pool *pool;
    struct placement *placement;
    struct placement_log *log;
    struct placement_decision decision;
};

static void open_place(struct place *place)
{
    struct world world = {.members = 2, .nodes = 1, .slices = 100, .slice = world_gpu()};

    place->pool = world_create(&world, NULL);
    assert_int_equal(placement_create(place->pool, NULL, &place->placement), STATUS_OK);
    place->log = placement_log_create();
    assert_non_null(place->log);
}

static void close_place(struct place *place)
{
    placement_log_destroy(place->log);
    placement_destroy(place->placement);
    pool_destroy(place->pool);
}

static void put(struct place *place, uint64_t uid, const struct placement_tier *tiers,
                uint32_t tier_count)
{
    struct placement_request request = {.uid = uid,
                                        .model = 3,
                                        .shape = {.memory_bytes = 10 * GIB},
                                        .part_count = 1,
                                        .run_ns = POOL_NO_END,
                                        .reserve_ns = 60 * S,
                                        .tiers = tiers,
                                        .tier_count = tier_count};

    assert_int_equal(placement_reserve(place->placement, &request, uid, &place->decision),
                     STATUS_OK);
    placement_log_place(place->log, place->pool, &request, &place->decision, uid * S);
}

static void a_decision_is_kept_with_its_grounds(void **state)
{
    struct place place;
    const struct placement_log_entry *entry;
    char slice[128];

    (void)state;
    open_place(&place);
    assert_null(placement_log_get(place.log, 0));
    put(&place, 7, NULL, 0);
    pool_slice_write(place.pool, place.decision.parts[0].booking.slice, slice, sizeof(slice));
    entry = placement_log_get(place.log, 0);
    assert_non_null(entry);
    assert_int_equal(entry->uid, 7);
    assert_int_equal(entry->model, 3);
    assert_int_equal(entry->at_ns, 7 * S);
    assert_int_equal(entry->part_count, 1);
    assert_int_equal(entry->outcome, PLACEMENT_PLACED);
    assert_string_equal(entry->slice, slice);
    assert_true(entry->score == place.decision.parts[0].score);
    assert_memory_equal(entry->terms, place.decision.parts[0].terms, sizeof(entry->terms));
    assert_memory_equal(entry->passed_over, place.decision.passed_over, sizeof(entry->passed_over));
    assert_true(entry->weights.of[PLACEMENT_COST] ==
                placement_preset(PLACEMENT_BALANCED).of[PLACEMENT_COST]);
    assert_string_equal(entry->why, "");
    assert_null(placement_log_get(place.log, 1));
    close_place(&place);
}

static void the_weights_are_those_of_the_tier_that_decided(void **state)
{
    struct place place;
    const uint32_t nowhere = 77, here = 1;
    struct placement_tier tiers[] = {
        {.members = &nowhere, .member_count = 1, .weights = placement_preset(PLACEMENT_NEAREST)},
        {.members = &here, .member_count = 1, .weights = placement_preset(PLACEMENT_CHEAPEST)}};
    const struct placement_log_entry *entry;

    (void)state;
    open_place(&place);
    put(&place, 7, tiers, 2);
    entry = placement_log_get(place.log, 0);
    assert_int_equal(entry->tier, 1);
    assert_memory_equal(&entry->weights, &tiers[1].weights, sizeof(entry->weights));
    close_place(&place);
}

static void the_oldest_make_room_for_the_newest(void **state)
{
    struct place place;

    (void)state;
    open_place(&place);
    for (uint64_t uid = 1; uid <= PLACEMENT_LOG_COUNT + 5; uid++)
        put(&place, uid, NULL, 0);
    for (uint32_t i = 0; i < PLACEMENT_LOG_COUNT; i++)
        assert_int_equal(placement_log_get(place.log, i)->uid, PLACEMENT_LOG_COUNT + 5 - i);
    assert_null(placement_log_get(place.log, PLACEMENT_LOG_COUNT));
    assert_int_equal(placement_log_total(place.log, PLACEMENT_PLACED), PLACEMENT_LOG_COUNT + 5);
    close_place(&place);
}

static void what_came_of_it_is_said_of_the_last_placement(void **state)
{
    struct place place;

    (void)state;
    open_place(&place);
    put(&place, 7, NULL, 0);
    placement_log_mark(place.log, 7, PLACEMENT_REFUSED, "its partition is full");
    (void)pool_release(place.pool, 7);
    put(&place, 7, NULL, 0);
    put(&place, 8, NULL, 0);
    placement_log_mark(place.log, 7, PLACEMENT_PREEMPTED, "a more important one");
    placement_log_mark(place.log, 1234, PLACEMENT_REFUSED, "long ago"); /* counted all the same */
    assert_int_equal(placement_log_get(place.log, 0)->outcome, PLACEMENT_PLACED);
    assert_int_equal(placement_log_get(place.log, 1)->outcome, PLACEMENT_PREEMPTED);
    assert_string_equal(placement_log_get(place.log, 1)->why, "a more important one");
    assert_int_equal(placement_log_get(place.log, 2)->outcome, PLACEMENT_REFUSED);
    assert_string_equal(placement_log_get(place.log, 2)->why, "its partition is full");
    assert_int_equal(placement_log_total(place.log, PLACEMENT_PLACED), 3);
    assert_int_equal(placement_log_total(place.log, PLACEMENT_REFUSED), 2);
    assert_int_equal(placement_log_total(place.log, PLACEMENT_PREEMPTED), 1);
    close_place(&place);
}

static void without_memory_there_is_no_log(void **state)
{
    (void)state;
    fail_nth_begin(1);
    assert_null(placement_log_create());
    assert_true(fail_nth_end());
    placement_log_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_decision_is_kept_with_its_grounds),
        cmocka_unit_test(the_weights_are_those_of_the_tier_that_decided),
        cmocka_unit_test(the_oldest_make_room_for_the_newest),
        cmocka_unit_test(what_came_of_it_is_said_of_the_last_placement),
        cmocka_unit_test(without_memory_there_is_no_log),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
