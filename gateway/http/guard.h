#ifndef PENSTOCK_GATEWAY_HTTP_GUARD_H
#define PENSTOCK_GATEWAY_HTTP_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hpack_scan.h"
#include "http_server.h"

/* The connection guard: reads every byte of an HTTP/2 connection before the library does, changes
 * or removes what the library must not see, and says when to end the connection. It knows bytes and
 * time, no sockets. See guard.c. */

#define GUARD_PREFACE_BYTES 24u
extern const char GUARD_PREFACE[GUARD_PREFACE_BYTES + 1];

enum guard_verdict {
    GUARD_PASS,
    /* all else: end the connection; the name is the metric's label */
    GUARD_STREAMS, /* too many requests that were not let finish */
    GUARD_CONTROL, /* flood of frames that carry nothing */
    GUARD_HEADERS, /* header block too large, too many fields, spread over frames, or not HPACK */
    GUARD_FRAME,   /* frame that no honest client sends */
    GUARD_UPLOAD,  /* body far over its limit, or too slow */
    GUARD_STALLED, /* frame begun and not finished */
    GUARD_WRITE,   /* does not read what waits for it (connection level) */
    GUARD_MEMORY, /* all bodies together, or those of one address on their way, are over their limit */
    GUARD_VERDICT_COUNT
};
const char *guard_verdict_name(enum guard_verdict verdict);

#define GUARD_UPLOAD_COUNT_MAX 128u /* the library allows 100 streams at once */

/* A request whose body is still coming. */
struct guard_upload {
    uint32_t stream_id;
    bool is_discarded; /* the library believes it complete; the rest is removed */
    uint64_t bytes;
    uint64_t since_ns;
};

struct guard {
    bool has_preface;
    uint32_t stream_id_last;
    double stream_credit, control_credit;
    uint64_t refilled_ns;
    uint64_t written_bytes;    /* already turned into credit */
    uint64_t partial_since_ns; /* an unfinished frame waits; 0: none */
    uint64_t discarded_bytes;
    uint32_t upload_count, upload_capacity;
    uint32_t refused_count; /* ever */
    uint32_t *
        refused; /* owned; ring of GUARD_UPLOAD_COUNT_MAX: streams to be answered 413; NULL: none yet */
    struct guard_upload *uploads; /* owned */
    struct hpack_scan hpack;
};

void guard_init(struct guard *guard, const struct http_limits *limits, uint64_t now_ns);
void guard_deinit(struct guard *guard);

/* Looks at the complete frames at the start of `bytes` (which always begin at a frame), removes and
 * rewrites in place, and sets `count` to what is left. `written_bytes`: what we ever wrote to this
 * connection. Anything but GUARD_PASS: pass nothing on. */
enum guard_verdict guard_filter(struct guard *guard, const struct http_limits *limits,
                                uint8_t *bytes, size_t *count, uint64_t written_bytes,
                                uint64_t now_ns);

/* A request was answered to its last byte: its credit comes back. */
void guard_request_finished(struct guard *guard, const struct http_limits *limits);

/* The stream's body is over the limit and the library was told that it ended: answer 413. */
bool guard_is_refused(const struct guard *guard, uint32_t stream_id);

/* Body bytes that the library holds for requests that are not complete. */
uint64_t guard_buffered_bytes(const struct guard *guard);

/* Once a second. When an upload is too old or slow, `stream_id` is set (else 0): if the library has
 * reset that stream meanwhile, call guard_forget_upload and go on; the guard does not see what the
 * library sends. */
enum guard_verdict guard_check(const struct guard *guard, const struct http_limits *limits,
                               uint64_t now_ns, uint32_t *stream_id);
void guard_forget_upload(struct guard *guard, uint32_t stream_id);

#endif
