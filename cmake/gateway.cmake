# What stands beside and above the engine: the scheduler, the gateway and the program. Included by CMakeLists.txt, and part of
# its table of directions: a line may name only lines above it.
pkg_check_modules(CURL REQUIRED IMPORTED_TARGET libcurl)
penstock_module(base_http FOLDER base/http DEPENDS base LIBRARIES PkgConfig::CURL Threads::Threads)
penstock_module(scheduler FOLDER scheduler DEPENDS base LIBRARIES m)
# The same decisions on every machine: no fused multiplication and addition where one has it.
target_compile_options(scheduler PRIVATE -ffp-contract=off)
penstock_module(scheduler_sim FOLDER scheduler/sim DEPENDS scheduler base LIBRARIES m)
target_compile_options(scheduler_sim PRIVATE -ffp-contract=off)

pkg_check_modules(OPENSSL REQUIRED IMPORTED_TARGET openssl)
penstock_module(scheduler_slurm FOLDER scheduler/slurm DEPENDS scheduler base_http base
  LIBRARIES PkgConfig::JANSSON PkgConfig::OPENSSL Threads::Threads)
pkg_check_modules(HWLOC REQUIRED IMPORTED_TARGET hwloc)
penstock_module(scheduler_local FOLDER scheduler/local DEPENDS scheduler base
  LIBRARIES PkgConfig::HWLOC Threads::Threads ${CMAKE_DL_LIBS})
penstock_module(scheduler_kube FOLDER scheduler/kube DEPENDS scheduler base_http base
  LIBRARIES PkgConfig::JANSSON PkgConfig::YAML Threads::Threads m)

pkg_check_modules(H2O REQUIRED IMPORTED_TARGET libh2o-evloop)
penstock_module(gateway_shared FOLDER gateway/shared DEPENDS base LIBRARIES Threads::Threads m)
penstock_module(gateway_http FOLDER gateway/http DEPENDS base_http base LIBRARIES PkgConfig::H2O PkgConfig::OPENSSL)
penstock_module(gateway_config FOLDER gateway/config DEPENDS gateway_http scheduler_local scheduler engine_text base LIBRARIES PkgConfig::OPENSSL)
penstock_module(gateway_bench FOLDER gateway/bench DEPENDS scheduler base_http base LIBRARIES PkgConfig::JANSSON m)
penstock_module(gateway_top FOLDER gateway/top DEPENDS base LIBRARIES PkgConfig::JANSSON Threads::Threads m)
penstock_module(gateway_pull FOLDER gateway/pull DEPENDS base_http base LIBRARIES PkgConfig::JANSSON PkgConfig::OPENSSL)
pkg_check_modules(SQLITE REQUIRED IMPORTED_TARGET sqlite3)
penstock_module(gateway_observe FOLDER gateway/observe DEPENDS gateway_config gateway_http base_http base
  LIBRARIES PkgConfig::JANSSON PkgConfig::SQLITE Threads::Threads m)
penstock_module(gateway_api FOLDER gateway/api
  DEPENDS gateway_http engine engine_grammar engine_text engine_sample base LIBRARIES PkgConfig::JANSSON m)
penstock_module(gateway_serving FOLDER gateway/serving
  DEPENDS gateway_observe gateway_api gateway_config gateway_http gateway_shared engine engine_kv engine_encoder engine_grammar
    engine_text engine_sample base_http base
  LIBRARIES PkgConfig::JANSSON PkgConfig::OPENSSL m)
pkg_check_modules(POSTGRES REQUIRED IMPORTED_TARGET libpq)
pkg_check_modules(REDIS REQUIRED IMPORTED_TARGET hiredis)
penstock_module(gateway_state FOLDER gateway/state
  DEPENDS gateway_config gateway_http base LIBRARIES PkgConfig::SQLITE PkgConfig::POSTGRES PkgConfig::REDIS)
penstock_module(gateway_identity FOLDER gateway/identity
  DEPENDS gateway_state gateway_config gateway_http base_http base LIBRARIES PkgConfig::OPENSSL PkgConfig::JANSSON m)
penstock_module(gateway_records FOLDER gateway/records
  DEPENDS gateway_identity gateway_state gateway_config gateway_http base LIBRARIES PkgConfig::OPENSSL PkgConfig::JANSSON)
penstock_module(gateway_admission FOLDER gateway/admission DEPENDS gateway_identity gateway_state gateway_config gateway_http base LIBRARIES m)
# The dashboard page is part of the program: its files become arrays.
file(GLOB dashboard_page CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/gateway/dashboard/page/*)
set(dashboard_data ${CMAKE_BINARY_DIR}/dashboard_data.c)
add_custom_command(OUTPUT ${dashboard_data} VERBATIM
  COMMAND ${CMAKE_COMMAND} -DFOLDER=${CMAKE_SOURCE_DIR}/gateway/dashboard/page -DOUT=${dashboard_data} -P cmake/embed.cmake
  WORKING_DIRECTORY ${CMAKE_SOURCE_DIR} DEPENDS ${dashboard_page} cmake/embed.cmake)
penstock_module(gateway_dashboard FOLDER gateway/dashboard DEPENDS base)
target_sources(gateway_dashboard PRIVATE ${dashboard_data})
penstock_module(gateway_edge FOLDER gateway/edge
  DEPENDS gateway_dashboard gateway_observe gateway_records gateway_admission gateway_identity gateway_state gateway_api gateway_config gateway_http base_http gateway_shared scheduler_local scheduler_slurm scheduler_kube scheduler base engine engine_grammar engine_text engine_sample
  LIBRARIES PkgConfig::JANSSON PkgConfig::OPENSSL m)

file(GLOB penstock_main CONFIGURE_DEPENDS gateway/*.c)
if(penstock_main)
  add_executable(penstock ${penstock_main})
  target_link_libraries(penstock PRIVATE gateway_edge gateway_dashboard gateway_records gateway_admission gateway_identity gateway_state gateway_serving gateway_observe gateway_bench gateway_top gateway_pull gateway_api gateway_config gateway_http
    gateway_shared scheduler_sim scheduler_local scheduler_slurm scheduler_kube scheduler base_http engine engine_encoder engine_model engine_grammar engine_text engine_sample kernels base PkgConfig::H2O PkgConfig::OPENSSL)
  target_include_directories(penstock PRIVATE gateway)
  # Many threads, many small short-lived blocks: jemalloc keeps the resident size steady. Sanitizers bring an allocator.
  pkg_check_modules(JEMALLOC IMPORTED_TARGET jemalloc)
  if(JEMALLOC_FOUND AND NOT PENSTOCK_SANITIZE)
    target_link_libraries(penstock PRIVATE PkgConfig::JEMALLOC)
  endif()
endif()

include(tests/support/targets.cmake)
include(tests/fuzz/targets.cmake)
add_subdirectory(bench/serving)
include(cmake/install.cmake)
