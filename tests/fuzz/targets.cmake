# One line a fuzz target: penstock_fuzz(name modules...). See tests/fuzz/README.md.
penstock_fuzz(fuzz_json base PkgConfig::JANSSON)
penstock_fuzz(fuzz_settings base)
penstock_fuzz(fuzz_gguf engine_model engine_text kernels base)
penstock_fuzz(fuzz_openai_request gateway_api engine engine_grammar engine_text engine_sample base PkgConfig::JANSSON)
penstock_fuzz(fuzz_kv engine_kv base)
penstock_fuzz(fuzz_stop_matcher engine_text base PkgConfig::JANSSON)
penstock_fuzz(fuzz_tokenizer engine_text base PkgConfig::JANSSON)
penstock_fuzz(fuzz_output_parser engine_text base PkgConfig::JANSSON)
penstock_fuzz(fuzz_chat_template engine_text base PkgConfig::JANSSON)
penstock_fuzz(fuzz_safetensors engine_model engine_text base PkgConfig::JANSSON)
penstock_fuzz(fuzz_weight_cache engine_model kernels base)
target_include_directories(fuzz_weight_cache PRIVATE engine/model) # the format is the module's own
