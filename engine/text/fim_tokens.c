#include "fim_tokens.h"

#include "check.h"

static const char *const prefix_names[] = {"<|fim_prefix|>",  "<fim-prefix>", "<fim_prefix>",
                                           "<｜fim▁begin｜>", "<PRE>",        "▁<PRE>",
                                           "<|code_prefix|>"};
static const char *const suffix_names[] = {"<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>",
                                           "<｜fim▁hole｜>", "<SUF>",        "▁<SUF>",
                                           "<|code_suffix|>"};
static const char *const middle_names[] = {"<|fim_middle|>", "<fim-middle>", "<fim_middle>",
                                           "<｜fim▁end｜>",  "<MID>",        "▁<MID>",
                                           "<|code_middle|>"};

static int32_t find(const tokenizer *t, int32_t known, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count && known < 0; i++)
        known = tokenizer_find(t, text_slice_of(names[i]));
    return known;
}

bool fim_tokens_complete(const tokenizer *t, struct fim_tokens *tokens)
{
    tokens->prefix = find(t, tokens->prefix, prefix_names, ARRAY_COUNT(prefix_names));
    tokens->suffix = find(t, tokens->suffix, suffix_names, ARRAY_COUNT(suffix_names));
    tokens->middle = find(t, tokens->middle, middle_names, ARRAY_COUNT(middle_names));
    return tokens->prefix >= 0 && tokens->suffix >= 0 && tokens->middle >= 0;
}
