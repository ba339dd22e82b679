# The CUDA backend: two shared objects from the same kernels, found at run time (kernels/device_library.c); nothing links
# them.
#   penstock-cuda-emulated   kernels by the host's C++ compiler, run by emulator/, on runtime/fake_*: no GPU, always built
#   penstock-cuda            kernels by nvcc, on runtime/cuda_* (and nccl_*): where PENSTOCK_CUDA is on
# Tests (*_test.c, *_test.cpp) run on the first; `cuda-programs` builds them for the second too (x_test_gpu), to be run where
# a GPU is.
set(cuda_folder ${CMAKE_SOURCE_DIR}/kernels/cuda)
enable_language(CXX)
set(CMAKE_CXX_STANDARD 17)

set(cuda_includes ${cuda_folder} ${cuda_folder}/runtime ${cuda_folder}/backend ${CMAKE_SOURCE_DIR}/kernels
  ${CMAKE_SOURCE_DIR}/include/kernels ${CMAKE_SOURCE_DIR}/include/base)
set(cuda_cxx_options -Wall -Wextra -Wshadow -fno-exceptions)
if(PENSTOCK_WERROR)
  list(APPEND cuda_cxx_options -Werror)
endif()

file(GLOB_RECURSE cuda_files CONFIGURE_DEPENDS ${cuda_folder}/*.c ${cuda_folder}/*.cpp ${cuda_folder}/*.cu)
function(cuda_files_that_match out pattern)
  set(files ${cuda_files})
  list(FILTER files INCLUDE REGEX "${pattern}")
  set(${out} ${files} PARENT_SCOPE)
endfunction()
cuda_files_that_match(cuda_tests "_test\\.(c|cpp)$")
cuda_files_that_match(cuda_testing "_testing\\.(c|cpp)$")
list(FILTER cuda_files EXCLUDE REGEX "_(test|testing)\\.(c|cpp)$")
cuda_files_that_match(cuda_emulated_files "/(emulator/[^/]*|runtime/fake_[^/]*)\\.(c|cpp)$")
cuda_files_that_match(cuda_real_files "/runtime/(cuda|nccl)_[^/]*\\.(c|cpp)$")
cuda_files_that_match(cuda_kernels "\\.cu$")
set(cuda_shared_files ${cuda_files})
list(REMOVE_ITEM cuda_shared_files ${cuda_emulated_files} ${cuda_real_files} ${cuda_kernels})

# The sampler's tokens are those of the host's sampler, bit for bit: no fused multiplication and addition.
cuda_files_that_match(cuda_unfused_kernels "/sampling[^/]*\\.cu$")
set_source_files_properties(${cuda_unfused_kernels} PROPERTIES COMPILE_OPTIONS -ffp-contract=off)

# Many instances of long functions: following their variables takes half of the compiler's time, and checks of
# undefined behaviour make that minutes. AddressSanitizer stays.
cuda_files_that_match(cuda_long_kernels "/attention_(split|long)\\.cu$")
set(cuda_long_options)
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
  list(APPEND cuda_long_options -fno-var-tracking)
endif()
if(PENSTOCK_SANITIZE)
  list(APPEND cuda_long_options -fno-sanitize=undefined -O1)
endif()
set_source_files_properties(${cuda_long_kernels} PROPERTIES COMPILE_OPTIONS "${cuda_long_options}")

# cuda_target(name): what every target here has.
function(cuda_target name)
  target_include_directories(${name} PRIVATE ${cuda_includes})
  target_compile_options(${name} PRIVATE "$<$<COMPILE_LANGUAGE:CXX>:${cuda_cxx_options}>")
endfunction()

# Loops over fragments of matrices are worth vectors.
set_source_files_properties(${cuda_folder}/emulator/warp.cpp PROPERTIES COMPILE_OPTIONS -O3)

# --- the emulated one. Optimised in every build type: kernels at -O0 would take the tests' time. ---
set_source_files_properties(${cuda_kernels} PROPERTIES LANGUAGE CXX)
add_library(kernels_cuda_emulated STATIC ${cuda_kernels} ${cuda_shared_files} ${cuda_emulated_files})
cuda_target(kernels_cuda_emulated)
target_include_directories(kernels_cuda_emulated PUBLIC ${cuda_folder}/emulator)
target_compile_options(kernels_cuda_emulated PRIVATE -O2)
target_link_libraries(kernels_cuda_emulated PUBLIC kernels base Threads::Threads m)

function(cuda_module name)
  cuda_target(${name})
  target_link_options(${name} PRIVATE -Wl,--version-script=${cuda_folder}/exports.map)
  set_target_properties(${name} PROPERTIES LINKER_LANGUAGE CXX LINK_DEPENDS ${cuda_folder}/exports.map)
endfunction()
add_library(penstock-cuda-emulated MODULE $<TARGET_OBJECTS:kernels_cuda_emulated>)
cuda_module(penstock-cuda-emulated)
target_link_libraries(penstock-cuda-emulated PRIVATE kernels base Threads::Threads m)

# What a program needs that calls kernels (launch functions, device_runtime.h) of `library`.
function(cuda_program name library)
  cuda_target(${name})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests/support ${CMOCKA_INCLUDE})
  target_link_libraries(${name} PRIVATE ${library} kernels base m)
endfunction()
foreach(source ${cuda_tests})
  get_filename_component(test ${source} NAME_WE)
  add_executable(${test} ${source} ${cuda_testing})
  cuda_program(${test} kernels_cuda_emulated)
  target_link_libraries(${test} PRIVATE ${CMOCKA_LIBRARY})
  target_compile_options(${test} PRIVATE -O1)
  add_test(NAME kernels_cuda/${test} COMMAND ${test} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(kernels_cuda/${test} PROPERTIES LABELS "unit;cuda")
endforeach()

# Programs for the device: built by this target alone.
add_custom_target(cuda-programs)
include(kernels/cuda/nvcc.cmake)

# The device's sampler is compared with the engine's.
foreach(test sampling_test sampling_test_gpu)
  if(TARGET ${test})
    target_link_libraries(${test} PRIVATE engine_sample)
    target_include_directories(${test} PRIVATE ${CMAKE_SOURCE_DIR}/engine/sample)
  endif()
endforeach()

# penstock_cuda_program(name source...): a program that calls kernels, twice: NAME_emulated, and for the device NAME (of the target
# cuda-programs), where nvcc is.
function(penstock_cuda_program name)
  add_executable(${name}_emulated EXCLUDE_FROM_ALL ${ARGN})
  cuda_program(${name}_emulated kernels_cuda_emulated)
  if(TARGET kernels_cuda)
    add_executable(${name} EXCLUDE_FROM_ALL ${ARGN})
    cuda_program(${name} kernels_cuda)
    add_dependencies(cuda-programs ${name})
  endif()
endfunction()
