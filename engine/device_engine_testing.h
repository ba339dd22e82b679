#ifndef PENSTOCK_DEVICE_ENGINE_TESTING_H
#define PENSTOCK_DEVICE_ENGINE_TESTING_H

#include "engine_testing.h"

#include <stdio.h>

#include "byte_tokenizer.h"
#include "gguf_builder.h"

/* A model that is small enough for the emulated device, in a file of its own, and engines on it: random, of two layers in floats,
 * its vocabulary the bytes. */

#define VOCABULARY 257u /* an odd one */
#define WIDTH      64u
#define FFN        96u
#define LAYERS     2u
#define HEADS      2u
#define KV_HEADS   1u
#define HEAD_WIDTH 32u
#define CONTEXT    256u

static char model_file[64];

/* --- the model --- */

static inline float next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (float)(*state >> 40) / (1 << 23) - 1.0f;
}

/* n_outputs 0: gains near one. */
static inline void add_tensor(struct gguf_builder *b, const char *name, uint32_t n_cols,
                              uint32_t n_outputs, float size)
{
    static float values[VOCABULARY * WIDTH];
    static uint64_t random = 88172645463325252ull;
    size_t count = (size_t)n_cols * (n_outputs > 0 ? n_outputs : 1);
    CHECK(count <= ARRAY_COUNT(values));
    for (size_t i = 0; i < count; i++)
        values[i] = (n_outputs > 0 ? 0.0f : 1.0f) + size * next_random(&random);
    gguf_builder_tensor(b, name, TENSOR_F32, n_cols, n_outputs, values, count * sizeof(float));
}

static inline void add_layer(struct gguf_builder *b, uint32_t layer)
{
    const struct {
        const char *suffix;
        uint32_t n_cols, n_outputs;
    } rows[] = {
        {"attn_norm", WIDTH, 0},
        {"attn_q", WIDTH, HEADS * HEAD_WIDTH},
        {"attn_k", WIDTH, KV_HEADS * HEAD_WIDTH},
        {"attn_v", WIDTH, KV_HEADS * HEAD_WIDTH},
        {"attn_output", HEADS * HEAD_WIDTH, WIDTH},
        {"ffn_norm", WIDTH, 0},
        {"ffn_gate", WIDTH, FFN},
        {"ffn_up", WIDTH, FFN},
        {"ffn_down", FFN, WIDTH},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "blk.%u.%s.weight", layer, rows[i].suffix);
        add_tensor(b, name, rows[i].n_cols, rows[i].n_outputs,
                   rows[i].n_outputs > 0 ? 0.35f : 0.1f);
    }
}

/* Byte b is token b, and then comes the end. */
static inline void add_vocabulary(struct gguf_builder *b)
{
    static char texts[256][4 + 1];
    static const char *tokens[VOCABULARY];
    static int32_t types[VOCABULARY];
    for (unsigned i = 0; i < 256; i++) {
        texts[i][byte_tokenizer_character(i, texts[i])] = '\0';
        tokens[i] = texts[i];
        types[i] = TOKEN_NORMAL;
    }
    tokens[256] = "<end>";
    types[256] = TOKEN_CONTROL;
    gguf_builder_text(b, "tokenizer.ggml.model", "gpt2");
    gguf_builder_text(b, "tokenizer.ggml.pre", "gpt-2");
    gguf_builder_texts(b, "tokenizer.ggml.tokens", tokens, VOCABULARY);
    gguf_builder_i32s(b, "tokenizer.ggml.token_type", types, VOCABULARY);
    gguf_builder_u32(b, "tokenizer.ggml.eos_token_id", 256);
}

static inline int build_model(void **state)
{
    (void)state;
    struct gguf_builder b;
    gguf_builder_init(&b);
    gguf_builder_text(&b, "general.architecture", "llama");
    gguf_builder_u32(&b, "llama.block_count", LAYERS);
    gguf_builder_u32(&b, "llama.context_length", CONTEXT);
    gguf_builder_u32(&b, "llama.embedding_length", WIDTH);
    gguf_builder_u32(&b, "llama.feed_forward_length", FFN);
    gguf_builder_u32(&b, "llama.attention.head_count", HEADS);
    gguf_builder_u32(&b, "llama.attention.head_count_kv", KV_HEADS);
    gguf_builder_f32(&b, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    add_vocabulary(&b);
    add_tensor(&b, "token_embd.weight", WIDTH, VOCABULARY, 1.0f);
    add_tensor(&b, "output.weight", WIDTH, VOCABULARY, 0.6f);
    add_tensor(&b, "output_norm.weight", WIDTH, 0, 0.1f);
    for (uint32_t layer = 0; layer < LAYERS; layer++)
        add_layer(&b, layer);
    size_t bytes;
    void *file = gguf_builder_finish(&b, &bytes);
    gguf_builder_deinit(&b);
    (void)snprintf(model_file, sizeof model_file, "/tmp/penstock-device-XXXXXX");
    int fd = mkstemp(model_file);
    CHECK(fd >= 0 && write(fd, file, bytes) == (ssize_t)bytes && close(fd) == 0);
    free(file);
    return 0;
}

static inline int remove_model(void **state)
{
    (void)state;
    return unlink(model_file);
}

/* --- engines --- */

static inline struct engine_options options_on(const char *path, const char *device,
                                               uint64_t kv_bytes)
{
    return (struct engine_options){.model_path = path,
                                   .backend = device,
                                   .threads = 2,
                                   .context_max = CONTEXT,
                                   .sequence_count_max = 6,
                                   .batch_tokens_max = 48,
                                   .kv_bytes = kv_bytes,
                                   .queue_requests_max = 100,
                                   .queue_tokens_max = 100000,
                                   .prefix_cache = true,
                                   .grammar_limits = {.states_max = 1000,
                                                      .memory_bytes_max = 16u << 20,
                                                      .mask_bytes_max = 1u << 20,
                                                      .depth_max = 64},
                                   .grammar_cache_bytes = 16u << 20};
}

static inline engine *open_on(const char *path, const char *device, uint64_t kv_bytes)
{
    struct engine_options options = options_on(path, device, kv_bytes);
    struct error_note note = {""};
    engine *e = NULL;
    status s = engine_open(&options, &e, &note);
    if (s != STATUS_OK)
        fail_msg("%s: %s: %s", device, status_name(s), note.text);
    return e;
}

/* Keys and values of two layers in f16, 16 tokens a block. */
#define BLOCK_BYTES ((uint64_t)LAYERS * 2 * KV_HEADS * HEAD_WIDTH * 2 * 16)

#endif
