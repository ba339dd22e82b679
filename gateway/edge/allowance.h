#ifndef PENSTOCK_EDGE_ALLOWANCE_H
#define PENSTOCK_EDGE_ALLOWANCE_H

#include "edge.h"
#include "route_body.h"

/* What a request may use, before it goes anywhere: its caller's limits and budgets (identity/quota.h, budget.h)
 * in HTTP's words. Loop thread. */

/* English text has about four bytes to a token; how many they were is settled with the answer. */
#define ALLOWANCE_BYTES_PER_TOKEN 4u

/* The tokens of its prompt, by the bytes of its body. */
uint32_t allowance_prompt_tokens(const struct edge_record *record);

/* Takes what the request may need, and tells in x-ratelimit-* headers what is left. False: it has been refused, and the
 * record is dead. `asked`: the model that it names; `first`: the one that it will go to first, whose price
 * counts until it has ended; `target`: what is known of the body; NULL: the request makes no tokens. */
bool allowance_take(struct edge_record *record, const struct edge_model *asked,
                    const struct edge_model *first, const struct route_target *target);

/* When the request has ended in any way: what it did not use is given back, and what it did
 * is paid: the record's usage has the cost. */
void allowance_settle(struct edge_record *record);

#endif
