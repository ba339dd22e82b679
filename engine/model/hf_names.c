#include "hf_names.h"

#include <stdio.h>

#include "check.h"

struct name_row {
    const char *theirs, *ours; /* without ".weight" or ".bias" */
};

static const struct name_row TOP[] = {
    {"model.embed_tokens", "token_embd"}, {"model.norm", "output_norm"}, {"lm_head", "output"}};

/* Behind "model.layers.N.". */
static const struct name_row LAYER[] = {
    {"input_layernorm", "attn_norm"},
    {"self_attn.q_proj", "attn_q"},
    {"self_attn.k_proj", "attn_k"},
    {"self_attn.v_proj", "attn_v"},
    {"self_attn.o_proj", "attn_output"},
    {"self_attn.qkv_proj", "attn_qkv"},
    {"self_attn.q_norm", "attn_q_norm"},
    {"self_attn.k_norm", "attn_k_norm"},
    {"pre_feedforward_layernorm", "ffn_norm"},
    {"post_feedforward_layernorm", "post_ffw_norm"},
    {"mlp.gate_proj", "ffn_gate"},
    {"mlp.up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"},
    {"mlp.gate_up_proj", "ffn_up"},
    {"mlp.gate", "ffn_gate_inp"},
    {"mlp.router", "ffn_gate_inp"},
    {"block_sparse_moe.gate", "ffn_gate_inp"},
};

/* Behind "...experts.E.". */
static const struct name_row EXPERT[] = {
    {"w1", "ffn_gate"},        {"w3", "ffn_up"},      {"w2", "ffn_down"},
    {"gate_proj", "ffn_gate"}, {"up_proj", "ffn_up"}, {"down_proj", "ffn_down"},
};

/* gpt-oss' experts, behind "mlp.experts."; whole names. */
static const struct {
    const char *theirs;
    enum hf_use use;
} STACKED[] = {
    {"gate_up_proj", HF_GATE_UP},
    {"gate_up_proj_bias", HF_GATE_UP_BIAS},
    {"gate_up_proj_blocks", HF_GATE_UP_BLOCKS},
    {"gate_up_proj_scales", HF_GATE_UP_SCALES},
    {"down_proj", HF_DOWN},
    {"down_proj_blocks", HF_DOWN_BLOCKS},
    {"down_proj_scales", HF_DOWN_SCALES},
};

/* Digits and the dot behind them. */
static bool take_number(struct text_slice *text, uint32_t *out)
{
    uint32_t value = 0;
    size_t i = 0;
    for (; i < text->bytes && i < 6 && text->data[i] >= '0' && text->data[i] <= '9'; i++)
        value = value * 10 + (uint32_t)(text->data[i] - '0');
    if (i == 0 || i == text->bytes || text->data[i] != '.')
        return false;
    text->data += i + 1;
    text->bytes -= i + 1;
    *out = value;
    return true;
}

/* Cuts a known ending off; NULL: there is none. */
static const char *take_ending(struct text_slice *text, enum hf_use *use)
{
    static const struct {
        const char *theirs, *ours;
        enum hf_use use;
    } endings[] = {
        {".weight", ".weight", HF_TENSOR},
        {".bias", ".bias", HF_TENSOR},
        {".weight_scale_inv", ".weight", HF_SCALE},
        {".weight_scale", ".weight", HF_SCALE},
        {".input_scale", "", HF_IGNORED}, /* of activations, which stay floats */
        {".k_scale", "", HF_IGNORED},
        {".v_scale", "", HF_IGNORED},
        {".rotary_emb.inv_freq", "", HF_IGNORED},
    };
    for (size_t i = 0; i < ARRAY_COUNT(endings); i++) {
        size_t bytes = strlen(endings[i].theirs);
        if (text->bytes == bytes || !text_slice_ends_with(*text, endings[i].theirs))
            continue;
        text->bytes -= bytes;
        *use = endings[i].use;
        return endings[i].ours;
    }
    return NULL;
}

static const char *find(const struct name_row *rows, size_t count, struct text_slice name)
{
    for (size_t i = 0; i < count; i++)
        if (text_slice_is(name, rows[i].theirs))
            return rows[i].ours;
    return NULL;
}

/* The norm that follows attention: of what attention gave where the MLP has another one before it. */
static const char *layer_name(const struct model_family *family, struct text_slice name)
{
    if (text_slice_is(name, "post_attention_layernorm"))
        return family_has(family, FAMILY_POST_NORMS) || family_has(family, FAMILY_LATE_FFN_NORM)
                   ? "post_attention_norm"
                   : "ffn_norm";
    return find(LAYER, ARRAY_COUNT(LAYER), name);
}

/* Of what snprintf said. */
static bool fits(int bytes)
{
    return bytes > 0 && bytes < (int)HF_NAME_MAX;
}

/* Behind "model.layers.N.". */
static bool name_in_layer(const struct model_family *family, uint32_t layer, struct text_slice rest,
                          enum hf_use *use, char out[HF_NAME_MAX])
{
    struct text_slice expert_rest = rest;
    uint32_t expert;
    bool is_expert = text_slice_skip(&expert_rest, "mlp.experts.") ||
                     text_slice_skip(&expert_rest, "block_sparse_moe.experts.");
    for (size_t i = 0; i < ARRAY_COUNT(STACKED) && is_expert; i++)
        if (text_slice_is(expert_rest, STACKED[i].theirs)) {
            *use = STACKED[i].use;
            return fits(snprintf(out, HF_NAME_MAX, "blk.%u.", layer));
        }
    if (is_expert && text_slice_is(expert_rest, "down_proj_bias"))
        return fits(snprintf(out, HF_NAME_MAX, "blk.%u.ffn_down_exps.bias", layer));
    if (text_slice_is(rest, "self_attn.sinks"))
        return fits(snprintf(out, HF_NAME_MAX, "blk.%u.attn_sinks.weight", layer));
    if (is_expert && take_number(&expert_rest, &expert)) {
        const char *ending = take_ending(&expert_rest, use);
        const char *ours = find(EXPERT, ARRAY_COUNT(EXPERT), expert_rest);
        return ending != NULL && ours != NULL &&
               fits(snprintf(out, HF_NAME_MAX, "blk.%u.%s.%u%s", layer, ours, expert, ending));
    }
    const char *ending = take_ending(&rest, use);
    if (ending != NULL && *use == HF_IGNORED)
        return true;
    const char *ours = ending != NULL ? layer_name(family, rest) : NULL;
    return ours != NULL && fits(snprintf(out, HF_NAME_MAX, "blk.%u.%s%s", layer, ours, ending));
}

enum hf_use hf_name_of(const struct model_family *family, struct text_slice name,
                       char out[HF_NAME_MAX])
{
    struct text_slice rest = name;
    enum hf_use use = HF_TENSOR;
    uint32_t layer;
    if (text_slice_skip(&rest, "model.layers.") && take_number(&rest, &layer) &&
        name_in_layer(family, layer, rest, &use, out))
        return use;
    rest = name;
    const char *ending = take_ending(&rest, &use);
    const char *ours = ending != NULL ? find(TOP, ARRAY_COUNT(TOP), rest) : NULL;
    if (ending != NULL && use == HF_IGNORED)
        return use;
    if (ours != NULL && fits(snprintf(out, HF_NAME_MAX, "%s%s", ours, ending)))
        return use;
    int shown = name.bytes < HF_NAME_MAX ? (int)name.bytes : (int)HF_NAME_MAX - 1;
    (void)snprintf(out, HF_NAME_MAX, "%.*s", shown, name.data);
    return HF_TENSOR;
}
