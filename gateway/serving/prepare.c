/* The prepare workers: body -> checked request -> prompt tokens -> engine. Parsing, rendering and
 * tokenizing a long prompt takes milliseconds, which neither a loop nor the step thread has. */

#include "job.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "log.h"
#include "memory.h"
#include "thread.h"
#include "tool_prompt.h"

static void fail_status(struct job *job, status s)
{
    api_error_from_status(&job->error, s, NULL);
}

static void fail(struct job *job, const char *code, const char *param, const char *message)
{
    api_error_set(&job->error, 400, "invalid_request_error", code, param, "%s", message);
}

/* What a prompt is rendered from, for chat and for /tokenize. */
struct render_source {
    const json_t *messages, *tools, *documents, *variables;
    bool add_generation_prompt, continue_final_message, add_special;
    struct text_slice chat_template; /* data NULL: the model's own */
    struct job_part *part;           /* whose prompt it is; NULL: nobody's */
};

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
        .wall_ms = clock_wall_ms(),
    };
    struct error_note note = {""};
    status s = chat_template_render(chat, &input, text, trusted, &note);
    if (s == STATUS_OK)
        return true;
    if (s == STATUS_NO_MEMORY)
        fail_status(job, s);
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
        fail_status(job, s);
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
        fail_status(job, s);
    else if (s != STATUS_OK)
        api_error_set(&job->error, 400, "invalid_request_error", "chat_template_error",
                      "chat_template", "Invalid 'chat_template': %s", note.text);
    bool is_done = s == STATUS_OK && render_told(job, own, source, text, trusted);
    chat_template_destroy(own);
    return is_done;
}

/* Ids may outnumber bytes only by what the model adds around a text. */
static size_t token_count_max(const struct job *job)
{
    return job->replica->limits.prompt_bytes_max + 8;
}

static bool encode(struct job *job, struct text_slice text, const struct text_span *trusted,
                   size_t trusted_count, bool add_special, struct token_list *out)
{
    status s = tokenizer_encode(replica_tokenizer(job->replica), text, trusted, trusted_count,
                                add_special, out);
    if (s != STATUS_OK)
        fail_status(job, s);
    return s == STATUS_OK;
}

static bool render(struct job *job, const struct render_source *source, struct token_list *out)
{
    struct buffer text;
    struct text_span_list trusted = {0};
    buffer_init(&text, job->replica->limits.prompt_bytes_max);
    bool is_done =
        render_text(job, source, &text, &trusted) &&
        encode(job, buffer_slice(&text), trusted.spans, trusted.count, source->add_special, out);
    job->starts_in_reasoning =
        is_done && reasoning_form_is_open(job->replica->reasoning_form, buffer_slice(&text));
    if (is_done && source->part != NULL)
        part_find_marks(source->part, buffer_slice(&text));
    text_span_list_deinit(&trusted);
    buffer_deinit(&text);
    return is_done;
}

/* Whoever writes a raw prompt writes the model's own format: all of it is trusted, so that control
 * tokens are recognised. */
static bool encode_raw(struct job *job, struct text_slice text, bool add_special,
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

static bool part_tokenize(struct job_part *part, const struct api_prompt *prompt)
{
    struct job *job = part->job;
    const struct api_completion_request *parsed = &job->parsed;
    token_list_init(&part->prompt, token_count_max(job));
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
        return render(job, &source, &part->prompt);
    }
    if (parsed->echo)
        echo_prompt(part, prompt);
    if (part->echo_text.failed != STATUS_OK) {
        fail_status(job, part->echo_text.failed);
        return false;
    }
    if (parsed->suffix.bytes > 0)
        return part_encode_infill(part, prompt->text);
    if (prompt->tokens == NULL) {
        const tokenizer *t = engine_get_tokenizer(job->replica->engine);
        bool is_done = encode_raw(job, prompt->text, parsed->add_special, &part->prompt);
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
    token_list_init(&part->prediction, token_count_max(job));
    if (job->parsed.prediction.bytes == 0)
        return true;
    if (!encode(job, job->parsed.prediction, NULL, 0, false, &part->prediction))
        return false;
    size_t count = part->prediction.count;
    request->prediction = part->prediction.ids;
    request->prediction_count = count < context_max ? (uint32_t)count : context_max;
    return true;
}

static bool part_prepare(struct job_part *part, const struct api_prompt *prompt)
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
    salt_make(job, request->cache_salt);
    part_pin(part);
    request->adapter = job->adapter;
    request->on_event = publish_event;
    request->context = part;
    return part_prepare_scores(part);
}

static bool allocate_parts(struct job *job)
{
    uint32_t part_count = job->parsed.is_chat ? 1 : job->parsed.prompt_count;
    job->choices = memory_allocate_array(part_count * job->parsed.n, sizeof *job->choices);
    job->parts = memory_allocate_array(part_count, sizeof *job->parts);
    if (job->choices == NULL || job->parts == NULL) {
        fail_status(job, STATUS_NO_MEMORY);
        return false;
    }
    job->part_count = part_count;
    job->choice_count = part_count * job->parsed.n;
    for (uint32_t i = 0; i < part_count; i++) {
        job->parts[i].job = job;
        job->parts[i].first_choice = i * job->parsed.n;
    }
    if (event_queue_init(&job->events, publish_queue_bytes(job)) != STATUS_OK) {
        fail_status(job, STATUS_NO_MEMORY);
        return false;
    }
    return true;
}

/* Texts and arrays of one choice are bounded by the answer's tokens; this is the ceiling for all of
 * them, far above what a context of a million tokens can fill without log probabilities. */
#define CHOICE_BYTES_MAX (256u * 1024u * 1024u)

static bool choices_init(struct job *job)
{
    const tokenizer *t = engine_get_tokenizer(job->replica->engine);
    for (uint32_t i = 0; i < job->choice_count; i++) {
        struct job_choice *choice = &job->choices[i];
        output_items_init(&choice->items, CHOICE_BYTES_MAX);
        buffer_init(&choice->ids, CHOICE_BYTES_MAX);
        choice->has_logprobs = job->parsed.sampling.logprobs >= 0;
        api_logprobs_init(&choice->logprobs, job->parsed.is_chat, t, CHOICE_BYTES_MAX);
        choice->logprobs.shows_ids = job->parsed.shows_token_ids;
        choice->logprobs.shows_special = job->parsed.shows_special;
        choice->sink = (struct output_sink){.job = job, .index = i};
        status s =
            job_parses_output(job) ? job_create_parser(job, choice, job_take_delta) : STATUS_OK;
        if (s != STATUS_OK) {
            fail_status(job, s);
            return false;
        }
    }
    job->open_count = job->choice_count;
    return true;
}

static void answer_init(struct job *job)
{
    const struct engine_request *first = &job->parts[0].request;
    unsigned char random[12];
    random_bytes(random, sizeof random);
    int used = snprintf(job->id, sizeof job->id, "%s%s", job->format->id_prefix,
                        job->format->record_write != NULL ? job->replica_number : "");
    for (size_t i = 0; i < sizeof random; i++)
        used += snprintf(job->id + used, sizeof job->id - (size_t)used, "%02x", random[i]);
    job->answer = (struct api_answer){
        .id = job->id,
        .unique = job->id + strlen(job->format->id_prefix),
        .created_s = clock_wall_ms() / 1000,
        .model = job->parsed.model,
        .fingerprint = job->replica->fingerprint,
        .request = &job->parsed,
        .is_usage_wanted = job->parsed.include_usage,
        .is_usage_continuous = job->parsed.continuous_usage,
        .service_tier = api_service_tier_names[job->parsed.service_tier],
        .prompt_ids = job->parsed.return_token_ids ? first->prompt : NULL,
        .prompt_count = first->prompt_count,
    };
}

/* What the text must be like, compiled: here it may take its time. */
static bool compile_grammar(struct job *job)
{
    const struct api_completion_request *parsed = &job->parsed;
    const char *field = parsed->grammar_field != NULL ? parsed->grammar_field : "tools";
    struct error_note note = {""};
    status s = STATUS_OK;
    if (job_wants_composed_grammar(job))
        s = job_compile_composed(job, &note);
    else if (parsed->grammar_field != NULL)
        s = engine_compile_grammar(job->replica->engine, &parsed->grammar, &job->grammar, &note);
    for (uint32_t i = 0; i < job->part_count; i++)
        job->parts[i].request.grammar = job->grammar;
    if (s == STATUS_OK)
        return true;
    if (s == STATUS_INVALID || s == STATUS_UNSUPPORTED || s == STATUS_TOO_LARGE)
        api_error_set(&job->error, 400, "invalid_request_error",
                      s == STATUS_INVALID       ? "invalid_value"
                      : s == STATUS_UNSUPPORTED ? "unsupported_value"
                                                : "grammar_too_large",
                      field, "Invalid '%s': %s.", field, note.text);
    else
        fail_status(job, s);
    return false;
}

static bool completion_prepare(struct job *job)
{
    struct api_completion_request *parsed = &job->parsed;
    struct api_history history = job_history(job);
    struct wire_request source = {
        .body = buffer_slice(&job->body), .limits = &job->replica->limits, .history = &history};
    status s = job->format->parse(&source, parsed, &job->error);
    if (s != STATUS_OK || !job_find_model(job, parsed->model, &job->adapter))
        return false;
    if (!parsed->has_seed)
        random_bytes(&parsed->sampling.seed, sizeof parsed->sampling.seed);
    if (!allocate_parts(job))
        return false;
    if (!job_encode_bad_words(job))
        return false;
    for (uint32_t i = 0; i < job->part_count; i++)
        if (!part_prepare(&job->parts[i], parsed->prompts != NULL ? &parsed->prompts[i] : NULL))
            return false;
    if (!compile_grammar(job) || !choices_init(job))
        return false;
    answer_init(job);
    api_completion_request_release_body(parsed);
    buffer_deinit(&job->body);
    return true;
}

static void fail_submit(struct job *job, const struct job_part *part, status s)
{
    const struct engine_info *info = engine_get_info(job->replica->engine);
    fail_status(job, s);
    if (s == STATUS_FULL)
        job->error.retry_after_ms = replica_retry_after_ms(job->replica);
    if (s == STATUS_TOO_LARGE)
        api_error_set(&job->error, 400, "invalid_request_error", "context_length_exceeded",
                      job->parsed.is_chat ? "messages" : "prompt",
                      "This request can never run here: its %u prompt tokens do not fit into the "
                      "whole cache of %u blocks, or into the context of %u tokens.",
                      part->request.prompt_count, info->block_count, info->context_max);
}

/* max_tokens 0: nothing is generated, every choice ends at once. The worker is the queue's producer
 * here, since no part is submitted. */
static bool finish_without_engine(struct job *job)
{
    for (uint32_t i = 0; i < job->choice_count; i++) {
        struct engine_event event = {
            .finish = FINISH_LENGTH,
            .stop_token = -1,
            .usage = {.prompt_tokens = job->parts[i / job->parsed.n].request.prompt_count},
        };
        if (!publish_record(job, i, &event)) {
            fail_status(job, STATUS_TOO_LARGE);
            return false;
        }
    }
    return true;
}

static bool completion_submit(struct job *job)
{
    if (job->parsed.max_tokens == 0 && job->parts[0].scores == NULL)
        return finish_without_engine(job);
    for (uint32_t i = 0; i < job->part_count; i++) {
        struct job_part *part = &job->parts[i];
        int unknown = PART_UNKNOWN;
        job_acquire(job);
        status s = engine_submit(job->replica->engine, &part->request);
        if (s != STATUS_OK) {
            fail_submit(job, part, s);
            job_release(job);
            job_cancel(job);
            return false;
        }
        /* from now on it may be cancelled, unless it has already ended */
        atomic_compare_exchange_strong(&part->hold, &unknown, PART_FREE);
        if (atomic_load(&job->is_unwanted))
            job_cancel(job);
    }
    return true;
}

/* How many tokens the prompt of a request would have. */
static enum job_stage count_answer(struct job *job)
{
    struct api_history history = job_history(job);
    struct wire_request source = {
        .body = buffer_slice(&job->body), .limits = &job->replica->limits, .history = &history};
    struct job_part part = {.job = job};
    if (job->format->parse_count(&source, &job->parsed, &job->error) != STATUS_OK)
        return JOB_FAILED;
    bool is_done = job_find_model(job, job->parsed.model, NULL) && part_tokenize(&part, NULL);
    if (is_done) {
        buffer_deinit(&job->body);
        buffer_init(&job->body, CHOICE_BYTES_MAX);
        job->format->count_write(&job->body, (uint32_t)part.prompt.count);
    }
    token_list_deinit(&part.prompt);
    return is_done ? JOB_ANSWERED : JOB_FAILED;
}

static enum job_stage tokenize_answer(struct job *job)
{
    struct api_tokenize_request parsed;
    if (api_tokenize_request_parse(buffer_slice(&job->body), &job->replica->limits, &parsed,
                                   &job->error) != STATUS_OK)
        return JOB_FAILED;
    struct token_list ids;
    token_list_init(&ids, token_count_max(job));
    struct render_source source = {
        .messages = parsed.messages,
        .tools = parsed.tools,
        .variables = parsed.template_variables,
        .add_generation_prompt = parsed.add_generation_prompt,
        .continue_final_message = parsed.continue_final_message,
        .add_special = parsed.add_special,
    };
    bool is_done =
        job_find_model(job, parsed.model, NULL) &&
        (parsed.messages != NULL ? render(job, &source, &ids)
                                 : encode_raw(job, parsed.prompt, parsed.add_special, &ids));
    if (is_done) {
        buffer_deinit(&job->body);
        buffer_init(&job->body, CHOICE_BYTES_MAX);
        api_tokenize_write(&job->body, replica_tokenizer(job->replica), ids.ids, ids.count,
                           replica_context_max(job->replica), parsed.return_token_texts);
    }
    token_list_deinit(&ids);
    api_tokenize_request_deinit(&parsed);
    return is_done ? JOB_ANSWERED : JOB_FAILED;
}

static enum job_stage detokenize_answer(struct job *job)
{
    struct api_detokenize_request parsed;
    if (api_detokenize_request_parse(buffer_slice(&job->body), &job->replica->limits, &parsed,
                                     &job->error) != STATUS_OK)
        return JOB_FAILED;
    bool is_done = job_find_model(job, parsed.model, NULL);
    if (is_done) {
        buffer_deinit(&job->body);
        buffer_init(&job->body, CHOICE_BYTES_MAX);
        api_detokenize_write(&job->body, replica_tokenizer(job->replica), parsed.tokens,
                             parsed.token_count);
    }
    api_detokenize_request_deinit(&parsed);
    return is_done ? JOB_ANSWERED : JOB_FAILED;
}

static enum job_stage prepare(struct job *job)
{
    if (atomic_load(&job->is_unwanted))
        return JOB_FAILED;
    if (atomic_load(&job->replica->is_stopping)) {
        fail_status(job, STATUS_CLOSED);
        return JOB_FAILED;
    }
    if (job->kind == JOB_POOLING)
        return pooling_answer(job);
    if (job->kind == JOB_LOAD_ADAPTER || job->kind == JOB_UNLOAD_ADAPTER)
        return adapter_answer(job);
    if (job->replica->engine == NULL && (job->kind == JOB_COUNT || job->kind == JOB_COMPLETION)) {
        api_error_set(
            &job->error, 400, "invalid_request_error", "unsupported_model", "model",
            "The model '%s' does not generate text; it is asked at %s.", job->replica->model->name,
            encoder_get_info(job->replica->encoder)->class_count > 0 ? "/v1/rerank and /v1/score"
                                                                     : "/v1/embeddings");
        return JOB_FAILED;
    }
    if (job->kind == JOB_COUNT)
        return count_answer(job);
    if (job->kind == JOB_TOKENIZE)
        return tokenize_answer(job);
    if (job->kind == JOB_DETOKENIZE)
        return detokenize_answer(job);
    if (!completion_prepare(job))
        return JOB_FAILED;
    job->prepared_ns = clock_now_ns();
    return completion_submit(job) ? JOB_RUNNING : JOB_FAILED;
}

static void run_job(struct replica *replica, struct job *job)
{
    uint64_t begin_ns = clock_now_ns();
    enum job_stage stage = prepare(job);
    if (job->adapter != NULL) { /* the engine has its own hold by now */
        engine_release_adapter(job->adapter);
        job->adapter = NULL;
    }
    metrics_observe(replica->prepare_seconds,
                    (double)(clock_now_ns() - begin_ns) / (double)NS_PER_SECOND);
    if (stage != JOB_PREPARING) {
        atomic_store(&job->stage, stage); /* release: the loop may read what was prepared */
        job_post(job);
    }
    job_release(job);
}

static void *worker_main(void *context)
{
    struct replica *replica = context;
    for (;;) {
        struct job *job = ring_pop_shared(replica->prepare_queue);
        if (job != NULL) {
            run_job(replica, job);
            continue;
        }
        uint32_t ticket = parking_prepare(&replica->prepare_parking);
        if (ring_count(replica->prepare_queue) > 0) {
            parking_cancel(&replica->prepare_parking);
            continue;
        }
        if (atomic_load(&replica->is_stopping)) {
            parking_cancel(&replica->prepare_parking);
            return NULL;
        }
        parking_wait(&replica->prepare_parking, ticket, UINT64_MAX);
    }
}

status prepare_start(struct replica *replica)
{
    uint32_t wanted = thread_core_count() > 4 ? PREPARE_WORKERS_MAX : 1;
    for (uint32_t i = 0; i < wanted; i++) {
        status s = thread_start(&replica->workers[i], "prepare", worker_main, replica);
        if (s != STATUS_OK)
            return s;
        replica->worker_count++;
    }
    return STATUS_OK;
}

void prepare_stop(struct replica *replica)
{
    atomic_store(&replica->is_stopping, true);
    for (uint32_t i = 0; i < replica->worker_count; i++)
        parking_signal(&replica->prepare_parking);
    for (uint32_t i = 0; i < replica->worker_count; i++)
        pthread_join(replica->workers[i], NULL);
    replica->worker_count = 0;
}

void prepare_end_rest(struct replica *replica)
{
    struct job *job;
    while ((job = ring_pop_shared(replica->prepare_queue)) != NULL)
        run_job(replica, job);
}
