# The shared object for GPUs. nvcc is called by rules of our own, not by CMake's language: each kernel file leaves beside its
# object what ptxas says of registers and spills, and the PTX; tools/cuda-gate reads both.
find_program(PENSTOCK_NVCC nvcc PATHS /usr/local/cuda/bin)
set(cuda_is_default OFF)
if(PENSTOCK_NVCC AND NOT PENSTOCK_SANITIZE AND NOT CMAKE_BUILD_TYPE STREQUAL "Debug")
  set(cuda_is_default ON)
endif()
option(PENSTOCK_CUDA "Build the CUDA backend for GPUs (needs nvcc)" ${cuda_is_default})
if(NOT PENSTOCK_CUDA)
  return()
endif()
if(NOT PENSTOCK_NVCC)
  message(FATAL_ERROR "PENSTOCK_CUDA needs nvcc, which is neither on PATH nor in /usr/local/cuda/bin")
endif()
get_filename_component(cuda_home ${PENSTOCK_NVCC} REALPATH)
get_filename_component(cuda_home ${cuda_home}/../.. ABSOLUTE)

# Compute capability 8.0 (A100), 9.0 with its own instructions (H100, H200), 10.0 (B200), and PTX for later ones.
set(cuda_nvcc_options -std=c++17 -O3 --expt-relaxed-constexpr -Xcompiler -fPIC -Xptxas -v
  -gencode=arch=compute_80,code=sm_80 -gencode=arch=compute_90a,code=sm_90a
  -gencode=arch=compute_100,code=[sm_100,compute_100])
if(PENSTOCK_WERROR)
  list(APPEND cuda_nvcc_options -Werror all-warnings)
endif()
foreach(folder ${cuda_includes})
  list(APPEND cuda_nvcc_options -I${folder})
endforeach()

set(cuda_objects)
foreach(source ${cuda_kernels})
  get_filename_component(name ${source} NAME_WE)
  set(folder ${CMAKE_BINARY_DIR}/cuda/${name})
  file(MAKE_DIRECTORY ${folder})
  set(unfused)
  if(source IN_LIST cuda_unfused_kernels)
    set(unfused -fmad=false)
  endif()
  add_custom_command(OUTPUT ${folder}/${name}.o
    COMMAND ${CMAKE_SOURCE_DIR}/kernels/cuda/nvcc_compile ${folder}/${name} ${PENSTOCK_NVCC} ${cuda_nvcc_options} ${unfused} ${source}
    DEPENDS ${source} ${CMAKE_SOURCE_DIR}/kernels/cuda/nvcc_compile
    DEPFILE ${folder}/${name}.d
    COMMENT "nvcc ${name}.cu" VERBATIM)
  list(APPEND cuda_objects ${folder}/${name}.o)
endforeach()
set_source_files_properties(${cuda_objects} PROPERTIES EXTERNAL_OBJECT TRUE GENERATED TRUE)
add_custom_target(cuda-objects DEPENDS ${cuda_objects})

find_library(cuda_cublaslt cublasLt PATHS ${cuda_home}/lib64 ${cuda_home}/lib64/stubs NO_DEFAULT_PATH REQUIRED)
find_library(cuda_runtime cudart_static PATHS ${cuda_home}/lib64 NO_DEFAULT_PATH REQUIRED)
add_library(kernels_cuda STATIC ${cuda_objects} ${cuda_shared_files} ${cuda_real_files})
cuda_target(kernels_cuda)
set_target_properties(kernels_cuda PROPERTIES LINKER_LANGUAGE CXX)
target_include_directories(kernels_cuda SYSTEM PRIVATE ${cuda_home}/include)
target_link_libraries(kernels_cuda PUBLIC kernels base ${cuda_cublaslt} ${cuda_runtime} Threads::Threads ${CMAKE_DL_LIBS} rt m)

add_library(penstock-cuda MODULE $<TARGET_OBJECTS:kernels_cuda> ${cuda_objects})
cuda_module(penstock-cuda)
target_link_libraries(penstock-cuda PRIVATE kernels base ${cuda_cublaslt} ${cuda_runtime} Threads::Threads ${CMAKE_DL_LIBS} rt m)

# The same tests for the device, label gpu: CI does not run them, tools/gpu-check does. Those of the emulator and of the host's
# runtime are left out.
foreach(source ${cuda_tests})
  if(source MATCHES "/emulator/|/fake_[^/]*$")
    continue()
  endif()
  get_filename_component(test ${source} NAME_WE)
  add_executable(${test}_gpu EXCLUDE_FROM_ALL ${source} ${cuda_testing})
  cuda_program(${test}_gpu kernels_cuda)
  target_link_libraries(${test}_gpu PRIVATE ${CMOCKA_LIBRARY})
  add_dependencies(cuda-programs ${test}_gpu)
  add_test(NAME kernels_cuda/${test}_gpu COMMAND ${test}_gpu WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(kernels_cuda/${test}_gpu PROPERTIES LABELS gpu)
endforeach()
