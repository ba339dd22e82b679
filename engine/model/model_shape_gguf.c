/* RoPE as GGUF files tell it. The keys, defaults and the older name of the factor are llama.cpp's (src/llama-model.cpp). */

#include "check.h"
#include "model_shape_parts.h"

/* Gemma 3's, which files written before the key lack. */
#define LOCAL_BASE_DEFAULT 10000.0

static status read_scaling_kind(const model_source *source, const struct model_family *family,
                                struct rope_shape *rope, struct error_note *note)
{
    static const struct fact_key key = {"rope.scaling.type", NULL};
    char name[FACT_NAME_MAX];
    struct text_slice kind;
    rope->scaling = ROPE_SCALING_LINEAR; /* without a factor it changes nothing */
    if (!gguf_get_text(source->file, fact_name(source, family, &key, name), &kind) ||
        text_slice_is(kind, "linear"))
        return STATUS_OK;
    /* LongRoPE's factors are tensors. */
    if (text_slice_is(kind, "none") || text_slice_is(kind, "longrope")) {
        rope->scaling = ROPE_SCALING_NONE;
        return STATUS_OK;
    }
    if (text_slice_is(kind, "yarn")) {
        rope->scaling = ROPE_SCALING_YARN;
        return STATUS_OK;
    }
    error_note_set(note, "%s '%.*s' is not supported (none, linear, longrope and yarn are)", name,
                   (int)(kind.bytes < 32 ? kind.bytes : 32), kind.data);
    return STATUS_UNSUPPORTED;
}

static status read_reals(const model_source *source, const struct model_family *family,
                         struct rope_shape *rope, struct error_note *note)
{
    double old_factor = 1.0;
    const struct {
        struct fact_key key;
        double fallback, max;
        double *out;
    } rows[] = {
        {{"rope.freq_base", NULL}, 10000.0, ROPE_BASE_MAX, &rope->base},
        {{"rope.scale_linear", NULL}, 1.0, ROPE_FACTOR_MAX, &old_factor},
        {{"rope.scaling.factor", NULL}, 0, ROPE_FACTOR_MAX, &rope->factor},
        {{"rope.scaling.attn_factor", NULL}, 1.0, ROPE_FACTOR_MAX, &rope->attention_factor},
        {{"rope.scaling.yarn_beta_fast", NULL}, 32.0, ROPE_FACTOR_MAX, &rope->beta_fast},
        {{"rope.scaling.yarn_beta_slow", NULL}, 1.0, ROPE_FACTOR_MAX, &rope->beta_slow},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        status s = fact_positive(source, family, &rows[i].key, rows[i].fallback, rows[i].max,
                                 rows[i].out, note);
        if (s != STATUS_OK)
            return s;
    }
    if (rope->factor == 0)
        rope->factor = old_factor;
    return STATUS_OK;
}

status model_shape_read_gguf_rope(const model_source *source, uint32_t original,
                                  struct model_shape *shape, struct error_note *note)
{
    static const struct fact_key local_base = {"rope.freq_base_swa", NULL};
    struct rope_shape *rope = &shape->rope;
    rope->context_original = original != 0 ? original : shape->context_trained;
    rope->is_exact = family_has(shape->family, FAMILY_EXACT_YARN);
    status s = read_scaling_kind(source, shape->family, rope, note);
    if (s == STATUS_OK)
        s = read_reals(source, shape->family, rope, note);
    shape->local_rope = *rope;
    shape->local_rope.scaling = ROPE_SCALING_NONE;
    shape->local_rope.attention_factor = 1;
    if (s == STATUS_OK)
        s = fact_positive(source, shape->family, &local_base, LOCAL_BASE_DEFAULT, ROPE_BASE_MAX,
                          &shape->local_rope.base, note);
    return s;
}
