/* Bodies of /v1/embeddings, /rerank and /score. Fields that only tell who asks (user, priority) are checked
 * where they have a form and otherwise let be. */

#include "check.h"
#include "field.h"
#include "memory.h"
#include "pooling.h"

#define TRUNCATE_NONE (-2)
#define TRUNCATE_MAX  (1 << 24)

/* Texts and tokens of one request on their way into the struct. */
struct input_reader {
    const struct api_limits *limits;
    struct api_pooling_request *out;
    struct api_error *error;
    uint32_t inputs_max;
    size_t tokens_used;
};

static status out_of_memory(struct api_error *error)
{
    api_error_from_status(error, STATUS_NO_MEMORY, NULL);
    return STATUS_NO_MEMORY;
}

static bool is_given(const json_t *value)
{
    return value != NULL && !json_is_null(value);
}

static status add_text(struct input_reader *r, const json_t *value, const char *param)
{
    struct api_prompt *prompt = &r->out->inputs[r->out->input_count];
    status s = field_read_text(value, param, r->limits->prompt_bytes_max, &prompt->text, r->error);
    if (s == STATUS_OK && prompt->text.bytes == 0)
        return field_fail(r->error, param, "invalid_value", "'%s' must not be an empty text.",
                          param);
    if (s == STATUS_OK)
        r->out->input_count++;
    return s;
}

static status add_tokens(struct input_reader *r, const json_t *value, const char *param)
{
    struct api_prompt *prompt = &r->out->inputs[r->out->input_count];
    status s = field_check_array(value, param, 1, UINT32_MAX, r->error);
    if (s == STATUS_OK)
        s = field_read_tokens(value, param, r->limits->vocabulary, r->out->tokens + r->tokens_used,
                              r->error);
    if (s != STATUS_OK)
        return s;
    prompt->tokens = r->out->tokens + r->tokens_used;
    prompt->token_count = (uint32_t)json_array_size(value);
    r->tokens_used += prompt->token_count;
    r->out->input_count++;
    return STATUS_OK;
}

/* Room for `count` inputs and all tokens of arrays among them. */
static status reserve(struct input_reader *r, size_t count, const json_t *arrays, const char *param)
{
    size_t tokens = 0;
    if (count > r->inputs_max)
        return field_fail(r->error, param, "array_above_max_length",
                          "Invalid '%s': at most %u texts are taken, but %zu came.", param,
                          r->inputs_max, count);
    for (size_t i = 0; i < json_array_size(arrays); i++) {
        const json_t *item = json_array_get(arrays, i);
        tokens += json_is_array(item) ? json_array_size(item) : 1;
    }
    r->out->inputs = memory_allocate_array(count, sizeof *r->out->inputs);
    r->out->tokens = memory_allocate_array(tokens, sizeof *r->out->tokens);
    return r->out->inputs != NULL && r->out->tokens != NULL ? STATUS_OK : out_of_memory(r->error);
}

/* "input": a text, an array of texts, an array of token ids, or an array of such arrays. */
static status read_embedding_input(struct input_reader *r, const json_t *input)
{
    if (!is_given(input))
        return field_fail_missing(r->error, "input");
    bool is_list = json_is_array(input);
    bool is_ids = is_list && json_is_integer(json_array_get(input, 0));
    size_t count = is_list && !is_ids ? json_array_size(input) : 1;
    if (is_list && json_array_size(input) == 0)
        return field_fail(r->error, "input", "empty_array", "'input' must not be an empty array.");
    status s = reserve(r, count, input, "input");
    if (s == STATUS_OK && is_ids)
        return add_tokens(r, input, "input");
    if (s == STATUS_OK && !is_list && !json_is_string(input))
        return field_fail_type(r->error, "input", "a text or an array", input);
    if (s == STATUS_OK && !is_list)
        return add_text(r, input, "input");
    for (size_t i = 0; i < count && s == STATUS_OK; i++) {
        const json_t *item = json_array_get(input, i);
        struct field_path path = field_path_of("input[%zu]", i);
        if (json_is_array(item))
            s = add_tokens(r, item, path.text);
        else
            s = add_text(r, item, path.text);
    }
    return s;
}

/* A document is a text, or an object with one. */
static status add_document(struct input_reader *r, const json_t *value, const char *name, size_t i)
{
    struct field_path path = field_path_of("%s[%zu]", name, i);
    const json_t *text = json_is_object(value) ? json_object_get(value, "text") : value;
    if (text == NULL)
        return field_fail(r->error, path.text, "invalid_value",
                          "'%s' must be a text or an object with a 'text'.", path.text);
    return add_text(r, text, path.text);
}

static status add_documents(struct input_reader *r, const json_t *value, const char *name)
{
    status s = STATUS_OK;
    for (size_t i = 0; i < json_array_size(value) && s == STATUS_OK; i++)
        s = add_document(r, json_array_get(value, i), name, i);
    return s;
}

static status read_rerank_input(struct input_reader *r, const json_t *body)
{
    const json_t *query = json_object_get(body, "query");
    const json_t *documents = json_object_get(body, "documents");
    if (!is_given(query))
        return field_fail_missing(r->error, "query");
    if (!is_given(documents))
        return field_fail_missing(r->error, "documents");
    status s = field_check_array(documents, "documents", 1, UINT32_MAX, r->error);
    if (s == STATUS_OK)
        s = reserve(r, json_array_size(documents) + 1, NULL, "documents");
    if (s == STATUS_OK)
        s = add_text(r, query, "query");
    r->out->first_count = 1;
    return s == STATUS_OK ? add_documents(r, documents, "documents") : s;
}

static status read_side(struct input_reader *r, const json_t *value, const char *name)
{
    return json_is_array(value) ? add_documents(r, value, name) : add_text(r, value, name);
}

static size_t side_count(const json_t *value)
{
    return json_is_array(value) ? json_array_size(value) : 1;
}

static status read_score_input(struct input_reader *r, const json_t *body)
{
    const json_t *first = json_object_get(body, "text_1");
    const json_t *second = json_object_get(body, "text_2");
    if (!is_given(first))
        return field_fail_missing(r->error, "text_1");
    if (!is_given(second))
        return field_fail_missing(r->error, "text_2");
    size_t firsts = side_count(first), seconds = side_count(second);
    if (firsts == 0 || seconds == 0 || (firsts != 1 && firsts != seconds))
        return field_fail(
            r->error, "text_2", "invalid_value",
            "'text_1' must be one text, or as many as 'text_2' has; they have %zu and "
            "%zu.",
            firsts, seconds);
    status s = reserve(r, firsts + seconds, NULL, "text_2");
    if (s == STATUS_OK)
        s = read_side(r, first, "text_1");
    r->out->first_count = (uint32_t)firsts;
    return s == STATUS_OK ? read_side(r, second, "text_2") : s;
}

static status read_encoding(const json_t *body, struct api_pooling_request *out,
                            struct api_error *error)
{
    const json_t *value = json_object_get(body, "encoding_format");
    struct text_slice name;
    if (!is_given(value))
        return STATUS_OK;
    status s = field_read_text(value, "encoding_format", API_TEXT_BYTES_MAX, &name, error);
    if (s != STATUS_OK)
        return s;
    out->is_base64 = text_slice_is(name, "base64");
    if (out->is_base64 || text_slice_is(name, "float"))
        return STATUS_OK;
    return field_fail(error, "encoding_format", "invalid_value",
                      "Invalid 'encoding_format': 'float' and 'base64' are supported, but '%.*s' "
                      "came.",
                      (int)(name.bytes < 64 ? name.bytes : 64), name.data);
}

static status read_count(const json_t *body, const char *name, int64_t min, int64_t max,
                         int64_t *out, struct api_error *error)
{
    const json_t *value = json_object_get(body, name);
    return is_given(value) ? field_read_integer(value, name, min, max, out, error) : STATUS_OK;
}

static status read_flag(const json_t *body, const char *name, bool *out, struct api_error *error)
{
    const json_t *value = json_object_get(body, name);
    return is_given(value) ? field_read_bool(value, name, out, error) : STATUS_OK;
}

static status read_options(const json_t *body, struct api_pooling_request *out,
                           struct api_error *error)
{
    const json_t *model = json_object_get(body, "model"), *user = json_object_get(body, "user");
    const char *text = NULL;
    int64_t dimensions = 0, top_n = 0;
    status s = STATUS_OK;
    if (is_given(model))
        s = field_read_c_text(model, "model", API_TEXT_BYTES_MAX, &out->model, error);
    if (s == STATUS_OK && is_given(user))
        s = field_read_c_text(user, "user", API_TEXT_BYTES_MAX, &text, error);
    if (s == STATUS_OK)
        s = read_encoding(body, out, error);
    if (s == STATUS_OK)
        s = read_count(body, "dimensions", 1, INT32_MAX, &dimensions, error);
    if (s == STATUS_OK)
        s = read_count(body, "truncate_prompt_tokens", -1, TRUNCATE_MAX, &out->truncate, error);
    if (s == STATUS_OK && out->truncate == 0)
        s = field_fail(error, "truncate_prompt_tokens", "integer_below_min_value",
                       "'truncate_prompt_tokens' must be -1 or at least 1.");
    if (s == STATUS_OK)
        s = read_count(body, "top_n", 0, INT32_MAX, &top_n, error);
    if (s == STATUS_OK)
        s = read_flag(body, "add_special_tokens", &out->add_special, error);
    if (s == STATUS_OK)
        s = read_flag(body, "return_documents", &out->return_documents, error);
    out->dimensions = (uint32_t)dimensions;
    out->top_n = (uint32_t)top_n;
    return s;
}

status api_pooling_request_parse(enum api_pooling_kind kind, struct text_slice body,
                                 const struct api_limits *limits, uint32_t inputs_max,
                                 struct api_pooling_request *out, struct api_error *error)
{
    *out = (struct api_pooling_request){
        .kind = kind, .truncate = TRUNCATE_NONE, .add_special = true, .return_documents = true};
    struct input_reader reader = {limits, out, error, inputs_max, 0};
    status s = field_load_body(body, limits, &out->body, error);
    if (s != STATUS_OK)
        return s;
    s = read_options(out->body, out, error);
    if (s == STATUS_OK && kind == POOLING_EMBED)
        s = read_embedding_input(&reader, json_object_get(out->body, "input"));
    else if (s == STATUS_OK && kind == POOLING_RERANK)
        s = read_rerank_input(&reader, out->body);
    else if (s == STATUS_OK)
        s = read_score_input(&reader, out->body);
    if (s != STATUS_OK)
        api_pooling_request_deinit(out);
    return s;
}

void api_pooling_request_deinit(struct api_pooling_request *request)
{
    json_decref(request->body);
    memory_release(request->inputs);
    memory_release(request->tokens);
    *request = (struct api_pooling_request){.body = NULL};
}

uint32_t api_pooling_pair_count(const struct api_pooling_request *request)
{
    return request->input_count - request->first_count;
}

void api_pooling_pair(const struct api_pooling_request *request, uint32_t pair, uint32_t *first,
                      uint32_t *second)
{
    CHECK(pair < api_pooling_pair_count(request));
    *first = request->first_count == 1 ? 0 : pair;
    *second = request->first_count + pair;
}
