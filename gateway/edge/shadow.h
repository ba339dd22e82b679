#ifndef PENSTOCK_EDGE_SHADOW_H
#define PENSTOCK_EDGE_SHADOW_H

#include <stdint.h>

#include "text_slice.h"

/* A copy of a request that another model gets, to see what it would have said (models[].shadow). Its answer goes nowhere: when
 * both have ended, the two texts are compared, the difference is counted and logged, and nothing waited for it. Loop thread; it has
 * memory of its own, since it may outlive the request. */

struct config;
struct proxy;
struct shadow;

/* Starts one if the request's model wants it for this request (`number`: any, of the request). NULL: no. */
struct shadow *shadow_start(const struct proxy *proxy, const struct config *config,
                            uint64_t number);

/* Bytes of the answer that the client gets. Accepts NULL. */
void shadow_take(struct shadow *shadow, struct text_slice bytes);

/* The request has ended with this status; the shadow goes on by itself and frees itself. Accepts NULL. */
void shadow_leave(struct shadow *shadow, int status_code);

#endif
