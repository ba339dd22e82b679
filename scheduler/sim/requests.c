/* Requests: from their arrival through the gateway's waiting room and the router to a replica and their end. */
#include <math.h>

#include "memory.h"
#include "sim.h"

#define HELD_MOST_NS (120 * SIM_SECOND_NS) /* in the waiting room; then refused */
#define SHAPE_RATE   0.005                 /* two hundred requests */
#define PROMPT_MOST  1000000u

static uint32_t request_make(struct sim *sim)
{
    uint32_t number = sim->request_free, room = sim->request_room;

    if (number == SIM_NONE) {
        struct sim_request *requests =
            memory_resize(sim->requests, 2 * (size_t)room * sizeof(*requests));

        if (requests == NULL) {
            sim->is_out_of_memory = true;
            return SIM_NONE;
        }
        for (uint32_t i = room; i < 2 * room; i++)
            requests[i].next = i + 1 < 2 * room ? i + 1 : SIM_NONE;
        sim->requests = requests;
        sim->request_room = 2 * room;
        number = room;
    }
    sim->request_free = sim->requests[number].next;
    return number;
}

static void request_free(struct sim *sim, uint32_t number)
{
    sim->requests[number].next = sim->request_free;
    sim->request_free = number;
}

/* --- the waiting room --- */

static void hold(struct sim *sim, uint32_t number, bool is_first)
{
    struct sim_model *model = &sim->models[sim->requests[number].model];

    if (model->held_count++ == 0) {
        model->held_first = model->held_last = number;
        sim->requests[number].next = SIM_NONE;
    } else if (is_first) {
        sim->requests[number].next = model->held_first;
        model->held_first = number;
    } else {
        sim->requests[model->held_last].next = number;
        sim->requests[number].next = SIM_NONE;
        model->held_last = number;
    }
}

static uint32_t held_take(struct sim *sim, struct sim_model *model)
{
    uint32_t number = model->held_first;

    model->held_first = sim->requests[number].next;
    model->held_count--;
    return number;
}

/* --- to a replica --- */

void requests_refresh(struct sim *sim, uint32_t number)
{
    struct sim_replica *replica = &sim->replicas[number];

    timers_set(&sim->timers, sim_timer_of_replica(sim, number), service_next_ns(&replica->service));
    if (replica->state == SIM_READY) {
        struct router_candidate *candidate =
            &sim->models[replica->model].candidates[replica->candidate];

        candidate->outstanding = service_outstanding(&replica->service);
        candidate->is_ready = candidate->outstanding < replica->service.limits.sequences;
        candidate->queued_ns = service_queued_ns(&replica->service);
        candidate->prefill_ns = service_prefill_ns(&replica->service);
        candidate->step_ns = service_step_ns(&replica->service);
    }
}

/* Sends it to the replica that the router chooses; false: none is open. */
static bool send(struct sim *sim, uint32_t number)
{
    const struct sim_request *request = &sim->requests[number];
    struct sim_model *model = &sim->models[request->model];
    struct router_request asked = {.prompt_tokens = request->prompt_tokens, .turn = model->turn++};
    uint32_t place = router_choose(ROUTER_PREDICTED_TTFT, model->candidates, model->ready_count,
                                   &asked),
             replica;

    if (place == ROUTER_NONE)
        return false;
    replica = model->candidate_replicas[place];
    requests_advance(sim, replica);
    if (!service_add(&sim->replicas[replica].service, number, request->prompt_tokens,
                     request->output_tokens))
        return false;
    model->running++;
    requests_refresh(sim, replica);
    return true;
}

void requests_arrive(struct sim *sim, uint32_t number_of_model)
{
    struct sim_model *model = &sim->models[number_of_model];
    uint32_t number = request_make(sim);

    if (number == SIM_NONE)
        return;
    sim->requests[number] = (struct sim_request){.arrived_ns = sim->now_ns,
                                                 .model = number_of_model,
                                                 .prompt_tokens = model->next.prompt_tokens,
                                                 .output_tokens = model->next.output_tokens,
                                                 .answer_tokens = model->next.output_tokens};
    model->arrivals++;
    model->shape.prompt_tokens +=
        SHAPE_RATE * (model->next.prompt_tokens - model->shape.prompt_tokens);
    model->shape.output_tokens +=
        SHAPE_RATE * (model->next.output_tokens - model->shape.output_tokens);
    model->output_square +=
        SHAPE_RATE *
        ((double)model->next.output_tokens * model->next.output_tokens - model->output_square);
    model->shape.output_variation =
        model->output_square / (model->shape.output_tokens * model->shape.output_tokens) - 1;
    if (model->held_count > 0 || model->ready_count == 0 || !send(sim, number))
        hold(sim, number, false);
}

void requests_release_held(struct sim *sim, uint32_t number_of_model)
{
    struct sim_model *model = &sim->models[number_of_model];

    while (model->held_count > 0 && model->ready_count > 0) {
        uint32_t number = held_take(sim, model);

        if (!send(sim, number)) {
            hold(sim, number, true);
            return;
        }
    }
}

/* --- the end --- */

static void count_ttft(struct simulation_report *report, double ttft_ms)
{
    /* Four buckets an octave, from a millisecond. */
    double bucket = ttft_ms > 1 ? floor(4 * log2(ttft_ms)) : 0;

    report
        ->ttft_ms_below[bucket < SIMULATION_LATENCY_BUCKETS - 1 ? (uint32_t)bucket
                                                                : SIMULATION_LATENCY_BUCKETS - 1]++;
}

static void end(struct sim *sim, uint32_t number, uint64_t now_ns)
{
    const struct sim_request *request = &sim->requests[number];
    struct sim_model *model = &sim->models[request->model];
    const struct service_level *level = &model->spec.level;
    double ttft_ns = (double)(request->first_token_ns - request->arrived_ns);
    double gap_ns = request->answer_tokens > 1
                        ? (double)(now_ns - request->first_token_ns) / (request->answer_tokens - 1)
                        : 0;
    bool is_late = ttft_ns > level->ttft_ns, is_slow = gap_ns > level->inter_token_ns;

    sim->report->requests++;
    sim->report->late_ttft += is_late;
    sim->report->late_tokens += is_slow;
    sim->report->met += !is_late && !is_slow;
    model->requests++;
    model->met += !is_late && !is_slow;
    count_ttft(sim->report, ttft_ns / 1e6);
    request_free(sim, number);
}

void requests_advance(struct sim *sim, uint32_t number)
{
    struct sim_replica *replica = &sim->replicas[number];
    struct sim_model *model = &sim->models[replica->model];
    enum service_event event;
    uint32_t request;

    while ((event = service_advance(&replica->service, sim->now_ns, &request)) != SERVICE_NOTHING) {
        if (event == SERVICE_FIRST_TOKEN) {
            if (!sim->requests[request].has_first_token) {
                sim->requests[request].has_first_token = true;
                sim->requests[request].first_token_ns = replica->service.now_ns;
            }
        } else {
            model->running--;
            end(sim, request, replica->service.now_ns);
        }
    }
}

void requests_move(struct sim *sim, uint32_t number)
{
    struct sim_replica *replica = &sim->replicas[number];
    struct sim_model *model = &sim->models[replica->model];
    uint32_t moved, left;

    while (service_take(&replica->service, &moved, &left)) {
        struct sim_request *request = &sim->requests[moved];
        uint32_t done = request->output_tokens > left ? request->output_tokens - left : 0;

        model->running--;
        sim->report->continued += request->has_first_token;
        /* Prompt and what was generated are read anew elsewhere; the client sees a gap. */
        request->prompt_tokens += done;
        request->prompt_tokens =
            request->prompt_tokens < PROMPT_MOST ? request->prompt_tokens : PROMPT_MOST;
        request->output_tokens -= done;
        hold(sim, moved, true);
    }
    requests_release_held(sim, replica->model);
}

void requests_expire(struct sim *sim, uint32_t number)
{
    struct sim_model *model = &sim->models[number];

    while (model->held_count > 0 &&
           sim->now_ns - sim->requests[model->held_first].arrived_ns > HELD_MOST_NS) {
        uint32_t request = held_take(sim, model);

        sim->report->requests++;
        sim->report->refused++;
        model->requests++;
        count_ttft(sim->report, (double)HELD_MOST_NS / 1e6);
        request_free(sim, request);
    }
}
