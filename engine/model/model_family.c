#include "model_family.h"

#include <stdio.h>

#include "check.h"

#define GEMMA (FAMILY_UNIT_NORMS | FAMILY_SCALED_INPUT)

/* Sources: the model's own code in transformers, llama.cpp's src/llama-model.cpp for what GGUF files leave out. */
/* clang-format off */
static const struct model_family FAMILIES[] = {
    /* Llama 2/3, SmolLM, Mistral and Mixtral as GGUF calls them */
    {"llama", "llama", FAMILY_PERMUTED, GATE_SILU, WINDOW_ALL, 0, 1e4, 0, 0, ROUTER_SHARES_NORMED},
    {"llama", "mistral", FAMILY_PERMUTED, GATE_SILU, WINDOW_ALL, 0, 1e4, 0, 0, ROUTER_SHARES_NORMED},
    {"llama", "mixtral", FAMILY_PERMUTED, GATE_SILU, WINDOW_ALL, 0, 1e6, 0, 0, ROUTER_SHARES_NORMED},
    {"qwen2", "qwen2", FAMILY_QKV_BIAS, GATE_SILU, WINDOW_LATE, 0, 1e4, 0, 0, ROUTER_SHARES},
    {"qwen3", "qwen3", FAMILY_HEAD_NORMS, GATE_SILU, WINDOW_LATE, 128, 1e4, 0, 0, ROUTER_SHARES},
    {"qwen3moe", "qwen3_moe", FAMILY_HEAD_NORMS, GATE_SILU, WINDOW_LATE, 0, 1e4, 0, 0, ROUTER_SHARES_NORMED},
    {"gemma", "gemma", GEMMA, GATE_GELU_TANH, WINDOW_ALL, 256, 1e4, 0, 0, ROUTER_SHARES},
    {"gemma2", "gemma2", GEMMA | FAMILY_POST_NORMS, GATE_GELU_TANH, WINDOW_ALTERNATE, 256, 1e4, 50, 30, ROUTER_SHARES},
    {"gemma3", "gemma3_text", GEMMA | FAMILY_POST_NORMS | FAMILY_HEAD_NORMS | FAMILY_LOCAL_ROPE, GATE_GELU_TANH,
     WINDOW_FIVE_SIXTHS, 256, 1e6, 0, 0, ROUTER_SHARES},
    {"phi3", "phi3", FAMILY_FUSED_QKV, GATE_SILU, WINDOW_ALL, 0, 1e4, 0, 0, ROUTER_SHARES},
    {"gpt-oss", "gpt_oss", FAMILY_QKV_BIAS | FAMILY_SINKS | FAMILY_BIASED_MOE | FAMILY_LATE_FFN_NORM | FAMILY_EXACT_YARN,
     GATE_SILU_CLAMPED, WINDOW_ALTERNATE, 64, 1.5e5, 0, 0, ROUTER_SHARES_NORMED},
};
/* clang-format on */

const struct model_family *model_family_find(struct text_slice architecture)
{
    for (size_t i = 0; i < ARRAY_COUNT(FAMILIES); i++)
        if (text_slice_is(architecture, FAMILIES[i].architecture))
            return &FAMILIES[i];
    return NULL;
}

const struct model_family *model_family_find_type(struct text_slice model_type)
{
    for (size_t i = 0; i < ARRAY_COUNT(FAMILIES); i++)
        if (text_slice_is(model_type, FAMILIES[i].model_type))
            return &FAMILIES[i];
    return NULL;
}

void model_family_list(bool is_folder, char *out, size_t bytes)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < ARRAY_COUNT(FAMILIES) && used < bytes; i++) {
        const char *name = is_folder ? FAMILIES[i].model_type : FAMILIES[i].architecture;
        if (i > 0 && !is_folder && strcmp(name, FAMILIES[i - 1].architecture) == 0)
            continue;
        int count = snprintf(out + used, bytes - used, "%s%s", i != 0 ? ", " : "", name);
        used += count > 0 ? (size_t)count : 0;
    }
}
