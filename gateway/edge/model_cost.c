#include "model_cost.h"

#include "clock.h"
#include "edge.h"
#include "memory.h"

/* --- how busy the replicas were --- */

/* A replica that a gateway before this one has started was busy for it. */
static void page_begin(struct model_cost_page *seen, const struct edge_replica *replica)
{
    struct shared_page_state state;

    if (replica->page != NULL && shared_page_read(replica->page, &state))
        seen->busy_ns = state.busy_ns;
}

static void page_note(struct model_cost *cost, struct model_cost_page *seen,
                      const struct edge_replica *replica)
{
    uint32_t generation = atomic_load_explicit(&replica->generation, memory_order_relaxed);
    struct shared_page_state state;

    if (replica->page == NULL || !shared_page_read(replica->page, &state))
        return;
    atomic_store_explicit(&cost->is_paged, true, memory_order_relaxed);
    /* A new process begins at nothing; what the old one did last is idle time now. */
    if (state.busy_ns < seen->busy_ns && generation != seen->generation)
        seen->busy_ns = 0;
    if (state.busy_ns <= seen->busy_ns)
        return;
    slice_meter_note(&cost->meter, state.busy_ns - seen->busy_ns);
    *seen = (struct model_cost_page){state.busy_ns, generation};
}

static void pages_note(struct model_cost *cost, const struct edge_model *model)
{
    if (cost->pages == NULL ||
        atomic_exchange_explicit(&cost->is_noting, true, memory_order_acquire))
        return;
    for (uint32_t i = 0; i < model->replica_count; i++)
        page_note(cost, &cost->pages[i], &model->replicas[i]);
    atomic_store_explicit(&cost->is_noting, false, memory_order_release);
}

/* --- a request --- */

static uint64_t tokens_of(const struct request_usage *usage)
{
    return (uint64_t)usage->prompt_tokens + usage->completion_tokens;
}

int64_t model_cost_most(const struct edge *edge, const struct edge_model *model,
                        const struct request_usage *most)
{
    const struct model_cost *cost = &edge->costs[model->index];

    return cost->price.slice_hour > 0 ? slice_meter_expect(&cost->meter, tokens_of(most))
                                      : money_cost(&cost->price, most);
}

static int64_t slice_settle(struct model_cost *cost, const struct edge_model *model,
                            const struct request_usage *usage)
{
    uint64_t billed_ns;
    int64_t nano;

    pages_note(cost, model);
    if (!atomic_load_explicit(&cost->is_paged, memory_order_relaxed))
        slice_meter_note(&cost->meter, usage->busy_ns);
    billed_ns =
        slice_meter_bill(&cost->meter, usage->busy_ns, cost->price.idle_factor, clock_now_ns());
    nano = money_slice_cost(&cost->price, billed_ns);
    slice_meter_learn(&cost->meter, tokens_of(usage), nano);
    return nano;
}

int64_t model_cost_settle(struct edge *edge, const struct edge_model *model,
                          const struct request_usage *usage)
{
    struct model_cost *cost = &edge->costs[model->index];
    int64_t nano;

    if (!usage->is_known)
        return 0;
    nano = cost->price.slice_hour > 0 ? slice_settle(cost, model, usage)
                                      : money_cost(&cost->price, usage);
    (void)atomic_fetch_add_explicit(&cost->sum_nano, nano, memory_order_relaxed);
    return nano;
}

bool model_cost_is_set(const struct edge *edge, const struct edge_model *model)
{
    return money_price_is_set(&edge->costs[model->index].price);
}

/* --- metrics --- */

static void collect(struct model_cost *cost, const struct edge_model *model, uint64_t now_ns)
{
    uint64_t idle_ns, paid_ns;

    metrics_set(cost->cost,
                (double)atomic_load_explicit(&cost->sum_nano, memory_order_relaxed) / MONEY_NANO);
    if (cost->busy == NULL)
        return;
    pages_note(cost, model);
    idle_ns = slice_meter_idle_ns(&cost->meter, now_ns);
    paid_ns = atomic_load_explicit(&cost->meter.idle_paid_ns, memory_order_relaxed);
    metrics_set(cost->busy,
                (double)atomic_load_explicit(&cost->meter.busy_ns, memory_order_relaxed) / 1e9);
    metrics_set(cost->idle, (double)idle_ns / 1e9);
    if (cost->idle_cost != NULL)
        metrics_set(cost->idle_cost, (double)money_slice_cost(
                                         &cost->price, idle_ns > paid_ns ? idle_ns - paid_ns : 0) /
                                         MONEY_NANO);
}

void model_costs_collect(struct edge *edge)
{
    uint64_t now_ns = clock_now_ns();

    for (uint32_t i = 0; i < edge->model_count; i++)
        collect(&edge->costs[i], &edge->models[i], now_ns);
}

/* --- life --- */

struct families {
    metrics_family *cost, *busy, *idle, *idle_cost;
};

static status families_create(metrics_registry *registry, struct families *families)
{
    static const char *const labels[] = {"model", NULL};
    const struct metrics_family_row rows[] = {
        {&families->cost,
         {METRICS_COUNTER, "penstock_request_cost_total",
          "What requests have cost, in the unit of the prices.", labels, NULL, 0, 0}},
        {&families->busy,
         {METRICS_COUNTER, "penstock_slice_busy_seconds_total",
          "Time in which the model's replicas here computed steps.", labels, NULL, 0, 0}},
        {&families->idle,
         {METRICS_GAUGE, "penstock_slice_idle_seconds", "The rest of the time since the start.",
          labels, NULL, 0, 0}},
        {&families->idle_cost,
         {METRICS_GAUGE, "penstock_slice_idle_cost",
          "What the idle time has cost and no request has paid for.", labels, NULL, 0, 0}},
    };

    return metrics_families_create(registry, rows, sizeof(rows) / sizeof(rows[0]));
}

static status cost_init(struct model_cost *cost, const struct edge_model *model,
                        const struct config_price *price, const struct families *families)
{
    bool is_ours = model->replica_count > 0 && model->replicas[0].upstream == NULL;

    cost->price = money_price_of(price);
    cost->cost = metrics_series_get(families->cost, &model->name);
    if (!is_ours)
        return STATUS_OK;
    slice_meter_init(&cost->meter, model->replica_count, clock_now_ns());
    cost->busy = metrics_series_get(families->busy, &model->name);
    cost->idle = metrics_series_get(families->idle, &model->name);
    if (cost->price.slice_hour > 0)
        cost->idle_cost = metrics_series_get(families->idle_cost, &model->name);
    cost->pages = memory_allocate_array(model->replica_count, sizeof(cost->pages[0]));
    if (cost->pages == NULL)
        return STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < model->replica_count; i++)
        page_begin(&cost->pages[i], &model->replicas[i]);
    return STATUS_OK;
}

status model_costs_init(struct edge *edge)
{
    struct families families;
    status result = families_create(edge->registry, &families);

    edge->costs = memory_allocate_array(edge->model_count, sizeof(edge->costs[0]));
    if (edge->costs == NULL)
        return STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < edge->model_count && result == STATUS_OK; i++)
        result = cost_init(&edge->costs[i], &edge->models[i],
                           &config_model_at(edge->configs.first->config, i)->price, &families);
    return result;
}

void model_costs_deinit(struct edge *edge)
{
    for (uint32_t i = 0; edge->costs != NULL && i < edge->model_count; i++)
        memory_release(edge->costs[i].pages);
    memory_release(edge->costs);
    edge->costs = NULL;
}
