#include "unit_test.h"

#include <math.h>
#include <stdbool.h>

#include "capacity.h"
#include "chance.h"
#include "service.h"

#define MS 1e6
#define US 1e3

static const struct step_cost cost = {20 * MS, 100 * US, 0.1 * US};
static const struct replica_limits limits = {60000, 24, 512};

#define REQUESTS 600u

struct request {
    uint64_t at_ns;
    uint32_t prompt, output;
    double first_ns, end_ns;
};

static bool is_near(double value, double expected, double share)
{
    return fabs(value - expected) <= share * expected;
}

/* A single request, by hand: 1024 tokens in two chunks, then 9 steps more for 10 tokens. */
static void a_request_alone_takes_its_chunks_and_its_tokens(void **state)
{
    struct service service;
    uint32_t request = 99;
    double read_ns = 2 * (20 * MS + 512 * 100 * US), step_ns = 20 * MS + 0.1 * US * 1024;
    (void)state;

    service_init(&service, &cost, &limits, 1000);
    assert_true(service_next_ns(&service) == UINT64_MAX);
    assert_true(service_add(&service, 7, 1024, 10));
    assert_true(is_near((double)service_next_ns(&service), 1000 + read_ns, 1e-6));
    assert_int_equal(service_advance(&service, UINT64_MAX / 2, &request), SERVICE_FIRST_TOKEN);
    assert_int_equal(request, 7);
    assert_true(is_near((double)service_next_ns(&service), 1000 + read_ns + 9 * step_ns, 1e-6));
    assert_int_equal(service_advance(&service, UINT64_MAX / 2, &request), SERVICE_END);
    assert_int_equal(service_advance(&service, UINT64_MAX / 2, &request), SERVICE_NOTHING);
    assert_int_equal(service_outstanding(&service), 0);
}

static void requests_make(struct request *requests, double rate)
{
    struct chance chance;
    double at_s = 0;

    chance_init(&chance, 5, 0, 0);
    for (uint32_t i = 0; i < REQUESTS; i++) {
        at_s += chance_exponential(&chance) / rate;
        requests[i] = (struct request){.at_ns = (uint64_t)(at_s * 1e9),
                                       .prompt = 1 + chance_below(&chance, 2000),
                                       .output = 1 + chance_below(&chance, 400)};
    }
}

static void run_by_events(struct request *requests)
{
    struct service service;
    enum service_event event;
    uint32_t next = 0, request, ended = 0;

    service_init(&service, &cost, &limits, 0);
    while (ended < REQUESTS) {
        uint64_t due_ns = service_next_ns(&service);

        if (next < REQUESTS && requests[next].at_ns <= due_ns)
            due_ns = requests[next].at_ns;
        while ((event = service_advance(&service, due_ns, &request)) != SERVICE_NOTHING) {
            if (event == SERVICE_FIRST_TOKEN)
                requests[request].first_ns = (double)service.now_ns;
            else
                requests[request].end_ns = (double)service.now_ns;
            ended += event == SERVICE_END;
        }
        if (next < REQUESTS && requests[next].at_ns == due_ns) {
            assert_true(service_add(&service, next, requests[next].prompt, requests[next].output));
            next++;
        }
    }
}

/* The same replica step by step and token by token, as an engine's loop does it. */
struct engine {
    uint32_t running[64], left[64], held[64], running_count;
    uint32_t head, head_left; /* the prompt that is read */
    double reserved;
};

static bool engine_begins(struct engine *engine, const struct request *requests, uint32_t arrived)
{
    const struct request *head = &requests[engine->head];

    if (engine->head >= arrived || engine->running_count + 1 > limits.sequences)
        return false;
    if (engine->running_count > 0 &&
        engine->reserved + head->prompt + head->output > limits.kv_tokens)
        return false;
    engine->reserved += head->prompt + head->output;
    engine->head_left = head->prompt;
    return true;
}

static void run_step_by_step(struct request *requests)
{
    struct engine engine = {0};
    double now_ns = 0;
    uint32_t arrived = 0, ended = 0;
    bool is_reading = false;

    while (ended < REQUESTS) {
        double kv = 0, budget = limits.chunk_tokens, read = 0;

        if (engine.running_count == 0 && !is_reading && engine.head == arrived)
            now_ns = fmax(now_ns, (double)requests[arrived].at_ns);
        while (arrived < REQUESTS && (double)requests[arrived].at_ns <= now_ns)
            arrived++;
        for (uint32_t i = 0; i < engine.running_count; i++)
            kv += engine.held[i];
        is_reading = is_reading || engine_begins(&engine, requests, arrived);
        if (is_reading)
            read = fmin(budget, engine.head_left);
        now_ns += cost.fixed_ns + cost.kv_token_ns * kv + cost.prefill_token_ns * read;
        for (uint32_t i = 0; i < engine.running_count;) {
            engine.held[i]++;
            if (--engine.left[i] > 0) {
                i++;
                continue;
            }
            requests[engine.running[i]].end_ns = now_ns;
            engine.reserved -=
                requests[engine.running[i]].prompt + requests[engine.running[i]].output;
            engine.running_count--;
            engine.running[i] = engine.running[engine.running_count];
            engine.left[i] = engine.left[engine.running_count];
            engine.held[i] = engine.held[engine.running_count];
            ended++;
        }
        if (!is_reading)
            continue;
        engine.head_left -= (uint32_t)read;
        if (engine.head_left > 0)
            continue;
        is_reading = false;
        requests[engine.head].first_ns = now_ns;
        requests[engine.head].end_ns = now_ns;
        if (requests[engine.head].output > 1) {
            engine.running[engine.running_count] = engine.head;
            engine.left[engine.running_count] = requests[engine.head].output - 1;
            engine.held[engine.running_count++] = requests[engine.head].prompt;
        } else {
            engine.reserved -= requests[engine.head].prompt + 1;
            ended++;
        }
        engine.head++;
    }
}

/* Three events a request against one for every step. What differs: the last chunk of a prompt, which the events count as the part of a
 * step that it is, so that they are a little too fast with prompts and never far off. */
static void events_say_what_step_by_step_says(void **state)
{
    static struct request events[REQUESTS], steps[REQUESTS];
    static const double rates[] = {0.3, 1.0, 1.8};
    (void)state;

    for (size_t r = 0; r < sizeof(rates) / sizeof(rates[0]); r++) {
        double ttft[2] = {0, 0}, life[2] = {0, 0};

        requests_make(events, rates[r]);
        requests_make(steps, rates[r]);
        run_by_events(events);
        run_step_by_step(steps);
        for (uint32_t i = 0; i < REQUESTS; i++) {
            ttft[0] += events[i].first_ns - (double)events[i].at_ns;
            ttft[1] += steps[i].first_ns - (double)steps[i].at_ns;
            life[0] += events[i].end_ns - (double)events[i].at_ns;
            life[1] += steps[i].end_ns - (double)steps[i].at_ns;
        }
        print_message("%.1f a second: first token %.0f and %.0f ms, life %.2f and %.2f s\n",
                      rates[r], ttft[0] / REQUESTS / MS, ttft[1] / REQUESTS / MS,
                      life[0] / REQUESTS / 1e9, life[1] / REQUESTS / 1e9);
        assert_true(is_near(life[0], life[1], 0.05));
        assert_true(is_near(ttft[0], ttft[1], 0.25));
    }
}

/* At the capacity that the regression's terms give, a replica is as busy as they say. */
static void a_replica_at_capacity_runs_as_many_as_its_capacity_says(void **state)
{
    static struct request requests[REQUESTS];
    const struct load_shape shape = {1000.5, 0, 200.5, 0.33};
    const struct service_level level = {0, 0};
    struct capacity capacity = capacity_under(&cost, &shape, &limits, &level, ROLE_MIXED, NULL);
    double under_way = 0, span;
    (void)state;

    requests_make(requests, 0.8 * capacity.requests_per_s);
    run_by_events(requests);
    span = requests[REQUESTS - 1].end_ns - (double)requests[0].at_ns;
    for (uint32_t i = 0; i < REQUESTS; i++)
        under_way += (requests[i].end_ns - (double)requests[i].at_ns) / span;
    assert_true(under_way < capacity.concurrency);
    assert_true(under_way > 0.4 * capacity.concurrency);
}

static void what_is_taken_from_a_lost_replica_is_all_that_it_had(void **state)
{
    struct service service;
    uint32_t request, left, seen = 0, count = 0;
    (void)state;

    service_init(&service, &cost, &limits, 0);
    for (uint32_t i = 0; i < 10; i++)
        assert_true(service_add(&service, i, 500, 1000));
    for (int i = 0; i < 5; i++)
        assert_int_equal(service_advance(&service, UINT64_MAX / 2, &request), SERVICE_FIRST_TOKEN);
    while (service_take(&service, &request, &left)) {
        seen |= 1u << request;
        assert_true(left >= 1 && left <= 1000);
        assert_true(request < 5 || left == 1000);
        count++;
    }
    assert_int_equal(count, 10);
    assert_int_equal(seen, 0x3FF);
}

static void a_full_queue_declines(void **state)
{
    struct service service;
    (void)state;

    service_init(&service, &cost, &limits, 0);
    for (uint32_t i = 0; i < SERVICE_SLOTS_MAX; i++)
        assert_true(service_add(&service, i, 10, 10));
    assert_false(service_add(&service, 0, 10, 10));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_alone_takes_its_chunks_and_its_tokens),
        cmocka_unit_test(events_say_what_step_by_step_says),
        cmocka_unit_test(a_replica_at_capacity_runs_as_many_as_its_capacity_says),
        cmocka_unit_test(what_is_taken_from_a_lost_replica_is_all_that_it_had),
        cmocka_unit_test(a_full_queue_declines),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
