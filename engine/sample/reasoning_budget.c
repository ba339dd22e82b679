#include "reasoning_budget.h"

#include "mark_search.h"

static void take_byte(struct reasoning_watch *w, char c)
{
    struct text_slice mark = w->is_inside ? w->budget->close : w->budget->open;
    if (mark_search_step(mark, &w->matched_bytes, c))
        w->is_inside = !w->is_inside;
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
