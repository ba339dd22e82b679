/* Serves one tokenizer on stdin and stdout, for tests that compare with another implementation.
 *
 *   tokenize_tool VOCABULARY.json    {"kind", "pre", "tokens": [...], "attributes": [...], "merges":
 * [...], "scores": [...], "bos", "eos", ...}, as a GGUF file has it
 *   tokenize_tool FOLDER             a Hugging Face folder
 *
 * Prints "ready <microseconds of tokenizer_create>\n". Then, native byte order:
 *   request   u32 flags (1: add_special, 2: all trusted, 4: words, 8: a pair), u32 byte count, the
 * bytes
 *   answer    u32 status, u32 id count, i32 ids, u32 byte count, the bytes that the ids decode to,
 * u64 nanoseconds With flag 4 the ids are the ends of the pre-tokenizer's words, as byte offsets.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "clock.h"
#include "json.h"
#include "pre_tokenizer.h"
#include "tokenizer.h"
#include "tokenizer_folder.h"

#define FLAG_ADD_SPECIAL 1u
#define FLAG_TRUSTED     2u
#define FLAG_WORDS       4u
#define FLAG_PAIR        8u

struct served {
    tokenizer *tokenizer;
    struct pre_tokenizer pre;
};

static void fail(const char *what)
{
    fprintf(stderr, "tokenize_tool: %s\n", what);
    exit(1);
}

static void *allocate(size_t count, size_t bytes)
{
    void *block = calloc(count > 0 ? count : 1, bytes);
    if (block == NULL)
        fail("out of memory");
    return block;
}

static struct text_slice *read_texts(const json_t *array, uint32_t *count)
{
    *count = (uint32_t)json_array_size(array);
    struct text_slice *texts = allocate(*count, sizeof(*texts));
    for (uint32_t i = 0; i < *count; i++) {
        const json_t *item = json_array_get(array, i);
        texts[i] = (struct text_slice){json_string_value(item), json_string_length(item)};
    }
    return texts;
}

static int32_t read_id(const json_t *root, const char *name)
{
    const json_t *value = json_object_get(root, name);
    return value != NULL ? (int32_t)json_integer_value(value) : -1;
}

static struct served load(const char *path)
{
    json_error_t error;
    json_t *root = json_load_file(path, JSON_ALLOW_NUL, &error);
    if (root == NULL)
        fail(error.text);
    const char *kind = json_string_value(json_object_get(root, "kind"));
    struct tokenizer_source source = {.kind = kind != NULL ? kind : "gpt2",
                                      .pre = json_string_value(json_object_get(root, "pre")),
                                      .bos = read_id(root, "bos"),
                                      .eos = read_id(root, "eos"),
                                      .eot = read_id(root, "eot"),
                                      .unknown = read_id(root, "unknown"),
                                      .padding = -1};
    source.add_space_prefix = json_is_true(json_object_get(root, "add_space_prefix"));
    source.add_bos = json_is_true(json_object_get(root, "add_bos"));
    source.add_eos = json_is_true(json_object_get(root, "add_eos"));
    struct text_slice *tokens = read_texts(json_object_get(root, "tokens"), &source.token_count);
    struct text_slice *merges = read_texts(json_object_get(root, "merges"), &source.merge_count);
    int32_t *attributes = allocate(source.token_count, sizeof(*attributes));
    const json_t *given = json_object_get(root, "attributes");
    for (uint32_t i = 0; i < source.token_count; i++)
        attributes[i] =
            given != NULL ? (int32_t)json_integer_value(json_array_get(given, i)) : TOKEN_NORMAL;
    source.tokens = tokens;
    source.merges = merges;
    source.attributes = attributes;
    const json_t *scores = json_object_get(root, "scores");
    float *numbers = allocate(source.token_count, sizeof(*numbers));
    for (uint32_t i = 0; i < source.token_count; i++)
        numbers[i] = (float)json_number_value(json_array_get(scores, i));
    source.scores = scores != NULL ? numbers : NULL;
    tokenizer *t = NULL;
    struct error_note note = {{0}};
    uint64_t start_ns = clock_now_ns();
    if (tokenizer_create(&source, &t, &note) != STATUS_OK)
        fail(note.text);
    printf("ready %" PRIu64 "\n", (uint64_t)((clock_now_ns() - start_ns) / NS_PER_US));
    fflush(stdout);
    free(tokens);
    free(merges);
    free(attributes);
    free(numbers);
    struct served served = {.tokenizer = t};
    bool ignores_merges;
    if (strcmp(source.kind, "gpt2") == 0 &&
        !pre_tokenizer_named(source.pre, &served.pre, &ignores_merges))
        fail("no such pre-tokenizer");
    json_decref(root);
    return served;
}

static struct served load_folder(const char *path)
{
    struct tokenizer_folder folder;
    struct error_note note = {{0}};
    uint64_t start_ns = clock_now_ns();
    if (tokenizer_folder_open(path, &folder, &note) != STATUS_OK)
        fail(note.text);
    printf("ready %" PRIu64 "\n", (uint64_t)((clock_now_ns() - start_ns) / NS_PER_US));
    fflush(stdout);
    buffer_deinit(&folder.chat_template);
    return (struct served){.tokenizer = folder.tokenizer};
}

/* Ends of words, as offsets into the text that was given. */
struct word_ends {
    const char *start;
    struct token_list *list;
};

static void add_word_end(void *context, struct text_slice word)
{
    struct word_ends *ends = context;
    ends->list->ids[ends->list->count++] = (int32_t)(word.data + word.bytes - ends->start);
}

static void list_words(const struct served *served, struct text_slice text, struct token_list *ids)
{
    struct pre_scratch scratch;
    struct word_ends ends = {text.data, ids};
    ids->ids = allocate(text.bytes, sizeof(ids->ids[0]));
    pre_scratch_init(&scratch, 0);
    if (pre_tokenizer_split(&served->pre, text, true, &scratch, add_word_end, &ends) != STATUS_OK)
        fail("cannot split");
    pre_scratch_deinit(&scratch);
}

/* "first NUL second"; the last id is where the second text begins. */
static uint32_t encode_pair(const tokenizer *t, struct text_slice text, struct token_list *ids)
{
    size_t first = strnlen(text.data, text.bytes), second_start = 0;
    struct text_slice second = {text.data + first + 1, text.bytes - first - 1};
    status s = tokenizer_encode_pair(t, (struct text_slice){text.data, first}, second, 0, ids,
                                     &second_start);
    int32_t *grown = realloc(ids->ids, (ids->count + 1) * sizeof(ids->ids[0]));
    if (grown == NULL)
        fail("out of memory");
    ids->ids = grown;
    ids->ids[ids->count++] = (int32_t)second_start;
    return s;
}

static void answer(const struct served *served, uint32_t flags, struct text_slice text)
{
    const tokenizer *t = served->tokenizer;
    struct token_list ids;
    token_list_init(&ids, SIZE_MAX);
    struct text_span whole = {0, text.bytes};
    uint32_t result = STATUS_OK;
    struct buffer decoded;
    buffer_init(&decoded, SIZE_MAX / 2);
    uint64_t start_ns = clock_now_ns(), took_ns = 0;
    if (flags & FLAG_WORDS) {
        list_words(served, text, &ids);
    } else if (flags & FLAG_PAIR) {
        result = encode_pair(t, text, &ids);
    } else {
        result = (uint32_t)tokenizer_encode(t, text, &whole, flags & FLAG_TRUSTED ? 1 : 0,
                                            flags & FLAG_ADD_SPECIAL, &ids);
        took_ns = clock_now_ns() - start_ns;
        tokenizer_decode(t, ids.ids, ids.count, true, &decoded);
    }
    uint32_t count = (uint32_t)ids.count, bytes = (uint32_t)decoded.bytes;
    fwrite(&result, sizeof(result), 1, stdout);
    fwrite(&count, sizeof(count), 1, stdout);
    fwrite(ids.ids, sizeof(ids.ids[0]), count, stdout);
    fwrite(&bytes, sizeof(bytes), 1, stdout);
    fwrite(decoded.data, 1, bytes, stdout);
    fwrite(&took_ns, sizeof(took_ns), 1, stdout);
    fflush(stdout);
    buffer_deinit(&decoded);
    token_list_deinit(&ids);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        fail("usage: tokenize_tool VOCABULARY.json|FOLDER");
    struct stat info;
    bool is_folder = stat(argv[1], &info) == 0 && S_ISDIR(info.st_mode);
    struct served served = is_folder ? load_folder(argv[1]) : load(argv[1]);
    uint32_t head[2];
    while (fread(head, sizeof(head), 1, stdin) == 1) {
        char *text = allocate(head[1], 1);
        if (fread(text, 1, head[1], stdin) != head[1])
            fail("a request was cut");
        answer(&served, head[0], (struct text_slice){text, head[1]});
        free(text);
    }
    tokenizer_destroy(served.tokenizer);
    return 0;
}
