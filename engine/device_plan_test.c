#include "unit_test.h"

#include "device_plan.h"

/* Published models by their config.json, weights in bf16 or fp8. */
struct shape {
    const char *name;
    uint32_t n_layers, d, n_heads, n_kv_heads, d_head, d_ffn, vocabulary, n_experts, n_used;
    uint32_t element_bytes;
};

static const struct shape MODELS[] = {
    {"Llama-2-7B", 32, 4096, 32, 32, 128, 11008, 32000, 0, 0, 2},
    {"Llama-3.1-8B", 32, 4096, 32, 8, 128, 14336, 128256, 0, 0, 2},
    {"Llama-3.1-70B", 80, 8192, 64, 8, 128, 28672, 128256, 0, 0, 2},
    {"Llama-3.1-405B", 126, 16384, 128, 8, 128, 53248, 128256, 0, 0, 2},
    /* As wide and deep as DeepSeek-V3, with plain attention. */
    {"671B", 61, 7168, 128, 8, 128, 2048, 129280, 256, 8, 1},
};
enum { M7B, M8B, M70B, M405B, M671B };

struct model {
    struct model_info info;
    struct model_parts parts;
};

static struct model model_of(uint32_t index)
{
    const struct shape *s = &MODELS[index];
    uint64_t layers = s->n_layers, d = s->d, experts = s->n_experts > 0 ? s->n_experts : 1;
    struct model m = {.info = {.n_layers = s->n_layers,
                               .d = s->d,
                               .n_heads = s->n_heads,
                               .n_kv_heads = s->n_kv_heads,
                               .d_head = s->d_head,
                               .d_ffn = s->d_ffn,
                               .vocabulary = s->vocabulary,
                               .n_experts = s->n_experts,
                               .n_experts_used = s->n_used}};
    m.info.kv_block_bytes = 2 * layers * s->n_kv_heads * s->d_head * 2 * KV_BLOCK_TOKENS;
    uint64_t *e = m.parts.elements;
    e[PART_EMBEDDING] = e[PART_HEAD] = d * s->vocabulary;
    e[PART_QUERY] = layers * 2 * d * s->n_heads * s->d_head;
    e[PART_KEY_VALUE] = layers * 2 * d * s->n_kv_heads * s->d_head;
    e[s->n_experts > 0 ? PART_EXPERTS : PART_FFN] = layers * experts * 3 * d * s->d_ffn;
    e[PART_REST] = layers * 2 * d;
    for (int i = 0; i < PART_COUNT; i++)
        m.parts.bytes[i] = e[i] * s->element_bytes;
    return m;
}

static struct device_plan_input input_of(const struct model *m, const char *device, uint32_t tensor,
                                         uint32_t pipeline)
{
    return (struct device_plan_input){.model = &m->info,
                                      .parts = &m->parts,
                                      .device = device_figures_find(device),
                                      .tensor = tensor,
                                      .pipeline = pipeline,
                                      .sequence_count_max = 64,
                                      .context_max = 8192,
                                      .batch_tokens_max = 2048,
                                      .prompt_tokens = 2048};
}

static struct device_plan plan_of(const struct device_plan_input *input)
{
    struct device_plan plan = {0};
    struct error_note note = {""};
    status s = device_plan_make(input, &plan, &note);
    if (s != STATUS_OK)
        fail_msg("%s", note.text);
    return plan;
}

static void devices_are_found_by_their_products_names(void **state)
{
    (void)state;
    assert_string_equal(device_figures_find("h200")->name, "H200");
    assert_string_equal(device_figures_find("NVIDIA H100 80GB HBM3")->name, "H100");
    assert_string_equal(device_figures_find("NVIDIA-A100-SXM4-80GB")->name, "A100");
    assert_string_equal(device_figures_find("AMD Instinct MI300X OAM")->name, "MI300X");
    assert_null(device_figures_find("GH2000"));
    assert_null(device_figures_find("H20"));
    assert_null(device_figures_find(""));
}

/* The blog of vLLM, 2026-04-22: Llama-3.1-8B in bf16, time between tokens of one stream without a context to speak of. */
static void predictions_are_near_published_times(void **state)
{
    (void)state;
    struct model m = model_of(M8B);
    struct device_plan_input input = input_of(&m, "H100", 1, 1);
    input.prompt_tokens = 64;
    double h100 = plan_of(&input).inter_token_s;
    input.device = device_figures_find("B200");
    double b200 = plan_of(&input).inter_token_s;
    assert_true(h100 > 0.85 * 6.44e-3 && h100 < 1.15 * 6.44e-3);
    assert_true(b200 > 0.7 * 3.93e-3 && b200 < 1.3 * 3.93e-3);
    /* TensorRT-LLM's prompts of 2,048 tokens on an H200, in fp8: 57,000 tokens a second; bf16 has half the operations. */
    input = input_of(&m, "H200", 1, 1);
    double rate = 2048 / plan_of(&input).first_token_s;
    assert_true(rate > 57000 / 2 * 0.8 && rate < 57000 / 2 * 1.5);
}

static void a_layout_has_a_part_of_everything_on_each_rank(void **state)
{
    (void)state;
    struct model m = model_of(M70B);
    struct device_plan_input input = input_of(&m, "H200", 4, 1);
    struct device_plan four = plan_of(&input);
    input.tensor = 8;
    struct device_plan eight = plan_of(&input);
    /* 70.6 billion parameters of two bytes */
    assert_in_range(four.weight_bytes, 35200000000, 35400000000);
    assert_in_range(eight.weight_bytes, 17600000000, 17700000000);
    /* One key head of eight a rank: 80 layers x 2 x 128 x 2 bytes. */
    assert_int_equal(eight.kv_token_bytes, 80 * 2 * 128 * 2);
    assert_int_equal(four.kv_token_bytes, 2 * eight.kv_token_bytes);
    assert_true(eight.kv_tokens > 2 * four.kv_tokens);
    assert_true(eight.inter_token_s < four.inter_token_s);
    assert_true(eight.first_token_s < four.first_token_s);
    input.tensor = 4;
    input.pipeline = 2;
    struct device_plan staged = plan_of(&input);
    assert_int_equal(staged.kv_token_bytes, eight.kv_token_bytes);
    assert_true(staged.weight_bytes < four.weight_bytes * 53 / 100);
    /* Stages work one after the other on one stream. */
    assert_true(staged.inter_token_s > 0.95 * four.inter_token_s);
}

static void fewer_key_heads_than_ranks_are_held_by_several(void **state)
{
    (void)state;
    struct model m = model_of(M405B);
    struct device_plan_input input = input_of(&m, "H200", 8, 1);
    struct device_plan eight = plan_of(&input);
    input.tensor = 16;
    struct device_plan sixteen = plan_of(&input);
    assert_int_equal(sixteen.kv_token_bytes, eight.kv_token_bytes);
    /* 405.9 billion parameters, of which each of 16 has its part, and twice the eighth of keys and values. */
    assert_in_range(sixteen.weight_bytes, 51200000000, 51350000000);
}

static void what_does_not_fit_is_told_with_a_layout_that_does(void **state)
{
    (void)state;
    struct error_note note = {""};
    struct device_plan plan;
    struct model m = model_of(M70B);
    struct device_plan_input input = input_of(&m, "H200", 1, 1);
    assert_int_equal(device_plan_make(&input, &plan, &note), STATUS_TOO_LARGE);
    assert_non_null(strstr(note.text, "2 tensor ranks x 1 stages"));
    m = model_of(M405B);
    input = input_of(&m, "H100", 8, 1);
    assert_int_equal(device_plan_make(&input, &plan, &note), STATUS_TOO_LARGE);
    assert_non_null(strstr(note.text, "8 tensor ranks x 2 stages"));
    m = model_of(M671B);
    input = input_of(&m, "H200", 8, 1);
    plan = plan_of(&input);
    assert_in_range(plan.weight_bytes, 86000000000, 90000000000);
    input.device = device_figures_find("L40S");
    input.context_max = 100u << 20;
    assert_int_equal(device_plan_make(&input, &plan, &note), STATUS_TOO_LARGE);
    assert_non_null(strstr(note.text, "lower max_model_len"));
}

static void layouts_that_do_not_divide_the_model_are_refused(void **state)
{
    (void)state;
    struct error_note note = {""};
    struct device_plan plan;
    struct model m = model_of(M7B);
    struct device_plan_input input = input_of(&m, "H200", 3, 1);
    assert_int_equal(device_plan_make(&input, &plan, &note), STATUS_INVALID);
    assert_non_null(strstr(note.text, "3 tensor ranks do not divide 32 heads"));
    input = input_of(&m, "H200", 1, 33);
    assert_int_equal(device_plan_make(&input, &plan, &note), STATUS_INVALID);
    input = input_of(&m, "H200", 16, 1); /* 11,008 is 344 blocks of 32 */
    assert_int_equal(device_plan_make(&input, &plan, &note), STATUS_INVALID);
    assert_non_null(strstr(note.text, "11008"));
}

/* With one stream 8 of 256 experts are read, with many all of them. */
static void experts_that_no_row_goes_to_are_not_read(void **state)
{
    (void)state;
    struct model m = model_of(M671B);
    struct device_plan_input input = input_of(&m, "H200", 8, 1);
    struct device_plan plan = plan_of(&input);
    double all = (double)plan.weight_bytes / (input.device->memory_rate * 0.7);
    assert_true(plan.inter_token_s < all / 4);
    assert_int_equal(plan.full_streams, 64);
    assert_true(plan.inter_token_full_s > 0.8 * all);
}

static void a_cache_that_was_asked_for_is_no_larger(void **state)
{
    (void)state;
    struct model m = model_of(M8B);
    struct device_plan_input input = input_of(&m, "H200", 1, 1);
    struct device_plan whole = plan_of(&input);
    input.kv_bytes = 4000000000;
    struct device_plan part = plan_of(&input);
    assert_true(whole.kv_bytes > 100000000000);
    assert_int_equal(part.kv_bytes, 4000000000);
    assert_int_equal(part.kv_tokens, 4000000000 / (131072 * 16) * 16);
    assert_int_equal(part.full_streams, part.kv_tokens / 2048);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(devices_are_found_by_their_products_names),
        cmocka_unit_test(predictions_are_near_published_times),
        cmocka_unit_test(a_layout_has_a_part_of_everything_on_each_rank),
        cmocka_unit_test(fewer_key_heads_than_ranks_are_held_by_several),
        cmocka_unit_test(what_does_not_fit_is_told_with_a_layout_that_does),
        cmocka_unit_test(layouts_that_do_not_divide_the_model_are_refused),
        cmocka_unit_test(experts_that_no_row_goes_to_are_not_read),
        cmocka_unit_test(a_cache_that_was_asked_for_is_no_larger),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
