#ifndef PENSTOCK_EDGE_RESUMPTION_H
#define PENSTOCK_EDGE_RESUMPTION_H

#include "answer_source.h"
#include "config.h"
#include "stream_metrics.h"
#include "usage_report.h"

/* What is kept of a stream so that another replica can go on with it when its own is lost: continuation.h says how. Each
 * streaming request is named by the gateway, so that one without a seed can go on too. Loop thread; part of struct proxy. */

struct proxy;

struct resumption {
    bool is_told;      /* its replica tells tokens: what it says follows from them */
    bool is_full;      /* there were more than are kept */
    bool is_under_way; /* it has broken off, and nothing new has come since */
    uint32_t tokens_max;
    struct told_tokens told;
    uint32_t cached_tokens, cache_write_tokens;
    struct text_slice
        body; /* with the tokens, in the request's memory; data NULL: it has never broken off */
    size_t header_count; /* of the proxy, without that of a continuation */
    char name[ANSWER_NAME_TEXT_BYTES], head[CONTINUATION_TEXT_BYTES];
};

/* Names the answer in the proxy's headers, the last of which this must be, if it is a stream and upstream.continuation_tokens
 * says so. */
void resumption_init(struct proxy *proxy, const struct config *config);
void resumption_deinit(struct proxy *proxy);

/* A report has come, and so has all that was before it. */
void resumption_note(struct proxy *proxy, struct usage_report *report);

/* Whether it would be exact, if there is a replica. */
bool resumption_is_possible(const struct proxy *proxy);
/* The client has had a part of the answer, and its replica is lost: the next attempt is to go on from there. False: it is not
 * possible. */
bool resumption_prepare(struct proxy *proxy);

void resumption_count(const struct proxy *proxy, enum resumption_outcome outcome);
/* An attempt has brought something, or has ended: closes what is under way. */
void resumption_end(struct proxy *proxy, enum resumption_outcome outcome);

#endif
