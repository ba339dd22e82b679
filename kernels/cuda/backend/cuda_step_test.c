/* Steps as the engine queues them: what they give does not depend on whether they are kept as graphs, on padding, on how
 * many are queued, or on when the device does them; and it is what the reference gives. */

#include "cuda_backend.h"
#include "net_testing.h"

status penstock_cuda_open(const struct backend_options *options, backend **out,
                          struct error_note *note);

#define SEEDS   4u
#define PROMPT  5u
#define DECODES 9u

#ifdef PENSTOCK_TESTS_ON_GPU
#define DEVICE_PATH BACKEND_CUDA
static void set_seed(uint64_t seed)
{
    (void)seed;
}
#else
#include "fake_runtime.h"
#define DEVICE_PATH BACKEND_CUDA_EMULATED
static void set_seed(uint64_t seed)
{
    fake_runtime_set_seed(seed);
}
#endif

static backend *open_device(uint64_t seed)
{
    const struct backend_options options = {.path = DEVICE_PATH, .threads = 2};
    struct error_note note = {""};
    backend *b = NULL;
    set_seed(seed);
    if (penstock_cuda_open(&options, &b, &note) != STATUS_OK)
        fail_msg("%s", note.text);
    return b;
}

static int32_t prompt_token(uint32_t s, uint32_t i)
{
    return (int32_t)((7 * s + 3 * i + 1) % NET_VOCABULARY);
}

/* The first `length` tokens of n_sequences sequences as one step; waits. */
static void run_prompts(struct net *net, uint32_t n_sequences, uint32_t length, int32_t *tokens_out)
{
    struct net_step step = {.is_usual = true};
    uint32_t first[NET_SEQUENCES] = {0}, counts[NET_SEQUENCES];
    int32_t tokens[NET_ROWS];
    for (uint32_t s = 0; s < n_sequences; s++) {
        counts[s] = length;
        for (uint32_t i = 0; i < length; i++)
            tokens[s * length + i] = prompt_token(s, i);
    }
    net_describe(&step, first, counts, n_sequences, tokens);
    uint64_t ticket;
    const struct device_sample_result *results;
    assert_int_equal(net_launch(net, &step, &ticket), STATUS_OK);
    assert_int_equal(net->o->step_wait(net->b, ticket, &results), STATUS_OK);
    for (uint32_t s = 0; s < n_sequences; s++) {
        assert_int_equal(results[s].status, STATUS_OK);
        tokens_out[s] = results[s].token;
    }
}

/* One step for the sequences at `position`. */
static uint64_t launch_decode(struct net *net, uint32_t n_sequences, uint32_t position,
                              const int32_t *tokens, bool is_usual)
{
    struct net_step step = {.is_usual = is_usual};
    uint32_t first[NET_SEQUENCES], counts[NET_SEQUENCES];
    for (uint32_t s = 0; s < n_sequences; s++) {
        first[s] = position;
        counts[s] = 1;
    }
    net_describe(&step, first, counts, n_sequences, tokens);
    uint64_t ticket;
    assert_int_equal(net_launch(net, &step, &ticket), STATUS_OK);
    return ticket;
}

static void collect(struct net *net, uint64_t ticket, uint32_t n_sequences, int32_t *tokens)
{
    const struct device_sample_result *results;
    assert_int_equal(net->o->step_wait(net->b, ticket, &results), STATUS_OK);
    for (uint32_t s = 0; s < n_sequences; s++) {
        assert_int_equal(results[s].status, STATUS_OK);
        assert_in_range(results[s].token, 0, NET_VOCABULARY - 1);
        tokens[s] = results[s].token;
    }
}

struct outputs {
    int32_t tokens[DECODES + 1][NET_SEQUENCES];
    float logits[NET_SEQUENCES * NET_VOCABULARY]; /* of the last step */
};

/* Each step is collected before the next: tokens come from the host. */
static void run_one_by_one(uint64_t seed, uint32_t n_sequences, uint32_t prompt, bool is_usual,
                           struct outputs *out)
{
    struct net net;
    assert_int_equal(net_open(&net, open_device(seed)), STATUS_OK);
    run_prompts(&net, n_sequences, prompt, out->tokens[0]);
    for (uint32_t i = 0; i < DECODES; i++)
        collect(&net, launch_decode(&net, n_sequences, prompt + i, out->tokens[i], is_usual),
                n_sequences, out->tokens[i + 1]);
    net.o->download(net.b, out->logits, net.logits, sizeof(float) * n_sequences * NET_VOCABULARY);
    assert_int_equal(net.o->synchronize(net.b), STATUS_OK);
    struct cuda_backend *b = of_cuda(net.b);
    assert_int_equal(b->graphs.capture_count, is_usual ? 1 : 0);
    uint32_t alike = DECODES + (prompt == 1 ? 1 : 0); /* a prompt of one token is such a step too */
    assert_int_equal(b->graphs.replay_count, is_usual ? alike - 2 : 0);
    net_close(&net);
}

/* Each step is queued before the one before it is collected: tokens are known to the device alone. */
static void run_ahead(uint64_t seed, uint32_t n_sequences, struct outputs *out)
{
    struct net net;
    int32_t unknown[NET_SEQUENCES];
    for (uint32_t s = 0; s < n_sequences; s++)
        unknown[s] = -1 - (int32_t)s;
    assert_int_equal(net_open(&net, open_device(seed)), STATUS_OK);
    run_prompts(&net, n_sequences, PROMPT, out->tokens[0]);
    uint64_t before = launch_decode(&net, n_sequences, PROMPT, out->tokens[0], true);
    for (uint32_t i = 1; i < DECODES; i++) {
        uint64_t next = launch_decode(&net, n_sequences, PROMPT + i, unknown, true);
        collect(&net, before, n_sequences, out->tokens[i]);
        before = next;
    }
    collect(&net, before, n_sequences, out->tokens[DECODES]);
    net.o->download(net.b, out->logits, net.logits, sizeof(float) * n_sequences * NET_VOCABULARY);
    assert_int_equal(net.o->synchronize(net.b), STATUS_OK);
    net_close(&net);
}

static void compare_outputs(const struct outputs *a, const struct outputs *b, uint32_t n_sequences)
{
    for (uint32_t i = 0; i <= DECODES; i++)
        assert_memory_equal(a->tokens[i], b->tokens[i], n_sequences * sizeof(int32_t));
    assert_memory_equal(a->logits, b->logits, sizeof(float) * n_sequences * NET_VOCABULARY);
}

static void steps_kept_as_graphs_give_the_same_bits(void **state)
{
    (void)state;
    static struct outputs plain, kept;
    static const uint32_t counts[] = {1, 3, 8}; /* 3 are padded to 4 */
    for (size_t i = 0; i < ARRAY_COUNT(counts); i++) {
        run_one_by_one(1, counts[i], PROMPT, false, &plain);
        run_one_by_one(2, counts[i], PROMPT, true, &kept);
        compare_outputs(&plain, &kept, counts[i]);
    }
}

static void steps_queued_ahead_give_the_same_bits_in_every_order(void **state)
{
    (void)state;
    static struct outputs plain, ahead;
    run_one_by_one(1, 3, PROMPT, false, &plain);
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        run_ahead(seed, 3, &ahead);
        compare_outputs(&plain, &ahead, 3);
    }
}

/* As long as no step has more rows than the few-row kernels take. */
static void a_sequence_gives_the_same_bits_alone_and_beside_others(void **state)
{
    (void)state;
    static struct outputs alone, beside;
    run_one_by_one(1, 1, 1, true, &alone);
    run_one_by_one(1, 7, 1, true, &beside);
    for (uint32_t i = 0; i <= DECODES; i++)
        assert_int_equal(alone.tokens[i][0], beside.tokens[i][0]);
    assert_memory_equal(alone.logits, beside.logits, sizeof(float) * NET_VOCABULARY);
}

/* --- against the reference --- */

/* Rows of one sequence from position 0 on; logits of its last row. Outside of steps: with the host's arrays. */
static void forward_prompt(backend *b, uint32_t n_rows, float *logits)
{
    struct net net;
    struct net_step step = {.is_usual = false};
    int32_t tokens[NET_ROWS];
    for (uint32_t i = 0; i < n_rows; i++)
        tokens[i] = prompt_token(2, i);
    /* What a table has no room for are the rows of the next sequence. */
    uint32_t counts[NET_SEQUENCES], firsts[NET_SEQUENCES] = {0}, n_sequences = 0;
    for (uint32_t left = n_rows; left > 0; left -= counts[n_sequences++])
        counts[n_sequences] =
            left < NET_TABLE * KV_BLOCK_TOKENS ? left : NET_TABLE * KV_BLOCK_TOKENS;
    assert_int_equal(net_open(&net, b), STATUS_OK);
    net_describe(&step, firsts, counts, n_sequences, tokens);
    net_forward(&net, &step, n_rows, n_sequences);
    net.o->download(net.b, logits, net.logits, sizeof(float) * n_sequences * NET_VOCABULARY);
    assert_int_equal(net.o->synchronize(net.b), STATUS_OK);
    net_close(&net);
}

/* Weights are 4 and 8 bits wide, inputs 8 or 16: after two layers logits differ by some percent of their spread. What
 * goes wrong in a path (a wrong row, part or offset) makes them differ by their spread. */
static void logits_are_those_of_the_reference_whatever_path_the_rows_take(void **state)
{
    (void)state;
    static const uint32_t counts[] = {1, 8, 9, 33, 64, 65, 80};
    float expected[NET_SEQUENCES * NET_VOCABULARY], actual[NET_SEQUENCES * NET_VOCABULARY];
    for (size_t i = 0; i < ARRAY_COUNT(counts); i++) {
        forward_prompt(backend_open_or_die(BACKEND_REFERENCE, 1), counts[i], expected);
        forward_prompt(open_device(i), counts[i], actual);
        double error = 0, spread = 0;
        for (uint32_t v = 0; v < NET_VOCABULARY; v++) {
            double difference = (double)actual[v] - (double)expected[v];
            error += difference * difference;
            spread += (double)expected[v] * (double)expected[v];
        }
        if (!(error < 0.0025 * spread)) /* 5 % */
            fail_msg("%u rows: logits differ by %.3g of their size", counts[i],
                     sqrt(error / spread));
    }
}

/* --- the rest of the table --- */

static void blocks_come_back_from_the_host_as_they_went(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct net net;
        assert_int_equal(net_open(&net, open_device(seed)), STATUS_OK);
        const struct kv_shape shape = {NET_LAYERS, 1, NET_D_HEAD, NET_BLOCKS, KV_F16};
        uint64_t bytes = net.o->kv_block_bytes(&shape);
        uint8_t *host = net.o->host_allocate(net.b, 12 * bytes);
        uint8_t *again = net.o->host_allocate(net.b, 12 * bytes);
        uint32_t blocks[12];
        int32_t tokens[NET_SEQUENCES];
        assert_true(host != NULL && again != NULL);
        for (uint32_t i = 0; i < 12; i++)
            blocks[i] = (i * 7 + 2) % NET_BLOCKS; /* more than the ring has images */
        for (uint64_t i = 0; i < 12 * bytes; i++)
            host[i] = (uint8_t)(i * 31 + i / 251);
        run_prompts(&net, 2, PROMPT, tokens);
        net.o->kv_load_blocks(net.b, net.kv, blocks, 12, host);
        net.o->kv_save_blocks(net.b, net.kv, blocks, 12, again);
        assert_int_equal(net.o->kv_settle(net.b), STATUS_OK);
        assert_memory_equal(again, host, 12 * bytes);
        net.o->host_release(net.b, host);
        net.o->host_release(net.b, again);
        net_close(&net);
    }
}

/* What a step wrote is what a save queued after it reads, and a step queued after the save may write it. */
static void a_save_stands_between_the_steps_around_it(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct net net;
        assert_int_equal(net_open(&net, open_device(seed)), STATUS_OK);
        const struct kv_shape shape = {NET_LAYERS, 1, NET_D_HEAD, NET_BLOCKS, KV_F16};
        uint64_t bytes = net.o->kv_block_bytes(&shape);
        uint8_t *host = net.o->host_allocate(net.b, 3 * bytes);
        const uint32_t block = 0; /* sequence 0's first */
        int32_t tokens[NET_SEQUENCES], other = 5;
        run_prompts(&net, 1, PROMPT, tokens);
        net.o->kv_save_blocks(net.b, net.kv, &block, 1, host);
        uint64_t ticket = launch_decode(&net, 1, 0, &other, false);
        net.o->kv_save_blocks(net.b, net.kv, &block, 1, host + bytes);
        net.o->kv_load_blocks(net.b, net.kv, &block, 1, host);
        net.o->kv_save_blocks(net.b, net.kv, &block, 1, host + 2 * bytes);
        assert_int_equal(net.o->kv_settle(net.b), STATUS_OK);
        collect(&net, ticket, 1, tokens);
        assert_memory_not_equal(host, host + bytes, bytes);
        assert_memory_equal(host, host + 2 * bytes, bytes);
        net.o->host_release(net.b, host);
        net_close(&net);
    }
}

static void buckets_hold_what_they_are_for(void **state)
{
    (void)state;
    static const uint32_t some[][2] = {{1, 1},     {3, 4},     {5, 8},      {9, 16},   {17, 24},
                                       {25, 32},   {33, 48},   {65, 96},    {97, 128}, {129, 160},
                                       {250, 256}, {257, 384}, {1000, 1024}};
    for (size_t i = 0; i < ARRAY_COUNT(some); i++) {
        assert_int_equal(graphs_bucket(some[i][0], 4096), some[i][1]);
        assert_int_equal(graphs_bucket(some[i][0], some[i][0]), some[i][0]);
    }
}

static void memory_that_is_given_back_drops_the_graphs(void **state)
{
    (void)state;
    struct net net;
    int32_t tokens[NET_SEQUENCES];
    assert_int_equal(net_open(&net, open_device(1)), STATUS_OK);
    run_prompts(&net, 1, PROMPT, tokens);
    void *memory = net.o->allocate(net.b, 64);
    for (uint32_t i = 0; i < 4; i++)
        collect(&net, launch_decode(&net, 1, PROMPT + i, tokens, true), 1, tokens);
    struct cuda_backend *b = of_cuda(net.b);
    assert_int_equal(b->graphs.replay_count, 2);
    net.o->release(net.b, memory);
    for (uint32_t i = 4; i < 7; i++)
        collect(&net, launch_decode(&net, 1, PROMPT + i, tokens, true), 1, tokens);
    assert_int_equal(b->graphs.capture_count, 2);
    assert_int_equal(b->graphs.replay_count, 3);
    net_close(&net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buckets_hold_what_they_are_for),
        cmocka_unit_test(logits_are_those_of_the_reference_whatever_path_the_rows_take),
        cmocka_unit_test(steps_kept_as_graphs_give_the_same_bits),
        cmocka_unit_test(steps_queued_ahead_give_the_same_bits_in_every_order),
        cmocka_unit_test(a_sequence_gives_the_same_bits_alone_and_beside_others),
        cmocka_unit_test(memory_that_is_given_back_drops_the_graphs),
        cmocka_unit_test(blocks_come_back_from_the_host_as_they_went),
        cmocka_unit_test(a_save_stands_between_the_steps_around_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
