# Programs that tests of the engine drive; built with the rest, never installed.
add_executable(tokenize_tool ${CMAKE_SOURCE_DIR}/tests/support/tokenize_tool.c)
target_include_directories(tokenize_tool PRIVATE ${CMAKE_SOURCE_DIR}/engine/text)
target_link_libraries(tokenize_tool PRIVATE engine_text base PkgConfig::JANSSON)

add_executable(template_tool ${CMAKE_SOURCE_DIR}/tests/support/template_tool.c)
target_link_libraries(template_tool PRIVATE engine_text base PkgConfig::JANSSON)

add_executable(logits_tool tests/support/logits_tool.c tests/parity/log_softmax.c)
target_include_directories(logits_tool PRIVATE ${CMAKE_SOURCE_DIR}/tests/parity)
target_link_libraries(logits_tool PRIVATE engine_model engine_text kernels base m)
