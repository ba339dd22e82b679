#ifndef PENSTOCK_SCHEDULER_KUBE_FOLLOW_H
#define PENSTOCK_SCHEDULER_KUBE_FOLLOW_H

#include <pthread.h>

#include "kube_client.h"
#include "kube_member.h"
#include "kube_pod.h"
#include "kube_source.h"
#include "kube_text.h"
#include "kube_view.h"

/* The driver's state, and its functions (member.h). */
struct kube_member {
    struct kube_member_config config;
    pthread_mutex_t lock;
    struct kube_view *view; /* owned, under the lock: how slices are had */
    json_t *asked;          /* owned, under the lock: uids that we have asked to end */
    /* the worker's own */
    bool has_worker;
    struct kube_access worker_access;
    struct kube_client worker;
    char worker_version[16];
};

status kube_follow(void *driver, const struct member_sink *sink, const _Atomic bool *is_stopping,
                   struct error_note *note);
status kube_start(void *driver, const struct member_order *order, struct error_note *note);
status kube_stop(void *driver, uint64_t uid, uint64_t grace_ns, struct error_note *note);

void kube_member_asked(struct kube_member *member, uint64_t uid, bool is_asked);
bool kube_member_is_asked(struct kube_member *member, uint64_t uid);
/* Highest version of resource.k8s.io that the server and we know; "": none. */
status kube_version_probe(struct kube_client *client, char version[16], struct error_note *note);
/* Are we allowed all that the driver does? STATUS_DENIED: the note names the first rule that is missing. */
status kube_access_review(struct kube_client *client, const char *namespace_name, bool has_devices,
                          struct error_note *note);

#endif
