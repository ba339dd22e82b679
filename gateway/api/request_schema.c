#include "request_schema.h"

#include <stdio.h>

#include "check.h"
#include "request_parse.h"
#include "schema_text.h"

/* What a reader takes. The range of numbers is the row's, where it has one. A reader that is not here
 * takes anything, as far as the document says. */
static const struct {
    request_reader *read;
    const char *schema;
    bool has_range;
} reader_schemas[] = {
    {request_read_messages, "[#Message]", false},
    {request_read_prompt, "string|[string]|[integer(0..)]|[[integer(0..)]]", false},
    {request_read_suffix, "string", false},
    {request_read_tools, "[#Tool]", false},
    {request_read_tool_choice, "'auto'|'none'|'required'|#NamedTool|#AllowedTools", false},
    {request_read_parallel_calls, "boolean", false},
    {request_read_functions, "[#ToolFunction]", false},
    {request_read_function_call, "'auto'|'none'|#Named", false},
    {request_read_reasoning_effort, "'none'|'minimal'|'low'|'medium'|'high'|'xhigh'|'max'", false},
    {request_read_reasoning_budget, "integer", true},
    {request_read_documents, "[object]", false},
    {request_read_template_variables, "object", false},
    {request_read_modalities, "['text']", false},
    {request_read_stop, "string|[string]", false},
    {request_read_stop_tokens, "[integer(0..)]", false},
    {request_read_allowed_tokens, "[integer(0..)]", false},
    {request_read_bad_words, "[string]", false},
    {request_read_chat_template, "string", false},
    {request_read_cache_options, "#CacheOptions", false},
    {request_read_cache_retention, "'in_memory'|'in-memory'|'24h'", false},
    {request_read_prediction, "#Prediction", false},
    {request_read_response_format, "#ResponseFormat", false},
    {request_read_structured_outputs, "#StructuredOutputs", false},
    {request_read_logit_bias, "{number(-100..100)}", false},
    {request_read_dry_breakers, "[string]", false},
    {request_read_mirostat, "integer(0..2)", false},
    {request_read_repetition_detection, "#RepetitionDetection", false},
    {request_read_seed, "integer", false},
    {request_read_logprobs_count, "integer", true},
    {request_read_top_logprobs, "integer", true},
    {request_read_prompt_logprobs, "integer", true},
    {request_read_truncate_prompt_tokens, "integer", true},
    {request_read_priority, "integer", true},
    {request_read_max_completion_tokens, "integer(1..)", false},
    {request_read_max_tokens, "integer(0..)", false},
    {request_read_best_of, "integer(1..)", false},
    {request_read_stream_options, "#StreamOptions", false},
    {request_read_service_tier, "'auto'|'default'|'flex'|'scale'|'priority'|'fast'", false},
    {request_read_metadata, "{string}", false},
    {request_read_skip_special_tokens, "boolean", false},
};

static void schema_of(const struct request_field *field, char out[128])
{
    const char *schema = field->read == request_read_language ? request_language_schema(field)
                                                              : request_field_schema(field);
    bool has_range = schema != NULL && field->min < field->max;
    for (size_t i = 0; schema == NULL && i < ARRAY_COUNT(reader_schemas); i++) {
        if (reader_schemas[i].read != field->read)
            continue;
        schema = reader_schemas[i].schema;
        has_range = reader_schemas[i].has_range;
    }
    if (request_field_fate(field) == FIELD_REFUSED)
        snprintf(out, 128, "null"); /* beside the one that asks for nothing */
    else if (schema == NULL)
        snprintf(out, 128, "any");
    else if (has_range)
        snprintf(out, 128, "%s(%.10g..%.10g)|null", schema, field->min, field->max);
    else
        snprintf(out, 128, "%s|null", schema);
}

static void field_write(const struct request_field *field, struct buffer *out)
{
    static const char *const words[] = {
        [FIELD_HONOURED] = "honoured", [FIELD_IGNORED] = "ignored", [FIELD_REFUSED] = "refused"};
    char schema[128];
    schema_of(field, schema);
    json_write_key(out, field->name);
    buffer_append_text(out, "{\"x-penstock\":");
    json_write_text(out, words[request_field_fate(field)]);
    buffer_append_text(out, ",\"allOf\":[");
    if (request_field_fate(field) == FIELD_REFUSED && field->neutral != NULL)
        buffer_append_format(out, "{\"enum\":[null,%s]}", field->neutral);
    else
        schema_text_write(schema, out);
    buffer_append_text(out, "]}");
}

void request_schema_write(unsigned scope, struct buffer *out)
{
    buffer_append_text(out, "{\"type\":\"object\",\"properties\":{");
    for (size_t i = 0; i < request_field_count(); i++) {
        const struct request_field *field = request_field_at(i);
        if ((field->scope & scope) != 0)
            field_write(field, out);
    }
    buffer_append_format(out, "},\"required\":[\"model\",\"%s\"]}",
                         scope == SCOPE_CHAT ? "messages" : "prompt");
}
