/* Why a request would go where it would go: the router's own input and output for a body, told to an operator. */
#include "admin.h"

#include "clock.h"
#include "json.h"
#include "replica_choice.h"
#include "route_plan.h"
#include "wire_format.h"

#define EXPLAIN_BYTES_MAX (1u << 20)

static void candidate_write(struct buffer *out, const struct edge_replica *replica,
                            const struct router_candidate *candidate,
                            const struct router_request *request)
{
    json_write_comma(out);
    buffer_append_byte(out, '{');
    json_write_key(out, "index");
    buffer_append_u64(out, replica->index);
    json_write_key(out, "ready");
    json_write_bool(out, candidate->is_ready);
    json_write_key(out, "outstanding");
    buffer_append_u64(out, candidate->outstanding);
    json_write_key(out, "cached_tokens");
    buffer_append_u64(out, candidate->cached_tokens);
    json_write_key(out, "queued_ms");
    json_write_double(out, candidate->queued_ns / 1e6);
    json_write_key(out, "prefill_ms_per_token");
    json_write_double(out, candidate->prefill_ns / 1e6);
    json_write_key(out, "predicted_ttft_ms");
    json_write_double(out, router_predicted_ttft_ns(candidate, request, 0) / 1e6);
    buffer_append_byte(out, '}');
}

void admin_route(struct edge_record *record, struct text_slice rest)
{
    const struct config *config = config_store_get(&record->edge->configs)->config;
    struct router_candidate candidates[REPLICA_CHOICE_MAX];
    struct replica_choice choice = {0};
    struct router_request request;
    struct route_target target;
    struct route_plan plan;
    struct api_error error = {0};
    struct buffer out;
    uint32_t picked;
    uint64_t number;

    (void)rest;
    if (route_body(config, http_request_body(record->request), &target, &error) != STATUS_OK) {
        edge_reply_error(record, &error);
        return;
    }
    if (!replica_choice_session(record, &target, &number))
        number = 0;
    route_plan_make(config, target.model, number, &plan);
    choice.model = &record->edge->models[plan.models[0]];
    replica_choice_learn(&choice, record, &target,
                         target.has_name && plan.models[0] == target.model
                             ? target.name
                             : text_slice_of(choice.model->name),
                         (enum router_policy)config->routing.policy);
    replica_choice_look(&choice, clock_now_ns(), candidates, &request);
    request.turn = atomic_load_explicit(&choice.model->turn, memory_order_relaxed);
    picked = router_choose(choice.policy, candidates, choice.model->replica_count, &request);
    buffer_init(&out, EXPLAIN_BYTES_MAX);
    buffer_append_byte(&out, '{');
    json_write_key(&out, "model");
    json_write_text(&out, choice.model->name);
    json_write_key(&out, "prompt_tokens");
    buffer_append_u64(&out, request.prompt_tokens);
    json_write_key(&out, "chunks");
    buffer_append_u64(&out, choice.name_count);
    json_write_key(&out, "picked");
    if (picked == ROUTER_NONE)
        json_write_text(&out, NULL);
    else
        buffer_append_u64(&out, picked);
    json_write_key(&out, "candidates");
    buffer_append_byte(&out, '[');
    for (uint32_t i = 0; i < choice.model->replica_count; i++)
        if (edge_replica_state(&choice.model->replicas[i]) != REPLICA_STOPPED)
            candidate_write(&out, &choice.model->replicas[i], &candidates[i], &request);
    buffer_append_text(&out, "]}");
    edge_reply_json(record, 200, &out);
}
