#ifndef PENSTOCK_GATEWAY_HTTP_HPACK_SCAN_H
#define PENSTOCK_GATEWAY_HTTP_HPACK_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "status.h"

/* Measures an HPACK header block (RFC 7541) before the library decodes it: how many fields, how
 * many bytes they can become, and the declared content-length. Nothing is decoded but the digits of
 * a content-length. The dynamic table is followed by sizes only: entry i counts from the newest, so
 * a ring of the last insertions is enough, and what was evicted meanwhile is refused by the library
 * itself. Sizes are upper bounds: a Huffman code has 5 bits or more, so n bytes become at most
 * 8n/5. */

#define HPACK_ENTRY_COUNT    128u       /* 4096-byte table, 32 bytes an entry at least */
#define HPACK_LENGTH_UNKNOWN UINT64_MAX /* no content-length */

struct hpack_entry {
    uint32_t bytes; /* upper bound of name and value */
    bool is_content_length;
    uint64_t content_length;
};

struct hpack_scan {
    struct hpack_entry
        *entries; /* owned; of a ring once it has HPACK_ENTRY_COUNT, else as many as were needed */
    uint32_t capacity;
    uint32_t newest; /* insertions so far */
};

/* `scan` begins as zeros. */
void hpack_scan_deinit(struct hpack_scan *scan);

struct hpack_block {
    uint32_t field_count;
    uint64_t decoded_bytes;  /* upper bound, with RFC 9113's 32 bytes a field */
    uint64_t content_length; /* or HPACK_LENGTH_UNKNOWN */
};

/* STATUS_OK; STATUS_INVALID: not HPACK, or no memory; STATUS_TOO_LARGE: over `field_count_max` (stops there). The
 * scan keeps what earlier blocks of the connection put into the table; after an error it is of no
 * use. */
NODISCARD status hpack_scan_block(struct hpack_scan *scan, const uint8_t *bytes, size_t count,
                                  uint32_t field_count_max, struct hpack_block *out);

#endif
