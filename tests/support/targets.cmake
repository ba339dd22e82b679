# Programs that tests drive; built with the rest, never installed.
add_executable(tokenize_tool ${CMAKE_SOURCE_DIR}/tests/support/tokenize_tool.c)
target_include_directories(tokenize_tool PRIVATE ${CMAKE_SOURCE_DIR}/engine/text)
target_link_libraries(tokenize_tool PRIVATE engine_text base PkgConfig::JANSSON)

add_executable(http_echo tests/support/http_echo.c)
target_link_libraries(http_echo PRIVATE gateway_http base PkgConfig::H2O PkgConfig::OPENSSL)
add_executable(template_tool ${CMAKE_SOURCE_DIR}/tests/support/template_tool.c)
target_link_libraries(template_tool PRIVATE engine_text base PkgConfig::JANSSON)

add_executable(http_attack tests/support/http_attack.c)

add_executable(logits_tool tests/support/logits_tool.c tests/parity/log_softmax.c)
target_include_directories(logits_tool PRIVATE ${CMAKE_SOURCE_DIR}/tests/parity)
target_link_libraries(logits_tool PRIVATE engine_model engine_text kernels base m)
