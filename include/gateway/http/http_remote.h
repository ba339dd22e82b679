#ifndef PENSTOCK_GATEWAY_HTTP_REMOTE_H
#define PENSTOCK_GATEWAY_HTTP_REMOTE_H

#include "buffer.h"
#include "http_server.h"

/* A server elsewhere, by name: what an http_target needs beyond an address. Made once, shared by all loops. Its name is looked
 * up off the loops, by a thread of the owner's; loops read the address that was found last. With TLS its certificate is
 * checked against the name and the system's (or the given) authorities; there is no way to switch that off. */
typedef struct http_remote http_remote;

/* "https://host[:port][/prefix]" in parts. */
#define HTTP_URL_HOST_BYTES   256u
#define HTTP_URL_PREFIX_BYTES 256u
struct http_url {
    bool is_tls;
    uint16_t port;
    char host[HTTP_URL_HOST_BYTES];     /* name or number; IPv6 without brackets */
    char prefix[HTTP_URL_PREFIX_BYTES]; /* path without the last slash; "" or "/..." */
};
/* STATUS_INVALID with the reason: no http or https, credentials, a query, a host that is none. Pure. */
NODISCARD status http_url_parse(const char *text, struct http_url *out, struct error_note *note);

/* `ca_file`: PEM file of authorities, "" for the system's; borrowed as long as the remote lives. STATUS_OK, STATUS_INVALID (the file), STATUS_NO_MEMORY. */
NODISCARD status http_remote_create(const struct http_url *url, const char *ca_file,
                                    http_remote **out, struct error_note *note);
/* A server that has told its address ("host:port", numeric) and the pin of its key (http_self_signed.h) by a way that is trusted: TLS
 * 1.3 to whoever has that key. Each request carries `secret`, by which the server knows that it comes from here; it is copied.
 * STATUS_OK; STATUS_INVALID with the note (address, pin or header); STATUS_NO_MEMORY. */
NODISCARD status http_remote_create_pinned(const char *address, const char *pin,
                                           const struct http_header *secret, http_remote **out,
                                           struct error_note *note);
/* When no loop has a target of it any more. Accepts NULL. */
void http_remote_destroy(http_remote *remote);

/* The URL's path, without the last slash; "": none. */
const char *http_remote_prefix(const http_remote *remote);

/* Looks the name up; an address that is still among the answers is kept. May take seconds: not on a loop; one thread at a
 * time. STATUS_OK, STATUS_NOT_FOUND with the reason, STATUS_NO_MEMORY. */
NODISCARD status http_remote_resolve(http_remote *remote, struct error_note *note);

/* http_fetch of `path`, which the URL's prefix is put before, from the address that was found last, with what the remote's server
 * is known by. Of `fetch` its url, connect_to, ca_file and pin are the remote's to set. */
struct http_fetch;
NODISCARD status http_remote_fetch(const http_remote *remote, const char *path,
                                   const struct http_fetch *fetch, int *status_code,
                                   struct buffer *body, struct error_note *note);

#endif
