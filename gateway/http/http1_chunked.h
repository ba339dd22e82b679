#ifndef PENSTOCK_GATEWAY_HTTP_HTTP1_CHUNKED_H
#define PENSTOCK_GATEWAY_HTTP_HTTP1_CHUNKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "status.h"

/* Chunked transfer coding (RFC 9112, 7.1), strict and incremental: bytes come in any pieces, the
 * payload is brought together in place. Chunk extensions and trailers are dropped; together they are
 * bounded, so that a body of tiny chunks with long extensions ends early. */

#define CHUNKED_OVERHEAD_BYTES_MAX 16384u /* extensions and trailers of one body */

struct chunked {
    int state;
    uint64_t left; /* payload bytes of the present chunk */
    unsigned digits;
    unsigned overhead_bytes;
};

void chunked_init(struct chunked *chunked);

/* Decodes `*count` bytes at `bytes`. STATUS_AGAIN: all were read, the body goes on; STATUS_OK: the
 * body ended; STATUS_INVALID: not chunked coding. `*count` becomes the payload bytes, which are now
 * together at the start of `bytes`, or, where `start` is not NULL, at `*start` in it: the payload of
 * a single chunk is then not moved. `*taken` (may be NULL) are the bytes read, less than what was
 * given only when the body ended (the rest belongs to the next message). */
NODISCARD status chunked_decode(struct chunked *chunked, char *bytes, size_t *count, size_t *start,
                                size_t *taken);

#endif
