#ifndef PENSTOCK_ENGINE_REASONING_BUDGET_H
#define PENSTOCK_ENGINE_REASONING_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

#include "text_slice.h"

/* How long a model may reason before it has to answer. Reasoning stands between two marks in the text; once it has had its
 * tokens, a text that ends it is written for the model, which then goes on to the answer. All reasoning of an answer
 * counts together.
 *
 * The marks are looked for in the text of the tokens and not in their ids: a mark that is ordinary text has many spellings
 * in tokens. */

struct reasoning_budget {
    uint32_t tokens_max;           /* 0: the model does not reason at all */
    bool starts_inside;            /* the prompt has opened the reasoning */
    struct text_slice open, close; /* the marks, of at least a byte; borrowed */
    /* What ends it, `close` included, as tokens; [end_token_count], at least one; borrowed */
    const int32_t *end_tokens;
    uint32_t end_token_count;
};

/* Where one sequence stands. A function of the tokens so far and of nothing else. One thread at a time; allocates nothing. */
struct reasoning_watch {
    const struct reasoning_budget *budget; /* borrowed */
    bool is_inside;
    bool is_ending;         /* the end tokens are being written */
    bool is_given_up;       /* they cannot be: nothing is done any more */
    uint32_t matched_bytes; /* of the mark that comes next */
    uint32_t spent;         /* tokens that were reasoning */
    uint32_t written;       /* of the end tokens */
};

void reasoning_watch_init(struct reasoning_watch *watch, const struct reasoning_budget *budget);

/* The token that has to come next; -1: any may. */
int32_t reasoning_watch_forced(const struct reasoning_watch *watch);

/* That token cannot come, because the text has a form that does not allow it. Behind the mark nothing is lost by it; inside
 * reasoning the budget is given up. */
void reasoning_watch_refuse(struct reasoning_watch *watch);

/* A token became part of the output, with these bytes (control tokens with their text). */
void reasoning_watch_accept(struct reasoning_watch *watch, struct text_slice piece);

#endif
