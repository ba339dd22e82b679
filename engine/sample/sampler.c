#include "sampler.h"

#include <math.h>
#include <string.h>

#include "check.h"
#include "philox.h"
#include "row_draw.h"
#include "row_math.h"
#include "token_counts.h"
#include "token_score.h"

/* A row of logits is read where the model left it. What the client's wishes change are a few dozen
 * entries of 49 thousand, so they are patched in place, each with its old value noted, and put back
 * when the token is drawn: no copy of the row, and sequences that share a row (n > 1) each find it
 * as it was.
 *
 *      row  ... [tok 17] ........ [tok 911] ...          patches (newest last)
 *                  |                  |                  +-------------+-------------+
 *                  +-- old value -----+----------------> | 17, old     | 911, old    |
 *                                                        +-------------+-------------+
 *
 * A token may be patched twice (bias, then penalty); the patches are undone in reverse.
 *
 * With a mask of allowed tokens nearly the whole row changes. Then it is copied, what is not allowed as -inf, and the wishes
 * are patched into the copy. */

struct patch {
    int32_t token;
    float before;
};

struct sampler {
    struct sampling_params params; /* its arrays are borrowed */
    uint32_t vocabulary;
    uint32_t index;
    const int32_t *end_tokens; /* borrowed; [end_token_count] */
    uint32_t end_token_count;
    bool has_penalty;
    struct token_counts counts; /* only with has_penalty */
    struct patch *patches;      /* [patch_count_max], in the arena */
    uint32_t patch_count, patch_count_max;
    const uint32_t *allowed; /* borrowed; NULL: all */
    const uint32_t *chosen;  /* the mask of allowed_tokens, in the arena; NULL: all */
    float *allowed_row;      /* [vocabulary], in the arena; only with one of these masks */
    int32_t *recent;         /* [recent_max] the last outputs, oldest first; only with bans */
    uint32_t recent_count, recent_max;
};

static bool params_have_penalty(const struct sampling_params *p)
{
    return p->repetition_penalty != 1.0f || p->presence_penalty != 0.0f ||
           p->frequency_penalty != 0.0f;
}

static status counts_create(sampler *s, const struct sampler_options *options, arena *memory)
{
    bool needs_prompt = s->params.repetition_penalty != 1.0f;
    uint64_t distinct = options->output_count_max;
    distinct += needs_prompt ? options->prompt_count : 0;
    distinct = distinct < options->vocabulary ? distinct : options->vocabulary;
    status result = token_counts_init(&s->counts, (uint32_t)distinct, memory);
    if (result != STATUS_OK)
        return result;
    for (uint32_t i = 0; needs_prompt && i < options->prompt_count; i++)
        token_counts_add(&s->counts, options->prompt[i], 0);
    return STATUS_OK;
}

static status masks_create(sampler *s, const struct sampler_options *options, arena *memory)
{
    s->allowed = options->allowed;
    if (s->params.allowed_token_count > 0) {
        uint32_t *words = arena_allocate_array(memory, s->vocabulary / 32 + 1, sizeof *words);
        if (words == NULL)
            return STATUS_NO_MEMORY;
        for (uint32_t i = 0; i < s->params.allowed_token_count; i++) {
            uint32_t token = (uint32_t)s->params.allowed_tokens[i];
            words[token / 32] |= 1u << token % 32;
        }
        s->chosen = words;
    }
    if (s->allowed == NULL && s->chosen == NULL)
        return STATUS_OK;
    s->allowed_row = arena_allocate_array(memory, s->vocabulary, sizeof *s->allowed_row);
    return s->allowed_row != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

/* A ban needs to know as many outputs as it has tokens before its last. */
static status recent_create(sampler *s, arena *memory)
{
    for (uint32_t i = 0; i < s->params.ban_count; i++)
        if (s->params.bans[i].count - 1 > s->recent_max)
            s->recent_max = s->params.bans[i].count - 1;
    s->recent = arena_allocate_array(memory, s->recent_max, sizeof *s->recent);
    return s->recent != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

status sampler_create(const struct sampler_options *options, arena *memory, sampler **out)
{
    sampler *s = arena_allocate(memory, sizeof *s);
    if (s == NULL)
        return STATUS_NO_MEMORY;
    s->params = *options->params;
    s->vocabulary = options->vocabulary;
    s->index = options->index;
    s->end_tokens = options->end_tokens;
    s->end_token_count = options->end_token_count;
    s->has_penalty = params_have_penalty(&s->params);
    if (s->has_penalty) {
        status counted = counts_create(s, options, memory);
        if (counted != STATUS_OK)
            return counted;
    }
    status result = masks_create(s, options, memory);
    if (result == STATUS_OK && s->params.ban_count > 0)
        result = recent_create(s, memory);
    if (result != STATUS_OK)
        return result;
    s->patch_count_max = s->params.bias_count + s->params.ban_count;
    if (s->has_penalty)
        s->patch_count_max += s->counts.distinct_max;
    if (s->params.min_tokens > 0)
        s->patch_count_max += s->end_token_count + s->params.stop_token_count;
    s->patches = arena_allocate_array(memory, s->patch_count_max, sizeof *s->patches);
    if (s->patches == NULL)
        return STATUS_NO_MEMORY;
    *out = s;
    return STATUS_OK;
}

/* --- the wishes --- */

static void patch(sampler *s, float *logits, int32_t token, float value)
{
    CHECK(s->patch_count < s->patch_count_max);
    s->patches[s->patch_count++] = (struct patch){token, logits[token]};
    logits[token] = value;
}

static void patch_undo_all(sampler *s, float *logits)
{
    while (s->patch_count > 0) {
        const struct patch *p = &s->patches[--s->patch_count];
        logits[p->token] = p->before;
    }
}

static void patch_biases(sampler *s, float *logits)
{
    for (uint32_t i = 0; i < s->params.bias_count; i++) {
        const struct logit_bias *bias = &s->params.biases[i];
        /* -100 is documented as a ban, not as a large number. */
        float value = bias->bias <= -100.0f ? -INFINITY : logits[bias->token] + bias->bias;
        patch(s, logits, bias->token, value);
    }
}

static void patch_penalties(sampler *s, float *logits)
{
    const struct sampling_params *p = &s->params;
    for (uint32_t i = 0; i < s->counts.count; i++) {
        const struct token_count *entry = &s->counts.entries[i];
        float value = logits[entry->token];
        value = value > 0.0f ? value / p->repetition_penalty : value * p->repetition_penalty;
        if (entry->outputs > 0)
            value -= p->presence_penalty + p->frequency_penalty * (float)entry->outputs;
        patch(s, logits, entry->token, value);
    }
}

static void patch_ends(sampler *s, float *logits)
{
    for (uint32_t i = 0; !s->params.ignore_eos && i < s->end_token_count; i++)
        patch(s, logits, s->end_tokens[i], -INFINITY);
    for (uint32_t i = 0; i < s->params.stop_token_count; i++)
        patch(s, logits, s->params.stop_tokens[i], -INFINITY);
}

/* The last token of each run whose others are the last outputs. */
static void patch_bans(sampler *s, float *logits)
{
    for (uint32_t i = 0; i < s->params.ban_count; i++) {
        const struct token_run *ban = &s->params.bans[i];
        uint32_t before = ban->count - 1;
        if (before > s->recent_count || memcmp(s->recent + s->recent_count - before, ban->tokens,
                                               before * sizeof *ban->tokens) != 0)
            continue;
        patch(s, logits, ban->tokens[before], -INFINITY);
    }
}

static void patch_all(sampler *s, float *logits, uint32_t output_count)
{
    patch_biases(s, logits);
    if (s->has_penalty)
        patch_penalties(s, logits);
    if (s->params.ban_count > 0)
        patch_bans(s, logits);
    if (output_count < s->params.min_tokens)
        patch_ends(s, logits);
}

/* --- the draw --- */

static status choose(const sampler *s, const float *logits, uint32_t position, int32_t *token)
{
    bool is_sound;
    float max = row_max(logits, s->vocabulary, &is_sound);
    if (!is_sound || !isfinite(max))
        return STATUS_INTERNAL;
    if (s->params.temperature == 0.0f) {
        *token = (int32_t)row_find(logits, s->vocabulary, max);
        return STATUS_OK;
    }
    struct draw_rule rule = {
        .scale = 1.0f / s->params.temperature,
        .max = max,
        .top_k = s->params.top_k > 0 ? (uint32_t)s->params.top_k : 0,
        .top_p = s->params.top_p,
        .min_p = s->params.min_p,
        .uniform = philox_uniform(s->params.seed, s->index, position),
    };
    /* A temperature so small that its inverse is no float is greedy in all but name. */
    if (!isfinite(rule.scale))
        *token = (int32_t)row_find(logits, s->vocabulary, max);
    else
        *token = (int32_t)row_draw(logits, s->vocabulary, &rule);
    return STATUS_OK;
}

static void copy_allowed(const sampler *s, const float *logits)
{
    for (uint32_t first = 0; first < s->vocabulary; first += 32) {
        uint32_t word = s->allowed != NULL ? s->allowed[first / 32] : UINT32_MAX;
        word &= s->chosen != NULL ? s->chosen[first / 32] : UINT32_MAX;
        uint32_t count = s->vocabulary - first < 32 ? s->vocabulary - first : 32;
        for (uint32_t i = 0; i < count; i++)
            s->allowed_row[first + i] = (word >> i & 1) != 0 ? logits[first + i] : -INFINITY;
    }
}

/* The token of a row after the mask and the wishes, which are undone. */
static status choose_wished(sampler *s, float *logits, uint32_t position, uint32_t output_count,
                            int32_t *token)
{
    if (s->allowed_row == NULL) {
        patch_all(s, logits, output_count);
        status result = choose(s, logits, position, token);
        patch_undo_all(s, logits);
        return result;
    }
    bool is_sound;
    if (!isfinite(row_max(logits, s->vocabulary, &is_sound)) || !is_sound)
        return STATUS_INTERNAL;
    copy_allowed(s, logits);
    patch_all(s, s->allowed_row, output_count);
    s->patch_count = 0;
    return choose(s, s->allowed_row, position, token) == STATUS_OK ? STATUS_OK : STATUS_UNSUPPORTED;
}

/* The log of the row's sum, where log probabilities are wanted. */
static status read_sum(const sampler *s, const float *logits, double *sum)
{
    return s->params.logprobs >= 0 ? row_log_sum(logits, s->vocabulary, sum) : STATUS_OK;
}

static void fill_sample(const sampler *s, const float *logits, double sum, int32_t token,
                        struct sample *out)
{
    bool wants_logprobs = s->params.logprobs >= 0;
    out->token = token;
    out->logprob = wants_logprobs ? (float)((double)logits[token] - sum) : NAN;
    out->alternative_count = 0;
    if (wants_logprobs)
        out->alternative_count = row_list_best(logits, s->vocabulary, sum,
                                               (uint32_t)s->params.logprobs, out->alternatives);
}

status sampler_sample(sampler *s, float *logits, uint32_t position, uint32_t output_count,
                      struct sample *out)
{
    double sum = 0.0;
    int32_t token = 0;
    status result = read_sum(s, logits, &sum);
    if (result == STATUS_OK)
        result = choose_wished(s, logits, position, output_count, &token);
    if (result == STATUS_OK)
        fill_sample(s, logits, sum, token, out);
    return result;
}

status sampler_force(const sampler *s, const float *logits, int32_t token, struct sample *out)
{
    double sum = 0.0;
    bool is_sound;
    if (!isfinite(row_max(logits, s->vocabulary, &is_sound)) || !is_sound)
        return STATUS_INTERNAL;
    status result = read_sum(s, logits, &sum);
    if (result == STATUS_OK)
        fill_sample(s, logits, sum, token, out);
    return result;
}

void sampler_accept(sampler *s, int32_t token)
{
    if (s->has_penalty)
        token_counts_add(&s->counts, token, 1);
    if (s->recent_max == 0)
        return;
    if (s->recent_count == s->recent_max)
        memmove(s->recent, s->recent + 1, --s->recent_count * sizeof *s->recent);
    s->recent[s->recent_count++] = token;
}

bool sampler_token_ends(const sampler *s, int32_t token)
{
    for (uint32_t i = 0; !s->params.ignore_eos && i < s->end_token_count; i++) {
        if (s->end_tokens[i] == token)
            return true;
    }
    for (uint32_t i = 0; i < s->params.stop_token_count; i++) {
        if (s->params.stop_tokens[i] == token)
            return true;
    }
    return false;
}
