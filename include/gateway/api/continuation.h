#ifndef PENSTOCK_GATEWAY_API_CONTINUATION_H
#define PENSTOCK_GATEWAY_API_CONTINUATION_H

#include <stdbool.h>

#include "buffer.h"

/* What the gateway tells a replica, and nobody else may, so that a stream which breaks off can go on with another one as
 * though nothing had happened.
 *
 * With each streaming request, by a header: what the replica would else draw by chance or read from its clock (answer_name).
 * Whoever then has the same tokens to begin with says the same. By it the gateway also asks for the tokens (usage_report.h).
 *
 * When a stream has broken off: the request once more, the tokens that were told behind its body, and by a header how
 * many bytes of the body they are, how many events the client has had, and what the cache gave and took when the stream
 * began (continuation). The replica reads the prompt and these tokens, brings all that looks at an output to where they end,
 * leaves out as many events as the client has, and goes on.
 *
 * Pure; numbers in headers are decimal, with a blank between them. */

#define ANSWER_NAME_HEADER  "x-penstock-answer"
#define CONTINUATION_HEADER "x-penstock-continue"

/* What is unique about one answer. */
#define ANSWER_UNIQUE_BYTES 25u /* twelve bytes in hexadecimal digits, and a NUL */
struct answer_name {
    uint64_t seed; /* of a request that has none of its own */
    uint64_t created_s;
    char unique[ANSWER_UNIQUE_BYTES]; /* of its id */
};
#define ANSWER_NAME_TEXT_BYTES 80u
void answer_name_write(const struct answer_name *name, char out[ANSWER_NAME_TEXT_BYTES]);
/* False: it is something else. */
bool answer_name_read(struct text_slice text, struct answer_name *out);

struct continuation {
    uint64_t told_bytes; /* of the body, at its end */
    uint64_t event_count;
    uint32_t cached_tokens, cache_write_tokens;
};
#define CONTINUATION_TEXT_BYTES 96u
void continuation_write(const struct continuation *continuation, char out[CONTINUATION_TEXT_BYTES]);
/* False: it is something else. */
bool continuation_read(struct text_slice text, struct continuation *out);

/* Tokens of some choices in the order in which they were told: two or three bytes each. LEB128 numbers: an id times two, or, where
 * another choice begins, that choice's index times two plus one. The first is of choice 0 unless it says so. */
#define TOLD_TOKEN_BYTES_MAX 10u /* of a token with a choice before it */
struct told_tokens {
    struct buffer bytes;
    uint32_t count, last_choice;
};
/* As many as `count_max` tokens, which may be 0. */
void told_tokens_init(struct told_tokens *told, uint32_t count_max);
void told_tokens_deinit(struct told_tokens *told);
/* told->bytes.failed where there are more. */
void told_tokens_add(struct told_tokens *told, uint32_t choice, int32_t token);

struct told_reader {
    struct text_slice rest;
    uint32_t choice; /* of the last token */
    bool is_wrong;   /* what is there cannot be read */
};
/* False: nothing is left, or it is_wrong. */
bool told_tokens_next(struct told_reader *reader, int32_t *token);

#endif
