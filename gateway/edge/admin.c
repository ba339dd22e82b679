#include "admin.h"

#include <stdio.h>

#include "clock.h"
#include "control.h"
#include "join.h"
#include "json.h"
#include "model_cost.h"
#include "quota.h"
#include "replica_metrics.h"

#define ADMIN_BYTES_MAX (64u << 20)

/* Servers that are not ours are all wanted. */
static uint32_t wanted_count(const struct edge_model *model)
{
    bool is_elsewhere = model->replica_count > 0 && model->replicas[0].upstream != NULL;

    return is_elsewhere ? model->replica_count
                        : atomic_load_explicit(&model->wanted, memory_order_relaxed);
}

static void silence_collect(struct edge *edge, uint64_t now_ns)
{
    char number[16];
    const char *name = number;

    for (uint32_t i = 0; i < http_server_loop_count(edge->server); i++) {
        (void)snprintf(number, sizeof(number), "%u", i);
        metrics_set(metrics_series_get(edge->metrics.loop_silence, &name),
                    (double)http_server_loop_silence_ns(edge->server, i, now_ns) / 1e9);
    }
    if (edge_control(edge) != NULL)
        metrics_set(edge->metrics.control_silence,
                    (double)control_silence_ns(edge_control(edge), now_ns) / 1e9);
}

void admin_collect(void *context)
{
    struct edge *edge = context;

    metrics_set(edge->metrics.leader, leader_is(identity_leader(edge->identity), clock_now_ns()));
    metrics_set(edge->metrics.database_away, identity_is_away(edge->identity));
    metrics_set(edge->metrics.redis_away, quota_book_is_away(edge->quotas));
    for (uint32_t i = 0; i < edge->model_count; i++) {
        uint32_t counts[REPLICA_STATE_COUNT] = {0}, distrusted = 0;

        for (uint32_t j = 0; j < edge->models[i].replica_count; j++) {
            enum replica_state state = edge_replica_state(&edge->models[i].replicas[j]);

            counts[state] += state != REPLICA_STOPPED; /* nothing is there */
            distrusted += !replica_guard_is_whole(&edge->models[i].replicas[j].guard);
        }
        metrics_set(edge->metrics.models[i].distrusted, distrusted);
        metrics_set(edge->flow_metrics.models[i].wanted, wanted_count(&edge->models[i]));
        for (unsigned state = 0; state < REPLICA_STATE_COUNT; state++)
            metrics_set(edge->metrics.models[i].replicas[state], counts[state]);
        queue_metrics_collect(&edge->queue_metrics, i, edge->models[i].admission);
    }
    tenant_metrics_collect(edge->tenant_metrics, clock_now_ns());
    replica_metrics_collect(edge->replica_metrics, edge, clock_now_ns());
    silence_collect(edge, clock_now_ns());
    rollout_metrics_collect(&edge->rollout_metrics, edge->models, edge->model_count);
    model_costs_collect(edge);
}

/* Where it listens; and, of one on another machine, why the last one there failed. */
static void place_write(struct edge *edge, const struct edge_replica *replica, struct buffer *out)
{
    char url[sizeof(((struct join_facts *)NULL)->address) + 16];
    struct join_facts facts;

    join_facts_get(edge, replica, &facts);
    (void)snprintf(url, sizeof(url), "https://%s", facts.address);
    json_write_key(out, "address");
    json_write_text(out, facts.address[0] != '\0' ? url : replica->address);
    json_write_key(out, "last_failure");
    json_write_text(out, facts.reason[0] != '\0' ? facts.reason : NULL);
}

static void replica_write(struct edge *edge, struct edge_replica *replica, uint64_t now_ns,
                          struct buffer *out)
{
    uint64_t since_ns = atomic_load_explicit(&replica->state_since_ns, memory_order_relaxed);
    int32_t pid = atomic_load_explicit(&replica->pid, memory_order_relaxed);

    json_write_comma(out);
    buffer_append_byte(out, '{');
    json_write_key(out, "model");
    json_write_text(out, replica->model->name);
    json_write_key(out, "index");
    buffer_append_u64(out, replica->index);
    json_write_key(out, "state");
    json_write_text(out, replica_state_name(edge_replica_state(replica)));
    json_write_key(out, "seconds_in_state");
    json_write_double(out, now_ns > since_ns ? (double)((now_ns - since_ns) / NS_PER_MS) / 1e3 : 0);
    json_write_key(out, "pid");
    if (pid > 0)
        buffer_append_i64(out, pid);
    else
        json_write_text(out, NULL);
    json_write_key(out, "version");
    buffer_append_u64(out, atomic_load_explicit(&replica->version, memory_order_relaxed));
    json_write_key(out, "restarts");
    buffer_append_u64(out, atomic_load_explicit(&replica->restart_count, memory_order_relaxed));
    json_write_key(out, "outstanding");
    buffer_append_u64(out, atomic_load_explicit(&replica->outstanding, memory_order_relaxed));
    json_write_key(out, "breaker");
    json_write_text(out, replica_guard_state_name(&replica->guard));
    json_write_key(out, "stalled");
    json_write_bool(out, atomic_load_explicit(&replica->guard.is_stalled, memory_order_relaxed));
    place_write(edge, replica, out);
    buffer_append_byte(out, '}');
}

void admin_replicas(struct edge_record *record, struct text_slice rest)
{
    struct edge *edge = record->edge;
    uint64_t now_ns = clock_now_ns();
    struct buffer out;

    (void)rest;
    buffer_init(&out, ADMIN_BYTES_MAX);
    buffer_append_text(&out, "{\"replicas\":[");
    for (uint32_t i = 0; i < edge->model_count; i++) {
        for (uint32_t j = 0; j < edge->models[i].replica_count; j++)
            if (edge_replica_state(&edge->models[i].replicas[j]) != REPLICA_STOPPED)
                replica_write(edge, &edge->models[i].replicas[j], now_ns, &out);
    }
    buffer_append_text(&out, "]}");
    edge_reply_json(record, 200, &out);
}

void admin_config(struct edge_record *record, struct text_slice rest)
{
    struct buffer out;

    (void)rest;
    buffer_init(&out, ADMIN_BYTES_MAX);
    config_write_json(config_store_get(&record->edge->configs)->config, &out);
    edge_reply_json(record, 200, &out);
}
