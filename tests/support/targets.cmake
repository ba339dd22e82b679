# Programs that tests drive; built with the rest, never installed.
add_executable(tokenize_tool ${CMAKE_SOURCE_DIR}/tests/support/tokenize_tool.c)
target_include_directories(tokenize_tool PRIVATE ${CMAKE_SOURCE_DIR}/engine/text)
target_link_libraries(tokenize_tool PRIVATE engine_text base PkgConfig::JANSSON)
