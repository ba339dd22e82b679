#include "service.h"

#include <math.h>
#include <string.h>

#include "check.h"

void service_init(struct service *service, const struct step_cost *cost,
                  const struct replica_limits *limits, uint64_t now_ns)
{
    CHECK(limits->sequences >= 1 && limits->sequences <= SERVICE_SLOTS_MAX &&
          limits->chunk_tokens >= 1);
    service->cost = *cost;
    service->limits = *limits;
    service->now_ns = now_ns;
    service->clock = service->kv_tokens = service->reserved_tokens = 0;
    service->head_left = service->queued_tokens = 0;
    service->is_reading = false;
    service->running_count = service->queue_count = service->queue_first = 0;
}

/* --- the heap of those that generate --- */

static void heap_add(struct service *service, struct service_sequence sequence)
{
    uint32_t place = service->running_count++;

    while (place > 0 && service->running[(place - 1) / 2].ends_clock > sequence.ends_clock) {
        service->running[place] = service->running[(place - 1) / 2];
        place = (place - 1) / 2;
    }
    service->running[place] = sequence;
}

static struct service_sequence heap_take(struct service *service)
{
    struct service_sequence first = service->running[0],
                            last = service->running[--service->running_count];
    uint32_t place = 0, child;

    while ((child = 2 * place + 1) < service->running_count) {
        if (child + 1 < service->running_count &&
            service->running[child + 1].ends_clock < service->running[child].ends_clock)
            child++;
        if (service->running[child].ends_clock >= last.ends_clock)
            break;
        service->running[place] = service->running[child];
        place = child;
    }
    service->running[place] = last;
    return first;
}

/* --- prompts --- */

static struct service_prompt *head_of(struct service *service)
{
    return &service->queue[service->queue_first];
}

static void begin_next(struct service *service)
{
    const struct service_prompt *prompt = head_of(service);
    double held;

    if (service->is_reading || service->queue_count == 0)
        return;
    held = (double)prompt->tokens + prompt->output_tokens;
    if (service->running_count + 1 > service->limits.sequences)
        return;
    /* One that would never fit alone is taken all the same: its end is then wrong, not missing. */
    if (service->running_count > 0 && service->reserved_tokens + held > service->limits.kv_tokens)
        return;
    service->is_reading = true;
    service->reserved_tokens += held;
    service->head_left = prompt->tokens;
    service->queued_tokens -= prompt->tokens;
}

bool service_add(struct service *service, uint32_t request, uint32_t prompt_tokens,
                 uint32_t output_tokens)
{
    if (service->queue_count >= SERVICE_SLOTS_MAX)
        return false;
    service->queue[(service->queue_first + service->queue_count++) % SERVICE_SLOTS_MAX] =
        (struct service_prompt){request, prompt_tokens, output_tokens};
    service->queued_tokens += prompt_tokens;
    begin_next(service);
    return true;
}

/* --- time --- */

double service_step_ns(const struct service *service)
{
    if (service->running_count == 0 && !service->is_reading)
        return 0;
    return service->cost.fixed_ns + service->cost.kv_token_ns * service->kv_tokens +
           (service->is_reading ? service->cost.prefill_token_ns * service->limits.chunk_tokens
                                : 0);
}

/* Steps until the next event; infinite when nothing runs. */
static double steps_left(const struct service *service, bool *is_prompt)
{
    double read =
        service->is_reading ? service->head_left / service->limits.chunk_tokens : INFINITY;
    double end =
        service->running_count > 0 ? service->running[0].ends_clock - service->clock : INFINITY;

    *is_prompt = read <= end;
    return fmax(fmin(read, end), 0);
}

uint64_t service_next_ns(const struct service *service)
{
    bool is_prompt;
    double steps = steps_left(service, &is_prompt);

    if (isinf(steps))
        return UINT64_MAX;
    return service->now_ns + (uint64_t)ceil(steps * service_step_ns(service));
}

static void pass(struct service *service, double steps)
{
    service->clock += steps;
    service->kv_tokens += steps * service->running_count;
    if (service->is_reading) {
        double read = fmin(steps * service->limits.chunk_tokens, service->head_left);

        service->head_left -= read;
        service->kv_tokens += read;
    }
}

static uint32_t prompt_is_read(struct service *service)
{
    const struct service_prompt prompt = *head_of(service);

    service->queue_first = (service->queue_first + 1) % SERVICE_SLOTS_MAX;
    service->queue_count--;
    service->is_reading = false;
    service->kv_tokens += service->head_left;
    service->head_left = 0;
    /* The first token comes with the last of the prompt. */
    heap_add(service,
             (struct service_sequence){service->clock + prompt.output_tokens - 1, prompt.request,
                                       prompt.tokens + prompt.output_tokens});
    begin_next(service);
    return prompt.request;
}

static uint32_t sequence_ends(struct service *service)
{
    struct service_sequence sequence = heap_take(service);

    service->kv_tokens = fmax(service->kv_tokens - sequence.held_tokens, 0);
    service->reserved_tokens = fmax(service->reserved_tokens - sequence.held_tokens, 0);
    if (service->running_count == 0 && !service->is_reading)
        service->kv_tokens = service->reserved_tokens = 0;
    begin_next(service);
    return sequence.request;
}

enum service_event service_advance(struct service *service, uint64_t now_ns, uint32_t *request)
{
    bool is_prompt;
    double steps = steps_left(service, &is_prompt), step_ns = service_step_ns(service);
    uint64_t due_ns = service_next_ns(service);

    if (due_ns > now_ns) {
        if (step_ns > 0 && now_ns > service->now_ns)
            pass(service, fmin((double)(now_ns - service->now_ns) / step_ns, steps));
        service->now_ns = now_ns;
        return SERVICE_NOTHING;
    }
    pass(service, steps);
    service->now_ns = due_ns;
    *request = is_prompt ? prompt_is_read(service) : sequence_ends(service);
    return is_prompt ? SERVICE_FIRST_TOKEN : SERVICE_END;
}

double service_prefill_ns(const struct service *service)
{
    return (service->cost.fixed_ns + service->cost.kv_token_ns * service->kv_tokens) /
               service->limits.chunk_tokens +
           service->cost.prefill_token_ns;
}

double service_queued_ns(const struct service *service)
{
    return (service->head_left + service->queued_tokens) * service_prefill_ns(service);
}

uint32_t service_outstanding(const struct service *service)
{
    return service->running_count + service->queue_count;
}

bool service_take(struct service *service, uint32_t *request, uint32_t *output_tokens_left)
{
    if (service->running_count > 0) {
        struct service_sequence sequence = heap_take(service);

        *request = sequence.request;
        *output_tokens_left = (uint32_t)fmax(ceil(sequence.ends_clock - service->clock), 1);
        return true;
    }
    if (service->queue_count == 0)
        return false;
    *request = head_of(service)->request;
    *output_tokens_left = head_of(service)->output_tokens;
    service->queue_first = (service->queue_first + 1) % SERVICE_SLOTS_MAX;
    service->queue_count--;
    service->is_reading = false;
    return true;
}
