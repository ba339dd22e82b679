#ifndef PENSTOCK_BASE_BASE64_H
#define PENSTOCK_BASE_BASE64_H

#include <stddef.h>
#include <stdint.h>

#include "buffer.h"
#include "text_slice.h"

/* Base64 (RFC 4648): with the standard alphabet and padding, or with that for URLs and without. Pure; any thread. */
enum base64_kind { BASE64_STANDARD, BASE64_URL };

void base64_write(struct buffer *out, enum base64_kind kind, const void *data, size_t bytes);

/* What the text says; `out` has 3 bytes for each begun 4 of it. Standard: white space anywhere is passed over, padding must be whole.
 * Bits that are left over must be zero, or two texts would say the same. STATUS_OK, STATUS_INVALID. */
NODISCARD status base64_read(struct text_slice text, enum base64_kind kind, uint8_t *out,
                             size_t *bytes);

#endif
