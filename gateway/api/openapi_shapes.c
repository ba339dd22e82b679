#include "openapi_shapes.h"

#include "check.h"
#include "json.h"
#include "request_parse.h"
#include "request_schema.h"
#include "schema_text.h"

struct shape_field {
    const char *name;
    const char *schema; /* schema_text.h */
    bool is_optional;
};

/* Answers are closed: a member that is not written down here is a mistake. Requests are open. */
struct shape {
    const char *name;
    bool is_open;
    struct shape_field fields[16]; /* ends with a NULL name */
};

#define OPTIONAL true

// clang-format off
static const struct shape shapes[] = {
    /* errors */
    {"Error", false, {{"error", "#ErrorDetail", 0}}},
    {"ErrorDetail", false, {
        {"message", "string", 0}, {"type", "string", 0}, {"param", "string|null", 0}, {"code", "string|null", 0}}},
    {"MessagesError", false, {
        {"type", "'error'", 0}, {"error", "#MessagesErrorDetail", 0}, {"request_id", "string", 0}}},
    {"MessagesErrorDetail", false, {{"type", "string", 0}, {"message", "string", 0}}},

    /* what requests are made of */
    {"Message", true, {
        {"role", "'system'|'developer'|'user'|'assistant'|'tool'|'function'", 0},
        {"content", "string|[#ContentPart]|null", OPTIONAL}, {"name", "string|null", OPTIONAL},
        {"tool_calls", "[object]|null", OPTIONAL}, {"tool_call_id", "string|null", OPTIONAL}}},
    {"ContentPart", true, {
        {"type", "'text'|'refusal'", 0}, {"text", "string", OPTIONAL}, {"refusal", "string", OPTIONAL},
        {"prompt_cache_breakpoint", "#CacheBreakpoint|null", OPTIONAL}}},
    {"Tool", true, {{"type", "'function'", 0}, {"function", "#ToolFunction", 0}}},
    {"ToolFunction", true, {
        {"name", "string", 0}, {"description", "string|null", OPTIONAL}, {"parameters", "object|null", OPTIONAL},
        {"strict", "boolean|null", OPTIONAL}}},
    {"Named", true, {{"name", "string", 0}}},
    {"NamedTool", true, {{"type", "'function'", 0}, {"function", "#Named", 0}}},
    {"AllowedTools", true, {{"type", "'allowed_tools'", 0}, {"allowed_tools", "#AllowedToolList", 0}}},
    {"AllowedToolList", true, {{"mode", "'auto'|'required'", 0}, {"tools", "[#NamedTool]", 0}}},
    {"StructuredOutputs", true, {
        {"json", "object|boolean|string|null", OPTIONAL}, {"regex", "string|null", OPTIONAL},
        {"choice", "[string]|null", OPTIONAL}, {"grammar", "string|null", OPTIONAL},
        {"json_object", "boolean|null", OPTIONAL}, {"whitespace_pattern", "string|null", OPTIONAL},
        {"disable_any_whitespace", "boolean|null", OPTIONAL}}},
    {"ResponseFormat", true, {
        {"type", "'text'|'json_object'|'json_schema'", 0}, {"json_schema", "object", OPTIONAL}}},
    {"CacheOptions", true, {
        {"mode", "'implicit'|'explicit'|null", OPTIONAL}, {"ttl", "'5m'|'30m'|'1h'|'12h'|'24h'|null", OPTIONAL}}},
    {"CacheBreakpoint", true, {
        {"mode", "'explicit'|null", OPTIONAL}, {"ttl", "'5m'|'30m'|'1h'|'12h'|'24h'|null", OPTIONAL}}},
    {"Prediction", true, {{"type", "'content'", 0}, {"content", "string|[#ContentPart]", 0}}},
    {"RepetitionDetection", true, {
        {"max_pattern_size", "integer(0..4096)", OPTIONAL}, {"min_pattern_size", "integer(0..4096)", OPTIONAL},
        {"min_count", "integer(0..1024)", OPTIONAL}}},
    {"StreamOptions", true, {
        {"include_usage", "boolean|null", OPTIONAL}, {"continuous_usage_stats", "boolean|null", OPTIONAL},
        {"include_obfuscation", "boolean|null", OPTIONAL}}},
    {"MessagesRequest", true, {
        {"model", "string", 0}, {"max_tokens", "integer(1..)", 0}, {"messages", "[#MessagesMessage]", 0},
        {"system", "string|[object]", OPTIONAL}, {"stop_sequences", "[string]", OPTIONAL}, {"stream", "boolean", OPTIONAL},
        {"temperature", "number(0..1)", OPTIONAL}, {"top_k", "integer", OPTIONAL}, {"top_p", "number(0..1)", OPTIONAL},
        {"tools", "[object]", OPTIONAL}, {"tool_choice", "object", OPTIONAL}, {"thinking", "object", OPTIONAL},
        {"metadata", "object", OPTIONAL}, {"service_tier", "string", OPTIONAL}}},
    {"MessagesCountRequest", true, {
        {"model", "string", 0}, {"messages", "[#MessagesMessage]", 0}, {"system", "string|[object]", OPTIONAL},
        {"tools", "[object]", OPTIONAL}, {"tool_choice", "object", OPTIONAL}, {"thinking", "object", OPTIONAL}}},
    {"MessagesMessage", true, {{"role", "'user'|'assistant'", 0}, {"content", "string|[object]", 0}}},
    {"TokenizeRequest", true, {
        {"model", "string|null", OPTIONAL}, {"prompt", "string", OPTIONAL}, {"messages", "[#Message]", OPTIONAL},
        {"tools", "[#Tool]|null", OPTIONAL}, {"chat_template_kwargs", "object|null", OPTIONAL},
        {"add_special_tokens", "boolean|null", OPTIONAL}, {"return_token_strs", "boolean|null", OPTIONAL},
        {"add_generation_prompt", "boolean|null", OPTIONAL}, {"continue_final_message", "boolean|null", OPTIONAL}}},
    {"LoadAdapterRequest", true, {
        {"model", "string|null", OPTIONAL}, {"lora_name", "string", 0}, {"lora_path", "string", 0}}},
    {"UnloadAdapterRequest", true, {{"model", "string|null", OPTIONAL}, {"lora_name", "string", 0}}},
    {"DetokenizeRequest", true, {{"model", "string|null", OPTIONAL}, {"tokens", "[integer(0..)]", 0}}},

    {"EmbeddingRequest", true, {
        {"model", "string|null", OPTIONAL}, {"input", "string|[integer(0..)]|[string|[integer(0..)]]", 0},
        {"encoding_format", "'float'|'base64'|null", OPTIONAL}, {"dimensions", "integer(1..)|null", OPTIONAL},
        {"user", "string|null", OPTIONAL}, {"truncate_prompt_tokens", "integer(-1..)|null", OPTIONAL},
        {"add_special_tokens", "boolean|null", OPTIONAL}}},
    {"RerankRequest", true, {
        {"model", "string|null", OPTIONAL}, {"query", "string", 0}, {"documents", "[string|object]", 0},
        {"top_n", "integer(0..)|null", OPTIONAL}, {"return_documents", "boolean|null", OPTIONAL},
        {"truncate_prompt_tokens", "integer(-1..)|null", OPTIONAL}}},
    {"ScoreRequest", true, {
        {"model", "string|null", OPTIONAL}, {"text_1", "string|[string|object]", 0}, {"text_2", "string|[string|object]", 0},
        {"truncate_prompt_tokens", "integer(-1..)|null", OPTIONAL}}},

    /* completions */
    {"ChatCompletion", false, {
        {"id", "string", 0}, {"object", "'chat.completion'", 0}, {"created", "integer(0..)", 0}, {"model", "string", 0},
        {"system_fingerprint", "string", 0}, {"service_tier", "'default'|'flex'|'priority'", OPTIONAL},
        {"choices", "[#ChatChoice]", 0}, {"usage", "#Usage", 0}, {"prompt_logprobs", "[#ScoredTokens|null]", OPTIONAL},
        {"prompt_token_ids", "[integer(0..)]", OPTIONAL}}},
    {"ChatChoice", false, {
        {"index", "integer(0..)", 0}, {"message", "#AnswerMessage", 0}, {"logprobs", "#ChatLogprobs|null", 0},
        {"finish_reason", "'stop'|'length'|'tool_calls'|'repetition'", 0}, {"stop_reason", "string|integer|null", 0},
        {"token_ids", "[integer(0..)]", OPTIONAL}}},
    {"AnswerMessage", false, {
        {"role", "'assistant'", 0}, {"content", "string|null", 0}, {"refusal", "string|null", 0},
        {"reasoning_content", "string", OPTIONAL}, {"reasoning", "string", OPTIONAL}, {"tool_calls", "[#ToolCall]", OPTIONAL}}},
    {"ToolCall", false, {{"id", "string", 0}, {"type", "'function'", 0}, {"function", "#CalledFunction", 0}}},
    {"CalledFunction", false, {{"name", "string", 0}, {"arguments", "string", 0}}},
    {"ChatLogprobs", false, {{"content", "[#ChatToken]", 0}, {"refusal", "null", 0}}},
    {"ChatToken", false, {
        {"token", "string", 0}, {"logprob", "number(..0)", 0}, {"bytes", "[integer(0..255)]", 0},
        {"top_logprobs", "[#ChatTokenChoice]", 0}}},
    {"ChatTokenChoice", false, {
        {"token", "string", 0}, {"logprob", "number(..0)", 0}, {"bytes", "[integer(0..255)]", 0}}},
    {"TextCompletion", false, {
        {"id", "string", 0}, {"object", "'text_completion'", 0}, {"created", "integer(0..)", 0}, {"model", "string", 0},
        {"system_fingerprint", "string", 0}, {"service_tier", "'default'|'flex'|'priority'", OPTIONAL},
        {"choices", "[#TextChoice]", 0}, {"usage", "#Usage", 0}}},
    {"TextChoice", false, {
        {"index", "integer(0..)", 0}, {"text", "string", 0}, {"logprobs", "#TextLogprobs|null", 0},
        {"finish_reason", "'stop'|'length'|'repetition'", 0}, {"stop_reason", "string|integer|null", 0},
        {"prompt_logprobs", "[#ScoredTokens|null]", OPTIONAL}, {"prompt_token_ids", "[integer(0..)]", OPTIONAL},
        {"token_ids", "[integer(0..)]", OPTIONAL}}},
    {"TextLogprobs", false, {
        {"tokens", "[string]", 0}, {"token_logprobs", "[number(..0)|null]", 0},
        {"top_logprobs", "[{number(..0)}|null]", 0}, {"text_offset", "[integer(0..)]", 0}}},
    {"ScoredToken", false, {{"logprob", "number(..0)", 0}, {"rank", "integer(1..)", 0}, {"decoded_token", "string", 0}}},
    {"Usage", false, {
        {"prompt_tokens", "integer(0..)", 0}, {"completion_tokens", "integer(0..)", 0}, {"total_tokens", "integer(0..)", 0},
        {"prompt_tokens_details", "#PromptTokensDetails", 0},
        {"completion_tokens_details", "#CompletionTokensDetails", 0}, {"timings", "#Timings", OPTIONAL}}},
    {"PromptTokensDetails", false, {
        {"cached_tokens", "integer(0..)", 0}, {"cache_write_tokens", "integer(0..)", 0}, {"audio_tokens", "integer(0..)", 0}}},
    {"CompletionTokensDetails", false, {
        {"reasoning_tokens", "integer(0..)", 0}, {"audio_tokens", "integer(0..)", 0},
        {"accepted_prediction_tokens", "integer(0..)", 0}, {"rejected_prediction_tokens", "integer(0..)", 0}}},
    {"Timings", false, {
        {"prepare_ms", "number(0..)", 0}, {"queue_ms", "number(0..)", 0}, {"prefill_ms", "number(0..)", 0},
        {"decode_ms", "number(0..)", 0}, {"total_ms", "number(0..)", 0}}},

    /* Anthropic's messages */
    {"MessagesAnswer", false, {
        {"id", "string", 0}, {"type", "'message'", 0}, {"role", "'assistant'", 0}, {"model", "string", 0},
        {"content", "[#MessagesBlock]", 0}, {"stop_reason", "'end_turn'|'max_tokens'|'stop_sequence'|'tool_use'", 0},
        {"stop_sequence", "string|null", 0}, {"usage", "#MessagesUsage", 0}}},
    {"MessagesBlock", false, {
        {"type", "'text'|'thinking'|'tool_use'", 0}, {"text", "string", OPTIONAL}, {"citations", "null", OPTIONAL},
        {"thinking", "string", OPTIONAL}, {"signature", "string", OPTIONAL}, {"id", "string", OPTIONAL},
        {"name", "string", OPTIONAL}, {"input", "object", OPTIONAL}}},
    {"MessagesUsage", false, {
        {"input_tokens", "integer(0..)", 0}, {"cache_creation_input_tokens", "integer(0..)", 0},
        {"cache_read_input_tokens", "integer(0..)", 0}, {"cache_creation", "#MessagesCacheCreation", OPTIONAL},
        {"output_tokens", "integer(0..)", 0},
        {"output_tokens_details", "{integer(0..)}", 0}}},
    {"MessagesCacheCreation", false, {
        {"ephemeral_5m_input_tokens", "integer(0..)", 0}, {"ephemeral_1h_input_tokens", "integer(0..)", 0}}},
    {"MessagesCount", false, {{"input_tokens", "integer(0..)", 0}}},

    /* OpenAI's responses; the answer repeats what was asked */
    {"ResponsesRequest", true, {
        {"model", "string", 0}, {"input", "string|[object]|null", OPTIONAL}, {"instructions", "string|null", OPTIONAL},
        {"max_output_tokens", "integer(1..)|null", OPTIONAL}, {"previous_response_id", "string|null", OPTIONAL},
        {"store", "boolean|null", OPTIONAL}, {"stream", "boolean|null", OPTIONAL}, {"temperature", "number(0..2)|null", OPTIONAL},
        {"top_p", "number(0..1)|null", OPTIONAL}, {"tools", "[object]|null", OPTIONAL}, {"tool_choice", "'auto'|'none'|'required'|object|null", OPTIONAL},
        {"text", "object|null", OPTIONAL}, {"reasoning", "object|null", OPTIONAL}, {"metadata", "{string}|null", OPTIONAL}}},
    {"ResponsesCountRequest", true, {
        {"model", "string", 0}, {"input", "string|[object]|null", OPTIONAL}, {"instructions", "string|null", OPTIONAL},
        {"previous_response_id", "string|null", OPTIONAL}, {"tools", "[object]|null", OPTIONAL}}},
    {"Response", true, {
        {"id", "string", 0}, {"object", "'response'", 0}, {"created_at", "integer(0..)", 0},
        {"status", "'completed'|'incomplete'|'failed'|'in_progress'", 0}, {"error", "object|null", 0},
        {"incomplete_details", "object|null", 0}, {"model", "string", 0}, {"output", "[#OutputItem]", 0},
        {"service_tier", "string", 0}, {"usage", "#ResponsesUsage|null", 0}}},
    {"OutputItem", true, {{"type", "'message'|'reasoning'|'function_call'", 0}, {"id", "string", 0}, {"status", "string", 0}}},
    {"ResponsesUsage", false, {
        {"input_tokens", "integer(0..)", 0}, {"input_tokens_details", "{integer(0..)}", 0}, {"output_tokens", "integer(0..)", 0},
        {"output_tokens_details", "{integer(0..)}", 0}, {"total_tokens", "integer(0..)", 0}}},
    {"ResponsesCount", false, {{"object", "'response.input_tokens'", 0}, {"input_tokens", "integer(0..)", 0}}},
    {"ResponseDeleted", false, {{"id", "string", 0}, {"object", "'response'", 0}, {"deleted", "boolean", 0}}},
    {"ItemList", true, {{"object", "'list'", 0}, {"data", "[object]", 0}}},

    /* models and tokens */
    {"ModelList", false, {{"object", "'list'", 0}, {"data", "[#Model]", 0}}},
    {"Model", false, {
        {"id", "string", 0}, {"object", "'model'", 0}, {"created", "integer(0..)", 0}, {"owned_by", "string", 0},
        {"root", "string", 0}, {"parent", "string|null", 0}, {"max_model_len", "integer(0..)", OPTIONAL},
        {"context_length", "integer(0..)", OPTIONAL},
        {"capabilities", "['chat'|'completions'|'tools'|'structured_output'|'infill'|'embeddings'|'rerank'|'score']", OPTIONAL}}},
    {"Embeddings", false, {
        {"id", "string", 0}, {"object", "'list'", 0}, {"created", "integer(0..)", 0}, {"model", "string", 0},
        {"data", "[#Embedding]", 0}, {"usage", "#PoolingUsage", 0}}},
    {"Embedding", false, {
        {"index", "integer(0..)", 0}, {"object", "'embedding'", 0}, {"embedding", "string|[number]", 0}}},
    {"Ranking", false, {
        {"id", "string", 0}, {"model", "string", 0}, {"usage", "#PoolingUsage", 0}, {"results", "[#RankedDocument]", 0}}},
    {"RankedDocument", false, {
        {"index", "integer(0..)", 0}, {"document", "#Document", OPTIONAL}, {"relevance_score", "number", 0}}},
    {"Document", false, {{"text", "string", 0}}},
    {"Scores", false, {
        {"id", "string", 0}, {"object", "'list'", 0}, {"created", "integer(0..)", 0}, {"model", "string", 0},
        {"data", "[#Score]", 0}, {"usage", "#PoolingUsage", 0}}},
    {"Score", false, {{"index", "integer(0..)", 0}, {"object", "'score'", 0}, {"score", "number", 0}}},
    {"PoolingUsage", false, {
        {"prompt_tokens", "integer(0..)", 0}, {"total_tokens", "integer(0..)", 0}, {"completion_tokens", "integer(0..)", 0},
        {"prompt_tokens_details", "null", 0}}},
    {"Tokens", false, {
        {"count", "integer(0..)", 0}, {"max_model_len", "integer(0..)", 0}, {"tokens", "[integer(0..)]", 0},
        {"token_strs", "[string]|null", 0}}},
    {"Prompt", false, {{"prompt", "string", 0}}},
    {"TokenizerInfo", false, {
        {"tokenizer_class", "string", 0}, {"vocab_size", "integer(0..)", 0}, {"model_max_length", "integer(0..)", 0},
        {"bos_token", "string|null", 0}, {"eos_token", "string|null", 0}, {"chat_template", "string|null", 0}}},

    /* around; each of an event stream's events, whose data is a chunk in JSON or [DONE] */
    {"Event", false, {{"data", "string", 0}, {"event", "string", OPTIONAL}}},
    {"Status", true, {{"status", "string", 0}}},
    {"SleepState", false, {{"is_sleeping", "boolean", 0}, {"level", "integer(0..)", 0}}},
    {"Version", false, {{"version", "string", 0}}},
};
// clang-format on

static void shape_write(const struct shape *shape, struct buffer *out)
{
    json_write_key(out, shape->name);
    buffer_append_text(out, "{\"type\":\"object\",\"properties\":{");
    for (const struct shape_field *field = shape->fields; field->name != NULL; field++) {
        json_write_key(out, field->name);
        schema_text_write(field->schema, out);
    }
    buffer_append_text(out, "},\"required\":[");
    for (const struct shape_field *field = shape->fields; field->name != NULL; field++) {
        if (field->is_optional)
            continue;
        json_write_comma(out);
        json_write_text(out, field->name);
    }
    buffer_append_text(out, shape->is_open ? "]}" : "],\"additionalProperties\":false}");
}

void openapi_shapes_write(struct buffer *out)
{
    for (size_t i = 0; i < ARRAY_COUNT(shapes); i++)
        shape_write(&shapes[i], out);
    json_write_key(out, "ScoredTokens"); /* by token id */
    schema_text_write("{#ScoredToken}", out);
    json_write_key(out, "ChatRequest");
    request_schema_write(SCOPE_CHAT, out);
    json_write_key(out, "TextRequest");
    request_schema_write(SCOPE_TEXT, out);
}
