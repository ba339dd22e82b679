#include "allowance.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "budget.h"
#include "clock.h"
#include "model_activity.h"
#include "model_cost.h"
#include "openai.h"
#include "proxy_state.h"
#include "quota.h"
#include "text_out.h"

uint32_t allowance_prompt_tokens(const struct edge_record *record)
{
    uint64_t tokens = http_request_body(record->request).bytes / ALLOWANCE_BYTES_PER_TOKEN + 1;

    return tokens < UINT32_MAX ? (uint32_t)tokens : UINT32_MAX;
}

/* The most that it will use, as far as the body tells: prompt and answer. */
static struct request_usage usage_expected(const struct edge_record *record,
                                           const struct config_tenants *config,
                                           const struct route_target *target)
{
    uint64_t prompt = allowance_prompt_tokens(record), output = 0;

    switch (record->route) {
    case ROUTE_CHAT_COMPLETIONS:
    case ROUTE_COMPLETIONS:
    case ROUTE_MESSAGES:
    case ROUTE_RESPONSES:
        output = target->has_output_tokens_max ? target->output_tokens_max
                                               : (uint64_t)config->expected_output_tokens;
        output *= target->choice_count;
        break;
    case ROUTE_EMBEDDINGS:
    case ROUTE_RERANK:
    case ROUTE_SCORE:
        break;
    default:
        prompt = 0; /* tokens are only counted */
        break;
    }
    return (struct request_usage){
        .prompt_tokens = (uint32_t)(prompt < UINT32_MAX ? prompt : UINT32_MAX),
        .completion_tokens = (uint32_t)(output < UINT32_MAX ? output : UINT32_MAX),
    };
}

/* As OpenAI writes times: "17ms", "6.5s", "6m0s". */
static void time_write(char *out, size_t bytes, uint64_t time_ns)
{
    uint64_t milliseconds = (time_ns + NS_PER_MS - 1) / NS_PER_MS;

    if (milliseconds < 1000)
        memcpy(text_out_decimal(out, milliseconds), "ms", 3);
    else if (milliseconds < 60000)
        (void)snprintf(out, bytes, "%" PRIu64 ".%03" PRIu64 "s", milliseconds / 1000,
                       milliseconds % 1000);
    else
        (void)snprintf(out, bytes, "%" PRIu64 "m%" PRIu64 "s", milliseconds / 60000,
                       milliseconds / 1000 % 60);
}

struct left_names {
    const char *limit, *remaining, *reset;
};
static const struct left_names request_names = {
    "x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"};
static const struct left_names token_names = {
    "x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"};

static void number_tell(http_request *request, const char *name, uint64_t number)
{
    char value[DECIMAL_BYTES_MAX + 1];

    *text_out_decimal(value, number) = '\0';
    http_request_add_header(request, name, value);
}

static void left_tell(http_request *request, const struct left_names *names,
                      const struct quota_left *left)
{
    char reset[32];

    if (left->limit == 0)
        return;
    number_tell(request, names->limit, left->limit);
    number_tell(request, names->remaining, left->remaining);
    time_write(reset, sizeof(reset), left->reset_ns);
    http_request_add_header(request, names->reset, reset);
}

static void refuse_uncounted(struct edge_record *record, status result)
{
    struct api_error error = {0};

    if (result == STATUS_TOO_LARGE)
        api_error_set(&error, 503, "server_error", "too_many_limits", "",
                      "The gateway has no room to count this request's limits");
    else
        api_error_from_status(&error, result, NULL);
    edge_reply_error(record, &error);
}

static void refuse_rate(struct edge_record *record, const struct quota_refusal *refusal)
{
    struct api_error error = {0};

    api_error_set(&error, 429, refusal->type, "rate_limit_exceeded", "", "%s", refusal->message);
    error.retry_after_ms = refusal->retry_after_ms;
    error.is_final = refusal->retry_after_ms == 0;
    edge_reply_error(record, &error);
}

/* No client should wait until the month is over. */
static void refuse_spent(struct edge_record *record, const struct budget_refusal *refusal)
{
    struct api_error error = {0};

    api_error_set(&error, 429, "insufficient_quota", "insufficient_quota", "", "%s",
                  refusal->message);
    error.retry_after_ms = refusal->retry_after_ms;
    error.is_final = !refusal->is_passing;
    record->is_over_budget = !refusal->is_passing;
    edge_reply_error(record, &error);
}

/* As long as the request, and no longer than what it has taken: few match more than two limits. */
static struct quota_hold *hold_keep(http_request *request, const struct quota_hold *hold)
{
    size_t bytes = offsetof(struct quota_hold, items) + hold->count * sizeof(hold->items[0]);

    return memcpy(http_request_allocate(request, bytes), hold, bytes);
}

/* False: it has been refused. */
static bool rates_take(struct edge_record *record, const struct config_tenants *config,
                       const char *model, const struct request_usage *most)
{
    const struct quota_request request = {
        .caller = record->caller,
        .model = model,
        .tokens = (uint64_t)most->prompt_tokens + most->completion_tokens,
        .now_ns = clock_now_ns(),
    };
    struct quota_refusal refusal;
    struct quota_hold hold;
    struct quota_view view;
    status result;

    if (config->limits.count == 0)
        return true;
    result = quota_reserve(record->edge->quotas, config, &request, &hold, &view, &refusal);
    record->hold = hold_keep(record->request, &hold);
    tenant_row_limits(edge_tenant(record), &view, request.now_ns);
    left_tell(record->request, &request_names, &view.requests);
    left_tell(record->request, &token_names, &view.tokens);
    if (result == STATUS_FULL) {
        tenant_row_refused(record->edge->tenant_metrics, edge_tenant(record),
                           (enum tenant_refusal)refusal.reason);
        refuse_rate(record, &refusal);
    } else if (result != STATUS_OK)
        refuse_uncounted(record, result);
    return result == STATUS_OK;
}

/* False: it has been refused. */
static bool money_take(struct edge_record *record, const struct config_tenants *config,
                       int64_t most)
{
    struct budget_hold *hold = http_request_allocate(record->request, sizeof(*hold));
    struct budget_refusal refusal;
    status result = budget_reserve(identity_spent(record->edge->identity), config, record->caller,
                                   most, clock_wall_ms(), hold, &refusal);

    record->budget = hold;
    tenant_row_budgets(edge_tenant(record), hold);
    if (result == STATUS_FULL) {
        tenant_row_refused(record->edge->tenant_metrics, edge_tenant(record),
                           refusal.is_passing ? TENANT_BUDGET_UNKNOWN : TENANT_BUDGET);
        refuse_spent(record, &refusal);
    } else if (result != STATUS_OK)
        refuse_uncounted(record, result);
    return result == STATUS_OK;
}

bool allowance_take(struct edge_record *record, const struct edge_model *asked,
                    const struct edge_model *first, const struct route_target *target)
{
    const struct config_tenants *config =
        &config_store_get(&record->edge->configs)->config->tenants;
    struct request_usage most = {0};
    struct edge *edge = record->edge; /* the record is dead when it has been refused */

    if (target != NULL)
        most = usage_expected(record, config, target);
    if (rates_take(record, config, asked->name, &most) &&
        money_take(record, config, model_cost_most(edge, first, &most)))
        return true;
    model_activity_refuse(&edge->activities[first->index]);
    return false;
}

void allowance_settle(struct edge_record *record)
{
    if (record->proxy != NULL)
        attempt_usage_end(record->proxy);
    if (record->hold != NULL)
        quota_settle(record->hold, &record->usage);
    if (record->proxy != NULL)
        record->usage.cost_nano = model_cost_settle(record->edge, record->model, &record->usage);
    if (record->budget != NULL)
        budget_settle(record->budget, record->usage.cost_nano);
}
