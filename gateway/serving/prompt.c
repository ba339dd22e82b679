/* What is asked of a prompt beside its tokens: a middle to be filled in, a length that is not to be
 * passed, how likely the model finds it. */

#include <string.h>

#include "job.h"
#include "memory.h"
#include "prompt_marks.h"

/* Raw text is the client's own writing in the model's format: its control tokens are meant. */
static status append_text(const tokenizer *t, struct token_list *list, struct text_slice text)
{
    struct text_span whole = {0, text.bytes};
    return tokenizer_encode(t, text, &whole, text.bytes > 0 ? 1 : 0, false, list);
}

/* [BOS] prefix-token, the text before, suffix-token, the text after, middle-token. */
bool part_encode_infill(struct job_part *part, struct text_slice text)
{
    struct job *job = part->job;
    const tokenizer *t = engine_get_tokenizer(job->replica->engine);
    const struct fim_tokens *fim = engine_get_fim_tokens(job->replica->engine);
    struct token_list *list = &part->prompt;
    status s = STATUS_OK;
    if (fim == NULL) {
        api_error_set(
            &job->error, 400, "invalid_request_error", "unsupported_parameter", "suffix",
            "Unsupported parameter: 'suffix'. This model has no tokens for filling in the "
            "middle of a text.");
        return false;
    }
    if (job->parsed.add_special)
        s = tokenizer_encode(t, (struct text_slice){"", 0}, NULL, 0, true, list);
    if (list->count > 1) /* an end token of the empty text */
        list->count = 1;
    if (list->count == 1 && list->ids[0] != tokenizer_bos(t))
        list->count = 0;
    if (s == STATUS_OK)
        s = token_list_append(list, fim->prefix);
    if (s == STATUS_OK)
        s = append_text(t, list, text);
    if (s == STATUS_OK)
        s = token_list_append(list, fim->suffix);
    if (s == STATUS_OK)
        s = append_text(t, list, job->parsed.suffix);
    if (s == STATUS_OK)
        s = token_list_append(list, fim->middle);
    return s == STATUS_OK || job_fail(job, s);
}

/* The last tokens are kept: what is near the answer matters most to it. */
bool part_truncate(struct job_part *part)
{
    struct job *job = part->job;
    struct engine_request *request = &part->request;
    uint32_t context_max = engine_get_info(job->replica->engine)->context_max;
    uint32_t most = job->parsed.prompt_tokens_max;
    int64_t room = (int64_t)context_max - (job->parsed.max_tokens > 0 ? job->parsed.max_tokens : 1);
    if (most == 0)
        return true;
    if (most == UINT32_MAX)
        most = room > 0 ? (uint32_t)room : 0;
    if (request->prompt_count <= most || most == 0)
        return true;
    request->prompt += request->prompt_count - most;
    request->prompt_count = most;
    part->has_bos = false;
    if (!job->parsed.echo)
        return true;
    buffer_clear(&part->echo_text);
    tokenizer_decode(engine_get_tokenizer(job->replica->engine), request->prompt, most, true,
                     &part->echo_text);
    part->echo = buffer_slice(&part->echo_text);
    return part->echo_text.failed == STATUS_OK || job_fail(job, part->echo_text.failed);
}

static bool is_echo_scored(const struct api_completion_request *parsed)
{
    return parsed->echo && parsed->sampling.logprobs >= 0;
}

/* They are held for the whole request, and a body can ask for many. */
static bool count_scores(struct job *job, uint64_t count)
{
    uint32_t most = job->replica->limits.prompt_scores_max;
    job->score_count += count;
    if (job->score_count <= most)
        return true;
    api_error_set(
        &job->error, 400, "invalid_request_error", "request_too_large",
        job->parsed.has_prompt_scores ? "prompt_logprobs" : "logprobs",
        "This request asks for %llu or more log probabilities of prompt tokens; the limit "
        "is %u (limits.prompt_logprobs). Send fewer or shorter prompts, or ask for fewer "
        "alternatives.",
        (unsigned long long)job->score_count, most);
    return false;
}

bool part_prepare_scores(struct job_part *part)
{
    struct engine_request *request = &part->request;
    const struct api_completion_request *parsed = &part->job->parsed;
    if (!parsed->has_prompt_scores && !is_echo_scored(parsed))
        return true;
    uint32_t width = parsed->prompt_alternatives;
    if (is_echo_scored(parsed) && (uint32_t)parsed->sampling.logprobs > width)
        width = (uint32_t)parsed->sampling.logprobs;
    size_t count = request->prompt_count;
    if (!count_scores(part->job, count * ((uint64_t)width + 1)))
        return false;
    part->scores = memory_allocate_array(count, sizeof *part->scores);
    part->alternatives =
        memory_allocate_array(count * (width > 0 ? width : 1), sizeof *part->alternatives);
    if (part->scores == NULL || part->alternatives == NULL)
        return job_fail(part->job, STATUS_NO_MEMORY);
    request->prompt_scores = part->scores;
    request->prompt_alternatives = part->alternatives;
    request->prompt_alternative_count = width;
    return true;
}

bool part_view_scores(const struct job_part *part, struct api_prompt_scores *out)
{
    const struct api_completion_request *parsed = &part->job->parsed;
    if (part->scores == NULL)
        return false;
    *out = (struct api_prompt_scores){
        .tokenizer = engine_get_tokenizer(part->job->replica->engine),
        .ids = part->request.prompt,
        .count = part->request.prompt_count,
        .scores = part->scores,
        .alternatives = part->alternatives,
        .width = part->request.prompt_alternative_count,
        .asked_count = parsed->prompt_alternatives,
        .shown_count = is_echo_scored(parsed) ? (uint32_t)parsed->sampling.logprobs : 0,
    };
    return true;
}

/* Appends the tokens of `word`, with or without a space before it, as a run. */
static status ban_add(struct job *job, struct text_slice word, bool has_space,
                      struct token_run *run)
{
    const tokenizer *t = engine_get_tokenizer(job->replica->engine);
    char spelled[API_TEXT_BYTES_MAX + 1];
    struct token_list list;
    spelled[0] = ' ';
    memcpy(spelled + 1, word.data, word.bytes);
    struct text_slice text = {spelled + 1 - has_space, word.bytes + has_space};
    token_list_init(&list, text.bytes + 8);
    status s = tokenizer_encode(t, text, NULL, 0, false, &list);
    int32_t *ids = NULL;
    if (s == STATUS_OK)
        ids = arena_allocate_array(job->parsed.memory, list.count, sizeof *ids);
    if (s == STATUS_OK && ids == NULL)
        s = STATUS_NO_MEMORY;
    if (s == STATUS_OK)
        memcpy(ids, list.ids, list.count * sizeof *ids);
    *run = (struct token_run){ids, (uint32_t)list.count};
    token_list_deinit(&list);
    return s;
}

/* A word may stand at the start of a text or after a space, which most vocabularies write in another
 * token. The second spelling counts where it is as long and begins otherwise, as in vLLM: else it is
 * the first with a token before it. */
bool job_encode_bad_words(struct job *job)
{
    const struct api_completion_request *parsed = &job->parsed;
    struct token_run *runs =
        arena_allocate_array(parsed->memory, 2 * (size_t)parsed->bad_word_count, sizeof *runs);
    uint32_t count = 0;
    status s = runs != NULL ? STATUS_OK : STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < parsed->bad_word_count && s == STATUS_OK; i++) {
        struct text_slice word = parsed->bad_words[i];
        while (word.bytes > 1 && word.data[0] == ' ')
            word = (struct text_slice){word.data + 1, word.bytes - 1};
        struct token_run *plain = &runs[count], *spaced = &runs[count + 1];
        s = ban_add(job, word, false, plain);
        if (s == STATUS_OK)
            s = ban_add(job, word, true, spaced);
        if (s != STATUS_OK)
            break;
        bool is_other = plain->count > 0 && spaced->count == plain->count &&
                        spaced->tokens[0] != plain->tokens[0];
        count += (plain->count > 0) + is_other;
    }
    job->parsed.sampling.bans = runs;
    job->parsed.sampling.ban_count = count;
    return s == STATUS_OK || job_fail(job, s);
}

void job_mark_prompt(struct job *job, struct text_slice text, const struct token_list *ids)
{
    struct replica *replica = job->replica;
    struct json_field fields[PROMPT_FIELD_COUNT + 2] = {{.name = "cache_salt"}, {.name = "model"}};
    struct prompt_text parts;
    struct json_limits limits = {replica->limits.json_depth_max, replica->limits.json_values_max};
    if (replica->page == NULL || job->kind != JOB_COMPLETION || job->part_count != 1)
        return;
    for (uint32_t i = 0; i < PROMPT_FIELD_COUNT; i++)
        fields[i + 2].name = prompt_field_names[i];
    if (json_scan(buffer_slice(&job->body), &limits, fields, PROMPT_FIELD_COUNT + 2, NULL) !=
        STATUS_OK)
        return;
    for (uint32_t i = 0; i < PROMPT_FIELD_COUNT; i++)
        parts.fields[i] = fields[i + 2].value;
    struct text_slice model = fields[1].value;
    if (model.bytes >= 2)
        model = (struct text_slice){model.data + 1, model.bytes - 2};
    shared_page_note_text(replica->page, prompt_text_bytes(&parts), (uint32_t)ids->count);
    job->marks = memory_allocate_array(prompt_chunk_count(&parts), sizeof *job->marks);
    if (job->marks == NULL)
        return;
    job->marked_count = ids->count;
    job->mark_count = prompt_marks_make(
        &parts, prompt_chunks_root(job->tenant_name, model, fields[0].value), text,
        engine_get_tokenizer(replica->engine), ids->ids, ids->count, job->marks);
}
