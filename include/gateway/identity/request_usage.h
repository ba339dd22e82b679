#ifndef PENSTOCK_IDENTITY_REQUEST_USAGE_H
#define PENSTOCK_IDENTITY_REQUEST_USAGE_H

#include <stdbool.h>
#include <stdint.h>

/* What a request has used so far, as its replica has told: what quotas settle and records keep. Of all attempts together,
 * but for the prompt, which a client pays once. Plain data in the record of a request; loop thread. */
struct request_usage {
    bool is_known;              /* a replica has told, or it is estimated; else all are 0 */
    bool is_estimated;          /* a server that is not ours has not told */
    uint32_t prompt_tokens;     /* with the cached ones */
    uint32_t cached_tokens;     /* of the prompt: found in the prefix cache */
    uint32_t completion_tokens; /* delivered, with the reasoning ones */
    uint32_t reasoning_tokens;  /* of the completion */
    uint64_t busy_ns;   /* its shares of the steps that replicas of ours have computed it in */
    const char *finish; /* static; why the answer has ended, as OpenAI says it; NULL: not known */
    int64_t
        cost_nano; /* thousand-millionths of the unit of the config's prices; set when it has ended */
};

#endif
