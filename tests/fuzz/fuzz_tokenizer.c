#include <string.h>

#include "check.h"
#include "tokenizer.h"
#include "utf8.h"

/* The first byte chooses the pre-tokenizer, the second the trusted part; the rest is text. With a vocabulary that has all
 * bytes, decoding gives the text back, and no control token comes from outside the trusted part. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static const char *const names[] = {
    "default", "smollm",   "gpt-2",  "llama-bpe",   "qwen2",        "qwen35",        "gpt-4o",
    "tekken",  "minicpm5", "falcon", "deepseek-v3", "deepseek-llm", "deepseek-coder"};
static const char *const merges[] = {"t h", "th e",  "Ġ t", "a a", "aa aa", "0 0",
                                     "Ġ Ġ", "ĠĠ ĠĠ", "Ċ Ċ", "Ã ©", "Ġ the"};
static const char *const specials[] = {"<|im_start|>", "<|im_end|>", "<tool>", "<t"};
static tokenizer *tokenizers[ARRAY_COUNT(names)];

#define TOKENS (256 + ARRAY_COUNT(merges) + ARRAY_COUNT(specials))

static tokenizer *create(const char *pre)
{
    static char texts[TOKENS][16];
    struct text_slice tokens[TOKENS], lines[ARRAY_COUNT(merges)];
    int32_t attributes[TOKENS];
    uint32_t next = 0x100;
    for (uint32_t i = 0; i < TOKENS; i++) {
        size_t length = 0;
        attributes[i] = TOKEN_NORMAL;
        if (i < 256) {
            bool is_itself = (i >= 0x21 && i <= 0x7E) || (i >= 0xA1 && i <= 0xAC) || i >= 0xAE;
            length = utf8_encode(is_itself ? i : next++, texts[i]);
        } else if (i < 256 + ARRAY_COUNT(merges)) {
            lines[i - 256] = text_slice_of(merges[i - 256]);
            for (const char *c = merges[i - 256]; *c != '\0'; c++)
                texts[i][length] = *c, length += *c != ' ';
        } else {
            const char *special = specials[i - 256 - ARRAY_COUNT(merges)];
            length = strlen(special);
            memcpy(texts[i], special, length);
            attributes[i] = strcmp(special, "<t") == 0 ? TOKEN_USER_DEFINED : TOKEN_CONTROL;
        }
        tokens[i] = (struct text_slice){texts[i], length};
    }
    struct tokenizer_source source = {.kind = "gpt2",
                                      .pre = pre,
                                      .token_count = TOKENS,
                                      .tokens = tokens,
                                      .attributes = attributes,
                                      .merge_count = ARRAY_COUNT(merges),
                                      .merges = lines,
                                      .bos = -1,
                                      .eos = -1,
                                      .eot = -1,
                                      .unknown = -1,
                                      .padding = -1};
    tokenizer *t = NULL;
    struct error_note note = {{0}};
    status result = tokenizer_create(&source, &t, &note);
    CHECK(result == STATUS_OK);
    return t;
}

static void check_trust(const tokenizer *t, const struct token_list *ids, struct text_span trusted)
{
    size_t at = 0;
    for (size_t i = 0; i < ids->count; i++) {
        size_t end = at + tokenizer_piece(t, ids->ids[i], true).bytes;
        if (tokenizer_is_control(t, ids->ids[i]))
            CHECK(at >= trusted.start && end <= trusted.end);
        at = end;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes < 2)
        return 0;
    size_t which = data[0] % ARRAY_COUNT(names);
    if (tokenizers[which] == NULL)
        tokenizers[which] = create(names[which]);
    const tokenizer *t = tokenizers[which];
    struct text_slice text = {(const char *)data + 2, bytes - 2};
    struct text_span trusted = {text.bytes / 4, text.bytes * data[1] / 255};
    if (trusted.end < trusted.start)
        trusted.end = trusted.start;
    struct token_list ids;
    token_list_init(&ids, 1u << 24);
    status result = tokenizer_encode(t, text, &trusted, 1, false, &ids);
    CHECK(result == STATUS_OK);
    struct buffer decoded;
    buffer_init(&decoded, 1u << 26);
    tokenizer_decode(t, ids.ids, ids.count, true, &decoded);
    CHECK(text_slice_equals(buffer_slice(&decoded), text));
    check_trust(t, &ids, trusted);
    buffer_deinit(&decoded);
    token_list_deinit(&ids);
    return 0;
}
