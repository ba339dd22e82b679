# Programs that tests of scheduler and gateway drive; built with the rest, never installed.
add_executable(http_echo tests/support/http_echo.c)
target_link_libraries(http_echo PRIVATE gateway_http base PkgConfig::H2O PkgConfig::OPENSSL)
add_executable(http_attack tests/support/http_attack.c)

add_executable(slurm_tool tests/support/slurm_tool.c)
target_link_libraries(slurm_tool PRIVATE scheduler_slurm scheduler base PkgConfig::JANSSON Threads::Threads)

# The driver's library of a machine that has GPUs, opened by the tests of what reads it.
if(TARGET nvml_source_test)
  foreach(variant fake_nvml fake_nvml_old)
    add_library(${variant} MODULE tests/support/fake_nvml.c)
    target_include_directories(${variant} PRIVATE scheduler/local)
    add_dependencies(nvml_source_test ${variant})
    foreach(test local_member_test local_cores_test local_devices_test local_memory_test)
      add_dependencies(${test} ${variant})
    endforeach()
  endforeach()
  target_compile_definitions(fake_nvml_old PRIVATE FAKE_NVML_OLD)
endif()

if(TARGET scheduler_local)
  add_executable(sandbox_tool tests/support/sandbox_tool.c)
  target_link_libraries(sandbox_tool PRIVATE scheduler_local scheduler base)
endif()
add_executable(kube_tool tests/support/kube_tool.c)
target_link_libraries(kube_tool PRIVATE scheduler_kube scheduler base PkgConfig::JANSSON Threads::Threads)

add_executable(join_tool tests/support/join_tool.c)
target_include_directories(join_tool PRIVATE gateway/edge)
target_link_libraries(join_tool PRIVATE gateway_edge gateway_dashboard gateway_observe gateway_records gateway_admission gateway_identity gateway_state gateway_api
  gateway_config gateway_http base_http gateway_shared scheduler engine engine_grammar engine_text engine_sample base
  PkgConfig::JANSSON)
