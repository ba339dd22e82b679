#include "dry.h"

#include <math.h>

#include "mark_search.h"

/* More than any logit can make good, and far from where floats end. */
#define PENALTY_MAX 1e30f

status dry_init(struct dry *d, const struct dry_params *params, uint32_t window_max,
                uint32_t vocabulary, arena *memory)
{
    d->params = params;
    d->repeat_max = window_max < vocabulary ? window_max : vocabulary;
    d->matched = arena_allocate_array(memory, params->breaker_count + 1, sizeof *d->matched);
    d->common = arena_allocate_array(memory, window_max, sizeof *d->common);
    d->longest = arena_allocate_array(memory, vocabulary, sizeof *d->longest);
    d->repeats = arena_allocate_array(memory, d->repeat_max, sizeof *d->repeats);
    bool is_whole =
        d->matched != NULL && d->common != NULL && d->longest != NULL && d->repeats != NULL;
    return is_whole ? STATUS_OK : STATUS_NO_MEMORY;
}

void dry_accept(struct dry *d, int32_t token)
{
    bool is_broken = false;
    if (d->params->breaker_count > 0) {
        struct text_slice piece = d->piece(d->context, token);
        for (uint32_t i = 0; i < d->params->breaker_count; i++)
            for (size_t j = 0; j < piece.bytes; j++)
                is_broken |=
                    mark_search_step(d->params->breakers[i], &d->matched[i], piece.data[j]);
    }
    d->since_breaker = is_broken ? 0 : d->since_breaker + 1;
}

static bool holds_breaker(const struct dry *d, int32_t token)
{
    if (d->params->breaker_count == 0)
        return false;
    struct text_slice piece = d->piece(d->context, token);
    for (uint32_t i = 0; i < d->params->breaker_count; i++) {
        uint32_t matched = 0;
        for (size_t j = 0; j < piece.bytes; j++)
            if (mark_search_step(d->params->breakers[i], &matched, piece.data[j]))
                return true;
    }
    return false;
}

/* How many tokens the text has in common, going backwards, with itself `at` tokens earlier: the Z function of the text read
 * backwards (Gusfield 1997, section 1.4). back points behind the last of `count` tokens. */
static void find_common(const int32_t *back, uint32_t count, uint32_t *common)
{
    uint32_t left = 0, right = 0; /* the match that reaches furthest back: [left, right) */
    for (uint32_t at = 1; at < count; at++) {
        uint32_t length = 0;
        if (at < right)
            length = common[at - left] < right - at ? common[at - left] : right - at;
        while (at + length < count &&
               back[-1 - (int64_t)length] == back[-1 - (int64_t)(at + length)])
            length++;
        if (at + length > right) {
            left = at;
            right = at + length;
        }
        common[at] = length;
    }
}

uint32_t dry_find(struct dry *d, const struct token_history *history)
{
    const struct dry_params *p = d->params;
    uint32_t count = history->count;
    if (p->last_n >= 0 && (uint32_t)p->last_n < count)
        count = (uint32_t)p->last_n;
    uint32_t length_max = d->since_breaker;
    if (length_max < p->allowed_length)
        return 0;
    const int32_t *back = history->tokens + history->count;
    find_common(back, count, d->common);
    uint32_t found = 0;
    for (uint32_t at = 1; at < count; at++) {
        uint32_t length = d->common[at] < length_max ? d->common[at] : length_max;
        int32_t next = back[-(int64_t)at];
        if (length < p->allowed_length || length <= d->longest[next])
            continue;
        if (d->longest[next] == 0)
            d->repeats[found++].token = next;
        d->longest[next] = length;
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < found; i++) {
        int32_t token = d->repeats[i].token;
        if (!holds_breaker(d, token))
            d->repeats[kept++] = (struct dry_repeat){token, d->longest[token]};
        d->longest[token] = 0;
    }
    return kept;
}

float dry_penalty(const struct dry_params *params, uint32_t length)
{
    float power = powf(params->base, (float)(length - params->allowed_length));
    return fminf(params->multiplier * power, PENALTY_MAX);
}
