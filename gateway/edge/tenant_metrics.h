#ifndef PENSTOCK_EDGE_TENANT_METRICS_H
#define PENSTOCK_EDGE_TENANT_METRICS_H

#include <pthread.h>
#include <stdatomic.h>

#include "budget.h"
#include "flow_metrics.h"
#include "metrics.h"
#include "quota.h"

/* What organisations use and are refused, for Prometheus: one row an organisation, made at its first request, and one for all
 * beyond TENANT_ROWS_MAX, which is called "other". A row is found by its name without a lock, and stays: a counter that
 * went and came again would look like a restart. */

#define TENANT_ROWS_MAX 1000u

enum tenant_code { TENANT_2XX, TENANT_4XX, TENANT_429, TENANT_499, TENANT_5XX, TENANT_CODE_COUNT };

/* Why a request was refused: the limits in the order of enum quota_reason, then money. */
enum tenant_refusal {
    TENANT_BUDGET = QUOTA_REASON_COUNT,
    TENANT_BUDGET_UNKNOWN, /* it is not known yet whether there is enough */
    TENANT_REFUSAL_COUNT
};

enum tenant_limit { TENANT_REQUESTS, TENANT_TOKENS, TENANT_LIMIT_COUNT };

struct tenant_row;
struct tenant_metrics;

/* `registry`: borrowed. STATUS_OK, STATUS_INVALID, STATUS_NO_MEMORY. Main. */
NODISCARD status tenant_metrics_create(metrics_registry *registry, struct tenant_metrics **out);
void tenant_metrics_destroy(struct tenant_metrics *metrics); /* accepts NULL */

/* The organisation's row; as long as `metrics`. Any thread. */
struct tenant_row *tenant_metrics_row(struct tenant_metrics *metrics, const char *organisation);

/* All of any thread. */
void tenant_row_request(struct tenant_row *row, int status_code, const struct request_usage *usage);
void tenant_row_refused(struct tenant_metrics *metrics, struct tenant_row *row,
                        enum tenant_refusal reason);
/* What is left of its tightest limits, as the request at now_ns has found them: until the next one they fill up again. */
void tenant_row_limits(struct tenant_row *row, const struct quota_view *view, uint64_t now_ns);
/* The budgets that a request of it is held to; the one with the least left counts from now on. */
void tenant_row_budgets(struct tenant_row *row, const struct budget_hold *hold);

/* Before a scrape. One thread at a time. */
void tenant_metrics_collect(struct tenant_metrics *metrics, uint64_t now_ns);

#endif
