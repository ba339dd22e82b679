/* What a file says about its vocabulary, as the tokenizer wants it. The defaults are those of
 * llama.cpp (src/llama-vocab.cpp, llama_vocab::impl::load), because files are written for it: many
 * leave out what it assumes. */

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "check.h"
#include "memory.h"
#include "model.h"
#include "model_source_private.h"

/* Names like "gpt2" and "llama-bpe". */
#define WORD_BYTES_MAX  64u
#define TOKEN_COUNT_MAX (1u << 22)
#define MERGE_COUNT_MAX (1u << 23)

struct kind_defaults {
    const char *kind;
    int32_t bos, eos, unknown;
    bool add_bos, add_space_prefix;
};

static const struct kind_defaults KINDS[] = {
    {"gpt2", 11, 11, -1, false, false}, {"llama", 1, 2, 0, true, true}, /* SentencePiece */
};
static const struct kind_defaults OTHER_KIND = {NULL, -1, -1, -1, false, false};

/* Pre-tokenizers whose models begin every text with BOS unless the file says otherwise. */
static const char *const BOS_PRE_TOKENIZERS[] = {"llama3",    "llama-v3", "llama-bpe", "falcon3",
                                                 "falcon-h1", "pixtral",  "midm-2.0",  "lfm2",
                                                 "tekken",    "chameleon"};

struct lists {
    struct text_slice *tokens, *merges; /* owned */
    int32_t *attributes;                /* owned, or NULL */
    float *scores;                      /* owned, or NULL */
};

/* A short text with a NUL; "" when the key is absent. */
static status read_word(const gguf *file, const char *key, char out[WORD_BYTES_MAX],
                        struct error_note *note)
{
    struct text_slice text = {NULL, 0};
    out[0] = '\0';
    if (!gguf_get_text(file, key, &text))
        return STATUS_OK;
    if (text.bytes >= WORD_BYTES_MAX || memchr(text.data, '\0', text.bytes) != NULL) {
        error_note_set(note, "%s is longer than %u bytes or has a NUL in it", key,
                       WORD_BYTES_MAX - 1);
        return STATUS_INVALID;
    }
    memcpy(out, text.data, text.bytes);
    out[text.bytes] = '\0';
    return STATUS_OK;
}

static const struct kind_defaults *defaults_of(const char *kind)
{
    for (size_t i = 0; i < ARRAY_COUNT(KINDS); i++)
        if (strcmp(KINDS[i].kind, kind) == 0)
            return &KINDS[i];
    return &OTHER_KIND;
}

static bool pre_tokenizer_adds_bos(const char *pre)
{
    for (size_t i = 0; i < ARRAY_COUNT(BOS_PRE_TOKENIZERS); i++)
        if (strcmp(BOS_PRE_TOKENIZERS[i], pre) == 0)
            return true;
    return false;
}

/* The id under `key` where it is in the vocabulary, else the default where that is, else none. */
static int32_t read_id(const gguf *file, const char *key, int32_t fallback, uint32_t token_count)
{
    uint64_t id;
    if (gguf_get_u64(file, key, &id) && id < token_count)
        return (int32_t)id;
    return fallback >= 0 && (uint32_t)fallback < token_count ? fallback : -1;
}

static void fill_special(const gguf *file, struct tokenizer_source *source)
{
    const struct kind_defaults *defaults = defaults_of(source->kind);
    uint32_t count = source->token_count;
    source->bos = read_id(file, "tokenizer.ggml.bos_token_id", defaults->bos, count);
    source->eos = read_id(file, "tokenizer.ggml.eos_token_id", defaults->eos, count);
    source->eot = read_id(file, "tokenizer.ggml.eot_token_id", -1, count);
    source->unknown = read_id(file, "tokenizer.ggml.unknown_token_id", defaults->unknown, count);
    source->padding = read_id(file, "tokenizer.ggml.padding_token_id", -1, count);
    source->add_bos = defaults->add_bos || pre_tokenizer_adds_bos(source->pre);
    source->add_eos = false;
    source->add_space_prefix = defaults->add_space_prefix;
    (void)gguf_get_bool(file, "tokenizer.ggml.add_bos_token", &source->add_bos);
    (void)gguf_get_bool(file, "tokenizer.ggml.add_eos_token", &source->add_eos);
    (void)gguf_get_bool(file, "tokenizer.ggml.add_space_prefix", &source->add_space_prefix);
}

/* The length of the array of texts under `key`. */
static status count_texts(const gguf *file, const char *key, bool is_required, uint32_t count_max,
                          uint32_t *out, struct error_note *note)
{
    enum gguf_type element;
    uint64_t count;
    *out = 0;
    if (!gguf_get_array(file, key, &element, &count)) {
        if (!is_required)
            return STATUS_OK;
        error_note_set(note, "the key %s is missing", key);
        return STATUS_INVALID;
    }
    if (element != GGUF_STRING || count > count_max || (is_required && count == 0)) {
        error_note_set(note, "%s must be an array of %d to %" PRIu32 " texts", key,
                       is_required ? 1 : 0, count_max);
        return STATUS_INVALID;
    }
    *out = (uint32_t)count;
    return STATUS_OK;
}

/* Attributes and scores, where the file has them: one for each token. */
static status read_attributes(const gguf *file, uint32_t token_count, struct lists *lists,
                              struct error_note *note)
{
    enum gguf_type element;
    uint64_t count;
    bool is_good = true;
    if (gguf_get_array(file, "tokenizer.ggml.token_type", &element, &count)) {
        lists->attributes = memory_allocate_array(token_count, sizeof *lists->attributes);
        if (lists->attributes == NULL)
            return STATUS_NO_MEMORY;
        is_good = gguf_read_i32(file, "tokenizer.ggml.token_type", lists->attributes, token_count);
    }
    if (is_good && gguf_get_array(file, "tokenizer.ggml.scores", &element, &count)) {
        lists->scores = memory_allocate_array(token_count, sizeof *lists->scores);
        if (lists->scores == NULL)
            return STATUS_NO_MEMORY;
        is_good = gguf_read_f32(file, "tokenizer.ggml.scores", lists->scores, token_count);
    }
    if (is_good)
        return STATUS_OK;
    error_note_set(
        note,
        "tokenizer.ggml.token_type and .scores must hold one number for each of the %" PRIu32
        " tokens",
        token_count);
    return STATUS_INVALID;
}

static status read_lists(const gguf *file, struct tokenizer_source *source, struct lists *lists,
                         struct error_note *note)
{
    status s = count_texts(file, "tokenizer.ggml.tokens", true, TOKEN_COUNT_MAX,
                           &source->token_count, note);
    if (s == STATUS_OK)
        s = count_texts(file, "tokenizer.ggml.merges", false, MERGE_COUNT_MAX, &source->merge_count,
                        note);
    if (s != STATUS_OK)
        return s;
    lists->tokens = memory_allocate_array(source->token_count, sizeof *lists->tokens);
    lists->merges = memory_allocate_array(source->merge_count, sizeof *lists->merges);
    if (lists->tokens == NULL || lists->merges == NULL)
        return STATUS_NO_MEMORY;
    bool is_read =
        gguf_read_texts(file, "tokenizer.ggml.tokens", lists->tokens, source->token_count);
    if (source->merge_count > 0)
        is_read =
            gguf_read_texts(file, "tokenizer.ggml.merges", lists->merges, source->merge_count) &&
            is_read;
    CHECK(is_read); /* types and counts are those just asked for */
    s = read_attributes(file, source->token_count, lists, note);
    source->tokens = lists->tokens;
    source->merges = lists->merges;
    source->attributes = lists->attributes;
    source->scores = lists->scores;
    return s;
}

static void lists_free(struct lists *lists)
{
    memory_release(lists->tokens);
    memory_release(lists->merges);
    memory_release(lists->attributes);
    memory_release(lists->scores);
}

static status create_tokenizer(const gguf *file, tokenizer **out, struct error_note *note)
{
    char kind[WORD_BYTES_MAX], pre[WORD_BYTES_MAX];
    struct tokenizer_source source = {.kind = kind, .pre = pre};
    struct lists lists = {0};
    status s = read_word(file, "tokenizer.ggml.model", kind, note);
    if (s == STATUS_OK)
        s = read_word(file, "tokenizer.ggml.pre", pre, note);
    if (s == STATUS_OK)
        s = read_lists(file, &source, &lists, note);
    if (s == STATUS_OK) {
        fill_special(file, &source);
        s = tokenizer_create(&source, out, note);
    }
    if (s == STATUS_NO_MEMORY)
        error_note_set(note, "no memory for the vocabulary");
    lists_free(&lists);
    return s;
}

/* A GGUF file's chat template can be no longer than the file. */
static status read_gguf(const gguf *file, struct tokenizer_folder *out, struct error_note *note)
{
    struct text_slice source = {NULL, 0};
    *out = (struct tokenizer_folder){
        .generation = {NAN, NAN, NAN, NAN, -1},
    };
    status s = create_tokenizer(file, &out->tokenizer, note);
    if (s != STATUS_OK)
        return s;
    (void)gguf_get_text(file, "tokenizer.chat_template", &source);
    buffer_init(&out->chat_template, source.bytes);
    buffer_append_slice(&out->chat_template, source);
    if (out->chat_template.failed == STATUS_OK)
        return STATUS_OK;
    tokenizer_folder_deinit(out);
    error_note_set(note, "no memory for the chat template");
    return STATUS_NO_MEMORY;
}

status model_file_text(const model_source *source, struct tokenizer_folder *out,
                       struct error_note *note)
{
    if (source->file != NULL)
        return read_gguf(source->file, out, note);
    status s = tokenizer_folder_open(source->folder, out, note);
    if (s != STATUS_OK)
        return s;
    const struct source_tensor *embedding = model_source_tensor_find(source, "token_embd.weight");
    uint32_t tokens = tokenizer_token_count(out->tokenizer);
    if (embedding == NULL || tokens <= embedding->dimensions[1])
        return STATUS_OK;
    error_note_set(note, "the tokenizer has %" PRIu32 " tokens, but the embedding %" PRIu64 " rows",
                   tokens, embedding->dimensions[1]);
    tokenizer_folder_deinit(out);
    return STATUS_INVALID;
}
