#include "sampler.h"

#include <math.h>
#include <string.h>

#include "check.h"
#include "dry.h"
#include "philox.h"
#include "row_draw.h"
#include "row_filter.h"
#include "row_math.h"
#include "sampling_rules.h"
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
 * With a mask of allowed tokens nearly the whole row changes, and with what row_draw does not know as well. Then it is copied, what
 * is not allowed as -inf, and the wishes are patched into the copy. */

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
    float *own_row;   /* [vocabulary], in the arena; only with one of these masks or filters */
    bool has_filters; /* row_filter.h, and not only what row_draw knows */
    float *weights;   /* [vocabulary], in the arena; only for typicality */
    struct token_history
        history;    /* as much of it as bans, DRY and the guard against loops look at */
    struct dry dry; /* only with has_dry */
    bool has_dry;
    /* mirostat: the most bits of surprise; and what it is if the last sample is taken */
    float surprise_max, surprise_max_next;
};

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

static status rows_create(sampler *s, const struct sampler_options *options, arena *memory)
{
    s->allowed = options->allowed;
    if (s->params.allowed_token_count > 0) {
        uint32_t *words = arena_allocate_array(memory, s->vocabulary / 32 + 1, sizeof *words);
        if (words == NULL)
            return STATUS_NO_MEMORY;
        sampling_allow_tokens(&s->params, words);
        s->chosen = words;
    }
    if (s->allowed == NULL && s->chosen == NULL && !s->has_filters)
        return STATUS_OK;
    s->own_row = arena_allocate_array(memory, s->vocabulary, sizeof *s->own_row);
    if (s->own_row == NULL)
        return STATUS_NO_MEMORY;
    if (!s->has_filters || !sampling_is_share(s->params.typical_p))
        return STATUS_OK;
    s->weights = arena_allocate_array(memory, s->vocabulary, sizeof *s->weights);
    return s->weights != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

/* How many of the last tokens are looked at. A ban needs to know as many outputs as it has tokens before its last. */
static uint32_t history_max(const struct sampling_params *p, const struct sampler_options *options)
{
    uint64_t max = (uint64_t)p->repetition.max_pattern * p->repetition.min_count;
    max = max < options->output_count_max ? max : options->output_count_max;
    for (uint32_t i = 0; i < p->ban_count; i++)
        max = p->bans[i].count - 1 > max ? p->bans[i].count - 1 : max;
    if (!sampling_has_dry(p))
        return (uint32_t)max;
    uint64_t window = (uint64_t)options->prompt_count + options->output_count_max;
    if (p->dry.last_n >= 0 && (uint64_t)p->dry.last_n < window)
        window = (uint64_t)p->dry.last_n;
    return (uint32_t)(window > max ? window : max);
}

static status history_create(sampler *s, const struct sampler_options *options, arena *memory)
{
    status result = token_history_init(&s->history, history_max(&s->params, options), memory);
    if (result != STATUS_OK || !s->has_dry)
        return result;
    result = dry_init(&s->dry, &s->params.dry, s->history.max, s->vocabulary, memory);
    if (result != STATUS_OK)
        return result;
    s->dry.piece = options->piece;
    s->dry.context = options->piece_context;
    uint32_t count =
        options->prompt_count < s->history.max ? options->prompt_count : s->history.max;
    for (uint32_t i = options->prompt_count - count; i < options->prompt_count; i++) {
        token_history_add(&s->history, options->prompt[i], false);
        dry_accept(&s->dry, options->prompt[i]);
    }
    return STATUS_OK;
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
    s->has_penalty = sampling_has_penalties(&s->params);
    s->has_filters = sampling_has_filters(&s->params);
    s->has_dry = sampling_has_dry(&s->params);
    s->surprise_max = s->surprise_max_next = 2.0f * s->params.mirostat.tau;
    status result = s->has_penalty ? counts_create(s, options, memory) : STATUS_OK;
    if (result == STATUS_OK)
        result = rows_create(s, options, memory);
    if (result == STATUS_OK)
        result = history_create(s, options, memory);
    if (result != STATUS_OK)
        return result;
    s->patch_count_max = s->params.bias_count + s->params.ban_count;
    if (s->has_dry)
        s->patch_count_max += s->dry.repeat_max;
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

static void patch_repeats(sampler *s, float *logits)
{
    uint32_t count = dry_find(&s->dry, &s->history);
    for (uint32_t i = 0; i < count; i++) {
        const struct dry_repeat *repeat = &s->dry.repeats[i];
        float penalty = dry_penalty(&s->params.dry, repeat->length);
        patch(s, logits, repeat->token, logits[repeat->token] - penalty);
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
        if (token_history_ends_with(&s->history, ban->tokens, before))
            patch(s, logits, ban->tokens[before], -INFINITY);
    }
}

static void patch_all(sampler *s, float *logits, uint32_t output_count)
{
    patch_biases(s, logits);
    if (s->has_penalty)
        patch_penalties(s, logits);
    if (s->has_dry)
        patch_repeats(s, logits);
    if (s->params.ban_count > 0)
        patch_bans(s, logits);
    if (output_count < s->params.min_tokens)
        patch_ends(s, logits);
}

/* --- the draw --- */

/* Cuts from the row, which is the sampler's own, all that may not be drawn. */
static void apply_filters(const sampler *s, struct draw_rule *rule, uint32_t position)
{
    const struct sampling_params *p = &s->params;
    struct row_filter filter = {
        .scale = rule->scale,
        .typical_p = 1.0f,
        .top_p = 1.0f,
        .xtc_threshold = 1.0f,
        .surprise_max = INFINITY,
    };
    if (p->mirostat.is_on) {
        filter.surprise_max = s->surprise_max;
    } else {
        filter.top_n_sigma = p->top_n_sigma;
        filter.top_k = rule->top_k;
        filter.top_a = p->top_a;
        filter.typical_p = sampling_is_share(p->typical_p) ? p->typical_p : 1.0f;
        filter.top_p = rule->top_p;
        filter.min_p = rule->min_p;
        double uniform = philox_uniform(p->seed, s->index, position, PHILOX_EXCLUSION);
        if (uniform < (double)p->xtc_probability)
            filter.xtc_threshold = p->xtc_threshold;
    }
    row_filter_apply(&filter, s->own_row, s->weights, s->vocabulary);
    bool is_sound;
    rule->max = row_max(s->own_row, s->vocabulary, &is_sound);
    rule->top_k = 0;
    rule->top_p = 1.0f;
    rule->min_p = 0.0f;
}

/* What mirostat learns from a token's surprise, if it is taken. */
static void note_surprise(sampler *s, double nats)
{
    const struct mirostat_params *p = &s->params.mirostat;
    s->surprise_max_next = s->surprise_max - p->eta * ((float)(nats / M_LN2) - p->tau);
}

/* `logits` is s->own_row where there is one. */
static status choose(sampler *s, const float *logits, uint32_t position, int32_t *token)
{
    bool is_sound;
    float max = row_max(logits, s->vocabulary, &is_sound);
    if (!is_sound || !isfinite(max))
        return STATUS_INTERNAL;
    float scale = 1.0f / s->params.temperature;
    /* Temperature 0 is greedy, and so is one so small that its inverse is no float. */
    if (!isfinite(scale)) {
        *token = (int32_t)row_find(logits, s->vocabulary, max);
        return STATUS_OK;
    }
    struct draw_rule rule = {
        .scale = scale,
        .max = max,
        .top_k = s->params.top_k > 0 ? (uint32_t)s->params.top_k : 0,
        .top_p = s->params.top_p,
        .min_p = s->params.min_p,
        .uniform = philox_uniform(s->params.seed, s->index, position, PHILOX_TOKEN),
    };
    if (!s->has_filters) {
        *token = (int32_t)row_draw(logits, s->vocabulary, &rule);
        return STATUS_OK;
    }
    double sum = 0.0;
    if (s->params.mirostat.is_on)
        sum = row_scaled_log_sum(logits, s->vocabulary, scale);
    apply_filters(s, &rule, position);
    *token = (int32_t)row_draw(logits, s->vocabulary, &rule);
    if (s->params.mirostat.is_on)
        note_surprise(s, sum - (double)(logits[*token] * scale));
    return STATUS_OK;
}

static void copy_allowed(const sampler *s, const float *logits)
{
    for (uint32_t first = 0; first < s->vocabulary; first += 32) {
        uint32_t word = s->allowed != NULL ? s->allowed[first / 32] : UINT32_MAX;
        word &= s->chosen != NULL ? s->chosen[first / 32] : UINT32_MAX;
        uint32_t count = s->vocabulary - first < 32 ? s->vocabulary - first : 32;
        for (uint32_t i = 0; i < count; i++)
            s->own_row[first + i] = (word >> i & 1) != 0 ? logits[first + i] : -INFINITY;
    }
}

/* The token of a row after the mask and the wishes, which are undone. */
static status choose_wished(sampler *s, float *logits, uint32_t position, uint32_t output_count,
                            int32_t *token)
{
    if (s->own_row == NULL) {
        patch_all(s, logits, output_count);
        status result = choose(s, logits, position, token);
        patch_undo_all(s, logits);
        return result;
    }
    bool is_sound;
    if (!isfinite(row_max(logits, s->vocabulary, &is_sound)) || !is_sound)
        return STATUS_INTERNAL;
    copy_allowed(s, logits);
    patch_all(s, s->own_row, output_count);
    s->patch_count = 0;
    return choose(s, s->own_row, position, token) == STATUS_OK ? STATUS_OK : STATUS_UNSUPPORTED;
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
    token_history_add(&s->history, token, true);
    if (s->has_dry)
        dry_accept(&s->dry, token);
    s->surprise_max = s->surprise_max_next;
}

bool sampler_output_loops(const sampler *s)
{
    return s->params.repetition.max_pattern > 0 &&
           s->history.output_count >= s->params.min_tokens &&
           token_history_loops(&s->history, &s->params.repetition);
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
