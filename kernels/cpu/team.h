#ifndef PENSTOCK_KERNELS_CPU_TEAM_H
#define PENSTOCK_KERNELS_CPU_TEAM_H

#include <stdint.h>

#include "status.h"

/* The compute team: the step thread (member 0) and `size - 1` workers. */
struct team;

/* size >= 1. The calling thread becomes the step thread. */
NODISCARD status team_create(uint32_t size, struct team **out);
void team_destroy(struct team *team); /* accepts NULL; no job may be running */
uint32_t team_size(const struct team *team);

/* Works on items [first, first + count) as `member` (for per-member scratch). */
typedef void team_body(void *context, uint32_t member, uint32_t first, uint32_t count);

/* Splits [0, count) into one contiguous range a member and runs `body` over pieces of at most
 * `chunk` items; a member that is through with its range takes pieces of the others'. Returns when
 * all items are done, and everything the members wrote is visible. Step thread only; not from
 * inside a body. Allocates nothing. */
void team_run(struct team *team, uint32_t count, uint32_t chunk, team_body *body, void *context);

#endif
