#include "reasoning_budget.h"

#include <string.h>

/* Longest start of `mark` that is also an end of its first `length` bytes, and shorter. */
static uint32_t border(struct text_slice mark, uint32_t length)
{
    uint32_t bytes = length - 1;
    while (bytes > 0 && memcmp(mark.data, mark.data + length - bytes, bytes) != 0)
        bytes--;
    return bytes;
}

/* One step of Knuth, Morris and Pratt's search (1977) for the mark that may come next. */
static void take_byte(struct reasoning_watch *w, char c)
{
    struct text_slice mark = w->is_inside ? w->budget->close : w->budget->open;
    while (w->matched_bytes > 0 && mark.data[w->matched_bytes] != c)
        w->matched_bytes = border(mark, w->matched_bytes);
    if (mark.data[w->matched_bytes] == c)
        w->matched_bytes++;
    if (w->matched_bytes == mark.bytes) {
        w->is_inside = !w->is_inside;
        w->matched_bytes = 0;
    }
}

static void end_if_spent(struct reasoning_watch *w)
{
    w->is_ending = w->is_inside && !w->is_given_up && w->spent >= w->budget->tokens_max;
    w->written = 0;
}

void reasoning_watch_init(struct reasoning_watch *watch, const struct reasoning_budget *budget)
{
    *watch = (struct reasoning_watch){.budget = budget, .is_inside = budget->starts_inside};
    end_if_spent(watch);
}

int32_t reasoning_watch_forced(const struct reasoning_watch *watch)
{
    return watch->is_ending ? watch->budget->end_tokens[watch->written] : -1;
}

void reasoning_watch_refuse(struct reasoning_watch *watch)
{
    watch->is_ending = false;
    watch->is_given_up = watch->is_inside;
}

void reasoning_watch_accept(struct reasoning_watch *watch, struct text_slice piece)
{
    bool was_inside = watch->is_inside;
    for (size_t i = 0; i < piece.bytes; i++)
        take_byte(watch, piece.data[i]);
    if (watch->is_ending) {
        if (++watch->written == watch->budget->end_token_count)
            watch->is_ending = false;
        return;
    }
    if (was_inside && watch->is_inside)
        watch->spent++;
    end_if_spent(watch);
}
