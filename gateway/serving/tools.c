/* Calls of tools and reasoning in answers: what the model's form is, what an answer must be like, and the parser that tells
 * them apart from text. */

#include "job.h"

#include "memory.h"
#include "output_parser.h"
#include "tool_grammar.h"

/* Text that may still become a call is held back so long; longer is text. */
#define HELD_BYTES_MAX (256u * 1024u)

/* --- the model --- */

/* The tokens that parsers must see, whatever tokens are shown to clients. */
static status find_shown_tokens(struct replica *replica, const tokenizer *t)
{
    uint32_t count = tokenizer_token_count(t);
    for (int pass = 0; pass < 2; pass++) {
        uint32_t found = 0;
        for (uint32_t i = 0; i < count; i++) {
            int32_t id = (int32_t)i;
            if (!tokenizer_is_control(t, id) ||
                !output_forms_need_token(replica->tool_form, replica->reasoning_form,
                                         tokenizer_piece(t, id, true)))
                continue;
            if (replica->shown_tokens != NULL)
                replica->shown_tokens[found] = id;
            found++;
        }
        replica->shown_token_count = found;
        if (found == 0 || replica->shown_tokens != NULL)
            return STATUS_OK;
        replica->shown_tokens = memory_allocate_array(found, sizeof *replica->shown_tokens);
        if (replica->shown_tokens == NULL)
            return STATUS_NO_MEMORY;
    }
    return STATUS_OK;
}

/* What the model would have to write to end its reasoning, in tokens. */
#define REASONING_END_TOKENS_MAX 64u

static status encode_reasoning_end(struct replica *replica, const tokenizer *t)
{
    struct text_slice end = reasoning_form_texts(replica->reasoning_form).end;
    struct text_span whole = {0, end.bytes};
    token_list_init(&replica->reasoning_end, REASONING_END_TOKENS_MAX);
    return tokenizer_encode(t, end, &whole, end.bytes > 0 ? 1 : 0, false, &replica->reasoning_end);
}

status replica_find_forms(struct replica *replica)
{
    const struct config_model *model = replica->model;
    const chat_template *chat = engine_get_chat_template(replica->engine);
    enum tool_form spoken = chat != NULL ? chat_template_tool_form(chat) : TOOL_FORM_NONE;
    replica->tool_form = spoken;
    if (!tool_form_find(model->tool_parser, &replica->tool_form) && spoken == TOOL_FORM_NONE)
        replica->tool_form = TOOL_FORM_HERMES;
    replica->reasoning_form =
        chat != NULL ? chat_template_reasoning_form(chat) : REASONING_FORM_NONE;
    (void)reasoning_form_find(model->reasoning_parser, &replica->reasoning_form);
    replica->limits.hides_calls = replica->tool_form == TOOL_FORM_NONE;
    replica->limits.hides_reasoning = replica->reasoning_form == REASONING_FORM_NONE;
    const tokenizer *t = engine_get_tokenizer(replica->engine);
    status s = encode_reasoning_end(replica, t);
    return s == STATUS_OK ? find_shown_tokens(replica, t) : s;
}

/* --- a request --- */

static enum reasoning_form job_reasoning_form(const struct job *job)
{
    const struct api_completion_request *parsed = &job->parsed;
    return parsed->is_chat && parsed->separates_reasoning ? job->replica->reasoning_form
                                                          : REASONING_FORM_NONE;
}

static enum tool_form job_tool_form(const struct job *job)
{
    return job->parsed.callable_tools != NULL ? job->replica->tool_form : TOOL_FORM_NONE;
}

const struct reasoning_budget *job_reasoning_budget(struct job *job)
{
    const struct replica *replica = job->replica;
    struct reasoning_texts texts = reasoning_form_texts(replica->reasoning_form);
    if (job->parsed.reasoning_budget < 0 || replica->reasoning_end.count == 0)
        return NULL;
    job->reasoning_budget = (struct reasoning_budget){
        .tokens_max = (uint32_t)job->parsed.reasoning_budget,
        .starts_inside = job->starts_in_reasoning,
        .open = texts.open,
        .close = texts.close,
        .end_tokens = replica->reasoning_end.ids,
        .end_token_count = (uint32_t)replica->reasoning_end.count,
    };
    return &job->reasoning_budget;
}

bool job_parses_output(const struct job *job)
{
    return job_tool_form(job) != TOOL_FORM_NONE || job_reasoning_form(job) != REASONING_FORM_NONE;
}

status job_create_parser(struct job *job, struct job_choice *choice,
                         void (*on_delta)(void *, const struct output_delta *))
{
    struct output_parser_options options = {
        .tools = job_tool_form(job),
        .reasoning = job_reasoning_form(job),
        .starts_in_reasoning =
            job->starts_in_reasoning && job_reasoning_form(job) != REASONING_FORM_NONE,
        .tool_list = job->parsed.callable_tools,
        .held_bytes_max = HELD_BYTES_MAX,
        .on_delta = on_delta,
        .context = choice,
    };
    return output_parser_create(&options, &choice->parser);
}

/* --- what an answer must be --- */

static bool has_strict(const json_t *tools)
{
    size_t index;
    json_t *tool;
    json_array_foreach(tools, index, tool)
    {
        if (json_is_true(json_object_get(json_object_get(tool, "function"), "strict")))
            return true;
    }
    return false;
}

/* Does something hold for calls that the model may not keep by itself? */
static bool calls_are_bound(const struct api_completion_request *parsed)
{
    return parsed->callable_tools != NULL &&
           (parsed->is_call_required || parsed->is_single_call ||
            parsed->callable_tools != parsed->tools || has_strict(parsed->callable_tools));
}

/* What the client wants the text to be, as an expression of EBNF; false: it cannot be part of one. */
static bool write_content(const struct grammar_source *source, struct buffer *out)
{
    switch (source->kind) {
    case GRAMMAR_JSON_OBJECT:
        buffer_append_text(out, "%json{\"type\":\"object\"}");
        return true;
    case GRAMMAR_JSON_SCHEMA:
        if (source->text.bytes == 0 || source->text.data[0] != '{')
            return false;
        buffer_append_text(out, "%json");
        buffer_append_slice(out, source->text);
        return true;
    case GRAMMAR_REGEX:
        buffer_append_text(out, "%regex{");
        buffer_append_slice(out, source->text);
        buffer_append_text(out, "}");
        return true;
    case GRAMMAR_CHOICE:
        for (uint32_t i = 0; i < source->choice_count; i++) {
            buffer_append_text(out, i > 0 ? " | " : "(");
            tool_literal_write(out, source->choices[i]);
        }
        buffer_append_text(out, ")");
        return true;
    case GRAMMAR_EBNF:
        break;
    }
    return false;
}

static status compile(struct job *job, const struct buffer *text, struct error_note *note)
{
    struct grammar_source source = {
        .kind = GRAMMAR_EBNF,
        .text = buffer_slice(text),
        .whitespace = job->parsed.grammar.whitespace,
        .with_control = true,
    };
    return text->failed != STATUS_OK
               ? text->failed
               : engine_compile_grammar(job->replica->engine, &source, &job->grammar, note);
}

/* Schemas of functions that are not strict are kept where they can be; where not, these functions take any object. */
static status compile_calls(struct job *job, struct tool_grammar_options *options,
                            struct error_note *note)
{
    struct buffer text;
    status s = STATUS_UNSUPPORTED;
    buffer_init(&text, job->replica->limits.grammar_bytes_max);
    for (int loose = 0; loose < 2 && s == STATUS_UNSUPPORTED; loose++) {
        options->is_loose = loose > 0;
        buffer_clear(&text);
        tool_grammar_write(options, &text);
        s = compile(job, &text, note);
    }
    if (text.failed == STATUS_TOO_LARGE)
        error_note_set(note, "its grammar has more than %llu bytes",
                       (unsigned long long)job->replica->limits.grammar_bytes_max);
    buffer_deinit(&text);
    return s;
}

bool job_wants_composed_grammar(const struct job *job)
{
    const struct api_completion_request *parsed = &job->parsed;
    return calls_are_bound(parsed) || (parsed->grammar_field != NULL && job_parses_output(job));
}

status job_compile_composed(struct job *job, struct error_note *note)
{
    const struct api_completion_request *parsed = &job->parsed;
    struct tool_grammar_options options = {
        .form = job_tool_form(job),
        .reasoning = job_reasoning_form(job),
        .starts_in_reasoning = job->starts_in_reasoning,
        .tools = parsed->callable_tools,
        .is_required = parsed->is_call_required,
        .is_single = parsed->is_single_call,
    };
    struct buffer content;
    buffer_init(&content, job->replica->limits.grammar_bytes_max);
    status s = STATUS_OK;
    if (parsed->grammar_field != NULL && !parsed->is_call_required &&
        !write_content(&parsed->grammar, &content)) {
        error_note_set(note,
                       "it does not go together with calls of tools or reasoning; a schema, a "
                       "regular expression or a choice does");
        s = STATUS_UNSUPPORTED;
    }
    options.content = buffer_slice(&content);
    if (s == STATUS_OK)
        s = content.failed != STATUS_OK ? content.failed : compile_calls(job, &options, note);
    buffer_deinit(&content);
    return s;
}
