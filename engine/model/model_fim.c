/* The fill-in-the-middle tokens that a file names, under today's keys or those that were there before them. */

#include "model.h"

static int32_t read_token(const gguf *file, const char *key, const char *old_key, uint32_t count)
{
    uint64_t id;
    bool is_there =
        file != NULL && (gguf_get_u64(file, key, &id) || gguf_get_u64(file, old_key, &id));
    return is_there && id < count ? (int32_t)id : -1;
}

bool model_file_fim_tokens(const model_source *source, const tokenizer *t, struct fim_tokens *out)
{
    const gguf *file = model_source_gguf(source);
    uint32_t count = tokenizer_token_count(t);
    out->prefix = read_token(file, "tokenizer.ggml.fim_pre_token_id",
                             "tokenizer.ggml.prefix_token_id", count);
    out->suffix = read_token(file, "tokenizer.ggml.fim_suf_token_id",
                             "tokenizer.ggml.suffix_token_id", count);
    out->middle = read_token(file, "tokenizer.ggml.fim_mid_token_id",
                             "tokenizer.ggml.middle_token_id", count);
    return fim_tokens_complete(t, out);
}
