#include "replica_choice.h"

#include "check.h"
#include "clock.h"
#include "router.h"

#define REPLICA_COUNT_MAX 64u /* of a model; the settings table's limit */

struct edge_replica *replica_choice_pick(const struct replica_choice *choice, uint64_t now_ns)
{
    struct router_candidate candidates[REPLICA_COUNT_MAX];
    struct edge_model *model = choice->model;
    uint32_t turn = atomic_fetch_add_explicit(&model->turn, 1, memory_order_relaxed), picked;

    if (choice->keeper != NULL)
        return edge_replica_state(choice->keeper) == REPLICA_READY ? choice->keeper : NULL;
    CHECK(model->replica_count <= REPLICA_COUNT_MAX);
    for (uint32_t i = 0; i < model->replica_count; i++) {
        const struct edge_replica *replica = &model->replicas[i];
        bool has_just_failed = replica == choice->avoid && now_ns < choice->avoid_until_ns &&
                               atomic_load_explicit(&replica->generation, memory_order_relaxed) ==
                                   choice->avoid_generation;

        candidates[i].is_ready = edge_replica_state(replica) == REPLICA_READY && !has_just_failed;
        candidates[i].outstanding =
            atomic_load_explicit(&replica->outstanding, memory_order_relaxed);
    }
    if (choice->has_group)
        picked = router_pick_near(candidates, model->replica_count, turn, choice->group);
    else
        picked = router_pick(candidates, model->replica_count, turn, ROUTER_NONE);
    return picked == ROUTER_NONE ? NULL : &model->replicas[picked];
}

void replica_choice_avoid(struct replica_choice *choice, const struct edge_replica *replica,
                          uint32_t generation, uint64_t now_ns)
{
    choice->avoid = replica;
    choice->avoid_generation = generation;
    choice->avoid_until_ns = now_ns + REPLICA_CHOICE_AVOID_NS;
}

bool replica_choice_has_hope(const struct replica_choice *choice)
{
    const struct edge_model *model = choice->model;

    for (uint32_t i = 0; i < model->replica_count; i++) {
        enum replica_state state = edge_replica_state(&model->replicas[i]);

        if (state != REPLICA_FAILED && state != REPLICA_STOPPED)
            return true;
    }
    return false;
}

/* Sooner nobody can tell, and what takes longer may have been mended by then. */
#define RETRY_MS_MIN 500u
#define RETRY_MS_MAX 60000u

uint64_t replica_choice_retry_ms(const struct replica_choice *choice, uint64_t now_ns)
{
    const struct edge_model *model = choice->model;
    uint64_t ms = RETRY_MS_MAX;

    for (uint32_t i = 0; i < model->replica_count; i++) {
        uint64_t expected_ns =
            atomic_load_explicit(&model->replicas[i].expected_ns, memory_order_relaxed);
        uint64_t wait_ms = expected_ns > now_ns ? (expected_ns - now_ns) / NS_PER_MS + 1 : 0;

        ms = wait_ms < ms ? wait_ms : ms;
    }
    return ms > RETRY_MS_MIN ? ms : RETRY_MS_MIN;
}
