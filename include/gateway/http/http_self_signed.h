#ifndef PENSTOCK_GATEWAY_HTTP_SELF_SIGNED_H
#define PENSTOCK_GATEWAY_HTTP_SELF_SIGNED_H

#include <stdbool.h>

#include "status.h"

/* A key and a certificate that it has signed itself, for a server whose clients have been told by another way which key to
 * expect: its pin. Made anew by each process and never written anywhere, so there is nothing to rotate, to leak from a disk, or to
 * expire while it runs. P-256 (RFC 5480); the pin is the SHA-256 of the certificate's SubjectPublicKeyInfo (RFC 7469, 2.4). Immutable:
 * any thread. */
typedef struct http_self_signed http_self_signed;

/* STATUS_OK, STATUS_NO_MEMORY, STATUS_INTERNAL (the library cannot, which the note tells). */
NODISCARD status http_self_signed_create(http_self_signed **out, struct error_note *note);
void http_self_signed_destroy(http_self_signed *identity); /* accepts NULL */

/* "sha256//" and the hash in base64, as libcurl writes pins. As long as the identity. */
#define HTTP_PIN_TEXT_BYTES 53u
const char *http_self_signed_pin(const http_self_signed *identity);

/* Whether the text is a pin; its hash. */
#define HTTP_PIN_BYTES 32u
bool http_pin_read(const char *text, unsigned char hash[HTTP_PIN_BYTES]);

#endif
