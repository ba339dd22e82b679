#include "admin.h"
#include "clock.h"
#include "json.h"

#define ROLLOUTS_BYTES_MAX (1u << 20) /* 64 models with some hundred bytes each */

static void number(struct buffer *out, const char *key, uint64_t value)
{
    json_write_key(out, key);
    buffer_append_u64(out, value);
}

static void side_write(struct buffer *out, const char *key, uint32_t version, uint32_t replicas,
                       const struct rollout_outcomes *outcomes)
{
    json_write_key(out, key);
    buffer_append_byte(out, '{');
    number(out, "version", version);
    number(out, "replicas", replicas);
    number(out, "requests", outcomes->errors.count);
    number(out, "failed", outcomes->errors.bad);
    number(out, "streams", outcomes->slow.count);
    number(out, "slow", outcomes->slow.bad);
    number(out, "failed_starts", outcomes->failed_starts);
    number(out, "deaths", outcomes->deaths);
    buffer_append_byte(out, '}');
}

static void rollout_write(struct edge_model *model, uint64_t now_ns, struct buffer *out)
{
    struct version_report report = model_versions_report(&model->versions);
    bool is_active = report.phase != ROLLOUT_STEADY;

    json_write_comma(out);
    buffer_append_byte(out, '{');
    json_write_key(out, "model");
    json_write_text(out, model->name);
    json_write_key(out, "phase");
    json_write_text(out, rollout_phase_name(report.phase));
    json_write_key(out, "seconds_in_phase");
    json_write_double(out, is_active && now_ns > report.since_ns
                               ? (double)((now_ns - report.since_ns) / NS_PER_MS) / 1e3
                               : 0);
    number(out, "version", report.stable);
    json_write_key(out, "message");
    json_write_text(out, report.text);
    json_write_key(out, "last_result");
    json_write_text(out, report.result_version != 0 ? rollout_result_name(report.result) : NULL);
    if (report.result_version != 0)
        number(out, "last_version", report.result_version);
    if (is_active) {
        json_write_key(out, "new_share");
        if (report.fresh_share >= 0)
            json_write_double(out, report.fresh_share);
        else
            json_write_text(out, NULL);
        side_write(out, "old", report.stable, report.old_count, &report.outcomes_old);
        side_write(out, "new", report.fresh, report.fresh_count, &report.outcomes);
    }
    buffer_append_byte(out, '}');
}

void admin_rollouts(struct edge_record *record, struct text_slice rest)
{
    struct edge *edge = record->edge;
    uint64_t now_ns = clock_now_ns();
    struct buffer out;

    (void)rest;
    buffer_init(&out, ROLLOUTS_BYTES_MAX);
    buffer_append_text(&out, "{\"rollouts\":[");
    for (uint32_t i = 0; i < edge->model_count; i++) {
        if (edge->models[i].replica_count > 0 && edge->models[i].replicas[0].upstream == NULL)
            rollout_write(&edge->models[i], now_ns, &out);
    }
    buffer_append_text(&out, "]}");
    edge_reply_json(record, 200, &out);
}
