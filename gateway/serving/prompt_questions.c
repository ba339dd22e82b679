/* What clients ask about prompts without having them answered. */

#include "prepare.h"

enum job_stage question_count(struct job *job)
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

enum job_stage question_tokenize(struct job *job)
{
    struct api_tokenize_request parsed;
    if (api_tokenize_request_parse(buffer_slice(&job->body), &job->replica->limits, &parsed,
                                   &job->error) != STATUS_OK)
        return JOB_FAILED;
    struct token_list ids;
    token_list_init(&ids, prepare_tokens_max(job));
    struct render_source source = {
        .messages = parsed.messages,
        .tools = parsed.tools,
        .variables = parsed.template_variables,
        .add_generation_prompt = parsed.add_generation_prompt,
        .continue_final_message = parsed.continue_final_message,
        .add_special = parsed.add_special,
    };
    bool is_done = job_find_model(job, parsed.model, NULL) &&
                   (parsed.messages != NULL
                        ? prepare_render(job, &source, &ids)
                        : prepare_encode_raw(job, parsed.prompt, parsed.add_special, &ids));
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

enum job_stage question_detokenize(struct job *job)
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
