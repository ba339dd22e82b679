# What the benchmarks of kernels and engine share: the machine's description and its limits.
add_library(bench_machine STATIC bench/machine/machine.c bench/machine/roofs.c bench/machine/peaks.c)
target_include_directories(bench_machine PUBLIC bench/machine PRIVATE kernels)
target_link_libraries(bench_machine PUBLIC kernels base PkgConfig::JANSSON)

file(GLOB kernel_bench_sources CONFIGURE_DEPENDS bench/kernels/*.c)
add_executable(kernel_bench ${kernel_bench_sources})
target_include_directories(kernel_bench PRIVATE kernels bench/kernels)
target_link_libraries(kernel_bench PRIVATE bench_machine kernels base PkgConfig::JANSSON m)

file(GLOB engine_bench_sources CONFIGURE_DEPENDS bench/engine/*.c)
add_executable(engine_bench ${engine_bench_sources})
target_link_libraries(engine_bench PRIVATE bench_machine engine engine_grammar engine_model engine_batch engine_kv engine_sample kernels
  engine_text base PkgConfig::JANSSON m)

# Log-probabilities for bench/accuracy/accuracy.py; llama_scores.c beside it is compiled by the script.
add_executable(penstock_scores bench/accuracy/penstock_scores.c bench/accuracy/scores.c tests/parity/forced_model.c
  tests/parity/log_softmax.c)
target_include_directories(penstock_scores PRIVATE bench/accuracy tests/parity)
target_link_libraries(penstock_scores PRIVATE engine_model engine_text kernels base m)

add_executable(grammar_bench bench/grammar/grammar_bench.c)
target_link_libraries(grammar_bench PRIVATE engine_grammar engine_model engine_text kernels base PkgConfig::JANSSON m)

# The whole engine on a backend, for tools/gpu-check.
add_executable(gpu_bench bench/gpu/gpu_bench.c bench/gpu/engine_crowd.c)
target_link_libraries(gpu_bench PRIVATE engine engine_grammar engine_model engine_batch engine_kv engine_sample kernels
  engine_text base PkgConfig::JANSSON m)

add_executable(gpu_kernels bench/gpu/gpu_kernels.c)
target_include_directories(gpu_kernels PRIVATE kernels)
target_link_libraries(gpu_kernels PRIVATE kernels base PkgConfig::JANSSON m)

if(PENSTOCK_ENGINE_ONLY)
  return()
endif()

# The server behind the gateways that bench/gateway/gateway.py compares.
add_executable(gateway_upstream bench/gateway/upstream.c)
target_link_libraries(gateway_upstream PRIVATE gateway_http base PkgConfig::H2O PkgConfig::OPENSSL)

# What placement costs on a pool of ten thousand slices.
add_executable(placement_bench bench/placement/placement_bench.c)
target_link_libraries(placement_bench PRIVATE scheduler base)

# What a scrape of a large gateway costs.
add_executable(scrape_bench bench/metrics/scrape_bench.c)
target_include_directories(scrape_bench PRIVATE gateway/edge)
target_link_libraries(scrape_bench PRIVATE gateway_edge gateway_records gateway_admission gateway_identity gateway_state
  gateway_serving gateway_observe gateway_api gateway_config gateway_http gateway_shared scheduler base)
