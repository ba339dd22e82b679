#include "unit_test.h"

#include "replica_manager.h"

#define S     1000000000ull
#define COUNT 5u

static const struct replica_policy policy = {.backoff_first_ns = S,
                                             .backoff_max_ns = 30 * S,
                                             .start_timeout_ns = 60 * S,
                                             .heartbeat_timeout_ns = 10 * S,
                                             .drain_timeout_ns = 20 * S};

/* A driver without processes that remembers what was asked of it. */
struct fake {
    bool has_process[COUNT], was_killed[COUNT], sleeps[COUNT], start_fails;
    uint32_t start_count, drain_count, change_count;
    enum replica_state seen[COUNT];
};

static status fake_start(void *context, uint32_t id, uint32_t generation)
{
    struct fake *fake = context;

    assert_false(fake->has_process[id]);
    assert_true(generation > 0);
    fake->start_count++;
    if (fake->start_fails)
        return STATUS_IO;
    fake->has_process[id] = true;
    return STATUS_OK;
}

static void fake_drain(void *context, uint32_t id)
{
    struct fake *fake = context;

    assert_true(fake->has_process[id]);
    fake->drain_count++;
}

static void fake_sleep(void *context, uint32_t id)
{
    struct fake *fake = context;

    assert_true(fake->has_process[id] && !fake->sleeps[id]);
    fake->sleeps[id] = true;
}

static void fake_wake(void *context, uint32_t id)
{
    struct fake *fake = context;

    assert_true(fake->has_process[id] && fake->sleeps[id]);
    fake->sleeps[id] = false;
}

static void fake_kill(void *context, uint32_t id)
{
    struct fake *fake = context;

    assert_true(fake->has_process[id]);
    fake->was_killed[id] = true;
}

static void fake_changed(void *context, uint32_t id, const struct replica *replica,
                         enum replica_state before)
{
    struct fake *fake = context;

    assert_int_equal(fake->seen[id], before);
    fake->seen[id] = replica->state;
    fake->change_count++;
}

static replica_manager *make(struct fake *fake)
{
    struct replica_driver driver = {.start = fake_start,
                                    .drain = fake_drain,
                                    .sleep = fake_sleep,
                                    .wake = fake_wake,
                                    .kill = fake_kill,
                                    .changed = fake_changed,
                                    .context = fake};
    replica_manager *manager = NULL;

    assert_int_equal(replica_manager_create(COUNT, &policy, &driver, 1, 0, &manager), STATUS_OK);
    return manager;
}

static uint32_t process_count(const replica_manager *manager)
{
    uint32_t count = 0;

    for (uint32_t id = 0; id < COUNT; id++)
        count += replica_has_process(replica_manager_get(manager, id));
    return count;
}

static void all_wanted_replicas_are_started_and_stopped(void **state)
{
    struct fake fake = {0};
    replica_manager *manager = make(&fake);

    (void)state;
    assert_int_equal(replica_manager_tick(manager, 0), UINT64_MAX);
    for (uint32_t id = 0; id < COUNT; id++)
        replica_manager_event(manager, id, REPLICA_WANTED, id);
    for (uint32_t id = 0; id < COUNT; id++)
        replica_manager_event(manager, id, REPLICA_PLACED, id);
    assert_int_equal(fake.start_count, COUNT);
    assert_int_equal(process_count(manager), COUNT);
    assert_int_equal(replica_manager_tick(manager, S), 60 * S);
    for (uint32_t id = 0; id < COUNT; id++) {
        replica_manager_event(manager, id, REPLICA_ANSWERED, S);
        replica_manager_event(manager, id, REPLICA_UNWANTED, 2 * S);
    }
    assert_int_equal(fake.drain_count, COUNT);
    assert_int_equal(replica_manager_tick(manager, 22 * S), UINT64_MAX);
    for (uint32_t id = 0; id < COUNT; id++) {
        assert_true(fake.was_killed[id]);
        replica_manager_event(manager, id, REPLICA_ENDED, 23 * S);
    }
    assert_int_equal(process_count(manager), 0);
    assert_int_equal(fake.change_count, COUNT * 6);
    replica_manager_destroy(manager);
}

static void a_start_that_fails_is_tried_again(void **state)
{
    struct fake fake = {.start_fails = true};
    replica_manager *manager = make(&fake);
    uint64_t next_ns;

    (void)state;
    replica_manager_event(manager, 3, REPLICA_WANTED, 0);
    assert_int_equal(replica_manager_get(manager, 3)->state, REPLICA_BACKING_OFF);
    next_ns = replica_manager_tick(manager, 0);
    assert_in_range(next_ns, S / 2, S);
    fake.start_fails = false;
    (void)replica_manager_tick(manager, next_ns);
    assert_int_equal(replica_manager_get(manager, 3)->state, REPLICA_PLACING);
    assert_int_equal(replica_manager_get(manager, 3)->restart_count, 1);
    replica_manager_destroy(manager);
}

static void a_replica_sleeps_and_wakes_without_a_start(void **state)
{
    struct fake fake = {0};
    replica_manager *manager = make(&fake);

    (void)state;
    replica_manager_event(manager, 1, REPLICA_WANTED, 0);
    replica_manager_event(manager, 1, REPLICA_PLACED, 0);
    replica_manager_event(manager, 1, REPLICA_ANSWERED, 0);
    replica_manager_event(manager, 1, REPLICA_REST, S);
    assert_true(fake.sleeps[1]);
    replica_manager_event(manager, 1, REPLICA_WANTED, 2 * S);
    assert_false(fake.sleeps[1]);
    replica_manager_event(manager, 1, REPLICA_ANSWERED, 2 * S);
    assert_int_equal(replica_manager_get(manager, 1)->state, REPLICA_READY);
    assert_int_equal(fake.start_count, 1);
    replica_manager_destroy(manager);
}

static void one_replica_that_dies_leaves_the_others_alone(void **state)
{
    struct fake fake = {0};
    replica_manager *manager = make(&fake);

    (void)state;
    for (uint32_t id = 0; id < COUNT; id++) {
        replica_manager_event(manager, id, REPLICA_WANTED, 0);
        replica_manager_event(manager, id, REPLICA_PLACED, 0);
        replica_manager_event(manager, id, REPLICA_ANSWERED, 0);
    }
    fake.has_process[2] = false;
    replica_manager_event(manager, 2, REPLICA_ENDED, S);
    for (uint32_t id = 0; id < COUNT; id++)
        assert_int_equal(replica_manager_get(manager, id)->state,
                         id == 2 ? REPLICA_BACKING_OFF : REPLICA_READY);
    (void)replica_manager_tick(manager, 3 * S);
    assert_int_equal(fake.start_count, COUNT + 1);
    replica_manager_destroy(manager);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_wanted_replicas_are_started_and_stopped),
        cmocka_unit_test(a_start_that_fails_is_tried_again),
        cmocka_unit_test(a_replica_sleeps_and_wakes_without_a_start),
        cmocka_unit_test(one_replica_that_dies_leaves_the_others_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
