/* Serves one tokenizer on stdin and stdout, for tests that compare with another implementation.
 *
 *   tokenize_tool VOCABULARY.json    {"pre", "tokens": [...], "attributes": [...], "merges": [...],
 * "bos", "eos", ...}
 *
 * Prints "ready <microseconds of tokenizer_create>\n". Then, native byte order:
 *   request   u32 flags (1: add_special, 2: all trusted, 4: words), u32 byte count, the bytes
 *   answer    u32 status, u32 id count, i32 ids, u32 byte count, the bytes that the ids decode to,
 * u64 nanoseconds With flag 4 the ids are the ends of the pre-tokenizer's words, as byte offsets.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "json.h"
#include "pre_tokenizer.h"
#include "tokenizer.h"

#define FLAG_ADD_SPECIAL 1u
#define FLAG_TRUSTED     2u
#define FLAG_WORDS       4u

struct served {
    tokenizer *tokenizer;
    const struct pre_tokenizer *pre;
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
    struct tokenizer_source source = {.kind = "gpt2",
                                      .pre = json_string_value(json_object_get(root, "pre")),
                                      .bos = read_id(root, "bos"),
                                      .eos = read_id(root, "eos"),
                                      .eot = read_id(root, "eot"),
                                      .unknown = -1,
                                      .padding = -1};
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
    struct served served = {t, pre_tokenizer_find(source.pre)};
    json_decref(root);
    return served;
}

static void add_word_end(void *context, size_t start, size_t end)
{
    (void)start;
    struct token_list *list = context;
    list->ids[list->count++] = (int32_t)end;
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
        ids.ids = allocate(text.bytes, sizeof(ids.ids[0]));
        pre_tokenizer_split(served->pre, text.data, 0, text.bytes, add_word_end, &ids);
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
        fail("usage: tokenize_tool VOCABULARY.json");
    struct served served = load(argv[1]);
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
