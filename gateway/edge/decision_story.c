/* The decision of the router, as a story tells it. Pages of replicas are read once more for what the router does not ask for: how many wait
 * and run there. */
#include "replica_choice.h"
#include "request_stories.h"

static const char *const policy_names[ROUTER_POLICY_COUNT] = {
    [ROUTER_PREDICTED_TTFT] = "predicted_ttft",
    [ROUTER_LEAST_LOAD] = "least_load",
    [ROUTER_ROUND_ROBIN] = "round_robin",
    [ROUTER_CONSISTENT_HASH] = "consistent_hash",
};

static enum story_pass pass_of(const struct replica_choice *choice,
                               const struct edge_replica *replica, bool is_ready, uint64_t now_ns)
{
    uint32_t version = atomic_load_explicit(&replica->version, memory_order_relaxed);

    if (edge_replica_state(replica) != REPLICA_READY)
        return STORY_NOT_READY;
    if (replica == choice->avoid && now_ns < choice->avoid_until_ns &&
        atomic_load_explicit(&replica->generation, memory_order_relaxed) ==
            choice->avoid_generation)
        return STORY_JUST_FAILED;
    if (!replica_guard_is_open(&replica->guard, now_ns))
        return STORY_BREAKER_OPEN;
    if (!is_ready || (choice->version != 0 && choice->version != version))
        return STORY_OTHER_VERSION;
    return STORY_OUTSCORED;
}

static void candidate_fill(const struct edge_replica *replica,
                           const struct router_candidate *candidate,
                           const struct router_request *request, struct story_candidate *out)
{
    struct shared_page_state state;

    *out = (struct story_candidate){
        .replica = replica->index,
        .outstanding = candidate->outstanding,
        .is_told = candidate->prefill_ns > 0,
        .cached_tokens = candidate->cached_tokens,
        .queued_ns = candidate->queued_ns,
        .step_ns = candidate->step_ns,
        .prefill_ns = candidate->prefill_ns,
    };
    if (out->is_told)
        out->score_ns = router_predicted_ttft_ns(candidate, request, 0);
    if (replica->page == NULL || !shared_page_read(replica->page, &state))
        return;
    out->waiting = state.waiting;
    out->running = state.running;
}

void request_stories_decide(struct request_story *story, const struct replica_choice *choice,
                            const struct router_candidate *candidates,
                            const struct router_request *request, uint32_t picked, uint64_t now_ns)
{
    const struct edge_model *model = choice->model;
    uint32_t room = STORY_CANDIDATES_MAX - (picked != ROUTER_NONE);

    if (story == NULL)
        return;
    story->policy = policy_names[choice->policy];
    story->decided_ns = request_story_moment(story, now_ns);
    story->decision_attempt = story->attempt_count;
    story->prompt_tokens_guess = request->prompt_tokens;
    story->candidate_total = story->candidate_count = 0;
    for (uint32_t i = 0; i < model->replica_count; i++) {
        const struct edge_replica *replica = &model->replicas[i];
        struct story_candidate *out = &story->candidates[story->candidate_count];

        if (edge_replica_state(replica) == REPLICA_STOPPED && i != picked)
            continue; /* nothing is there */
        story->candidate_total++;
        if (i != picked && room == 0)
            continue;
        room -= i != picked;
        story->candidate_count++;
        candidate_fill(replica, &candidates[i], request, out);
        out->pass =
            (uint8_t)(i == picked ? STORY_CHOSEN
                                  : pass_of(choice, replica, candidates[i].is_ready, now_ns));
    }
}
