# The module graph. A module sees its own folder, its public headers in include/<folder>, and the public headers of the
# modules it names in DEPENDS; nothing else, so a forbidden #include does not compile. This file and the table in
# CMakeLists.txt are the one place that states the directions.

# penstock_module(name FOLDER folder [DEPENDS module...] [LIBRARIES library...] [RECURSE] [EXCLUDE folder...])
# Sources are the folder's *.c (its sub-folders are modules of their own; with RECURSE part of it, but those of EXCLUDE), unit
# tests its *_test.c. A test names the functions it replaces at link time in a line "/* WRAP: calloc read */" (fault
# injection, fake clock).
function(penstock_module name)
  cmake_parse_arguments(M "RECURSE" "FOLDER" "DEPENDS;LIBRARIES;TEST_DEPENDS;EXCLUDE" ${ARGN})
  set(glob GLOB)
  if(M_RECURSE)
    set(glob GLOB_RECURSE)
  endif()
  file(${glob} sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${M_FOLDER}/*.c)
  foreach(folder ${M_EXCLUDE})
    list(FILTER sources EXCLUDE REGEX "^${CMAKE_SOURCE_DIR}/${folder}/")
  endforeach()
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "_test\\.c$")
  list(FILTER sources EXCLUDE REGEX "/main\\.c$")
  list(FILTER tests INCLUDE REGEX "_test\\.c$")
  if(NOT sources)
    return()
  endif()
  add_library(${name} STATIC ${sources})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/${M_FOLDER}
    INTERFACE ${CMAKE_SOURCE_DIR}/include/${M_FOLDER})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/include/${M_FOLDER})
  target_link_libraries(${name} PRIVATE ${M_DEPENDS} ${M_LIBRARIES})
  foreach(source ${tests})
    get_filename_component(test ${source} NAME_WE)
    add_executable(${test} ${source})
    target_include_directories(${test} PRIVATE ${CMAKE_SOURCE_DIR}/${M_FOLDER}
      ${CMAKE_SOURCE_DIR}/tests/support ${CMOCKA_INCLUDE})
    target_link_libraries(${test} PRIVATE ${name} ${M_DEPENDS} ${M_LIBRARIES} ${M_TEST_DEPENDS} ${CMOCKA_LIBRARY})
    file(STRINGS ${source} wrap REGEX "^/\\* WRAP:")
    if(wrap)
      string(REGEX REPLACE "^/\\* WRAP:(.*)\\*/.*" "\\1" wrap "${wrap}")
      separate_arguments(wrap)
      foreach(symbol ${wrap})
        target_link_options(${test} PRIVATE -Wl,--wrap=${symbol})
      endforeach()
    endif()
    add_test(NAME ${name}/${test} COMMAND ${test} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(${name}/${test} PROPERTIES LABELS "unit;${name}")
  endforeach()
endfunction()

# penstock_fuzz(name module...): tests/fuzz/<name>.c, seeds in tests/fuzz/seeds/<name>/. With libFuzzer (preset fuzz) it
# fuzzes; in every other preset the same file is linked with a small driver that replays the seeds.
function(penstock_fuzz name)
  set(source ${CMAKE_SOURCE_DIR}/tests/fuzz/${name}.c)
  if(PENSTOCK_FUZZ)
    add_executable(${name} ${source})
    target_link_options(${name} PRIVATE -fsanitize=fuzzer,address,undefined)
  else()
    add_executable(${name} ${source} ${CMAKE_SOURCE_DIR}/tests/fuzz/replay_driver.c)
    add_test(NAME fuzz/${name} COMMAND ${name} ${CMAKE_SOURCE_DIR}/tests/fuzz/seeds/${name})
    set_tests_properties(fuzz/${name} PROPERTIES LABELS "fuzz")
  endif()
  target_link_libraries(${name} PRIVATE ${ARGN})
endfunction()
