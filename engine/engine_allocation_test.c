/* WRAP: malloc calloc realloc aligned_alloc posix_memalign free */
#include "engine_testing.h"

#include "adapter_builder.h"

/* Steps that only decode take nothing from the heap and give nothing back, on any thread of the process: step thread,
 * compute team and publisher. On a real model, named by PENSTOCK_TEST_MODEL; without it skipped. The alloc guard
 * stops what goes through base/memory in debug builds; this counts every call that our objects make, in each build. */

enum { CLIENTS = 8, WARM = 8, COUNTED = 64, OUTPUT = 1000, CONTEXT = 1100 };

static _Atomic uint64_t heap_calls;

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *block, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
int __real_posix_memalign(void **out, size_t alignment, size_t bytes);
void __real_free(void *block);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *block, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);
int __wrap_posix_memalign(void **out, size_t alignment, size_t bytes);
void __wrap_free(void *block);

void *__wrap_malloc(size_t bytes)
{
    atomic_fetch_add(&heap_calls, 1);
    return __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    atomic_fetch_add(&heap_calls, 1);
    return __real_calloc(count, bytes);
}

void *__wrap_realloc(void *block, size_t bytes)
{
    atomic_fetch_add(&heap_calls, 1);
    return __real_realloc(block, bytes);
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
    atomic_fetch_add(&heap_calls, 1);
    return __real_aligned_alloc(alignment, bytes);
}

int __wrap_posix_memalign(void **out, size_t alignment, size_t bytes)
{
    atomic_fetch_add(&heap_calls, 1);
    return __real_posix_memalign(out, alignment, bytes);
}

void __wrap_free(void *block)
{
    atomic_fetch_add(&heap_calls, 1);
    __real_free(block);
}

static engine *open_engine(const char *path, metrics_registry *metrics)
{
    struct engine_options options = {.model_path = path,
                                     .threads = 2,
                                     .context_max = CONTEXT,
                                     .sequence_count_max = CLIENTS,
                                     .batch_tokens_max = 64,
                                     .queue_requests_max = CLIENTS,
                                     .queue_tokens_max = 100000,
                                     .prefix_cache = true,
                                     .adapters_max = 1,
                                     .adapter_rank_max = ADAPTER_RANK,
                                     .metrics = metrics,
                                     .grammar_limits = {.states_max = 1000,
                                                        .memory_bytes_max = 16u << 20,
                                                        .mask_bytes_max = 1u << 20,
                                                        .depth_max = 64},
                                     .grammar_cache_bytes = 16u << 20,
                                     .served_name = "steady"};
    struct error_note note = {""};
    engine *e = NULL;
    status s = engine_open(&options, &e, &note);
    if (s != STATUS_OK)
        fail_msg("%s: %s", status_name(s), note.text);
    return e;
}

/* Clients that use every part of the sampler and the text stream between them. */
static struct client *start(engine *e, grammar *g, engine_adapter *adapter, uint32_t i)
{
    static const int32_t prompt[] = {504, 3575, 282, 4649, 314};
    static const struct text_slice stops[] = {{"\x01never said\x01", 12}};
    static const struct logit_bias biases[] = {{100, 1.5f}, {200, -100}};
    static const struct reasoning_budget budget = {.tokens_max = WARM + COUNTED / 2,
                                                   .starts_inside = true,
                                                   .open = {"<think>", 7},
                                                   .close = {"</think>", 8},
                                                   .end_tokens = prompt,
                                                   .end_token_count = 5};
    struct client *c = client_create(e, prompt, 5, OUTPUT);
    struct sampling_params *p = &c->request.sampling;
    p->ignore_eos = true;
    p->seed = i;
    p->temperature = i % 2 == 0 ? 0 : 0.9f;
    p->top_p = i % 4 == 3 ? 0.9f : 1;
    p->top_k = i % 4 == 1 ? 40 : 0;
    p->repetition_penalty = i == 2 || i == 3 ? 1.1f : 1;
    p->frequency_penalty = i == 5 ? 0.2f : 0;
    p->logprobs = i == 6 ? 5 : -1;
    p->biases = biases;
    p->bias_count = i == 7 ? 2 : 0;
    p->top_n_sigma = i == 1 ? 2 : 0;
    p->top_a = i == 1 ? 0.001f : 0;
    p->typical_p = i == 1 || i == 7 ? 0.95f : 0;
    p->xtc_probability = i == 3 ? 0.5f : 0;
    p->xtc_threshold = 0.1f;
    p->mirostat = (struct mirostat_params){.is_on = i == 5, .tau = 5, .eta = 0.1f};
    p->dry = (struct dry_params){.multiplier = i == 1 || i == 2 ? 0.8f : 0,
                                 .base = 1.75f,
                                 .allowed_length = 2,
                                 .last_n = i == 2 ? 16 : -1,
                                 .breakers = stops,
                                 .breaker_count = 1};
    p->repetition = (struct repetition_params){.max_pattern = i == 3 ? 8 : 0, .min_count = 1000};
    c->request.stops = stops;
    c->request.stop_count = i == 4 ? 1 : 0;
    c->request.grammar = i >= 6 ? g : NULL;
    c->request.reasoning = i == 5 ? &budget : NULL;
    c->request.adapter = i % 3 == 0 ? adapter : NULL;
    client_submit(c);
    return c;
}

/* Every client has had at least `count` tokens. */
static void wait_for_tokens(struct client *const *clients, uint32_t count)
{
    for (uint32_t i = 0; i < CLIENTS; i++)
        while (atomic_load(&clients[i]->event_count) < count)
            usleep(200);
}

static void steady_decode_steps_neither_allocate_nor_free(void **state)
{
    (void)state;
    const char *path = getenv("PENSTOCK_TEST_MODEL");
    if (path == NULL || *path == '\0') {
        print_message("PENSTOCK_TEST_MODEL is not set: skipped\n");
        skip();
    }
    metrics_registry *metrics = NULL;
    assert_int_equal(metrics_registry_create(&metrics), STATUS_OK);
    engine *e = open_engine(path, metrics);
    struct client *clients[CLIENTS];
    struct engine_stats before, after;
    struct grammar_source source = {.kind = GRAMMAR_REGEX, .text = text_slice_of("([a-z]+ )*")};
    grammar *g = NULL;
    assert_int_equal(engine_compile_grammar(e, &source, &g, NULL), STATUS_OK);
    char folder[64];
    adapter_build(engine_get_info(e)->layers, engine_get_info(e)->width, 1, folder);
    assert_int_equal(engine_load_adapter(e, "voice", folder, NULL), STATUS_OK);
    engine_adapter *adapter = engine_find_adapter(e, "voice");
    for (uint32_t i = 0; i < CLIENTS; i++)
        clients[i] = start(e, g, adapter, i);
    wait_for_tokens(clients, WARM);
    engine_get_stats(e, &before);
    uint64_t calls_before = atomic_load(&heap_calls);
    wait_for_tokens(clients, WARM + COUNTED);
    uint64_t calls_after = atomic_load(&heap_calls);
    engine_get_stats(e, &after);
    for (uint32_t i = 0; i < CLIENTS; i++) /* none had ended, nor had its last event */
        assert_true(atomic_load(&clients[i]->event_count) < OUTPUT);
    assert_true(after.steps > before.steps);
    if (calls_after != calls_before)
        fail_msg("%llu heap calls in %llu steps", (unsigned long long)(calls_after - calls_before),
                 (unsigned long long)(after.steps - before.steps));
    for (uint32_t i = 0; i < CLIENTS; i++) {
        engine_cancel(e, &clients[i]->request);
        client_wait(clients[i]);
        client_destroy(clients[i]);
    }
    assert_true(atomic_load(&heap_calls) > calls_after); /* the counter counts */
    grammar_release(g);
    engine_release_adapter(adapter);
    adapter_remove(folder);
    engine_close(e);
    metrics_registry_destroy(metrics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steady_decode_steps_neither_allocate_nor_free),
    };
    return cmocka_run_group_tests_name("engine allocations", tests, NULL, NULL);
}
