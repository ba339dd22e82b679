/* A job's prompts: messages and texts become tokens, and with what is asked of the answer the engine
 * requests of the job's parts. Parsing, rendering and tokenizing a long prompt takes milliseconds, which
 * neither a loop nor the step thread has: all of it runs on the prepare workers. */

#include "prepare.h"

#include "clock.h"
#include "tool_prompt.h"

static void fail(struct job *job, const char *code, const char *param, const char *message)
{
    api_error_set(&job->error, 400, "invalid_request_error", code, param, "%s", message);
}

static bool render_with(struct job *job, const chat_template *chat,
                        const struct render_source *source, struct buffer *text,
                        struct text_span_list *trusted)
{
    const struct replica *replica = job->replica;
    struct chat_template_input input = {
        .messages = source->messages,
        .tools = source->tools,
        .documents = source->documents,
        .variables = source->variables,
        .bos_token = replica->bos_text,
        .eos_token = replica->eos_text,
        .add_generation_prompt = source->add_generation_prompt,
        .continue_final_message = source->continue_final_message,
        .wall_ms = job->has_name ? job->name.created_s * 1000 : clock_wall_ms(),
    };
    struct error_note note = {""};
    status s = chat_template_render(chat, &input, text, trusted, &note);
    if (s == STATUS_OK)
        return true;
    if (s == STATUS_NO_MEMORY)
        job_fail(job, s);
    else
        api_error_set(&job->error, 400, "invalid_request_error",
                      s == STATUS_TOO_LARGE ? "request_too_large" : "chat_template_error",
                      "messages", "The chat template refused these messages: %s", note.text);
    return false;
}

/* Phi-4-mini's template shows tools that stand in the system's message. */
static bool shows_tool_member(const struct job *job, const struct render_source *source)
{
    struct text_slice template = source->chat_template;
    if (template.data == NULL)
        template = engine_get_chat_template_text(job->replica->engine);
    return template.data != NULL && memmem(template.data, template.bytes, "<|tool|>", 8) != NULL;
}

/* A template that knows no tools gets them as part of the messages. */
static bool render_told(struct job *job, const chat_template *chat,
                        const struct render_source *source, struct buffer *text,
                        struct text_span_list *trusted)
{
    struct render_source told = *source;
    json_t *messages = NULL;
    enum tool_form form = job->replica->tool_form;
    status s = STATUS_OK;
    if ((form != TOOL_FORM_HERMES && form != TOOL_FORM_PHI4_MINI) ||
        chat_template_tool_form(chat) != TOOL_FORM_NONE)
        return render_with(job, chat, source, text, trusted);
    if (form == TOOL_FORM_HERMES)
        s = tool_prompt_messages(source->messages, source->tools, &messages);
    else
        s = tool_prompt_messages_phi4(source->messages, source->tools,
                                      shows_tool_member(job, source), &messages);
    if (s != STATUS_OK) {
        job_fail(job, s);
        return false;
    }
    told.messages = messages;
    told.tools = NULL;
    bool is_done = render_with(job, chat, &told, text, trusted);
    json_decref(messages);
    return is_done;
}

static bool render_text(struct job *job, const struct render_source *source, struct buffer *text,
                        struct text_span_list *trusted)
{
    const chat_template *chat =
        job->replica->engine != NULL ? engine_get_chat_template(job->replica->engine) : NULL;
    chat_template *own = NULL;
    struct error_note note = {""};
    if (source->chat_template.data == NULL && chat == NULL) {
        fail(job, "unsupported_parameter", "messages",
             "This model's file has no chat template; use /v1/completions.");
        return false;
    }
    if (source->chat_template.data == NULL)
        return render_told(job, chat, source, text, trusted);
    status s = chat_template_create(source->chat_template, &own, &note);
    if (s == STATUS_NO_MEMORY)
        job_fail(job, s);
    else if (s != STATUS_OK)
        api_error_set(&job->error, 400, "invalid_request_error", "chat_template_error",
                      "chat_template", "Invalid 'chat_template': %s", note.text);
    bool is_done = s == STATUS_OK && render_told(job, own, source, text, trusted);
    chat_template_destroy(own);
    return is_done;
}

size_t prepare_tokens_max(const struct job *job)
{
    return job->replica->limits.prompt_bytes_max + 8;
}

static bool encode(struct job *job, struct text_slice text, const struct text_span *trusted,
                   size_t trusted_count, bool add_special, struct token_list *out)
{
    status s = tokenizer_encode(replica_tokenizer(job->replica), text, trusted, trusted_count,
                                add_special, out);
    if (s != STATUS_OK)
        job_fail(job, s);
    return s == STATUS_OK;
}

bool prepare_render(struct job *job, const struct render_source *source, struct token_list *out)
{
    struct buffer text;
    struct text_span_list trusted = {0};
    buffer_init(&text, job->replica->limits.prompt_bytes_max);
    bool is_done =
        render_text(job, source, &text, &trusted) &&
        encode(job, buffer_slice(&text), trusted.spans, trusted.count, source->add_special, out);
    if (is_done)
        job_mark_prompt(job, buffer_slice(&text), out);
    job->starts_in_reasoning =
        is_done && reasoning_form_is_open(job->replica->reasoning_form, buffer_slice(&text));
    if (is_done && source->part != NULL)
        part_find_marks(source->part, buffer_slice(&text));
    text_span_list_deinit(&trusted);
    buffer_deinit(&text);
    return is_done;
}

bool prepare_encode_raw(struct job *job, struct text_slice text, bool add_special,
                        struct token_list *out)
{
    struct text_span whole = {0, text.bytes};
    return encode(job, text, &whole, text.bytes > 0 ? 1 : 0, add_special, out);
}

static void echo_prompt(struct job_part *part, const struct api_prompt *prompt)
{
    buffer_init(&part->echo_text, part->job->replica->limits.prompt_bytes_max * 2 + 64);
    if (prompt->tokens == NULL)
        buffer_append_slice(&part->echo_text, prompt->text);
    else
        tokenizer_decode(engine_get_tokenizer(part->job->replica->engine), prompt->tokens,
                         prompt->token_count, true, &part->echo_text);
    part->echo = buffer_slice(&part->echo_text);
}

bool part_tokenize(struct job_part *part, const struct api_prompt *prompt)
{
    struct job *job = part->job;
    const struct api_completion_request *parsed = &job->parsed;
    token_list_init(&part->prompt, prepare_tokens_max(job));
    if (parsed->is_chat) {
        struct render_source source = {
            .messages = parsed->messages,
            .tools = parsed->tools,
            .documents = parsed->documents,
            .chat_template = parsed->chat_template,
            .variables = parsed->template_variables,
            .add_generation_prompt = parsed->add_generation_prompt,
            .continue_final_message = parsed->continue_final_message,
            .add_special = parsed->add_special,
            .part = part,
        };
        return prepare_render(job, &source, &part->prompt);
    }
    if (parsed->echo)
        echo_prompt(part, prompt);
    if (part->echo_text.failed != STATUS_OK) {
        job_fail(job, part->echo_text.failed);
        return false;
    }
    if (parsed->suffix.bytes > 0)
        return part_encode_infill(part, prompt->text);
    if (prompt->tokens == NULL) {
        const tokenizer *t = engine_get_tokenizer(job->replica->engine);
        bool is_done = prepare_encode_raw(job, prompt->text, parsed->add_special, &part->prompt);
        if (is_done)
            job_mark_prompt(job, prompt->text, &part->prompt);
        part->has_bos = is_done && parsed->add_special && part->prompt.count > 0 &&
                        part->prompt.ids[0] == tokenizer_bos(t);
        return is_done;
    }
    part->request.prompt = prompt->tokens;
    part->request.prompt_count = prompt->token_count;
    return true;
}

/* The prompt, and what the client asks for beyond it, must fit into the context. */
static bool part_check_length(struct job_part *part)
{
    struct job *job = part->job;
    uint32_t context_max = engine_get_info(job->replica->engine)->context_max;
    size_t prompt = part->request.prompt_count;
    int64_t wanted = job->parsed.max_tokens;
    const char *param = job->parsed.is_chat ? "messages" : "prompt";
    if (prompt == 0) {
        fail(job, "invalid_value", param, "Invalid prompt: it has no tokens.");
        return false;
    }
    if (prompt >= context_max)
        api_error_set(&job->error, 400, "invalid_request_error", "context_length_exceeded", param,
                      "This model's maximum context length is %u tokens. However, your %s resulted "
                      "in %zu tokens. Please reduce the length of the %s.",
                      context_max, param, prompt, param);
    else if (wanted >= 0 && prompt + (uint64_t)wanted > context_max)
        api_error_set(&job->error, 400, "invalid_request_error", "context_length_exceeded", param,
                      "This model's maximum context length is %u tokens. However, you requested "
                      "%llu tokens (%zu in the %s, %lld in the completion). Please reduce the "
                      "length of the %s or completion.",
                      context_max, (unsigned long long)(prompt + (uint64_t)wanted), prompt, param,
                      (long long)wanted, param);
    else
        return true;
    return false;
}

static uint32_t part_max_tokens(const struct job_part *part)
{
    const struct api_completion_request *parsed = &part->job->parsed;
    uint32_t context_max = engine_get_info(part->job->replica->engine)->context_max;
    uint32_t left = context_max - part->request.prompt_count;
    if (parsed->max_tokens >=
        0) /* 0, with scores: one token is generated, and dropped (deliver.c) */
        return parsed->max_tokens > 0 ? (uint32_t)parsed->max_tokens : 1;
    if (!parsed->is_chat && left > API_TEXT_MAX_TOKENS_DEFAULT)
        return API_TEXT_MAX_TOKENS_DEFAULT;
    return left;
}

/* Tenants share no cached blocks: equal salts are equal tenants, and equal cache_salt inside one.
 */
static void salt_make(const struct job *job, uint64_t out[2])
{
    struct {
        struct hash128 tenant;
        struct hash128 own;
    } both = {job->tenant_salt, {0, 0}};
    struct text_slice own = job->parsed.cache_salt;
    out[0] = job->tenant_salt.low;
    out[1] = job->tenant_salt.high;
    if (own.bytes == 0)
        return;
    both.own = hash128(&job->replica->salt_key, own.data, own.bytes);
    struct hash128 salt = hash128(&job->replica->salt_key, &both, sizeof both);
    out[0] = salt.low;
    out[1] = salt.high;
}

/* What is beyond the context cannot come true, but counts as rejected. */
static bool part_predict(struct job_part *part)
{
    struct job *job = part->job;
    struct engine_request *request = &part->request;
    uint32_t context_max = engine_get_info(job->replica->engine)->context_max;
    token_list_init(&part->prediction, prepare_tokens_max(job));
    if (job->parsed.prediction.bytes == 0)
        return true;
    if (!encode(job, job->parsed.prediction, NULL, 0, false, &part->prediction))
        return false;
    size_t count = part->prediction.count;
    request->prediction = part->prediction.ids;
    request->prediction_count = count < context_max ? (uint32_t)count : context_max;
    return true;
}

bool part_prepare(struct job_part *part, const struct api_prompt *prompt)
{
    struct job *job = part->job;
    struct engine_request *request = &part->request;
    if (!part_tokenize(part, prompt))
        return false;
    if (request->prompt == NULL) {
        request->prompt = part->prompt.ids;
        request->prompt_count = (uint32_t)part->prompt.count;
    }
    if (!part_truncate(part) || !part_check_length(part) || !part_predict(part))
        return false;
    request->n = job->parsed.n;
    request->max_tokens = part_max_tokens(part);
    request->sampling = job->parsed.sampling;
    request->stops = job->parsed.stops;
    request->stop_count = job->parsed.stop_count;
    request->include_stop = job->parsed.include_stop;
    request->shows_special = job->parsed.shows_special;
    if (job_parses_output(job)) {
        request->shown_tokens = job->replica->shown_tokens;
        request->shown_token_count = job->replica->shown_token_count;
    }
    request->reasoning = job_reasoning_budget(job);
    request->priority = job->has_priority ? job->priority : job->parsed.priority;
    request->tenant = job->tenant_salt.low;
    salt_make(job, request->cache_salt);
    part_pin(part);
    request->adapter = job->adapter;
    if (request->prompt_count == job->marked_count) { /* not truncated since */
        request->marks = job->marks;
        request->mark_count = job->mark_count;
    }
    request->on_event = publish_event;
    request->context = part;
    return part_prepare_scores(part);
}
