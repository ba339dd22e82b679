#include "request_records.h"

#include <stdio.h>

#include "clock.h"
#include "model_cost.h"
#include "openai.h"
#include "proxy_state.h"
#include "records.h"
#include "reply.h"

#define RETRY_MS 1000u /* the writer tries a ledger that is full every second */

static uint32_t loop_of(const struct edge_record *record)
{
    return http_loop_index(http_request_loop(record->request));
}

bool request_records_begin(struct edge_record *record)
{
    struct records *records = record->edge->records;
    struct api_error error = {0};

    if (!records_must_keep(records))
        return true;
    if (records_have_room(records))
        record->kept = records_take(records, loop_of(record));
    if (record->kept != NULL)
        return true;
    api_error_set(&error, 503, "server_error", "ledger_full", "",
                  "The gateway cannot write down what requests use, and takes none until it can");
    error.retry_after_ms = RETRY_MS;
    edge_reply_error(record, &error);
    return false;
}

/* --- the end --- */

static void caller_copy(const struct caller *caller, struct request_record *out)
{
    text_slice_copy(out->key_id, sizeof(out->key_id), text_slice_of(caller->key_id));
    text_slice_copy(out->key_name, sizeof(out->key_name), text_slice_of(caller->name));
    text_slice_copy(out->organisation, sizeof(out->organisation),
                    text_slice_of(caller->organisation));
    text_slice_copy(out->team, sizeof(out->team), text_slice_of(caller->team));
}

static uint64_t wait_of(const struct proxy *proxy, uint64_t now_ns)
{
    const struct admission_ticket *ticket = &proxy->waiting.ticket;
    bool has_left_room = proxy->attempt.replica != NULL;

    if (!proxy->waiting.is_queued || ticket->enter_ns == 0)
        return 0;
    return (has_left_room ? ticket->granted_ns : now_ns) - ticket->enter_ns;
}

static void proxy_copy(const struct edge_record *record, uint64_t now_ns,
                       struct request_record *out)
{
    const struct proxy *proxy = record->proxy;

    text_slice_copy(out->asked_model, sizeof(out->asked_model), proxy->target.name);
    if (proxy->attempt.replica != NULL)
        out->replica = proxy->attempt.replica->index;
    if (proxy->waiting.ticket.first_ns > record->start_ns)
        out->first_token_ns = proxy->waiting.ticket.first_ns - record->start_ns;
    out->wait_ns = wait_of(proxy, now_ns);
}

static uint64_t cost_of(const struct edge_record *record)
{
    return model_cost_is_set(record->edge, record->model) ? (uint64_t)record->usage.cost_nano
                                                          : RECORD_NO_COST;
}

/* What is counted for the audit log. */
static void audit_fill(const struct edge_record *record, struct request_record *out)
{
    if (record->status_code == 401)
        out->audit_action = "auth.failure";
    else if (record->is_over_budget)
        out->audit_action = "budget.exceeded";
    else if (record->is_admin)
        out->audit_action = record->status_code == 403 ? "admin.refused" : "admin.call";
    else
        return;
    if (record->is_admin) /* paths of the table: nothing that a client has made up */
        (void)snprintf(out->audit_object, sizeof(out->audit_object), "%s %.*s", out->method,
                       (int)http_request_path(record->request).bytes,
                       http_request_path(record->request).data);
}

static void fill(const struct edge_record *record, uint64_t now_ns, struct request_record *out)
{
    http_request *request = record->request;

    *out = (struct request_record){
        .ended_ms = clock_wall_ms(),
        .duration_ns = now_ns - record->start_ns,
        .bytes_in = http_request_body(request).bytes,
        .bytes_out = http_request_sent_bytes(request),
        .cost_nano = RECORD_NO_COST,
        .retries = record->retries,
        .replica = RECORD_NO_REPLICA,
        .status_code = record->status_code,
        .is_metered = record->proxy != NULL,
        .usage = record->usage,
        .route = edge_route_name(record->route),
        .model = record->model != NULL ? record->model->name : "",
        .finish = record->usage.finish != NULL ? record->usage.finish : "",
    };
    text_slice_copy(out->method, sizeof(out->method), http_request_method(request));
    text_slice_copy(out->peer, sizeof(out->peer), http_request_peer(request));
    text_slice_copy(out->request_id, sizeof(out->request_id),
                    text_slice_of(http_request_id(request)));
    text_slice_copy(out->error_code, sizeof(out->error_code), text_slice_of(record->error_code));
    text_slice_copy(out->trace_id, sizeof(out->trace_id), text_slice_of(record->trace_id));
    caller_copy(record->caller, out);
    audit_fill(record, out);
    if (record->proxy == NULL)
        return;
    proxy_copy(record, now_ns, out);
    out->cost_nano = cost_of(record);
}

static bool is_wanted(const struct edge_record *record)
{
    const struct records *records = record->edge->records;

    return records_has_access_log(records) ||
           (records_has_ledger(records) && record->proxy != NULL) ||
           (records_has_audit_log(records) &&
            (record->status_code == 401 || record->is_over_budget || record->is_admin));
}

void request_records_end(struct edge_record *record, uint64_t now_ns)
{
    struct records *records = record->edge->records;
    struct request_record *kept = record->kept;
    uint32_t loop = loop_of(record);

    if (!is_wanted(record)) {
        if (kept != NULL)
            records_give_back(records, loop, kept);
        return;
    }
    if (kept == NULL)
        kept = records_take(records, loop);
    if (kept == NULL) {
        records_count_lost(records, record->proxy != NULL);
        return;
    }
    fill(record, now_ns, kept);
    records_put(records, loop, kept);
}
