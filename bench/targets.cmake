add_executable(kernel_bench bench/kernels/kernel_bench.c bench/kernels/roofs.c)
target_include_directories(kernel_bench PRIVATE kernels bench/kernels)
target_link_libraries(kernel_bench PRIVATE kernels base PkgConfig::JANSSON m)
