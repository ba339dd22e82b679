/* The table of request fields. Honoured fields have a reader; fields that we know but do not honour
 * are reported in x-ignored-params (read_ignored) where leaving them out costs the client nothing
 * but a preference, and are refused (read_refused) where the answer would not be what was asked
 * for: a schema that is not enforced, a ban that does not ban. Both have a neutral value that asks
 * for nothing and is accepted in silence, as null is everywhere. */

#include "request_parse.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define FIELD(member) offsetof(struct api_completion_request, member)

static void *field_target(const struct request_parse *parse, const struct request_field *field)
{
    return (char *)parse->out + field->offset;
}

static status read_bool(struct request_parse *parse, const struct request_field *field,
                        json_t *value)
{
    return field_read_bool(value, field->name, field_target(parse, field), parse->error);
}

static status read_float(struct request_parse *parse, const struct request_field *field,
                         json_t *value)
{
    double number = 0;
    status s = field_read_number(value, field->name, field->min, field->max, &number, parse->error);
    if (s == STATUS_OK)
        *(float *)field_target(parse, field) = (float)number;
    return s;
}

/* For int32_t and uint32_t alike: the row's range fits the member. */
static status read_int32(struct request_parse *parse, const struct request_field *field,
                         json_t *value)
{
    int64_t number = 0;
    status s = field_read_integer(value, field->name, (int64_t)field->min, (int64_t)field->max,
                                  &number, parse->error);
    if (s == STATUS_OK) {
        uint32_t bits = (uint32_t)number;
        memcpy(field_target(parse, field), &bits, sizeof bits);
    }
    return s;
}

static status read_n(struct request_parse *parse, const struct request_field *field, json_t *value)
{
    int64_t number = 0;
    status s =
        field_read_integer(value, field->name, 1, parse->limits->n_max, &number, parse->error);
    if (s == STATUS_OK)
        parse->out->n = (uint32_t)number;
    return s;
}

static status read_text(struct request_parse *parse, const struct request_field *field,
                        json_t *value)
{
    const char *text = NULL;
    status s = field_read_c_text(value, field->name, API_TEXT_BYTES_MAX, &text, parse->error);
    if (s != STATUS_OK)
        return s;
    char *copy = request_allocate(parse, strlen(text) + 1, 1);
    if (copy == NULL)
        return STATUS_NO_MEMORY;
    memcpy(copy, text, strlen(text));
    *(const char **)field_target(parse, field) = copy;
    return STATUS_OK;
}

static status read_cache_salt(struct request_parse *parse, const struct request_field *field,
                              json_t *value)
{
    const char *text = NULL;
    struct request_field as_text = *field;
    status s = field_read_c_text(value, field->name, API_TEXT_BYTES_MAX, &text, parse->error);
    if (s == STATUS_OK && text[0] == '\0')
        return field_fail(parse->error, field->name, "invalid_value",
                          "Invalid '%s': expected a non-empty string.", field->name);
    if (s != STATUS_OK)
        return s;
    as_text.offset = FIELD(cache_salt.data);
    s = read_text(parse, &as_text, value);
    if (s == STATUS_OK)
        parse->out->cache_salt.bytes = strlen(text);
    return s;
}

/* Bookkeeping of the client: checked by type, of no effect by its nature. */
static status read_accepted_text(struct request_parse *parse, const struct request_field *field,
                                 json_t *value)
{
    struct text_slice text;
    return field_read_text(value, field->name, API_TEXT_BYTES_MAX, &text, parse->error);
}

static status read_strict(struct request_parse *parse, const struct request_field *field,
                          json_t *value)
{
    return field_read_bool(value, field->name, &parse->is_strict, parse->error);
}

static status read_generation_prompt(struct request_parse *parse, const struct request_field *field,
                                     json_t *value)
{
    parse->has_generation_prompt = true;
    return read_bool(parse, field, value);
}

static status read_logprobs_on(struct request_parse *parse, const struct request_field *field,
                               json_t *value)
{
    return field_read_bool(value, field->name, &parse->is_logprobs_on, parse->error);
}

static bool is_neutral(const struct request_field *field, const json_t *value)
{
    if (field->neutral == NULL)
        return false;
    json_t *neutral = json_loads(field->neutral, JSON_DECODE_ANY, NULL);
    bool is_equal = neutral != NULL && (json_equal(neutral, value) == 1 ||
                                        (json_is_number(neutral) && json_is_number(value) &&
                                         json_number_value(neutral) == json_number_value(value)));
    json_decref(neutral);
    return is_equal;
}

static status read_ignored(struct request_parse *parse, const struct request_field *field,
                           json_t *value)
{
    if (is_neutral(field, value))
        return STATUS_OK;
    return request_field_ignored(parse, field->name, "unsupported_parameter");
}

static status read_refused(struct request_parse *parse, const struct request_field *field,
                           json_t *value)
{
    if (is_neutral(field, value))
        return STATUS_OK;
    return field_fail_unsupported(parse->error, field->name,
                                  "This server cannot honour it, and an answer without it would "
                                  "not be what the request asks for.");
}

// clang-format off
static const struct request_field request_table[] = {
    /* what to answer */
    {"model", SCOPE_BOTH, read_text, FIELD(model), 0, 0, NULL},
    {"messages", SCOPE_CHAT, request_read_messages, 0, 0, 0, NULL},
    {"prompt", SCOPE_TEXT, request_read_prompt, 0, 0, 0, NULL},
    {"echo", SCOPE_TEXT, read_bool, FIELD(echo), 0, 0, NULL},
    {"echo", SCOPE_CHAT, read_refused, 0, 0, 0, "false"},
    {"suffix", SCOPE_TEXT, request_read_suffix, 0, 0, 0, NULL},
    {"tools", SCOPE_CHAT, request_read_tools, 0, 0, 0, NULL},
    {"tool_choice", SCOPE_CHAT, request_read_tool_choice, 0, 0, 0, NULL},
    {"parallel_tool_calls", SCOPE_CHAT, request_read_parallel_calls, 0, 0, 0, NULL},
    {"functions", SCOPE_CHAT, request_read_functions, 0, 0, 0, NULL},
    {"function_call", SCOPE_CHAT, request_read_function_call, 0, 0, 0, NULL},
    {"documents", SCOPE_CHAT, request_read_documents, 0, 0, 0, NULL},
    {"chat_template_kwargs", SCOPE_CHAT, request_read_template_variables, 0, 0, 0, NULL},
    {"add_generation_prompt", SCOPE_CHAT, read_generation_prompt, FIELD(add_generation_prompt), 0, 0, NULL},
    {"continue_final_message", SCOPE_CHAT, read_bool, FIELD(continue_final_message), 0, 0, NULL},
    {"add_special_tokens", SCOPE_BOTH, read_bool, FIELD(add_special), 0, 0, NULL},
    {"chat_template", SCOPE_CHAT, request_read_chat_template, 0, 0, 0, NULL},
    {"modalities", SCOPE_CHAT, request_read_modalities, 0, 0, 0, NULL},
    {"audio", SCOPE_CHAT, read_refused, 0, 0, 0, NULL},
    {"web_search_options", SCOPE_CHAT, read_refused, 0, 0, 0, NULL},
    {"mm_processor_kwargs", SCOPE_CHAT, read_ignored, 0, 0, 0, "{}"},
    {"truncate_prompt_tokens", SCOPE_BOTH, request_read_truncate_prompt_tokens, 0, -1, INT32_MAX, NULL},

    /* how much, how many */
    {"n", SCOPE_BOTH, read_n, 0, 0, 0, NULL},
    {"best_of", SCOPE_TEXT, request_read_best_of, 0, 0, 0, NULL},
    {"best_of", SCOPE_CHAT, read_refused, 0, 0, 0, "1"},
    {"max_tokens", SCOPE_BOTH, request_read_max_tokens, 0, 0, 0, NULL},
    {"max_completion_tokens", SCOPE_CHAT, request_read_max_completion_tokens, 0, 0, 0, NULL},
    {"min_tokens", SCOPE_BOTH, read_int32, FIELD(sampling.min_tokens), 0, INT32_MAX, NULL},
    {"ignore_eos", SCOPE_BOTH, read_bool, FIELD(sampling.ignore_eos), 0, 0, NULL},
    {"stop", SCOPE_BOTH, request_read_stop, 0, 0, 0, NULL},
    {"stop_token_ids", SCOPE_BOTH, request_read_stop_tokens, 0, 0, 0, NULL},
    {"include_stop_str_in_output", SCOPE_BOTH, read_bool, FIELD(include_stop), 0, 0, NULL},

    /* sampling */
    {"temperature", SCOPE_BOTH, read_float, FIELD(sampling.temperature), 0, 2, NULL},
    {"top_p", SCOPE_BOTH, read_float, FIELD(sampling.top_p), 0, 1, NULL},
    {"min_p", SCOPE_BOTH, read_float, FIELD(sampling.min_p), 0, 1, NULL},
    {"top_k", SCOPE_BOTH, read_int32, FIELD(sampling.top_k), -1, INT32_MAX, NULL},
    {"repetition_penalty", SCOPE_BOTH, read_float, FIELD(sampling.repetition_penalty), 0.01, 10, NULL},
    {"presence_penalty", SCOPE_BOTH, read_float, FIELD(sampling.presence_penalty), -2, 2, NULL},
    {"frequency_penalty", SCOPE_BOTH, read_float, FIELD(sampling.frequency_penalty), -2, 2, NULL},
    {"logit_bias", SCOPE_BOTH, request_read_logit_bias, 0, 0, 0, NULL},
    {"seed", SCOPE_BOTH, request_read_seed, 0, 0, 0, NULL},
    {"logprobs", SCOPE_CHAT, read_logprobs_on, 0, 0, 0, NULL},
    {"logprobs", SCOPE_TEXT, request_read_logprobs_count, 0, 0, LOGPROBS_MAX, NULL},
    {"top_logprobs", SCOPE_CHAT, request_read_top_logprobs, 0, 0, LOGPROBS_MAX, NULL},
    {"prompt_logprobs", SCOPE_BOTH, request_read_prompt_logprobs, 0, 0, LOGPROBS_MAX, NULL},
    {"allowed_token_ids", SCOPE_BOTH, request_read_allowed_tokens, 0, 0, 0, NULL},
    {"bad_words", SCOPE_BOTH, request_read_bad_words, 0, 0, 0, NULL},
    {"logits_processors", SCOPE_BOTH, read_refused, 0, 0, 0, "[]"},
    {"use_beam_search", SCOPE_BOTH, read_refused, 0, 0, 0, "false"},
    {"length_penalty", SCOPE_BOTH, read_ignored, 0, 0, 0, "1"},
    {"early_stopping", SCOPE_BOTH, read_ignored, 0, 0, 0, "false"},
    {"top_n_sigma", SCOPE_BOTH, read_float, FIELD(sampling.top_n_sigma), -1, 100, NULL},
    {"top_a", SCOPE_BOTH, read_float, FIELD(sampling.top_a), 0, 1, NULL},
    {"typical_p", SCOPE_BOTH, read_float, FIELD(sampling.typical_p), 0, 1, NULL},
    {"xtc_probability", SCOPE_BOTH, read_float, FIELD(sampling.xtc_probability), 0, 1, NULL},
    {"xtc_threshold", SCOPE_BOTH, read_float, FIELD(sampling.xtc_threshold), 0, 1, NULL},
    {"dry_multiplier", SCOPE_BOTH, read_float, FIELD(sampling.dry.multiplier), 0, 100, NULL},
    {"dry_base", SCOPE_BOTH, read_float, FIELD(sampling.dry.base), 1, 100, NULL},
    {"dry_allowed_length", SCOPE_BOTH, read_int32, FIELD(sampling.dry.allowed_length), 1, INT32_MAX, NULL},
    {"dry_penalty_last_n", SCOPE_BOTH, read_int32, FIELD(sampling.dry.last_n), -1, INT32_MAX, NULL},
    {"dry_sequence_breakers", SCOPE_BOTH, request_read_dry_breakers, 0, 0, 0, NULL},
    {"mirostat", SCOPE_BOTH, request_read_mirostat, 0, 0, 0, NULL},
    {"mirostat_tau", SCOPE_BOTH, read_float, FIELD(sampling.mirostat.tau), 0, 100, NULL},
    {"mirostat_eta", SCOPE_BOTH, read_float, FIELD(sampling.mirostat.eta), 0, 1, NULL},
    {"repetition_detection", SCOPE_BOTH, request_read_repetition_detection, 0, 0, 0, NULL},

    /* structure of the text */
    {"response_format", SCOPE_BOTH, request_read_response_format, 0, 0, 0, NULL},
    {"structured_outputs", SCOPE_BOTH, request_read_structured_outputs, 0, 0, 0, NULL},
    {"guided_json", SCOPE_BOTH, request_read_language, 0, 0, 0, NULL},
    {"guided_regex", SCOPE_BOTH, request_read_language, 0, 0, 0, NULL},
    {"guided_choice", SCOPE_BOTH, request_read_language, 0, 0, 0, NULL},
    {"guided_grammar", SCOPE_BOTH, request_read_language, 0, 0, 0, NULL},
    {"structural_tag", SCOPE_BOTH, read_refused, 0, 0, 0, NULL},
    {"json_schema", SCOPE_BOTH, request_read_language, 0, 0, 0, NULL},
    {"grammar", SCOPE_BOTH, request_read_language, 0, 0, 0, NULL},
    {"regex", SCOPE_BOTH, request_read_language, 0, 0, 0, NULL},
    {"ebnf", SCOPE_BOTH, request_read_language, 0, 0, 0, NULL},
    {"guided_decoding_backend", SCOPE_BOTH, read_ignored, 0, 0, 0, NULL},
    {"guided_whitespace_pattern", SCOPE_BOTH, request_read_language, 0, 0, 0, NULL},
    {"guided_json_object", SCOPE_BOTH, request_read_language, 0, 0, 0, NULL},
    {"reasoning_effort", SCOPE_CHAT, request_read_reasoning_effort, 0, 0, 0, NULL},
    {"include_reasoning", SCOPE_CHAT, read_bool, FIELD(includes_reasoning), 0, 0, NULL},
    {"separate_reasoning", SCOPE_CHAT, read_bool, FIELD(separates_reasoning), 0, 0, NULL},
    {"thinking_token_budget", SCOPE_CHAT, request_read_reasoning_budget, 0, -1, INT32_MAX, NULL},
    {"max_thinking_tokens", SCOPE_CHAT, request_read_reasoning_budget, 0, -1, INT32_MAX, NULL},
    {"thinking_budget", SCOPE_CHAT, request_read_reasoning_budget, 0, -1, INT32_MAX, NULL},
    {"thinking_budget_tokens", SCOPE_CHAT, request_read_reasoning_budget, 0, -1, INT32_MAX, NULL},
    {"reasoning_budget", SCOPE_CHAT, request_read_reasoning_budget, 0, -1, INT32_MAX, NULL},
    {"verbosity", SCOPE_CHAT, read_ignored, 0, 0, 0, "\"medium\""},
    {"prediction", SCOPE_CHAT, request_read_prediction, 0, 0, 0, NULL},

    /* form of the answer */
    {"stream", SCOPE_BOTH, read_bool, FIELD(stream), 0, 0, NULL},
    {"stream_options", SCOPE_BOTH, request_read_stream_options, 0, 0, 0, NULL},
    {"return_token_ids", SCOPE_BOTH, read_bool, FIELD(return_token_ids), 0, 0, NULL},
    {"return_tokens_as_token_ids", SCOPE_BOTH, read_bool, FIELD(shows_token_ids), 0, 0, NULL},
    {"skip_special_tokens", SCOPE_BOTH, request_read_skip_special_tokens, 0, 0, 0, NULL},
    {"spaces_between_special_tokens", SCOPE_BOTH, read_ignored, 0, 0, 0, "true"},
    {"detokenize", SCOPE_BOTH, read_refused, 0, 0, 0, "true"},
    {"timings_per_token", SCOPE_BOTH, read_ignored, 0, 0, 0, "false"},

    /* around the request */
    {"strict", SCOPE_BOTH, read_strict, 0, 0, 0, NULL},
    {"priority", SCOPE_BOTH, request_read_priority, 0, INT32_MIN, INT32_MAX, NULL},
    {"cache_salt", SCOPE_BOTH, read_cache_salt, 0, 0, 0, NULL},
    {"user", SCOPE_BOTH, read_text, FIELD(user), 0, 0, NULL},
    {"metadata", SCOPE_BOTH, request_read_metadata, 0, 0, 0, NULL},
    {"safety_identifier", SCOPE_BOTH, read_accepted_text, 0, 0, 0, NULL},
    {"store", SCOPE_CHAT, read_ignored, 0, 0, 0, "false"},
    {"service_tier", SCOPE_BOTH, request_read_service_tier, 0, 0, 0, NULL},
    {"moderation", SCOPE_CHAT, read_ignored, 0, 0, 0, NULL},
    /* the gateway role sends equal keys to one replica; a replica keeps one cache for all of a tenant */
    {"prompt_cache_key", SCOPE_BOTH, read_accepted_text, 0, 0, 0, NULL},
    {"prompt_cache_options", SCOPE_BOTH, request_read_cache_options, 0, 0, 0, NULL},
    {"prompt_cache_retention", SCOPE_BOTH, request_read_cache_retention, 0, 0, 0, NULL},
    {"cache_prompt", SCOPE_BOTH, read_ignored, 0, 0, 0, "true"},
    {"request_id", SCOPE_BOTH, read_ignored, 0, 0, 0, NULL},
    {"session_id", SCOPE_BOTH, read_ignored, 0, 0, 0, NULL},
    {"kv_transfer_params", SCOPE_BOTH, read_ignored, 0, 0, 0, NULL},
    {"vllm_xargs", SCOPE_BOTH, read_ignored, 0, 0, 0, "{}"},
};
// clang-format on

size_t request_field_count(void)
{
    return sizeof request_table / sizeof request_table[0];
}

const struct request_field *request_field_at(size_t index)
{
    return &request_table[index];
}

enum request_field_fate request_field_fate(const struct request_field *field)
{
    if (field->read == read_ignored)
        return FIELD_IGNORED;
    return field->read == read_refused ? FIELD_REFUSED : FIELD_HONOURED;
}

const char *request_field_schema(const struct request_field *field)
{
    static const struct {
        request_reader *read;
        const char *schema;
    } common[] = {
        {read_bool, "boolean"},        {read_strict, "boolean"},
        {read_logprobs_on, "boolean"}, {read_generation_prompt, "boolean"},
        {read_float, "number"},        {read_int32, "integer"},
        {read_n, "integer(1..)"},      {read_text, "string"},
        {read_cache_salt, "string"},   {read_accepted_text, "string"},
    };
    for (size_t i = 0; i < sizeof common / sizeof common[0]; i++)
        if (common[i].read == field->read)
            return common[i].schema;
    return NULL;
}

static const struct request_field *field_find(const char *name, unsigned scope)
{
    for (size_t i = 0; i < sizeof request_table / sizeof request_table[0]; i++)
        if ((request_table[i].scope & scope) != 0 && strcmp(request_table[i].name, name) == 0)
            return &request_table[i];
    return NULL;
}

/* Adds a name to a list of API_IGNORED_BYTES_MAX, in quotes for people. It may become part of a
 * header: whatever is no token character is shown as '?'. */
static void names_append(char *list, const char *name, bool is_quoted)
{
    size_t used = strlen(list);
    size_t room = API_IGNORED_BYTES_MAX - 1 - used;
    size_t bytes = strlen(name);
    if (bytes + 5 > room)
        return;
    used += (size_t)snprintf(list + used, room, "%s%s",
                             used == 0   ? ""
                             : is_quoted ? ", "
                                         : ",",
                             is_quoted ? "'" : "");
    for (size_t i = 0; i < bytes; i++) {
        char c = name[i];
        bool is_safe = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '_' || c == '-' || c == '.';
        list[used++] = is_safe ? c : '?';
    }
    if (is_quoted)
        list[used++] = '\'';
    list[used] = '\0';
}

status request_field_ignored(struct request_parse *parse, const char *name, const char *code)
{
    if (!parse->is_strict) {
        names_append(parse->out->ignored, name, false);
        return STATUS_OK;
    }
    if (parse->strict_count++ == 0) {
        snprintf(parse->strict_first, sizeof parse->strict_first, "%s", name);
        parse->strict_code = code;
    }
    names_append(parse->strict_names, name, true);
    return STATUS_OK;
}

status request_strict_verdict(const struct request_parse *parse)
{
    if (parse->strict_count == 0)
        return STATUS_OK;
    if (parse->strict_count > 1)
        return field_fail(parse->error, parse->strict_first, parse->strict_code,
                          "The request is strict, and %u of its parameters are unknown or not "
                          "honoured: %s.",
                          parse->strict_count, parse->strict_names);
    if (strcmp(parse->strict_code, "unknown_parameter") == 0)
        return field_fail(parse->error, parse->strict_first, parse->strict_code,
                          "Unknown parameter: '%s'.", parse->strict_first);
    return field_fail(parse->error, parse->strict_first, parse->strict_code,
                      "Unsupported parameter: '%s' is known but not honoured, and the request is "
                      "strict.",
                      parse->strict_first);
}

static const char *name_shown(const struct request_parse *parse, const char *name)
{
    for (const struct request_alias *a = parse->aliases; a != NULL && a->name != NULL; a++)
        if (strcmp(a->name, name) == 0)
            return a->shown;
    return name;
}

status request_fields_read(struct request_parse *parse)
{
    unsigned scope = parse->out->is_chat ? SCOPE_CHAT : SCOPE_TEXT;
    const json_t *strict = json_object_get(parse->out->body, "strict");
    if (json_is_true(strict)) /* before the fields that it may forbid */
        parse->is_strict = true;
    const char *name;
    json_t *value;
    json_object_foreach(parse->out->body, name, value)
    {
        const struct request_field *field = field_find(name, scope);
        const char *shown = name_shown(parse, name);
        status s = STATUS_OK;
        if (field == NULL) {
            s = request_field_ignored(parse, shown, "unknown_parameter");
        } else if (!json_is_null(value)) {
            struct request_field as_shown = *field;
            as_shown.name = shown;
            s = field->read(parse, &as_shown, value);
        }
        if (s != STATUS_OK)
            return s;
    }
    return STATUS_OK;
}
