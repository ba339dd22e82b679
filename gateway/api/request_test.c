#include "openai.h"

#include "unit_test.h"

static const struct api_limits limits = {
    .messages_max = 4,
    .stops_max = 4,
    .n_max = 8,
    .logit_bias_max = 3,
    .json_depth_max = 32,
    .json_values_max = 500,
    .stop_bytes_max = 16,
    .prompt_bytes_max = 64,
    .grammar_bytes_max = 64,
    .vocabulary = 1000,
    .pins_prompts = true,
};

struct row {
    const char *fields; /* of the body, after the ones that every request needs */
    const char *code;   /* "" : accepted */
    const char *param;  /* of the error; accepted: the ignored fields */
};

#define CHAT_BASE "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
#define TEXT_BASE "{\"model\":\"m\",\"prompt\":\"hi\""

// clang-format off
static const struct row common_rows[] = { /* for both kinds */
    {"", "", ""},
    {"\"temperature\":0", "", ""},
    {"\"temperature\":2", "", ""},
    {"\"temperature\":null", "", ""},
    {"\"temperature\":2.01", "decimal_above_max_value", "temperature"},
    {"\"temperature\":-0.1", "decimal_below_min_value", "temperature"},
    {"\"temperature\":\"hot\"", "invalid_type", "temperature"},
    {"\"temperature\":true", "invalid_type", "temperature"},
    {"\"top_p\":0", "", ""},
    {"\"top_p\":1", "", ""},
    {"\"top_p\":1.1", "decimal_above_max_value", "top_p"},
    {"\"top_p\":-1", "decimal_below_min_value", "top_p"},
    {"\"min_p\":0.5", "", ""},
    {"\"min_p\":2", "decimal_above_max_value", "min_p"},
    {"\"top_n_sigma\":-1", "", ""},
    {"\"top_n_sigma\":1.5", "", ""},
    {"\"top_n_sigma\":-1.5", "decimal_below_min_value", "top_n_sigma"},
    {"\"top_a\":0.2", "", ""},
    {"\"top_a\":1.2", "decimal_above_max_value", "top_a"},
    {"\"typical_p\":1", "", ""},
    {"\"typical_p\":1.1", "decimal_above_max_value", "typical_p"},
    {"\"xtc_probability\":0.5,\"xtc_threshold\":0.1", "", ""},
    {"\"xtc_probability\":-1", "decimal_below_min_value", "xtc_probability"},
    {"\"xtc_threshold\":\"a\"", "invalid_type", "xtc_threshold"},
    {"\"dry_multiplier\":0.8", "", ""},
    {"\"dry_multiplier\":-1", "decimal_below_min_value", "dry_multiplier"},
    {"\"dry_base\":0.5", "decimal_below_min_value", "dry_base"},
    {"\"dry_allowed_length\":0", "integer_below_min_value", "dry_allowed_length"},
    {"\"dry_penalty_last_n\":-1", "", ""},
    {"\"dry_penalty_last_n\":-2", "integer_below_min_value", "dry_penalty_last_n"},
    {"\"dry_sequence_breakers\":[]", "", ""},
    {"\"dry_sequence_breakers\":[\"a\",\"\"]", "invalid_value", "dry_sequence_breakers[1]"},
    {"\"dry_sequence_breakers\":\"a\"", "invalid_type", "dry_sequence_breakers"},
    {"\"mirostat\":0", "", ""},
    {"\"mirostat\":2,\"mirostat_tau\":4,\"mirostat_eta\":0.2", "", ""},
    {"\"mirostat\":1", "unsupported_parameter", "mirostat"},
    {"\"mirostat\":3", "integer_above_max_value", "mirostat"},
    {"\"mirostat_eta\":2", "decimal_above_max_value", "mirostat_eta"},
    {"\"repetition_detection\":{}", "", ""},
    {"\"repetition_detection\":{\"max_pattern_size\":8,\"min_count\":3}", "", ""},
    {"\"repetition_detection\":{\"max_pattern_size\":8}", "integer_below_min_value", "repetition_detection.min_count"},
    {"\"repetition_detection\":{\"min_pattern_size\":8}", "integer_above_max_value", "repetition_detection.min_pattern_size"},
    {"\"repetition_detection\":{\"max_pattern_size\":4097}", "integer_above_max_value", "repetition_detection.max_pattern_size"},
    {"\"repetition_detection\":{\"size\":8}", "", "repetition_detection.size"},
    {"\"repetition_detection\":5", "invalid_type", "repetition_detection"},
    {"\"top_k\":-1", "", ""},
    {"\"top_k\":50", "", ""},
    {"\"top_k\":-2", "integer_below_min_value", "top_k"},
    {"\"top_k\":1.5", "invalid_type", "top_k"},
    {"\"repetition_penalty\":1.1", "", ""},
    {"\"repetition_penalty\":0", "decimal_below_min_value", "repetition_penalty"},
    {"\"repetition_penalty\":11", "decimal_above_max_value", "repetition_penalty"},
    {"\"presence_penalty\":-2", "", ""},
    {"\"presence_penalty\":-2.1", "decimal_below_min_value", "presence_penalty"},
    {"\"frequency_penalty\":2", "", ""},
    {"\"frequency_penalty\":2.1", "decimal_above_max_value", "frequency_penalty"},
    {"\"n\":8", "", ""},
    {"\"n\":9", "integer_above_max_value", "n"},
    {"\"n\":0", "integer_below_min_value", "n"},
    {"\"n\":\"2\"", "invalid_type", "n"},
    {"\"seed\":-5", "", ""},
    {"\"seed\":9223372036854775807", "", ""},
    {"\"seed\":1.5", "invalid_type", "seed"},
    {"\"seed\":9223372036854775808", "invalid_json", ""},
    {"\"max_tokens\":1", "", ""},
    {"\"max_tokens\":2147483647", "", ""},
    {"\"max_tokens\":2147483648", "integer_above_max_value", "max_tokens"},
    {"\"max_tokens\":-1", "integer_below_min_value", "max_tokens"},
    {"\"max_tokens\":\"10\"", "invalid_type", "max_tokens"},
    {"\"min_tokens\":5,\"max_tokens\":5", "", ""},
    {"\"min_tokens\":6,\"max_tokens\":5", "integer_above_max_value", "min_tokens"},
    {"\"min_tokens\":-1", "integer_below_min_value", "min_tokens"},
    {"\"ignore_eos\":true", "", ""},
    {"\"ignore_eos\":1", "invalid_type", "ignore_eos"},
    {"\"stop\":\"END\"", "", ""},
    {"\"stop\":[\"a\",\"b\",\"c\",\"d\"]", "", ""},
    {"\"stop\":[]", "", ""},
    {"\"stop\":null", "", ""},
    {"\"stop\":[\"a\",\"b\",\"c\",\"d\",\"e\"]", "array_above_max_length", "stop"},
    {"\"stop\":\"\"", "invalid_value", "stop"},
    {"\"stop\":[\"a\",\"\"]", "invalid_value", "stop[1]"},
    {"\"stop\":[1]", "invalid_type", "stop[0]"},
    {"\"stop\":5", "invalid_type", "stop"},
    {"\"stop\":\"0123456789abcdef\"", "", ""},
    {"\"stop\":\"0123456789abcdefg\"", "string_above_max_length", "stop"},
    {"\"stop_token_ids\":[0,999]", "", ""},
    {"\"stop_token_ids\":[1000]", "integer_above_max_value", "stop_token_ids[0]"},
    {"\"stop_token_ids\":[-1]", "integer_below_min_value", "stop_token_ids[0]"},
    {"\"stop_token_ids\":3", "invalid_type", "stop_token_ids"},
    {"\"include_stop_str_in_output\":true", "", ""},
    {"\"logit_bias\":{\"5\":-100,\"6\":100}", "", ""},
    {"\"logit_bias\":{\"5\":-101}", "decimal_below_min_value", "logit_bias.5"},
    {"\"logit_bias\":{\"5\":\"x\"}", "invalid_type", "logit_bias.5"},
    {"\"logit_bias\":{\"five\":1}", "invalid_value", "logit_bias"},
    {"\"logit_bias\":{\"1000\":1}", "invalid_value", "logit_bias"},
    {"\"logit_bias\":{\"-1\":1}", "invalid_value", "logit_bias"},
    {"\"logit_bias\":{\"1\":1,\"2\":1,\"3\":1}", "", ""},
    {"\"logit_bias\":{\"1\":1,\"2\":1,\"3\":1,\"4\":1}", "object_above_max_properties", "logit_bias"},
    {"\"logit_bias\":[1]", "invalid_type", "logit_bias"},
    {"\"stream\":true", "", ""},
    {"\"stream\":\"yes\"", "invalid_type", "stream"},
    {"\"stream\":true,\"stream_options\":{\"include_usage\":true}", "", ""},
    {"\"stream\":true,\"stream_options\":{\"continuous_usage_stats\":true}", "", ""},
    {"\"stream\":true,\"stream_options\":{\"include_usage\":1}", "invalid_type", "stream_options.include_usage"},
    {"\"stream\":true,\"stream_options\":{\"include_obfuscation\":false}", "", ""},
    {"\"stream\":true,\"stream_options\":{\"include_obfuscation\":true}", "", "stream_options.include_obfuscation"},
    {"\"stream\":true,\"stream_options\":{\"x\":1}", "", "stream_options.x"},
    {"\"stream\":true,\"stream_options\":[]", "invalid_type", "stream_options"},
    {"\"stream_options\":{\"include_usage\":true}", "invalid_value", "stream_options"},
    {"\"priority\":-3", "", ""},
    {"\"priority\":2147483648", "integer_above_max_value", "priority"},
    {"\"cache_salt\":\"a\"", "", ""},
    {"\"cache_salt\":\"\"", "invalid_value", "cache_salt"},
    {"\"cache_salt\":7", "invalid_type", "cache_salt"},
    {"\"user\":\"u\"", "", ""},
    {"\"user\":1", "invalid_type", "user"},
    {"\"user\":\"a\\u0000b\"", "invalid_value", "user"},
    {"\"metadata\":{\"k\":\"v\"}", "", ""},
    {"\"metadata\":\"k\"", "invalid_type", "metadata"},
    {"\"safety_identifier\":\"s\"", "", ""},
    {"\"return_token_ids\":true", "", ""},
    {"\"response_format\":{\"type\":\"text\"}", "", ""},
    {"\"response_format\":{\"type\":\"json_object\"}", "", ""},
    {"\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"a\",\"strict\":true,\"schema\":{}}}", "", ""},
    {"\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{}}", "missing_required_parameter", "response_format.json_schema.name"},
    {"\"response_format\":{\"type\":\"json_schema\"}", "missing_required_parameter", "response_format.json_schema"},
    {"\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"a\",\"schema\":7}}", "invalid_type", "response_format.json_schema.schema"},
    {"\"response_format\":{\"type\":\"json_object\"},\"guided_regex\":\"a\"", "invalid_value", "guided_regex"},
    {"\"response_format\":{\"type\":\"xml\"}", "invalid_value", "response_format.type"},
    {"\"response_format\":{}", "missing_required_parameter", "response_format.type"},
    {"\"response_format\":\"text\"", "invalid_type", "response_format"},
    {"\"structured_outputs\":{\"regex\":\"a\"}", "", ""},
    {"\"structured_outputs\":{\"regex\":\"a\",\"choice\":[\"a\"]}", "invalid_value", "structured_outputs.choice"},
    {"\"structured_outputs\":{\"regex\":null,\"json\":\"{}\",\"whitespace_pattern\":\" ?\"}", "", ""},
    {"\"structured_outputs\":{\"choice\":[]}", "empty_array", "structured_outputs.choice"},
    {"\"structured_outputs\":{\"choice\":[1]}", "invalid_type", "structured_outputs.choice[0]"},
    {"\"structured_outputs\":{\"structural_tag\":\"a\"}", "unsupported_parameter", "structured_outputs.structural_tag"},
    {"\"structured_outputs\":\"a\"", "invalid_type", "structured_outputs"},
    {"\"guided_json\":{}", "", ""},
    {"\"guided_json\":7", "invalid_type", "guided_json"},
    {"\"guided_json\":{\"enum\":[\"0123456789012345678901234567890123456789012345678901234567890\"]}", "string_above_max_length", "guided_json"},
    {"\"guided_grammar\":\"root ::= \\\"a\\\"\"", "", ""},
    {"\"prompt_logprobs\":0", "", ""},
    {"\"prompt_logprobs\":20", "", ""},
    {"\"prompt_logprobs\":21", "integer_above_max_value", "prompt_logprobs"},
    {"\"prompt_logprobs\":-1", "integer_below_min_value", "prompt_logprobs"},
    {"\"prompt_logprobs\":1,\"stream\":true", "invalid_value", "prompt_logprobs"},
    {"\"truncate_prompt_tokens\":-1", "", ""},
    {"\"truncate_prompt_tokens\":1", "", ""},
    {"\"truncate_prompt_tokens\":0", "invalid_value", "truncate_prompt_tokens"},
    {"\"truncate_prompt_tokens\":-2", "integer_below_min_value", "truncate_prompt_tokens"},
    {"\"skip_special_tokens\":false", "", ""},
    {"\"skip_special_tokens\":0", "invalid_type", "skip_special_tokens"},
    {"\"return_tokens_as_token_ids\":true", "", ""},
    {"\"best_of\":1", "", ""},
    {"\"best_of\":2", "unsupported_parameter", "best_of"},
    {"\"use_beam_search\":false", "", ""},
    {"\"use_beam_search\":true", "unsupported_parameter", "use_beam_search"},
    {"\"service_tier\":\"auto\"", "", ""},
    {"\"allowed_token_ids\":[1,2]", "", ""},
    {"\"allowed_token_ids\":[1000]", "integer_above_max_value", "allowed_token_ids[0]"},
    {"\"allowed_token_ids\":1", "invalid_type", "allowed_token_ids"},
    {"\"bad_words\":[\"a\",\"b c\"]", "", ""},
    {"\"bad_words\":[\"\"]", "invalid_value", "bad_words[0]"},
    {"\"bad_words\":[1]", "invalid_type", "bad_words[0]"},
    {"\"bad_words\":\"a\"", "invalid_type", "bad_words"},
    {"\"service_tier\":\"flex\"", "", ""},
    {"\"service_tier\":\"fast\"", "", ""},
    {"\"service_tier\":\"first class\"", "invalid_value", "service_tier"},
    {"\"service_tier\":1", "invalid_type", "service_tier"},
    {"\"metadata\":{\"k\":1}", "invalid_type", "metadata.k"},
    {"\"prompt_cache_options\":{\"mode\":\"implicit\"}", "", ""},
    {"\"prompt_cache_options\":{\"mode\":\"explicit\",\"ttl\":\"30m\"}", "", ""},
    {"\"prompt_cache_options\":{\"mode\":\"never\"}", "invalid_value", "prompt_cache_options.mode"},
    {"\"prompt_cache_options\":{\"mode\":1}", "invalid_type", "prompt_cache_options.mode"},
    {"\"prompt_cache_options\":{\"ttl\":\"2h\"}", "invalid_value", "prompt_cache_options.ttl"},
    {"\"prompt_cache_options\":{\"ttl\":2}", "invalid_type", "prompt_cache_options.ttl"},
    {"\"prompt_cache_options\":\"implicit\"", "invalid_type", "prompt_cache_options"},
    {"\"prompt_cache_retention\":\"in-memory\"", "", ""},
    {"\"prompt_cache_retention\":\"1h\"", "invalid_value", "prompt_cache_retention"},
    {"\"prompt_cache_retention\":7", "invalid_type", "prompt_cache_retention"},
    {"\"prompt_cache_retention\":\"in_memory\"", "", ""},
    {"\"prompt_cache_retention\":\"24h\"", "", ""},
    {"\"length_penalty\":1.0", "", ""},
    {"\"prompt_cache_key\":\"k\"", "", ""},
    {"\"prompt_cache_key\":5", "invalid_type", "prompt_cache_key"},
    {"\"no_such_field\":1", "", "no_such_field"},
    {"\"a b\\n\":1,\"c\":2", "", "a?b?,c"},
    {"\"strict\":true,\"no_such_field\":1", "unknown_parameter", "no_such_field"},
    {"\"no_such_field\":1,\"strict\":true", "unknown_parameter", "no_such_field"},
    {"\"strict\":true,\"session_id\":\"k\"", "unsupported_parameter", "session_id"},
    {"\"strict\":true,\"session_id\":\"k\",\"no_such_field\":1", "unsupported_parameter", "session_id"},
    {"\"strict\":true,\"no_such_field\":1,\"temperature\":3", "decimal_above_max_value", "temperature"},
    {"\"strict\":false,\"no_such_field\":1", "", "no_such_field"},
    {"\"strict\":1", "invalid_type", "strict"},
    {"\"temperature\":1,\"temperature\":1", "invalid_json", ""},
    {"\"temperature\":", "invalid_json", ""},
};

#define FUNCTION_F "{\"type\":\"function\",\"function\":{\"name\":\"f\"}}"
#define TOOL_F     "\"tools\":[" FUNCTION_F "]"

static const struct row chat_rows[] = {
    {"\"max_completion_tokens\":7,\"max_tokens\":9", "", ""},
    {"\"max_completion_tokens\":0", "integer_below_min_value", "max_completion_tokens"},
    {"\"max_tokens\":0", "integer_below_min_value", "max_tokens"},
    {"\"logprobs\":true", "", ""},
    {"\"logprobs\":true,\"top_logprobs\":20", "", ""},
    {"\"logprobs\":true,\"top_logprobs\":21", "integer_above_max_value", "top_logprobs"},
    {"\"top_logprobs\":3", "invalid_value", "top_logprobs"},
    {"\"logprobs\":3", "invalid_type", "logprobs"},
    {"\"continue_final_message\":true", "", ""},
    {"\"continue_final_message\":true,\"add_generation_prompt\":true", "invalid_value", "continue_final_message"},
    {"\"add_generation_prompt\":false", "", ""},
    {"\"chat_template_kwargs\":{\"enable_thinking\":false}", "", ""},
    {"\"chat_template_kwargs\":[]", "invalid_type", "chat_template_kwargs"},
    {"\"documents\":[{\"text\":\"d\"}]", "", ""},
    {"\"documents\":[1]", "invalid_type", "documents[0]"},
    {"\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{}}}]", "", ""},
    {"\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}],\"tool_choice\":\"none\"", "", ""},
    {"\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}],\"tool_choice\":\"auto\"", "", ""},
    {"\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}],\"tool_choice\":\"required\"", "", ""},
    {"\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"f\"}}", "invalid_value", "tool_choice"},
    {"\"tool_choice\":\"maybe\"", "invalid_value", "tool_choice"},
    {"\"tool_choice\":1", "invalid_type", "tool_choice"},
    {"\"tools\":[]", "", ""},
    {"\"tools\":[{}]", "missing_required_parameter", "tools[0].type"},
    {"\"tools\":[{\"type\":\"custom\"}]", "unsupported_parameter", "tools[0].type"},
    {"\"tools\":[{\"type\":\"web\"}]", "invalid_value", "tools[0].type"},
    {"\"tools\":[{\"type\":\"function\"}]", "missing_required_parameter", "tools[0].function"},
    {"\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"strict\":1}}]", "invalid_type", "tools[0].function.strict"},
    {"\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"type\":\"string\"}}}]", "invalid_function_parameters", "tools[0].function.parameters"},
    {"\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}},{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]", "invalid_value", "tools[1]"},
    {TOOL_F ",\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"f\"}}", "", ""},
    {TOOL_F ",\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"g\"}}", "invalid_value", "tool_choice.function.name"},
    {TOOL_F ",\"tool_choice\":{\"type\":\"function\"}", "missing_required_parameter", "tool_choice.function.name"},
    {TOOL_F ",\"tool_choice\":{\"type\":\"custom\"}", "invalid_value", "tool_choice.type"},
    {TOOL_F ",\"tool_choice\":{\"type\":\"allowed_tools\",\"allowed_tools\":{\"mode\":\"auto\",\"tools\":[" FUNCTION_F "]}}", "", ""},
    {TOOL_F ",\"tool_choice\":{\"type\":\"allowed_tools\",\"allowed_tools\":{\"mode\":\"all\",\"tools\":[" FUNCTION_F "]}}", "invalid_value", "tool_choice.allowed_tools.mode"},
    {TOOL_F ",\"tool_choice\":{\"type\":\"allowed_tools\",\"allowed_tools\":{\"mode\":\"auto\",\"tools\":[]}}", "empty_array", "tool_choice.allowed_tools.tools"},
    {TOOL_F ",\"tool_choice\":{\"type\":\"allowed_tools\",\"allowed_tools\":{\"mode\":\"auto\"}}", "missing_required_parameter", "tool_choice.allowed_tools.tools"},
    {TOOL_F ",\"functions\":[{\"name\":\"g\"}]", "invalid_value", "functions"},
    {"\"functions\":[{\"name\":\"g\"}],\"function_call\":{\"name\":\"g\"}", "", ""},
    {"\"functions\":[{\"name\":\"g\"}],\"function_call\":{\"name\":\"f\"}", "invalid_value", "function_call.function.name"},
    {"\"functions\":[{\"name\":\"g\"}],\"function_call\":\"required\"", "invalid_value", "function_call"},
    {"\"function_call\":\"none\"", "", ""},
    {"\"function_call\":{\"name\":\"f\"}", "invalid_value", "function_call"},
    {"\"parallel_tool_calls\":1", "invalid_type", "parallel_tool_calls"},
    {"\"reasoning_effort\":\"much\"", "invalid_value", "reasoning_effort"},
    {"\"include_reasoning\":false,\"separate_reasoning\":true", "", ""},
    {"\"include_reasoning\":\"no\"", "invalid_type", "include_reasoning"},
    {"\"thinking_token_budget\":10,\"thinking_budget\":10", "", ""},
    {"\"max_thinking_tokens\":10,\"reasoning_budget\":11", "invalid_value", "reasoning_budget"},
    {"\"thinking_budget_tokens\":-1", "", ""},
    {"\"thinking_budget\":-2", "integer_below_min_value", "thinking_budget"},
    {"\"thinking_budget\":0.5", "invalid_type", "thinking_budget"},
    {"\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"a b\"}}]", "invalid_value", "tools[0].function.name"},
    {"\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":1}}]", "invalid_type", "tools[0].function.parameters"},
    {"\"functions\":[{}]", "missing_required_parameter", "functions[0].name"},
    {"\"modalities\":[\"text\"]", "", ""},
    {"\"modalities\":[\"audio\"]", "unsupported_parameter", "modalities"},
    {"\"reasoning_effort\":\"low\"", "", ""},
    {"\"store\":false", "", ""},
    {"\"store\":true", "", "store"},
    {"\"parallel_tool_calls\":true", "", ""},
    {"\"verbosity\":\"low\"", "", "verbosity"},
    {"\"echo\":true", "unsupported_parameter", "echo"},
    {"\"chat_template\":\"x\"", "unsupported_parameter", "chat_template"},
    {"\"prediction\":{\"type\":\"content\",\"content\":\"a\"}", "", ""},
    {"\"prediction\":{\"type\":\"content\",\"content\":[{\"type\":\"text\",\"text\":\"a\"}]}", "", ""},
    {"\"prediction\":{\"type\":\"content\"}", "missing_required_parameter", "prediction.content"},
    {"\"prediction\":{\"type\":\"content\",\"content\":7}", "invalid_type", "prediction.content"},
    {"\"prediction\":{\"type\":\"content\",\"content\":[{\"type\":\"text\"}]}", "missing_required_parameter",
     "prediction.content[0].text"},
    {"\"prediction\":{\"type\":\"content\",\"content\":[7]}", "invalid_type", "prediction.content[0].text"},
    {"\"prediction\":{\"type\":\"words\",\"content\":\"a\"}", "invalid_value", "prediction.type"},
    {"\"prediction\":\"a\"", "invalid_type", "prediction"},
    {"\"prompt\":\"x\"", "", "prompt"},
};

static const struct row text_rows[] = {
    {"\"max_tokens\":0", "", ""},
    {"\"echo\":true", "", ""},
    {"\"echo\":true,\"logprobs\":1", "", ""},
    {"\"best_of\":2,\"n\":2", "", ""},
    {"\"best_of\":0", "integer_below_min_value", "best_of"},
    {"\"logprobs\":5", "", ""},
    {"\"logprobs\":21", "integer_above_max_value", "logprobs"},
    {"\"logprobs\":true", "invalid_type", "logprobs"},
    {"\"suffix\":\"\"", "", ""},
    {"\"suffix\":\"x\"", "", ""},
    {"\"suffix\":\"x\",\"echo\":true", "invalid_value", "suffix"},
    {"\"suffix\":1", "invalid_type", "suffix"},
    {"\"add_special_tokens\":false", "", ""},
    {"\"max_completion_tokens\":3", "", "max_completion_tokens"},
    {"\"tools\":[]", "", "tools"},
};

static const struct row message_rows[] = { /* fields is the whole list */
    {"[]", "empty_array", "messages"},
    {"{}", "invalid_type", "messages"},
    {"[1]", "invalid_type", "messages[0]"},
    {"[{\"content\":\"x\"}]", "missing_required_parameter", "messages[0].role"},
    {"[{\"role\":\"king\",\"content\":\"x\"}]", "invalid_value", "messages[0].role"},
    {"[{\"role\":3,\"content\":\"x\"}]", "invalid_type", "messages[0].role"},
    {"[{\"role\":\"user\"}]", "missing_required_parameter", "messages[0].content"},
    {"[{\"role\":\"user\",\"content\":null}]", "invalid_type", "messages[0].content"},
    {"[{\"role\":\"user\",\"content\":4}]", "invalid_type", "messages[0].content"},
    {"[{\"role\":\"user\",\"content\":[]}]", "empty_array", "messages[0].content"},
    {"[{\"role\":\"user\",\"content\":[{\"text\":\"x\"}]}]", "missing_required_parameter", "messages[0].content[0].type"},
    {"[{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}]", "missing_required_parameter", "messages[0].content[0].text"},
    {"[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":1}]}]", "invalid_type", "messages[0].content[0].text"},
    {"[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"x\"}}]}]", "invalid_value", "messages[0].content[0].type"},
    {"[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"x\",\"prompt_cache_breakpoint\":{\"mode\":\"explicit\"}}]}]", "", ""},
    {"[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"x\",\"prompt_cache_breakpoint\":{\"mode\":\"implicit\"}}]}]", "invalid_value", "messages[0].content[0].prompt_cache_breakpoint.mode"},
    {"[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"x\",\"prompt_cache_breakpoint\":7}]}]", "invalid_type", "messages[0].content[0].prompt_cache_breakpoint"},
    {"[{\"role\":\"user\",\"content\":[7]}]", "invalid_type", "messages[0].content[0]"},
    {"[{\"role\":\"user\",\"content\":\"x\",\"name\":1}]", "invalid_type", "messages[0].name"},
    {"[{\"role\":\"tool\",\"content\":\"x\"}]", "missing_required_parameter", "messages[0].tool_call_id"},
    {"[{\"role\":\"tool\",\"content\":\"x\",\"tool_call_id\":1}]", "invalid_type", "messages[0].tool_call_id"},
    {"[{\"role\":\"assistant\",\"tool_calls\":[{}]}]", "missing_required_parameter", "messages[0].tool_calls[0].function"},
    {"[{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{}}]}]", "missing_required_parameter", "messages[0].tool_calls[0].function.name"},
    {"[{\"role\":\"assistant\",\"tool_calls\":7}]", "invalid_type", "messages[0].tool_calls"},
    {"[{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"c\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]}]", "", ""},
    {"[{\"role\":\"assistant\",\"content\":null}]", "", ""},
    {"[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\",\"content\":\"a\"},{\"role\":\"user\",\"content\":\"u\"}]", "", ""},
    {"[{\"role\":\"user\",\"content\":\"1\"},{\"role\":\"user\",\"content\":\"2\"},{\"role\":\"user\",\"content\":\"3\"},{\"role\":\"user\",\"content\":\"4\"},{\"role\":\"user\",\"content\":\"5\"}]", "array_above_max_length", "messages"},
};

static const struct row prompt_rows[] = { /* fields is the prompt */
    {"\"x\"", "", ""},
    {"\"\"", "", ""},
    {"[\"a\",\"b\"]", "", ""},
    {"[1,2,3]", "", ""},
    {"[[1,2],[3]]", "", ""},
    {"[[1,2],\"x\"]", "", ""},
    {"[]", "empty_array", "prompt"},
    {"[[]]", "empty_array", "prompt[0]"},
    {"7", "invalid_type", "prompt"},
    {"[1,\"x\"]", "invalid_type", "prompt[1]"},
    {"[\"x\",1]", "invalid_type", "prompt[1]"},
    {"[1000]", "integer_above_max_value", "prompt[0]"},
    {"[[1],[-1]]", "integer_below_min_value", "prompt[1][0]"},
    {"[1.5]", "invalid_type", "prompt[0]"},
    {"\"0123456789012345678901234567890123456789012345678901234567890123\"", "", ""},
    {"\"01234567890123456789012345678901234567890123456789012345678901234\"", "string_above_max_length", "prompt"},
};
// clang-format on

static void prompts_are_marked_for_the_cache(void **state)
{
    (void)state;
    struct api_completion_request request;
    struct api_error error = {0};
    assert_int_equal(
        api_chat_request_parse(
            text_slice_of("{\"model\":\"m\",\"prompt_cache_retention\":\"24h\","
                          "\"prompt_cache_options\":{\"ttl\":\"1h\"},\"messages\":["
                          "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"abc\","
                          "\"prompt_cache_breakpoint\":{\"mode\":\"explicit\"}},"
                          "{\"type\":\"text\",\"text\":\"d\"}]}]}"),
            &limits, &request, &error),
        STATUS_OK);
    const struct api_cache_mark *marks = request.cache_marks;
    assert_int_equal(marks[CACHE_TTL_24H].place, CACHE_PROMPT);
    assert_int_equal(marks[CACHE_TTL_1H].place, CACHE_PROMPT);
    assert_int_equal(marks[CACHE_TTL_30M].place, CACHE_MESSAGE);
    assert_int_equal(marks[CACHE_TTL_30M].bytes, 3);
    assert_int_equal(marks[CACHE_TTL_5M].place, CACHE_NOWHERE);
    api_completion_request_deinit(&request);

    struct api_limits unpinned = limits;
    unpinned.pins_prompts = false;
    assert_int_equal(
        api_completion_request_parse(
            text_slice_of("{\"model\":\"m\",\"prompt\":\"p\",\"prompt_cache_retention\":\"24h\","
                          "\"prompt_cache_options\":{}}"),
            &unpinned, &request, &error),
        STATUS_OK);
    assert_string_equal(request.ignored, "prompt_cache_retention,prompt_cache_options");
    api_completion_request_deinit(&request);
}

static void check_body(const char *body, bool is_chat, const struct row *row)
{
    struct api_completion_request request;
    struct api_error error = {0};
    status s = is_chat
                   ? api_chat_request_parse(text_slice_of(body), &limits, &request, &error)
                   : api_completion_request_parse(text_slice_of(body), &limits, &request, &error);
    bool is_expected = s == STATUS_OK
                           ? row->code[0] == '\0' && strcmp(request.ignored, row->param) == 0
                           : strcmp(error.code, row->code) == 0 &&
                                 strcmp(error.param, row->param) == 0 && error.http_status == 400;
    if (!is_expected)
        print_error("%s\n  -> %s code '%s' param '%s' message '%s' ignored '%s'\n", body,
                    status_name(s), error.code, error.param, error.message,
                    s == STATUS_OK ? request.ignored : "");
    if (s == STATUS_OK)
        api_completion_request_deinit(&request);
    else
        assert_string_equal(error.type, "invalid_request_error");
    assert_true(is_expected);
}

static void check_rows(const char *base, bool is_chat, const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char body[1024];
        snprintf(body, sizeof body, "%s%s%s}", base, rows[i].fields[0] != '\0' ? "," : "",
                 rows[i].fields);
        check_body(body, is_chat, &rows[i]);
    }
}

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void every_field_has_its_type_and_range(void **state)
{
    (void)state;
    check_rows(CHAT_BASE, true, common_rows, COUNT(common_rows));
    check_rows(TEXT_BASE, false, common_rows, COUNT(common_rows));
    check_rows(CHAT_BASE, true, chat_rows, COUNT(chat_rows));
    check_rows(TEXT_BASE, false, text_rows, COUNT(text_rows));
}

static void messages_and_prompts_are_checked_item_by_item(void **state)
{
    (void)state;
    char body[1024];
    for (size_t i = 0; i < COUNT(message_rows); i++) {
        snprintf(body, sizeof body, "{\"model\":\"m\",\"messages\":%s}", message_rows[i].fields);
        check_body(body, true, &message_rows[i]);
    }
    for (size_t i = 0; i < COUNT(prompt_rows); i++) {
        snprintf(body, sizeof body, "{\"model\":\"m\",\"prompt\":%s}", prompt_rows[i].fields);
        check_body(body, false, &prompt_rows[i]);
    }
}

static void a_body_that_is_no_request_is_refused(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"", "invalid_json", ""},
        {"nonsense", "invalid_json", ""},
        {"{\"model\":\"m\"}", "missing_required_parameter", "messages"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}", "missing_required_parameter",
         "model"},
        {"{\"model\":7}", "invalid_type", "model"},
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        check_body(rows[i].fields, true, &rows[i]);
    static const struct row no_prompt = {"", "missing_required_parameter", "prompt"};
    check_body("{\"model\":\"m\"}", false, &no_prompt);
}

static struct api_completion_request parse_chat(const char *body)
{
    struct api_completion_request request;
    struct api_error error = {0};
    status s = api_chat_request_parse(text_slice_of(body), &limits, &request, &error);
    if (s != STATUS_OK)
        print_error("%s\n", error.message);
    assert_int_equal(s, STATUS_OK);
    return request;
}

static void values_arrive_where_the_sampler_reads_them(void **state)
{
    (void)state;
    struct api_completion_request request = parse_chat(
        CHAT_BASE ",\"temperature\":0.5,\"top_p\":0,\"top_k\":7,\"min_p\":0.25,\"seed\":-1,"
                  "\"max_tokens\":9,\"max_completion_tokens\":5,\"stop\":[\"a\",\"b\"],"
                  "\"logit_bias\":{\"12\":-3.5},\"stop_token_ids\":[4,5],\"min_tokens\":2,"
                  "\"logprobs\":true,\"top_logprobs\":3,\"n\":2,\"priority\":-7,\"user\":\"u\","
                  "\"cache_salt\":\"salt\",\"stream\":true,"
                  "\"stream_options\":{\"include_usage\":true,\"continuous_usage_stats\":true}}");
    assert_true(request.sampling.temperature == 0.5f && request.sampling.min_p == 0.25f);
    assert_true(request.sampling.top_p > 0 && request.sampling.top_p < 1e-5f);
    assert_int_equal(request.sampling.top_k, 7);
    assert_true(request.has_seed && request.sampling.seed == UINT64_MAX);
    assert_int_equal(request.max_tokens, 5);
    assert_int_equal(request.stop_count, 2);
    assert_true(text_slice_is(request.stops[1], "b"));
    assert_int_equal(request.sampling.bias_count, 1);
    assert_int_equal(request.sampling.biases[0].token, 12);
    assert_true(request.sampling.biases[0].bias == -3.5f);
    assert_int_equal(request.sampling.stop_token_count, 2);
    assert_int_equal(request.sampling.stop_tokens[1], 5);
    assert_int_equal(request.sampling.min_tokens, 2);
    assert_int_equal(request.sampling.logprobs, 3);
    assert_int_equal(request.n, 2);
    assert_int_equal(request.priority, -7);
    assert_true(request.stream && request.include_usage && request.continuous_usage);
    api_completion_request_release_body(&request);
    assert_string_equal(request.user, "u");
    assert_string_equal(request.model, "m");
    assert_true(text_slice_is(request.cache_salt, "salt"));
    assert_null(request.messages);
    api_completion_request_deinit(&request);
}

static void defaults_are_those_of_the_official_api(void **state)
{
    (void)state;
    struct api_completion_request request = parse_chat(CHAT_BASE "}");
    assert_true(request.sampling.temperature == 1 && request.sampling.top_p == 1);
    assert_true(request.sampling.repetition_penalty == 1 && request.sampling.min_p == 0);
    assert_int_equal(request.sampling.logprobs, -1);
    /* llama.cpp's: all of these are off, and know the rest where one is asked for */
    assert_true(request.sampling.dry.multiplier == 0 && request.sampling.dry.base == 1.75f);
    assert_int_equal(request.sampling.dry.allowed_length, 2);
    assert_int_equal(request.sampling.dry.last_n, -1);
    assert_int_equal(request.sampling.dry.breaker_count, 4);
    assert_true(request.sampling.xtc_probability == 0 && request.sampling.xtc_threshold == 0.1f);
    assert_false(request.sampling.mirostat.is_on);
    assert_true(request.sampling.mirostat.tau == 5 && request.sampling.mirostat.eta == 0.1f);
    assert_int_equal(request.sampling.repetition.max_pattern, 0);
    assert_int_equal(request.n, 1);
    assert_int_equal(request.max_tokens, -1);
    assert_true(request.add_generation_prompt && !request.add_special && !request.has_seed);
    api_completion_request_deinit(&request);
}

static void messages_take_the_shape_that_templates_know(void **state)
{
    (void)state;
    struct api_completion_request request = parse_chat(
        "{\"model\":\"m\",\"messages\":["
        "{\"role\":\"developer\",\"content\":[{\"type\":\"text\",\"text\":\"one\"},"
        "{\"type\":\"text\",\"text\":\"two\"}]},"
        "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"c\",\"type\":"
        "\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"x\\\":1}\"}},"
        "{\"function\":{\"name\":\"g\",\"arguments\":\"not json\"}}]},"
        "{\"role\":\"tool\",\"tool_call_id\":\"c\",\"content\":\"r\"}]}");
    const json_t *first = json_array_get(request.messages, 0);
    assert_string_equal(json_string_value(json_object_get(first, "role")), "system");
    assert_string_equal(json_string_value(json_object_get(first, "content")), "one\ntwo");
    const json_t *second = json_array_get(request.messages, 1);
    assert_string_equal(json_string_value(json_object_get(second, "content")), "");
    const json_t *calls = json_object_get(second, "tool_calls");
    const json_t *f = json_object_get(json_array_get(calls, 0), "function");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(f, "arguments"), "x")), 1);
    const json_t *g = json_object_get(json_array_get(calls, 1), "function");
    assert_string_equal(json_string_value(json_object_get(g, "arguments")), "not json");
    api_completion_request_deinit(&request);
}

static void prompts_keep_texts_and_ids_apart(void **state)
{
    (void)state;
    struct api_completion_request request;
    struct api_error error = {0};
    const char *body = "{\"model\":\"m\",\"prompt\":[\"ab\",[7,8,9]]}";
    assert_int_equal(api_completion_request_parse(text_slice_of(body), &limits, &request, &error),
                     STATUS_OK);
    assert_int_equal(request.prompt_count, 2);
    assert_true(text_slice_is(request.prompts[0].text, "ab"));
    assert_null(request.prompts[0].tokens);
    assert_int_equal(request.prompts[1].token_count, 3);
    assert_int_equal(request.prompts[1].tokens[2], 9);
    api_completion_request_deinit(&request);
}

static void prompts_times_n_has_a_limit(void **state)
{
    (void)state;
    struct api_limits wide = limits;
    struct api_completion_request request;
    struct api_error error = {0};
    struct buffer body;
    wide.json_values_max = 2000;
    for (unsigned count = 128; count <= 129; count++) {
        buffer_init(&body, 100000);
        buffer_append_text(&body, "{\"model\":\"m\",\"n\":8,\"prompt\":[\"a\"");
        for (unsigned i = 1; i < count; i++)
            buffer_append_text(&body, ",\"a\"");
        buffer_append_text(&body, "]}");
        status s = api_completion_request_parse(buffer_slice(&body), &wide, &request, &error);
        assert_int_equal(s, count == 128 ? STATUS_OK : STATUS_INVALID);
        if (s == STATUS_OK)
            api_completion_request_deinit(&request);
        buffer_deinit(&body);
    }
    assert_string_equal(error.param, "n");
}

static void ignored_names_stop_at_the_headers_limit(void **state)
{
    (void)state;
    struct buffer body;
    buffer_init(&body, 100000);
    buffer_append_text(&body, CHAT_BASE);
    for (int i = 0; i < 100; i++)
        buffer_append_format(&body, ",\"unknown_field_number_%03d\":1", i);
    buffer_append_byte(&body, '}');
    struct api_completion_request request = parse_chat(body.data);
    size_t bytes = strlen(request.ignored);
    assert_true(bytes > API_IGNORED_BYTES_MAX - 40 && bytes < API_IGNORED_BYTES_MAX);
    assert_true(request.ignored[bytes - 1] != ',');
    api_completion_request_deinit(&request);
    buffer_deinit(&body);
}

static void tokenize_takes_a_prompt_or_messages(void **state)
{
    (void)state;
    struct api_tokenize_request request;
    struct api_error error = {0};
    const char *prompt = "{\"prompt\":\"x\",\"return_token_strs\":true}";
    assert_int_equal(api_tokenize_request_parse(text_slice_of(prompt), &limits, &request, &error),
                     STATUS_OK);
    assert_true(text_slice_is(request.prompt, "x") && request.add_special);
    assert_true(request.return_token_texts && request.messages == NULL);
    api_tokenize_request_deinit(&request);
    const char *chat = "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}";
    assert_int_equal(api_tokenize_request_parse(text_slice_of(chat), &limits, &request, &error),
                     STATUS_OK);
    assert_true(request.messages != NULL && !request.add_special && request.add_generation_prompt);
    api_tokenize_request_deinit(&request);
    static const struct row bad[] = {
        {"{}", "missing_required_parameter", "prompt"},
        {"{\"prompt\":1}", "invalid_type", "prompt"},
        {"{\"prompt\":\"x\",\"add_special_tokens\":1}", "invalid_type", "add_special_tokens"},
        {"{\"messages\":[]}", "empty_array", "messages"},
        {"{\"model\":1,\"prompt\":\"x\"}", "invalid_type", "model"},
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_int_equal(
            api_tokenize_request_parse(text_slice_of(bad[i].fields), &limits, &request, &error),
            STATUS_INVALID);
        assert_string_equal(error.code, bad[i].code);
        assert_string_equal(error.param, bad[i].param);
    }
}

static void detokenize_takes_ids_of_the_vocabulary(void **state)
{
    (void)state;
    struct api_detokenize_request request;
    struct api_error error = {0};
    const char *body = "{\"tokens\":[1,999]}";
    assert_int_equal(api_detokenize_request_parse(text_slice_of(body), &limits, &request, &error),
                     STATUS_OK);
    assert_int_equal(request.token_count, 2);
    assert_int_equal(request.tokens[1], 999);
    api_detokenize_request_deinit(&request);
    static const struct row bad[] = {
        {"{}", "missing_required_parameter", "tokens"},
        {"{\"tokens\":\"x\"}", "invalid_type", "tokens"},
        {"{\"tokens\":[1000]}", "integer_above_max_value", "tokens[0]"},
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_int_equal(
            api_detokenize_request_parse(text_slice_of(bad[i].fields), &limits, &request, &error),
            STATUS_INVALID);
        assert_string_equal(error.code, bad[i].code);
        assert_string_equal(error.param, bad[i].param);
    }
}

static void messages_name_the_field_its_range_and_what_came(void **state)
{
    (void)state;
    struct api_completion_request request;
    struct api_error error = {0};
    const char *body = CHAT_BASE ",\"temperature\":3}";
    assert_int_equal(api_chat_request_parse(text_slice_of(body), &limits, &request, &error),
                     STATUS_INVALID);
    assert_string_equal(error.message,
                        "Invalid 'temperature': decimal above maximum value. Expected a value <= "
                        "2, but got 3 instead.");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_are_marked_for_the_cache),
        cmocka_unit_test(every_field_has_its_type_and_range),
        cmocka_unit_test(messages_and_prompts_are_checked_item_by_item),
        cmocka_unit_test(a_body_that_is_no_request_is_refused),
        cmocka_unit_test(values_arrive_where_the_sampler_reads_them),
        cmocka_unit_test(defaults_are_those_of_the_official_api),
        cmocka_unit_test(messages_take_the_shape_that_templates_know),
        cmocka_unit_test(prompts_keep_texts_and_ids_apart),
        cmocka_unit_test(prompts_times_n_has_a_limit),
        cmocka_unit_test(ignored_names_stop_at_the_headers_limit),
        cmocka_unit_test(tokenize_takes_a_prompt_or_messages),
        cmocka_unit_test(detokenize_takes_ids_of_the_vocabulary),
        cmocka_unit_test(messages_name_the_field_its_range_and_what_came),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
