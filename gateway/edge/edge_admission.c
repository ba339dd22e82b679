#include "edge_admission.h"

#include "engine.h"

static struct waiting_room_policy policy_of(const struct config *config)
{
    return (struct waiting_room_policy){
        .requests_max = (uint32_t)config->admission.requests,
        .tokens_max = (uint64_t)config->admission.tokens,
        .prompt_weight = config->admission.prompt_weight,
        .output_weight = config->admission.output_weight,
    };
}

status edge_admission_create(struct edge *edge, struct edge_model *model,
                             const struct config *config, uint32_t loop_count)
{
    const struct admission_options options = {
        .policy = policy_of(config),
        .timeout_ns = config->admission.timeout_ns,
        .loop_count = loop_count,
        .block_tokens = ENGINE_BLOCK_TOKENS,
        .wake = edge_loop_wake,
        .context = edge,
    };

    return admission_create(&options, &model->admission);
}

void edge_admission_apply(struct edge *edge, const struct config *config)
{
    const struct waiting_room_policy policy = policy_of(config);

    atomic_store_explicit(&edge->queue_ahead, (uint32_t)config->admission.queue_ahead,
                          memory_order_relaxed);
    atomic_store_explicit(&edge->slot_reserve, config->admission.reserve, memory_order_relaxed);
    for (uint32_t i = 0; i < edge->model_count; i++) {
        admission_set_policy(edge->models[i].admission, &policy, config->admission.timeout_ns);
        edge_slots_update(edge, &edge->models[i]);
    }
}

void edge_slots_update(const struct edge *edge, struct edge_model *model)
{
    uint32_t ahead = atomic_load_explicit(&edge->queue_ahead, memory_order_relaxed);
    double share = atomic_load_explicit(&edge->slot_reserve, memory_order_relaxed);
    uint32_t slots = 0, whole = 0, at_once = 0, reserve;

    for (uint32_t i = 0; i < model->replica_count; i++) {
        const struct edge_replica *replica = &model->replicas[i];

        if (edge_replica_state(replica) == REPLICA_READY) /* for one that is not trusted: a trial */
        {
            bool is_whole = replica_guard_is_whole(&replica->guard);
            uint32_t sequences =
                atomic_load_explicit(&replica->sequences_max, memory_order_relaxed);

            slots += is_whole ? sequences + ahead : 1;
            at_once += is_whole ? sequences : 0;
            whole += is_whole;
        }
    }
    admission_set_kv_blocks(model->admission, edge_kv_blocks(model));
    /* Of those that a replica starts at once: what it is given ahead would wait there. */
    reserve = (uint32_t)(share * at_once);
    admission_set_slots(model->admission, slots, reserve > 0 ? reserve + whole * ahead : 0);
}

uint64_t edge_kv_blocks(struct edge_model *model)
{
    uint64_t blocks = 0;

    for (uint32_t i = 0; i < model->replica_count; i++) {
        struct edge_replica *replica = &model->replicas[i];
        struct shared_page_state state;

        if (edge_replica_state(replica) != REPLICA_READY || replica->page == NULL)
            continue;
        /* A replica that is stopped in the midst of writing has not lost its cache. */
        if (shared_page_read(replica->page, &state))
            atomic_store_explicit(&replica->kv_blocks, state.blocks_total, memory_order_relaxed);
        blocks += atomic_load_explicit(&replica->kv_blocks, memory_order_relaxed);
    }
    return blocks;
}

void edge_loop_wake(void *context, uint32_t loop)
{
    const struct edge *edge = context;
    struct edge_loop *state = http_loop_get(http_server_loop(edge->server, loop), EDGE_LOOP_SLOT);

    /* acq_rel with the loop's exchange: a message that is still under way will see what was done
     * before this. */
    if (!atomic_exchange_explicit(&state->wake_is_sent, true, memory_order_acq_rel))
        http_loop_send(state->loop, &state->wake);
}
