#ifndef PENSTOCK_IDENTITY_LIMIT_PROMISE_H
#define PENSTOCK_IDENTITY_LIMIT_PROMISE_H

#include "config.h"

/* What the limits of the config allow all together, to be held against what the replicas carry: limits that sum up to more are no
 * promise, since all who stay within theirs may still wait for each other. Holders are the organisations, teams and keys that the config
 * names (auth.keys, tenants.groups); those of the state database or of tokens are not seen here. Pure: any thread. */

struct limit_promise {
    uint32_t holders;         /* that the config names, with a limit of tokens_per_minute */
    uint32_t unlimited;       /* and without any */
    double tokens_per_minute; /* of all of those with one; each has the tightest that is for it */
    double largest;           /* of one of them */
    const char *largest_name; /* borrowed from the config; "": there are no holders */
};

/* Of the limits that each `per` has for itself, as far as they are for `model`. */
struct limit_promise limit_promise_of(const struct config *config, const char *model,
                                      enum quota_per per);

/* "organisation" */
const char *limit_promise_scope(enum quota_per per);

#endif
