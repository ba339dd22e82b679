#ifndef PENSTOCK_TESTS_TINY_LLAMA_H
#define PENSTOCK_TESTS_TINY_LLAMA_H

/* A random llama of two layers in memory, in float matrices: small enough for the oracle to run
 * thousands of steps. */

#include <stdio.h>

#include "gguf_builder.h"

#define TINY_VOCABULARY 48u
#define TINY_WIDTH      32u
#define TINY_FFN        64u
#define TINY_LAYERS     2u
#define TINY_HEADS      4u
#define TINY_KV_HEADS   2u
#define TINY_HEAD_WIDTH 8u

/* What to do to the honest file; NULL or 0 changes nothing. */
struct tiny_llama_change {
    const char *leave_out;   /* a tensor's name or a key */
    const char *wrong_shape; /* a tensor that gets one row more */
    const char *add_tensor;  /* an extra vector */
    const char *key; /* a u32 key that gets `value` instead of the honest one, or is added */
    uint32_t value;
    const char *architecture;
};

/* xorshift64*; the same numbers on every machine. */
static inline float tiny_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (float)((double)((*state * UINT64_C(0x2545F4914F6CDD1D)) >> 40) / (1 << 23) - 1.0);
}

static inline bool tiny_is(const char *changed, const char *name)
{
    return changed != NULL && strcmp(changed, name) == 0;
}

static inline void tiny_key(struct gguf_builder *b, const struct tiny_llama_change *change,
                            const char *key, uint32_t value)
{
    if (!tiny_is(change->leave_out, key))
        gguf_builder_u32(b, key, tiny_is(change->key, key) ? change->value : value);
}

static inline void tiny_tensor(struct gguf_builder *b, const struct tiny_llama_change *change,
                               uint64_t *random, const char *name, uint32_t n_cols,
                               uint32_t n_outputs)
{
    static float values[(TINY_FFN + 1) * (TINY_FFN + 1)];
    if (tiny_is(change->leave_out, name))
        return;
    if (tiny_is(change->wrong_shape, name))
        n_outputs++;
    size_t count = (size_t)n_cols * (n_outputs != 0 ? n_outputs : 1);
    CHECK(count <= sizeof values / sizeof values[0]);
    for (size_t i = 0; i < count; i++) /* norms near one; rows of matrices of about unit length */
        values[i] = n_outputs == 0 ? 1 + 0.1f * tiny_random(random) : 0.3f * tiny_random(random);
    gguf_builder_tensor(b, name, TENSOR_F32, n_cols, n_outputs, values, count * sizeof(float));
}

static inline void tiny_layer(struct gguf_builder *b, const struct tiny_llama_change *change,
                              uint64_t *random, uint32_t layer)
{
    const uint32_t q = TINY_HEADS * TINY_HEAD_WIDTH, kv = TINY_KV_HEADS * TINY_HEAD_WIDTH;
    const struct {
        const char *suffix;
        uint32_t n_cols, n_outputs;
    } rows[] = {
        {"attn_norm.weight", TINY_WIDTH, 0},       {"attn_q.weight", TINY_WIDTH, q},
        {"attn_k.weight", TINY_WIDTH, kv},         {"attn_v.weight", TINY_WIDTH, kv},
        {"attn_output.weight", q, TINY_WIDTH},     {"ffn_norm.weight", TINY_WIDTH, 0},
        {"ffn_gate.weight", TINY_WIDTH, TINY_FFN}, {"ffn_up.weight", TINY_WIDTH, TINY_FFN},
        {"ffn_down.weight", TINY_FFN, TINY_WIDTH},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "blk.%u.%s", layer, rows[i].suffix);
        tiny_tensor(b, change, random, name, rows[i].n_cols, rows[i].n_outputs);
    }
}

/* The file, malloc'd. */
static inline void *tiny_llama_build(const struct tiny_llama_change *change, size_t *bytes)
{
    static const struct tiny_llama_change none;
    if (change == NULL)
        change = &none;
    struct gguf_builder b;
    uint64_t random = 42;
    gguf_builder_init(&b);
    gguf_builder_text(&b, "general.architecture",
                      change->architecture != NULL ? change->architecture : "llama");
    gguf_builder_text(&b, "general.name", "tiny \xc3\xa9");
    tiny_key(&b, change, "llama.block_count", TINY_LAYERS);
    tiny_key(&b, change, "llama.context_length", 64);
    tiny_key(&b, change, "llama.embedding_length", TINY_WIDTH);
    tiny_key(&b, change, "llama.feed_forward_length", TINY_FFN);
    tiny_key(&b, change, "llama.attention.head_count", TINY_HEADS);
    tiny_key(&b, change, "llama.attention.head_count_kv", TINY_KV_HEADS);
    if (!tiny_is(change->leave_out, "llama.attention.layer_norm_rms_epsilon"))
        gguf_builder_f32(&b, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    if (change->key != NULL && b.keys.data != NULL &&
        memmem(b.keys.data, b.keys.bytes, change->key, strlen(change->key)) == NULL)
        gguf_builder_u32(&b, change->key, change->value);
    tiny_tensor(&b, change, &random, "token_embd.weight", TINY_WIDTH, TINY_VOCABULARY);
    tiny_tensor(&b, change, &random, "output_norm.weight", TINY_WIDTH, 0);
    for (uint32_t layer = 0; layer < TINY_LAYERS; layer++)
        tiny_layer(&b, change, &random, layer);
    if (change->add_tensor != NULL)
        tiny_tensor(&b, change, &random, change->add_tensor, TINY_WIDTH, 0);
    void *file = gguf_builder_finish(&b, bytes);
    gguf_builder_deinit(&b);
    return file;
}

#endif
