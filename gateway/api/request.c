/* A completion request as a whole: defaults, the fields, then what the fields say together. */

#include "dialect.h"
#include "responses.h"

#include "check.h"

/* 0 is allowed and means: only the most likely token. The sampler's range is open at 0. */
#define TOP_P_MIN 1e-6f

static const struct text_slice dry_breakers[] = {{"\n", 1}, {":", 1}, {"\"", 1}, {"*", 1}};

static void set_defaults(struct api_completion_request *out, bool is_chat)
{
    *out = (struct api_completion_request){
        .is_chat = is_chat,
        .add_generation_prompt = is_chat,
        .add_special = !is_chat,
        .includes_reasoning = true,
        .separates_reasoning = true,
        .reasoning_budget = -1,
        .n = 1,
        .max_tokens = -1,
        .sampling = {.temperature = 1,
                     .top_p = 1,
                     .top_k = -1,
                     .repetition_penalty = 1,
                     .logprobs = -1,
                     /* llama.cpp's, for who asks for one of these and leaves the rest */
                     .xtc_threshold = 0.1f,
                     .dry = {.base = 1.75f,
                             .allowed_length = 2,
                             .last_n = -1,
                             .breakers = dry_breakers,
                             .breaker_count = ARRAY_COUNT(dry_breakers)},
                     .mirostat = {.tau = 5, .eta = 0.1f}},
    };
}

static status check_chat(struct request_parse *parse)
{
    struct api_completion_request *out = parse->out;
    if (!parse->has_messages)
        return field_fail_missing(parse->error, "messages");
    if (out->continue_final_message && !parse->has_generation_prompt)
        out->add_generation_prompt = false;
    if (out->continue_final_message && out->add_generation_prompt)
        return field_fail(parse->error, "continue_final_message", "invalid_value",
                          "'continue_final_message' and 'add_generation_prompt' cannot both be "
                          "true.");
    if (parse->top_logprobs >= 0 && !parse->is_logprobs_on)
        return field_fail(parse->error, "top_logprobs", "invalid_value",
                          "'top_logprobs' is only allowed when 'logprobs' is true.");
    if (parse->is_logprobs_on)
        out->sampling.logprobs = parse->top_logprobs >= 0 ? (int32_t)parse->top_logprobs : 0;
    status s = request_tools_settle(parse);
    return s == STATUS_OK ? request_reasoning_settle(parse) : s;
}

static status check_text(struct request_parse *parse)
{
    struct api_completion_request *out = parse->out;
    if (!parse->has_prompt)
        return field_fail_missing(parse->error, "prompt");
    if (parse->best_of > 0 && parse->best_of != out->n)
        return field_fail_unsupported(parse->error, "best_of",
                                      "This server gives all answers that it generates: 'best_of' "
                                      "must be equal to 'n'.");
    if (out->suffix.bytes > 0 && (out->echo || out->prompt_count > 1))
        return field_fail(parse->error, "suffix", "invalid_value",
                          "'suffix' goes with one prompt and without 'echo'.");
    if (out->suffix.bytes > 0 && out->prompts[0].tokens != NULL)
        return field_fail(parse->error, "suffix", "invalid_value",
                          "'suffix' goes with a prompt that is a string.");
    return STATUS_OK;
}

/* One step before or behind those that name no tier; lower runs first. */
static int32_t tier_priority(enum api_service_tier tier)
{
    return tier == TIER_FLEX ? 1 : tier == TIER_PRIORITY ? -1 : 0;
}

static status check_together(struct request_parse *parse)
{
    struct api_completion_request *out = parse->out;
    if (out->model == NULL)
        return field_fail_missing(parse->error, "model");
    if (parse->has_stream_options && !out->stream)
        return field_fail(parse->error, "stream_options", "invalid_value",
                          "The 'stream_options' parameter is only allowed when 'stream' is "
                          "enabled.");
    status s = out->is_chat ? check_chat(parse) : check_text(parse);
    if (s != STATUS_OK)
        return s;
    if ((uint64_t)out->n * (out->is_chat ? 1 : out->prompt_count) > API_CHOICES_MAX)
        return field_fail(parse->error, "n", "integer_above_max_value",
                          "Invalid 'n': prompts times 'n' must be at most %u, but %u times %u "
                          "came.",
                          API_CHOICES_MAX, out->prompt_count, out->n);
    if (out->max_tokens >= 0 && out->sampling.min_tokens > out->max_tokens)
        return field_fail(parse->error, "min_tokens", "integer_above_max_value",
                          "Invalid 'min_tokens': expected at most 'max_tokens' (%lld), but got %u "
                          "instead.",
                          (long long)out->max_tokens, out->sampling.min_tokens);
    if (out->has_prompt_scores && out->stream)
        return field_fail(parse->error, "prompt_logprobs", "invalid_value",
                          "'prompt_logprobs' is not available when 'stream' is enabled.");
    if (!parse->has_priority)
        out->priority = tier_priority(out->service_tier);
    if (out->sampling.top_p < TOP_P_MIN)
        out->sampling.top_p = TOP_P_MIN;
    return STATUS_OK;
}

/* Enough for every array that a body of this size and count of values can ask for: token ids of 4
 * bytes, biases of 8, stops and prompts of up to 40, and copies of its texts; twice, for the
 * arena's doubling chunks; and the tokens of bad words, in two spellings. */
static size_t arena_bytes_max(struct text_slice body, const struct api_limits *limits)
{
    size_t banned = (size_t)API_BAD_WORDS_MAX * 2 * (API_TEXT_BYTES_MAX + 8) * sizeof(int32_t);
    return 2 * (body.bytes + (size_t)limits->json_values_max * 64 + banned) + 65536;
}

/* `dialect` NULL: the body is a chat or text completion request as it stands. */
static status request_parse(const struct wire_request *source, bool is_chat,
                            const struct dialect *dialect, struct api_completion_request *out,
                            struct api_error *error)
{
    const struct api_limits *limits = source->limits;
    struct text_slice body = source->body;
    set_defaults(out, is_chat);
    struct request_parse parse = {.limits = limits,
                                  .history = source->history,
                                  .out = out,
                                  .error = error,
                                  .is_strict = limits->strict,
                                  .top_logprobs = -1};
    status s = field_load_body(body, limits, &out->body, error);
    if (s != STATUS_OK)
        return s;
    s = arena_create(arena_bytes_max(body, limits), &out->memory);
    if (s != STATUS_OK) {
        api_error_from_status(error, s, NULL);
        goto fail;
    }
    if (dialect != NULL)
        s = dialect_translate(&parse, dialect);
    if (s == STATUS_OK)
        s = request_fields_read(&parse);
    if (s == STATUS_OK)
        s = check_together(&parse);
    if (s == STATUS_OK)
        s = request_strict_verdict(&parse);
    if (s != STATUS_OK)
        goto fail;
    return STATUS_OK;
fail:
    api_completion_request_deinit(out);
    return s == STATUS_UNSUPPORTED ? STATUS_INVALID : s;
}

status api_chat_request_parse(struct text_slice body, const struct api_limits *limits,
                              struct api_completion_request *out, struct api_error *error)
{
    struct wire_request source = {.body = body, .limits = limits};
    return request_parse(&source, true, NULL, out, error);
}

status api_completion_request_parse(struct text_slice body, const struct api_limits *limits,
                                    struct api_completion_request *out, struct api_error *error)
{
    struct wire_request source = {.body = body, .limits = limits};
    return request_parse(&source, false, NULL, out, error);
}

status dialect_parse(const struct wire_request *source, const struct dialect *dialect,
                     struct api_completion_request *out, struct api_error *error)
{
    return request_parse(source, true, dialect, out, error);
}

void api_completion_request_release_body(struct api_completion_request *request)
{
    json_decref(request->body);
    json_decref(request->made);
    request->body = request->made = NULL;
    request->messages = request->tools = request->documents = request->template_variables = NULL;
    request->callable_tools = NULL;
    request->suffix = request->chat_template = (struct text_slice){NULL, 0};
    for (uint32_t i = 0; i < request->prompt_count; i++)
        request->prompts[i].text = (struct text_slice){NULL, 0};
}

void api_completion_request_deinit(struct api_completion_request *request)
{
    json_decref(request->body);
    json_decref(request->made);
    arena_destroy(request->memory);
    api_responses_destroy(request->responses);
    *request = (struct api_completion_request){0};
}
