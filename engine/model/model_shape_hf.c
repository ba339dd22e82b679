/* The parts of config.json that are more than a number: RoPE in its older and newer spelling, the kinds of layers, and what
 * must be as we have it. Defaults are those of transformers' configuration classes. */

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "check.h"
#include "model_shape_parts.h"

/* --- RoPE --- */

struct rope_reader {
    const json_t *rope; /* the object that describes it; NULL: none */
    const model_source *source;
    struct error_note *note;
};

/* `name` of the object, in (0, max]; absent or null: the fallback. */
static status read_real(const struct rope_reader *r, const char *name, double fallback, double max,
                        double *out)
{
    const json_t *value = json_object_get(r->rope, name);
    *out = fallback;
    if (value == NULL || json_is_null(value))
        return STATUS_OK;
    *out = json_number_value(value);
    if (json_is_number(value) && *out > 0 && *out <= max)
        return STATUS_OK;
    error_note_set(r->note, "rope_parameters.%s must be a number above 0 and at most %g", name,
                   max);
    return STATUS_INVALID;
}

/* The newer spelling keeps the base in the object, the older one beside it. */
static status read_base(const struct rope_reader *r, const char *outside, double fallback,
                        double *out)
{
    const struct rope_reader top = {r->source->config, r->source, r->note};
    status s = read_real(&top, outside, fallback, ROPE_BASE_MAX, out);
    return s == STATUS_OK ? read_real(r, "rope_theta", *out, ROPE_BASE_MAX, out) : s;
}

static const char *kind_of(const struct rope_reader *r)
{
    const char *kind = json_string_value(json_object_get(r->rope, "rope_type"));
    if (kind == NULL)
        kind = json_string_value(json_object_get(r->rope, "type"));
    return kind != NULL ? kind : "default";
}

/* Positions trained before the growth: in the object, beside it, or all. */
static status read_original(const struct rope_reader *r, uint32_t outside,
                            const struct model_shape *shape, struct rope_shape *rope)
{
    double original;
    status s = read_real(r, "original_max_position_embeddings",
                         outside != 0 ? outside : shape->context_trained, CONTEXT_MAX, &original);
    rope->context_original = original >= 1 ? (uint32_t)original : 1;
    return s;
}

static status read_llama3(const struct rope_reader *r, struct rope_shape *rope)
{
    rope->scaling = ROPE_SCALING_LLAMA3;
    status s = read_real(r, "low_freq_factor", 1, ROPE_FACTOR_MAX, &rope->low_factor);
    if (s == STATUS_OK)
        s = read_real(r, "high_freq_factor", 4, ROPE_FACTOR_MAX, &rope->high_factor);
    if (s == STATUS_OK && rope->high_factor <= rope->low_factor) {
        error_note_set(r->note, "rope_parameters: high_freq_factor must be above low_freq_factor");
        s = STATUS_INVALID;
    }
    return s;
}

/* model_rope_magnitude multiplies by the factor that the paper recommends: a file's own replaces it. */
static status read_yarn(const struct rope_reader *r, struct rope_shape *rope)
{
    double recommended = rope->factor > 1 ? 1 + 0.1 * log(rope->factor) : 1, own;
    rope->scaling = ROPE_SCALING_YARN;
    const json_t *truncate = json_object_get(r->rope, "truncate");
    rope->is_exact = json_is_false(truncate);
    static const char *const unknown[] = {"mscale", "mscale_all_dim"};
    for (size_t i = 0; i < ARRAY_COUNT(unknown); i++)
        if (json_is_number(json_object_get(r->rope, unknown[i]))) {
            error_note_set(r->note, "rope_parameters.%s is not supported", unknown[i]);
            return STATUS_UNSUPPORTED;
        }
    status s = read_real(r, "beta_fast", 32, ROPE_FACTOR_MAX, &rope->beta_fast);
    if (s == STATUS_OK)
        s = read_real(r, "beta_slow", 1, ROPE_FACTOR_MAX, &rope->beta_slow);
    if (s == STATUS_OK)
        s = read_real(r, "attention_factor", recommended, ROPE_FACTOR_MAX, &own);
    if (s == STATUS_OK)
        rope->attention_factor = own / recommended;
    return s;
}

/* The factors themselves are the tensors rope_factors_*; they are divided by in model_weights.c. */
static status read_longrope(const struct rope_reader *r, const struct model_shape *shape,
                            struct rope_shape *rope)
{
    double growth = (double)shape->context_trained / rope->context_original, own = 1;
    status s = read_real(r, "factor", growth, ROPE_FACTOR_MAX, &growth);
    if (s == STATUS_OK && growth > 1)
        own = sqrt(1 + log(growth) / log(rope->context_original));
    if (s == STATUS_OK)
        s = read_real(r, "attention_factor", own, ROPE_FACTOR_MAX, &rope->attention_factor);
    rope->factor = 1;
    if (s == STATUS_OK && (!json_is_array(json_object_get(r->rope, "short_factor")) ||
                           !json_is_array(json_object_get(r->rope, "long_factor")))) {
        error_note_set(r->note,
                       "rope_parameters: longrope needs the lists short_factor and long_factor");
        s = STATUS_INVALID;
    }
    return s;
}

static status read_scaling(const struct rope_reader *r, uint32_t original,
                           const struct model_shape *shape, struct rope_shape *rope)
{
    const char *kind = kind_of(r);
    bool is_phi3 = family_has(shape->family, FAMILY_FUSED_QKV);
    double share;
    status s = read_real(r, "partial_rotary_factor", 1, 1, &share);
    const struct rope_reader top = {r->source->config, r->source, r->note};
    if (s == STATUS_OK && share == 1)
        s = read_real(&top, "partial_rotary_factor", 1, 1, &share);
    if (s == STATUS_OK)
        s = read_real(r, "factor", 1, ROPE_FACTOR_MAX, &rope->factor);
    if (s == STATUS_OK)
        s = read_original(r, original, shape, rope);
    if (s != STATUS_OK)
        return s;
    rope->d_rope = (uint32_t)((double)shape->d_head * share);
    rope->attention_factor = 1;
    rope->scaling = ROPE_SCALING_NONE;
    if (strcmp(kind, "longrope") == 0 || strcmp(kind, "su") == 0 ||
        (is_phi3 && strcmp(kind, "yarn") == 0))
        return read_longrope(r, shape, rope);
    if (strcmp(kind, "yarn") == 0)
        return read_yarn(r, rope);
    if (strcmp(kind, "llama3") == 0)
        return read_llama3(r, rope);
    if (strcmp(kind, "linear") == 0)
        rope->scaling = ROPE_SCALING_LINEAR;
    if (rope->scaling == ROPE_SCALING_LINEAR || strcmp(kind, "default") == 0)
        return STATUS_OK;
    error_note_set(r->note,
                   "rope_parameters.rope_type '%.32s' is not supported (default, linear, llama3, "
                   "longrope and yarn are)",
                   kind);
    return STATUS_UNSUPPORTED;
}

status model_shape_read_hf_rope(const model_source *source, uint32_t original,
                                struct model_shape *shape, struct error_note *note)
{
    const json_t *rope = json_object_get(source->config, "rope_parameters");
    if (!json_is_object(rope))
        rope = json_object_get(source->config, "rope_scaling");
    struct rope_reader reader = {rope, source, note}, local = {NULL, source, note};
    if (family_has(shape->family, FAMILY_LOCAL_ROPE) &&
        json_is_object(json_object_get(rope, "full_attention"))) {
        reader.rope = json_object_get(rope, "full_attention");
        local.rope = json_object_get(rope, "sliding_attention");
    }
    status s = read_base(&reader, "rope_theta", shape->family->rope_base, &shape->rope.base);
    if (s == STATUS_OK)
        s = read_scaling(&reader, original, shape, &shape->rope);
    if (s == STATUS_OK)
        s = read_base(&local, "rope_local_base_freq", 10000, &shape->local_rope.base);
    if (s == STATUS_OK)
        s = read_scaling(&local, original, shape, &shape->local_rope);
    return s;
}

/* --- layers --- */

static status read_layer_types(const json_t *types, struct model_shape *shape,
                               struct error_note *note)
{
    if (json_array_size(types) != shape->n_layers) {
        error_note_set(note, "layer_types must name each of the %" PRIu32 " layers",
                       shape->n_layers);
        return STATUS_INVALID;
    }
    for (uint32_t i = 0; i < shape->n_layers; i++) {
        const char *type = json_string_value(json_array_get(types, i));
        if (type != NULL && strcmp(type, "sliding_attention") == 0) {
            shape->windowed[i / 64] |= UINT64_C(1) << (i % 64);
        } else if (type == NULL || strcmp(type, "full_attention") != 0) {
            error_note_set(note,
                           "layer_types[%" PRIu32 "] '%.40s' is not supported (full_attention and "
                           "sliding_attention are)",
                           i, type != NULL ? type : "");
            return STATUS_UNSUPPORTED;
        }
    }
    return STATUS_OK;
}

status model_shape_read_hf_windows(const model_source *source, struct model_shape *shape,
                                   struct error_note *note)
{
    static const struct fact_key first_key = {NULL, "max_window_layers"},
                                 pattern_key = {NULL, "sliding_window_pattern"};
    const json_t *types = json_object_get(source->config, "layer_types");
    enum window_pattern windows = shape->family->windows;
    if (windows == WINDOW_LATE &&
        !json_is_true(json_object_get(source->config, "use_sliding_window"))) {
        shape->window = 0;
        return STATUS_OK;
    }
    if (json_is_array(types))
        return read_layer_types(types, shape, note);
    uint64_t first = 0, period = windows == WINDOW_ALTERNATE     ? 2
                                 : windows == WINDOW_FIVE_SIXTHS ? 6
                                                                 : 0;
    if (windows == WINDOW_FIVE_SIXTHS)
        (void)fact_u64(source, shape->family, &pattern_key, &period);
    if (windows == WINDOW_LATE && fact_u64(source, shape->family, &first_key, &first) != FACT_FOUND)
        first = 28; /* Qwen's default */
    model_shape_fill_windows(shape, period < LAYERS_MAX ? (uint32_t)period : LAYERS_MAX + 1);
    for (uint32_t i = 0; i < shape->n_layers && i < first; i++)
        shape->windowed[i / 64] &= ~(UINT64_C(1) << (i % 64));
    return STATUS_OK;
}

/* --- what must be as we have it --- */

static status refuse(struct error_note *note, const char *key, const char *value)
{
    error_note_set(note, "%s '%.40s' is not supported for this architecture", key, value);
    return STATUS_UNSUPPORTED;
}

static status check_activation(const model_source *source, const struct model_family *family,
                               struct error_note *note)
{
    static const char *const keys[] = {"hidden_activation", "hidden_act"};
    for (size_t i = 0; i < ARRAY_COUNT(keys); i++) {
        const char *name = json_string_value(json_object_get(source->config, keys[i]));
        if (name == NULL)
            continue;
        bool is_silu = strcmp(name, "silu") == 0 || strcmp(name, "swish") == 0;
        /* "gelu" in Gemma 1's first configurations was meant to be the tanh form, and is taken for it. */
        bool is_gelu = strncmp(name, "gelu", 4) == 0;
        return (family->gate == GATE_GELU_TANH ? is_gelu : is_silu) ? STATUS_OK
                                                                    : refuse(note, keys[i], name);
    }
    return STATUS_OK;
}

status model_shape_check_hf(const model_source *source, const struct model_shape *shape,
                            struct error_note *note)
{
    static const struct fact_key step = {NULL, "decoder_sparse_step"},
                                 alpha = {NULL, "swiglu_alpha"}, limit = {NULL, "swiglu_limit"};
    uint64_t every = 1;
    (void)fact_u64(source, shape->family, &step, &every);
    if (every > 1 || json_array_size(json_object_get(source->config, "mlp_only_layers")) > 0)
        return refuse(note, "mlp_only_layers or decoder_sparse_step", "some layers are dense");
    if (json_is_true(json_object_get(source->config, "use_bidirectional_attention")))
        return refuse(note, "use_bidirectional_attention", "true");
    double value = (double)GATE_ALPHA;
    (void)fact_f64(source, shape->family, &alpha, &value);
    if ((float)value != GATE_ALPHA)
        return refuse(note, "swiglu_alpha", "other than 1.702");
    value = (double)GATE_CLAMP;
    (void)fact_f64(source, shape->family, &limit, &value);
    if ((float)value != GATE_CLAMP)
        return refuse(note, "swiglu_limit", "other than 7");
    return check_activation(source, shape->family, note);
}
