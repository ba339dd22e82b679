#ifndef PENSTOCK_SCHEDULER_KUBE_ACCESS_H
#define PENSTOCK_SCHEDULER_KUBE_ACCESS_H

#include <jansson.h>
#include <stdbool.h>

#include "arena.h"
#include "buffer.h"
#include "status.h"

/* Where an API server is and who we are there: one context of a kubeconfig, or the service account of the pod that we run in.
 * Texts live in `memory`; "" where there is none. */
struct kube_access {
    arena *memory;              /* owned */
    const char *server;         /* "https://host:port", without a slash at the end */
    const char *namespace_name; /* of the context; "default" */
    const char *ca_pem, *certificate_pem, *key_pem;
    const char *token;      /* fixed */
    const char *token_file; /* read again and again */
    const char *tls_server_name, *proxy_url;
    const char *folder;  /* of the kubeconfig; a plugin named by a relative path is there */
    json_t *exec;        /* owned: the plugin's section; NULL */
    json_t *exec_config; /* owned: what the cluster's section has for it; NULL */
    bool is_insecure;    /* the server's certificate is not checked */
};

/* `path` NULL or "": the service account of our pod. `context` NULL or "": the kubeconfig's current one. STATUS_OK; STATUS_INVALID,
 * STATUS_NOT_FOUND, STATUS_IO, STATUS_UNSUPPORTED, STATUS_NO_MEMORY with a note. Then `kube_access_close`. */
NODISCARD status kube_access_open(const char *path, const char *context, struct kube_access *out,
                                  struct error_note *note);
void kube_access_close(struct kube_access *access);

#endif
