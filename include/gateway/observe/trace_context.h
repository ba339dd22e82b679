#ifndef PENSTOCK_OBSERVE_TRACE_CONTEXT_H
#define PENSTOCK_OBSERVE_TRACE_CONTEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "text_slice.h"

/* W3C Trace Context (level 1, with the random flag of level 2): who called, and by which name the whole of it goes. */

#define TRACE_ID_BYTES         16u
#define SPAN_ID_BYTES          8u
#define TRACE_ID_HEX_BYTES     33u /* 32 digits and a NUL */
#define SPAN_ID_HEX_BYTES      17u
#define TRACEPARENT_BYTES      56u /* "00-<32>-<16>-<2>" and a NUL */
#define TRACESTATE_BYTES_MAX   512u /* what a vendor must at least pass on; longer ones are dropped */
#define TRACESTATE_MEMBERS_MAX 32u

#define TRACE_FLAG_SAMPLED 0x01u
#define TRACE_FLAG_RANDOM  0x02u

struct trace_context {
    uint8_t trace_id[TRACE_ID_BYTES];
    uint8_t span_id[SPAN_ID_BYTES];
    uint8_t flags;
};

/* Reads a traceparent header. False: it is none (length, hex digits in lower case, version ff, ids of zeros); then `out` is
 * not touched. A later version is read as version 00 as far as that goes, as the standard asks. Pure. */
bool trace_context_read(struct text_slice traceparent, struct trace_context *out);

/* The header for those who are called: version 00, with `context`'s ids, and of its flags those that we know. Pure. */
void trace_context_write(const struct trace_context *context, char out[TRACEPARENT_BYTES]);

/* Whether a tracestate header may be passed on: members key=value with commas between, keys once each, at most
 * TRACESTATE_MEMBERS_MAX of them and TRACESTATE_BYTES_MAX bytes. Pure. */
bool tracestate_is_good(struct text_slice tracestate);

void trace_id_hex(const uint8_t id[TRACE_ID_BYTES], char out[TRACE_ID_HEX_BYTES]);
void span_id_hex(const uint8_t id[SPAN_ID_BYTES], char out[SPAN_ID_HEX_BYTES]);
/* The other way; false: it is none, and `out` is not defined. */
bool trace_id_read(const char *hex, uint8_t out[TRACE_ID_BYTES]);
bool span_id_read(const char *hex, uint8_t out[SPAN_ID_BYTES]);
/* All zeros: there is none. */
bool span_id_is_set(const uint8_t id[SPAN_ID_BYTES]);

/* New ids, from the kernel's random source, which is asked for many at once. One thread at a time. Zeroed at first. */
struct trace_ids {
    uint8_t bytes[512];
    uint32_t left;
};
void trace_ids_make_trace(struct trace_ids *ids, uint8_t out[TRACE_ID_BYTES]);
void trace_ids_make_span(struct trace_ids *ids, uint8_t out[SPAN_ID_BYTES]);

/* A span's id that follows from another span's: the same each time, different for each `number`. Pure. */
void span_id_derive(const uint8_t of[SPAN_ID_BYTES], uint32_t number, uint8_t out[SPAN_ID_BYTES]);

#endif
