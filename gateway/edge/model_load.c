/* What a model's load is, for the autoscaler: from the counts of the loops and the waiting room, and from the pages that its replicas
 * write after each step. Steps are learned as means between two looks, requests as means of those that ended between them, older
 * ones fading. */
#include <math.h>

#include "clock.h"
#include "control_internal.h"
#include "engine.h"
#include "replica_choice.h"

#define SHAPE_REQUESTS 200.0 /* about so many count; older ones fade */
#define COLD_START_S   2.0   /* a guess before any replica has started */

#define REPLICA_LOADS_MAX REPLICA_CHOICE_MAX

struct loads {
    struct replica_load items[REPLICA_LOADS_MAX];
    uint32_t count;
};

static void shape_learn(struct model_scaling *scaling, const struct shared_page_state *now,
                        const struct load_before *before)
{
    struct load_shape *shape = &scaling->shape;
    double count = (double)(now->requests - before->requests);
    double prompts = (double)(now->prompt_tokens - before->prompt_tokens),
           cached = (double)(now->cached_tokens - before->cached_tokens),
           outputs = (double)(now->output_tokens - before->output_tokens),
           squares = (double)(now->output_squares - before->output_squares), mean, share;

    if (count < 1 || outputs < count)
        return;
    scaling->shape_weight = fmin(scaling->shape_weight, SHAPE_REQUESTS) + count;
    share = count / scaling->shape_weight;
    mean = outputs / count;
    shape->prompt_tokens += share * ((prompts - cached) / count - shape->prompt_tokens);
    shape->cached_tokens += share * (cached / count - shape->cached_tokens);
    shape->output_tokens += share * (mean - shape->output_tokens);
    shape->output_variation +=
        share * (fmax(0, squares / count / (mean * mean) - 1) - shape->output_variation);
}

static void steps_learn(struct model_scaling *scaling, const struct shared_page_state *now,
                        const struct load_before *before)
{
    double count = (double)(now->steps - before->steps);

    if (count < 1)
        return;
    step_model_note(&scaling->steps, (double)(now->prefill_tokens - before->prefill_tokens) / count,
                    (double)(now->kv_tokens - before->kv_tokens) / count,
                    (double)(now->busy_ns - before->busy_ns) / count);
}

static void page_take(struct model_scaling *scaling, const struct edge_replica *replica,
                      struct loads *loads)
{
    struct load_before *before = &scaling->before[replica->index];
    uint32_t generation = atomic_load_explicit(&replica->generation, memory_order_relaxed);
    struct shared_page_state now;

    if (replica->page == NULL || !shared_page_read(replica->page, &now))
        return;
    if (before->generation == generation) {
        steps_learn(scaling, &now, before);
        shape_learn(scaling, &now, before);
    }
    *before = (struct load_before){
        generation,   now.steps,         now.busy_ns,       now.prefill_tokens, now.kv_tokens,
        now.requests, now.prompt_tokens, now.cached_tokens, now.output_tokens,  now.output_squares};
    if (now.blocks_total == 0 || loads->count == REPLICA_LOADS_MAX)
        return;
    scaling->limits.kv_tokens = (double)now.blocks_total * ENGINE_BLOCK_TOKENS;
    loads->items[loads->count++] = (struct replica_load){
        1.0 - (double)(now.blocks_free + now.blocks_cached) / now.blocks_total, now.waiting};
}

static struct capacity capacity_times(struct capacity one, uint32_t count)
{
    return (struct capacity){one.requests_per_s * count, one.concurrency * count};
}

static void replicas_count(struct model_scaling *scaling, const struct control *control,
                           struct loads *loads)
{
    struct autoscaler_observation *seen = &scaling->seen;

    seen->cold_start_s = COLD_START_S;
    for (uint32_t i = 0; i < scaling->model->replica_count; i++) {
        const struct edge_replica *edge = &scaling->model->replicas[i];
        const struct replica *replica =
            replica_manager_get(control->manager, scaling->first_slot + i);

        seen->running += atomic_load_explicit(&edge->outstanding, memory_order_relaxed);
        if (replica->start_took_ns > 0)
            seen->cold_start_s = (double)replica->start_took_ns / 1e9;
        if (replica->state == REPLICA_READY) {
            seen->ready_count += control->slots[scaling->first_slot + i].leave_by_ns == UINT64_MAX;
            page_take(scaling, edge, loads);
        } else {
            seen->sleeping_count += replica->state == REPLICA_ASLEEP;
            seen->starting_count +=
                replica->state == REPLICA_PLACING || replica->state == REPLICA_STARTING;
        }
    }
}

static void requests_count(struct model_scaling *scaling)
{
    struct autoscaler_observation *seen = &scaling->seen;
    uint64_t arrivals = atomic_load_explicit(&scaling->model->arrivals, memory_order_relaxed);
    struct admission_figures figures;

    seen->arrivals = (double)(arrivals - scaling->arrivals_before);
    scaling->arrivals_before = arrivals;
    admission_figures(scaling->model->admission, &figures);
    for (uint32_t i = 0; i < WAITING_ROOM_BAND_COUNT; i++)
        seen->held += figures.waiting[i];
}

void model_load_take(struct model_scaling *scaling, const struct control *control)
{
    struct autoscaler_observation *seen = &scaling->seen;
    struct loads loads = {.count = 0};
    struct step_cost cost;
    struct capacity one;

    replicas_count(scaling, control, &loads);
    requests_count(scaling);
    cost = step_model_fit(&scaling->steps);
    one =
        capacity_under(&cost, &scaling->shape, &scaling->limits, &scaling->level, ROLE_MIXED, NULL);
    seen->up = seen->down = one;
    seen->ready = capacity_times(one, seen->ready_count);
    seen->starting = capacity_times(one, seen->starting_count);
    seen->spare = spare_of(loads.items, loads.count);
    seen->spare_with_one_fewer = spare_with_one_fewer(loads.items, loads.count);
}
