#include "unit_test.h"

#include "upstream_metrics.h"

/* As each server writes them. */
static const struct {
    const char *name, *text;
    uint32_t running, waiting;
    double kv_usage;
} servers[] = {
    {"vLLM, two engines",
     "# HELP vllm:num_requests_running Number of requests in model execution batches.\n"
     "# TYPE vllm:num_requests_running gauge\n"
     "vllm:num_requests_running{engine=\"0\",model_name=\"a } b\"} 3.0\n"
     "vllm:num_requests_running{engine=\"1\",model_name=\"a } b\"} 4.0\n"
     "vllm:num_requests_waiting{engine=\"0\",model_name=\"m\"} 2.0\n"
     "vllm:num_requests_waiting_by_reason{engine=\"0\",reason=\"capacity\"} 9.0\n"
     "vllm:kv_cache_usage_perc{engine=\"0\"} 0.25\n"
     "vllm:kv_cache_usage_perc{engine=\"1\"} 0.5\n",
     7, 2, 0.5},
    {"SGLang",
     "sglang:num_running_reqs{model_name=\"m\"} 5\nsglang:num_queue_reqs{model_name=\"m\"} 1\n"
     "sglang:token_usage{model_name=\"m\"} 0.125\n",
     5, 1, 0.125},
    {"llama.cpp",
     "llamacpp:prompt_tokens_total 100\nllamacpp:requests_processing "
     "2\r\nllamacpp:requests_deferred 6",
     2, 6, 0},
    {"TensorRT-LLM",
     "trtllm_num_requests_running{engine_type=\"x\"} 1.0\ntrtllm_num_requests_waiting 0\n"
     "trtllm_kv_cache_utilization 7\n",
     1, 0, 1},
    {"broken numbers beside a good one",
     "vllm:num_requests_running one\nvllm:num_requests_running{ 5\nvllm:num_requests_running -5\n"
     "vllm:num_requests_waiting 3 1700000000\n",
     0, 3, 0},
};

static void the_load_of_each_kind_of_server_is_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(servers) / sizeof(servers[0]); i++) {
        struct upstream_load load;

        if (!upstream_metrics_read(text_slice_of(servers[i].text), &load) ||
            load.running != servers[i].running || load.waiting != servers[i].waiting ||
            load.kv_usage != servers[i].kv_usage)
            fail_msg("%s: %u running, %u waiting, %f", servers[i].name, load.running, load.waiting,
                     load.kv_usage);
    }
}

static void a_text_without_the_names_is_told_apart(void **state)
{
    struct upstream_load load;

    (void)state;
    assert_false(
        upstream_metrics_read(text_slice_of("process_cpu_seconds_total 5\n# vllm:\n"), &load));
    assert_false(upstream_metrics_read(text_slice_of(""), &load));
    assert_false(upstream_metrics_read(text_slice_of("vllm:num_requests_running"), &load));
    assert_false(upstream_metrics_read(text_slice_of("vllm:num_requests_running nan"), &load));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_load_of_each_kind_of_server_is_read),
        cmocka_unit_test(a_text_without_the_names_is_told_apart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
