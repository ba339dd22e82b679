/* The files of a Hugging Face model folder that are about text. Who says what, in the order asked:
 *
 *   chat template   chat_template.jinja, then tokenizer_config.json
 *   BOS, EOS        tokenizer_config.json, then special_tokens_map.json
 *   end tokens      generation_config.json, else config.json: eos_token_id, a number or a list
 */
#include "tokenizer_folder.h"

#include <math.h>

#include "chat_template.h"
#include "json_file.h"
#include "tokenizer_read.h"

#define TOKENIZER_BYTES_MAX (256u * 1024u * 1024u)
#define ENDS_MAX            32u

/* The other files, parsed; NULL where absent. */
struct folder_files {
    const char *path;
    struct buffer tokenizer;
    json_t *tokenizer_config, *special_tokens, *generation, *config;
    int32_t ends[ENDS_MAX];
};

/* *out stays NULL where the file is absent. */
static status read_json(const char *folder, const char *name, json_t **out, struct error_note *note)
{
    status s = folder_json_read(folder, name, out, note);
    return s == STATUS_NOT_FOUND ? STATUS_OK : s;
}

static status read_files(struct folder_files *files, struct error_note *note)
{
    buffer_init(&files->tokenizer, TOKENIZER_BYTES_MAX);
    status s = folder_file_read(files->path, "tokenizer.json", &files->tokenizer, note);
    if (s == STATUS_NOT_FOUND)
        error_note_set(note, "%s: there is no tokenizer.json", files->path);
    if (s == STATUS_OK)
        s = read_json(files->path, "tokenizer_config.json", &files->tokenizer_config, note);
    if (s == STATUS_OK)
        s = read_json(files->path, "special_tokens_map.json", &files->special_tokens, note);
    if (s == STATUS_OK)
        s = read_json(files->path, "generation_config.json", &files->generation, note);
    if (s == STATUS_OK)
        s = read_json(files->path, "config.json", &files->config, note);
    return s;
}

static void files_deinit(struct folder_files *files)
{
    buffer_deinit(&files->tokenizer);
    json_decref(files->tokenizer_config);
    json_decref(files->special_tokens);
    json_decref(files->generation);
    json_decref(files->config);
}

static struct text_slice text_of(const json_t *value)
{
    if (json_is_object(value)) /* a token with its flags */
        value = json_object_get(value, "content");
    if (!json_is_string(value))
        return (struct text_slice){"", 0};
    return (struct text_slice){json_string_value(value), json_string_length(value)};
}

static struct text_slice token_named(const struct folder_files *files, const char *name)
{
    struct text_slice text = text_of(json_object_get(files->tokenizer_config, name));
    return text.bytes > 0 ? text : text_of(json_object_get(files->special_tokens, name));
}

static status read_ends(struct folder_files *files, uint32_t *count, struct error_note *note)
{
    const json_t *value = json_object_get(files->generation, "eos_token_id");
    if (value == NULL || json_is_null(value))
        value = json_object_get(files->config, "eos_token_id");
    size_t listed = json_is_array(value) ? json_array_size(value) : 1;
    *count = 0;
    if (value == NULL || json_is_null(value))
        return STATUS_OK;
    for (size_t i = 0; i < listed; i++) {
        const json_t *id = json_is_array(value) ? json_array_get(value, i) : value;
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) > INT32_MAX || *count == ENDS_MAX) {
            error_note_set(note, "eos_token_id must be a token id or a list of at most %u",
                           ENDS_MAX);
            return STATUS_INVALID;
        }
        files->ends[(*count)++] = (int32_t)json_integer_value(id);
    }
    return STATUS_OK;
}

static status make_tokenizer(struct folder_files *files, struct tokenizer_folder *out,
                             struct error_note *note)
{
    struct tokenizer_names names = {
        .bos = token_named(files, "bos_token"),
        .eos = token_named(files, "eos_token"),
        .padding = token_named(files, "pad_token"),
        .ends = files->ends,
    };
    status s = read_ends(files, &names.end_count, note);
    if (s != STATUS_OK)
        return s;
    s = tokenizer_read_json(buffer_slice(&files->tokenizer), &names, &out->tokenizer, note);
    if (s != STATUS_OK)
        error_note_prefix(note, "%s/tokenizer.json", files->path);
    return s;
}

/* tokenizer_config.json has one template, or a list of named ones of which "default" is meant. */
static struct text_slice template_of(const json_t *value)
{
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *item = json_array_get(value, i);
        struct text_slice name = text_of(json_object_get(item, "name"));
        if (text_slice_is(name, "default"))
            return text_of(json_object_get(item, "template"));
    }
    return text_of(value);
}

static status read_template(const struct folder_files *files, struct tokenizer_folder *out,
                            struct error_note *note)
{
    buffer_init(&out->chat_template, CHAT_TEMPLATE_SOURCE_BYTES_MAX);
    status s = folder_file_read(files->path, "chat_template.jinja", &out->chat_template, note);
    if (s != STATUS_NOT_FOUND)
        return s;
    buffer_append_slice(&out->chat_template,
                        template_of(json_object_get(files->tokenizer_config, "chat_template")));
    if (out->chat_template.failed != STATUS_OK)
        error_note_set(note, "tokenizer_config.json: the chat template is larger than %u bytes",
                       CHAT_TEMPLATE_SOURCE_BYTES_MAX);
    return out->chat_template.failed;
}

static double number_of(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

static void read_defaults(const struct folder_files *files, struct tokenizer_folder *out)
{
    const json_t *generation = files->generation;
    const json_t *top_k = json_object_get(generation, "top_k");
    json_int_t k = json_is_integer(top_k) ? json_integer_value(top_k) : -1;
    out->generation = (struct generation_defaults){
        .temperature = number_of(generation, "temperature"),
        .top_p = number_of(generation, "top_p"),
        .min_p = number_of(generation, "min_p"),
        .repetition_penalty = number_of(generation, "repetition_penalty"),
        .top_k = k >= 0 && k <= INT32_MAX ? (int32_t)k : -1,
    };
    double longest = number_of(files->tokenizer_config, "model_max_length");
    out->length_max = longest >= 1 && longest < 1e9 ? (uint32_t)longest : 0;
}

status tokenizer_folder_open(const char *path, struct tokenizer_folder *out,
                             struct error_note *note)
{
    struct folder_files files = {.path = path};
    *out = (struct tokenizer_folder){.tokenizer = NULL};
    status s = read_files(&files, note);
    if (s == STATUS_OK)
        s = make_tokenizer(&files, out, note);
    if (s == STATUS_OK)
        s = read_template(&files, out, note);
    if (s == STATUS_OK)
        read_defaults(&files, out);
    else
        tokenizer_folder_deinit(out);
    files_deinit(&files);
    return s;
}

void tokenizer_folder_deinit(struct tokenizer_folder *folder)
{
    tokenizer_destroy(folder->tokenizer);
    buffer_deinit(&folder->chat_template);
    folder->tokenizer = NULL;
}
