#ifndef PENSTOCK_SCHEDULER_KUBE_CREDENTIAL_H
#define PENSTOCK_SCHEDULER_KUBE_CREDENTIAL_H

#include <stdatomic.h>
#include <stdint.h>

#include "kube_access.h"

/* What we show to the API server now: a fixed token, a file's (read again each minute, since service accounts' tokens rotate), or what
 * an exec plugin has given (kube_plugin.h; asked again when it expires or is refused). One thread. */
struct kube_credential {
    const struct kube_access *access;       /* borrowed */
    const _Atomic bool *is_stopping;        /* borrowed; NULL: never */
    struct buffer token;                    /* of a file or a plugin; without it the fixed one */
    struct buffer certificate_pem, key_pem; /* of a plugin */
    uint64_t fetched_ns;                    /* monotonic; 0: not yet */
    uint64_t expires_ms;                    /* wall clock; 0: never */
};

void kube_credential_init(struct kube_credential *credential, const struct kube_access *access,
                          const _Atomic bool *is_stopping);
void kube_credential_deinit(struct kube_credential *credential);
/* Makes it current. `is_refused`: the server has just said no to what it was. Waits for a plugin for a minute at most. STATUS_OK;
 * STATUS_DENIED with a note: there is none to be had; STATUS_CANCELLED: it is to stop; STATUS_NO_MEMORY. */
NODISCARD status kube_credential_refresh(struct kube_credential *credential, bool is_refused,
                                         struct error_note *note);
/* The same after a refusal of what was sent at `asked_ns`: fetched anew only if that has not been done since. */
NODISCARD status kube_credential_renew(struct kube_credential *credential, uint64_t asked_ns,
                                       struct error_note *note);
/* The token to send; "": none. */
const char *kube_credential_token(const struct kube_credential *credential);

#endif
