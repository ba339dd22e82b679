#ifndef PENSTOCK_GATEWAY_SERVING_PREPARE_H
#define PENSTOCK_GATEWAY_SERVING_PREPARE_H

#include "job.h"

/* What the prepare workers do with a job, part by part. False: the job's error is set. */

/* Texts and arrays of one choice are bounded by the answer's tokens; this is the ceiling for all of
 * them, far above what a context of a million tokens can fill without log probabilities. */
#define CHOICE_BYTES_MAX (256u * 1024u * 1024u)

/* What a prompt is rendered from, for chat and for /tokenize. */
struct render_source {
    const json_t *messages, *tools, *documents, *variables;
    bool add_generation_prompt, continue_final_message, add_special;
    struct text_slice chat_template; /* data NULL: the model's own */
    struct job_part *part;           /* whose prompt it is; NULL: nobody's */
};

/* Messages by the template, into `out`, which is inited; whether they end inside reasoning is noted in the job. */
bool prepare_render(struct job *job, const struct render_source *source, struct token_list *out);
/* Whoever writes a raw prompt writes the model's own format: all of it is trusted, so that control
 * tokens are recognised. */
bool prepare_encode_raw(struct job *job, struct text_slice text, bool add_special,
                        struct token_list *out);
/* Ids may outnumber bytes only by what the model adds around a text. */
size_t prepare_tokens_max(const struct job *job);

/* Only the prompt of a part; and all of the engine request that the part becomes. `prompt`: of a text completion. */
bool part_tokenize(struct job_part *part, const struct api_prompt *prompt);
bool part_prepare(struct job_part *part, const struct api_prompt *prompt);

/* A completion (completion.c): its body becomes parts, choices and a grammar; then the engine has it. */
bool completion_prepare(struct job *job);
bool completion_submit(struct job *job);

/* Questions about prompts, answered at once (prompt_questions.c): how many tokens a request would have, the tokens of a
 * text, the text of tokens. */
enum job_stage question_count(struct job *job);
enum job_stage question_tokenize(struct job *job);
enum job_stage question_detokenize(struct job *job);

#endif
