#ifndef PENSTOCK_SCHEDULER_KUBE_CLIENT_H
#define PENSTOCK_SCHEDULER_KUBE_CLIENT_H

#include <stdatomic.h>

#include "http_stream.h"
#include "kube_credential.h"

/* One API server: where it is and who we are put to http_fetch (calls that wait for their answer, over a connection that is kept) and
 * http_stream (watches). One thread. */
struct kube_client {
    const struct kube_access *access; /* borrowed */
    struct kube_credential credential;
    struct http_fetch_session *session; /* owned */
    struct http_streams *streams;       /* owned; watches are closed before the client */
    const _Atomic bool *is_stopping;    /* borrowed; NULL: never */
};

/* A page of 500 nodes has 1 MB, of 500 pods 10 MB at most. */
#define KUBE_ANSWER_BYTES_MAX (64u << 20)

struct kube_call {
    const char *method; /* "GET" */
    const char *path;   /* with its query */
    const char *content_type;
    struct text_slice body; /* data NULL: none */
};

NODISCARD status kube_client_open(struct kube_client *client, const struct kube_access *access,
                                  const _Atomic bool *is_stopping, struct error_note *note);
void kube_client_close(struct kube_client *client);

/* Makes the call and waits for its answer; a refused credential is fetched anew once, a server that is overloaded (429, or 503 with
 * Retry-After) is asked again when it says, three times at most and only where it says so soon. STATUS_OK with any code; STATUS_CLOSED,
 * STATUS_TIMEOUT, STATUS_DENIED (credentials, certificates), STATUS_TOO_LARGE, STATUS_CANCELLED (stopping), STATUS_NO_MEMORY with a note.
 * `body` is initialised by the caller. */
NODISCARD status kube_client_call(struct kube_client *client, const struct kube_call *call,
                                  int *code, struct buffer *body, struct error_note *note);

/* Begins a watch: a GET whose answer comes bit by bit in `body` (see http_stream.h). Statuses as above. */
NODISCARD status kube_client_watch(struct kube_client *client, const char *path,
                                   struct buffer *body, struct http_stream **out,
                                   struct error_note *note);

#endif
