#include "route_plan.h"

#include "check.h"
#include "router.h"

#define VERSIONS_MAX 16u /* the settings table's limit */

static void add(struct route_plan *plan, uint32_t model)
{
    for (uint32_t i = 0; i < plan->count; i++) {
        if (plan->models[i] == model)
            return;
    }
    if (plan->count < ROUTE_PLAN_MAX)
        plan->models[plan->count++] = (uint16_t)model;
}

/* The model, or its versions: the one that the number gives, then the others that have a weight. */
static void add_model(struct route_plan *plan, const struct config *config, uint32_t model,
                      uint64_t number)
{
    const struct config_model *row = config_model_at(config, model);
    const struct config_version *versions = row->versions.items;
    uint32_t weights[VERSIONS_MAX], first;

    if (row->versions.count == 0) {
        add(plan, model);
        return;
    }
    CHECK(row->versions.count <= VERSIONS_MAX);
    for (uint32_t i = 0; i < row->versions.count; i++)
        weights[i] = (uint32_t)versions[i].weight;
    first = router_pick_version(weights, row->versions.count, number);
    for (uint32_t i = 0; i < row->versions.count; i++) {
        const struct config_version *version = &versions[(first + i) % row->versions.count];

        if (version->weight > 0)
            add(plan, (uint32_t)config_model_find(config, text_slice_of(version->model)));
    }
}

void route_plan_make(const struct config *config, uint32_t model, uint64_t number,
                     struct route_plan *out)
{
    const struct config_model *row = config_model_at(config, model);
    const char *const *fallbacks = row->fallbacks.items;

    *out = (struct route_plan){.causes = config_fallback_causes(&row->fallback_on)};
    add_model(out, config, model, number);
    for (uint32_t i = 0; i < row->fallbacks.count; i++)
        add_model(out, config, (uint32_t)config_model_find(config, text_slice_of(fallbacks[i])),
                  number);
}

uint32_t route_plan_cause(int http_status, struct text_slice body)
{
    static const char too_long[] = "context_length_exceeded", not_ready[] = "model_not_ready";

    if (http_status == 503 &&
        memmem(body.data, body.bytes, not_ready, sizeof(not_ready) - 1) != NULL)
        return FALLBACK_UNAVAILABLE;
    if (http_status == 429 || http_status == 503)
        return FALLBACK_OVERLOADED;
    if (http_status == 504)
        return FALLBACK_TIMEOUT;
    if (http_status == 502)
        return FALLBACK_UNAVAILABLE;
    if (http_status >= 500)
        return FALLBACK_ERROR;
    if (http_status == 400 && memmem(body.data, body.bytes, too_long, sizeof(too_long) - 1) != NULL)
        return FALLBACK_CONTEXT;
    return 0;
}

bool route_plan_next(struct route_plan *plan, uint32_t cause)
{
    if ((plan->causes & cause) == 0 || plan->at + 1 >= plan->count)
        return false;
    plan->at++;
    return true;
}
