# Instruction sets, file by file: only these files may use them, and they run only after cpu_kernels_find has asked the CPU.
# They are optimised in every build type, since a model is not usable with kernels at -O0. Contraction is allowed here and
# nowhere else; -ffast-math never is.
set(kernel_flags -O3 -ffp-contract=fast -fno-math-errno)
if(PENSTOCK_FUZZ)
  # No fuzz target runs them, and clang takes minutes and gigabytes to instrument fully unrolled loops.
  list(APPEND kernel_flags -fno-sanitize=all)
endif()
set(kernel_flags_avx2 -mavx2 -mfma -mf16c)
set(kernel_flags_avx512 -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx2 -mfma -mf16c -mprefer-vector-width=512)
function(kernel_file name)
  set_source_files_properties(${CMAKE_SOURCE_DIR}/kernels/cpu/${name}.c PROPERTIES COMPILE_OPTIONS
    "${kernel_flags};${ARGN}")
endfunction()
foreach(part rows attention encoder float_gemm quantise)
  kernel_file(${part}_avx2 ${kernel_flags_avx2})
  kernel_file(${part}_avx512 ${kernel_flags_avx512})
endforeach()
foreach(part gemm attention_int8)
  kernel_file(${part}_avx2 ${kernel_flags_avx2})
  kernel_file(${part}_avx_vnni ${kernel_flags_avx2} -mavxvnni)
  kernel_file(${part}_avx512_vnni ${kernel_flags_avx512} -mavx512vnni)
endforeach()
# Its tile instructions are assembly; the assembler knows them without a flag.
kernel_file(gemm_amx ${kernel_flags_avx512} -mavx512vnni)
# The oracle runs inside every comparison; unoptimised it would take most of the tests' time.
file(GLOB kernel_oracle CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/kernels/reference/*.c)
set_source_files_properties(${kernel_oracle} ${CMAKE_SOURCE_DIR}/kernels/tensor_type.c PROPERTIES COMPILE_OPTIONS "-O2")
