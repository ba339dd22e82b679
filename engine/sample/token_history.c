#include "token_history.h"

#include <string.h>

status token_history_init(struct token_history *h, uint32_t max, arena *memory)
{
    *h = (struct token_history){.max = max};
    if (max == 0)
        return STATUS_OK;
    h->tokens = arena_allocate_array(memory, max, sizeof *h->tokens);
    return h->tokens != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

void token_history_add(struct token_history *h, int32_t token, bool is_output)
{
    h->output_count += is_output;
    if (h->max == 0)
        return;
    if (h->count == h->max)
        memmove(h->tokens, h->tokens + 1, --h->count * sizeof *h->tokens);
    h->tokens[h->count++] = token;
}

static uint32_t outputs_here(const struct token_history *h)
{
    return h->output_count < h->count ? h->output_count : h->count;
}

bool token_history_ends_with(const struct token_history *h, const int32_t *tokens, uint32_t count)
{
    return count == 0 || (count <= outputs_here(h) && memcmp(h->tokens + h->count - count, tokens,
                                                             count * sizeof *tokens) == 0);
}

bool token_history_loops(const struct token_history *h, const struct repetition_params *params)
{
    const int32_t *end = h->tokens + h->count;
    uint32_t size = params->min_pattern > 0 ? params->min_pattern : 1;
    for (; size <= params->max_pattern; size++) {
        uint32_t length = size * params->min_count;
        if (length > outputs_here(h))
            return false;
        /* It repeats where it equals itself, one pattern further on. */
        if (memcmp(end - length, end - length + size, (length - size) * sizeof *end) == 0)
            return true;
    }
    return false;
}
