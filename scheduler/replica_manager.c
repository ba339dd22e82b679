#include "replica_manager.h"

#include "check.h"
#include "memory.h"

struct replica_manager {
    struct replica_policy policy;
    struct replica_driver driver;
    uint32_t count;
    struct replica replicas[]; /* [count] */
};

/* One spread-out seed a replica (splitmix64's step, Steele et al. 2014). */
static uint64_t seed_for(uint64_t seed, uint32_t id)
{
    uint64_t z = seed + (id + 1) * 0x9e3779b97f4a7c15ull;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

status replica_manager_create(uint32_t count, const struct replica_policy *policy,
                              const struct replica_driver *driver, uint64_t seed, uint64_t now_ns,
                              replica_manager **out)
{
    replica_manager *manager;

    CHECK(count > 0 && count <= REPLICA_MANAGER_COUNT_MAX);
    manager = memory_allocate(sizeof(*manager) + count * sizeof(manager->replicas[0]));
    if (manager == NULL)
        return STATUS_NO_MEMORY;
    manager->policy = *policy;
    manager->driver = *driver;
    manager->count = count;
    for (uint32_t id = 0; id < count; id++)
        replica_init(&manager->replicas[id], seed_for(seed, id), now_ns);
    *out = manager;
    return STATUS_OK;
}

void replica_manager_destroy(replica_manager *manager)
{
    memory_release(manager);
}

static void changed(replica_manager *manager, uint32_t id, enum replica_state before)
{
    if (manager->replicas[id].state != before)
        manager->driver.changed(manager->driver.context, id, &manager->replicas[id], before);
}

/* The driver hears of the change before it is asked to do what follows from it. */
static void follow(replica_manager *manager, uint32_t id, enum replica_state before,
                   uint32_t actions, uint64_t now_ns)
{
    const struct replica_driver *driver = &manager->driver;
    struct replica *replica = &manager->replicas[id];

    changed(manager, id, before);
    if (actions & REPLICA_ACTION_DRAIN)
        driver->drain(driver->context, id);
    if (actions & REPLICA_ACTION_SLEEP)
        driver->sleep(driver->context, id);
    if (actions & REPLICA_ACTION_WAKE)
        driver->wake(driver->context, id);
    if (actions & REPLICA_ACTION_KILL)
        driver->kill(driver->context, id);
    if ((actions & REPLICA_ACTION_START) &&
        driver->start(driver->context, id, replica->generation) != STATUS_OK) {
        before = replica->state;
        actions = replica_step(replica, &manager->policy, REPLICA_START_FAILED, now_ns);
        CHECK(actions == REPLICA_ACTION_NONE);
        changed(manager, id, before);
    }
}

void replica_manager_event(replica_manager *manager, uint32_t id, enum replica_event event,
                           uint64_t now_ns)
{
    struct replica *replica = &manager->replicas[id];
    enum replica_state before = replica->state;

    CHECK(id < manager->count);
    follow(manager, id, before, replica_step(replica, &manager->policy, event, now_ns), now_ns);
}

void replica_manager_leave(replica_manager *manager, uint32_t id, uint64_t by_ns, uint64_t now_ns)
{
    struct replica *replica = &manager->replicas[id];
    enum replica_state before = replica->state;

    CHECK(id < manager->count);
    follow(manager, id, before, replica_leave(replica, &manager->policy, by_ns, now_ns), now_ns);
}

uint64_t replica_manager_tick(replica_manager *manager, uint64_t now_ns)
{
    uint64_t next_ns = UINT64_MAX;

    for (uint32_t id = 0; id < manager->count; id++) {
        if (now_ns >= manager->replicas[id].deadline_ns)
            replica_manager_event(manager, id, REPLICA_TICK, now_ns);
        if (manager->replicas[id].deadline_ns < next_ns)
            next_ns = manager->replicas[id].deadline_ns;
    }
    return next_ns;
}

void replica_manager_set_drain_timeout(replica_manager *manager, uint64_t drain_timeout_ns)
{
    manager->policy.drain_timeout_ns = drain_timeout_ns;
}

const struct replica *replica_manager_get(const replica_manager *manager, uint32_t id)
{
    CHECK(id < manager->count);
    return &manager->replicas[id];
}
