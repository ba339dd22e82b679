#ifndef PENSTOCK_SCHEDULER_KUBE_PLUGIN_H
#define PENSTOCK_SCHEDULER_KUBE_PLUGIN_H

#include <stdatomic.h>

#include "kube_access.h"

/* Exec plugins of a kubeconfig (client.authentication.k8s.io/v1 and v1beta1): a program that writes an ExecCredential. It runs in a
 * process group of its own with nothing to read, and is ended when it gives no answer in a minute. */

/* Runs it; `out` gets what it wrote. STATUS_OK; STATUS_DENIED (it cannot be started, has failed, is too slow, or wants a terminal),
 * STATUS_CANCELLED, STATUS_NO_MEMORY, STATUS_IO, with a note. */
NODISCARD status kube_plugin_run(const struct kube_access *access, const _Atomic bool *is_stopping,
                                 struct buffer *out, struct error_note *note);

#endif
