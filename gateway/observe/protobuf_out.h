#ifndef PENSTOCK_OBSERVE_PROTOBUF_OUT_H
#define PENSTOCK_OBSERVE_PROTOBUF_OUT_H

#include "buffer.h"

/* Writing Protocol Buffers' wire format into a buffer: fields by number, messages inside of messages. Fields of value zero
 * are written where they are named here; leaving them out (proto3's default) is the caller's choice. All rely on the
 * buffer's own `failed`. */

void protobuf_uint(struct buffer *out, uint32_t field, uint64_t value); /* uint64, bool, enum */
void protobuf_int(struct buffer *out, uint32_t field, int64_t value);   /* int64, not zigzag */
void protobuf_fixed32(struct buffer *out, uint32_t field, uint32_t value);
void protobuf_fixed64(struct buffer *out, uint32_t field, uint64_t value);
void protobuf_double(struct buffer *out, uint32_t field, double value);
void protobuf_bytes(struct buffer *out, uint32_t field, const void *data, size_t bytes);
/* A text, in which broken UTF-8, which readers refuse, becomes U+FFFD. */
void protobuf_text(struct buffer *out, uint32_t field, const char *text);

/* A message inside of the one that is written: begin gives a mark, and what follows up to the end is its content. */
size_t protobuf_begin(struct buffer *out, uint32_t field);
void protobuf_end(struct buffer *out, size_t mark);

/* The inside of a packed field. */
void protobuf_raw_fixed64(struct buffer *out, uint64_t value);
void protobuf_raw_double(struct buffer *out, double value);

/* --- reading: the little that answers need --- */

/* One field of a message. Length-delimited ones have `bytes`, the others `number`. */
struct protobuf_field {
    uint32_t number;
    uint64_t value;
    struct text_slice bytes;
};
/* Takes the next field off `rest`. False: there is none, or it is broken (then `rest` is empty too). */
bool protobuf_next(struct text_slice *rest, struct protobuf_field *field);

#endif
