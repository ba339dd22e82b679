#ifndef PENSTOCK_SCHEDULER_KUBE_TEXT_H
#define PENSTOCK_SCHEDULER_KUBE_TEXT_H

#include <jansson.h>
#include <stdint.h>

#include "buffer.h"
#include "status.h"

/* Small readings of what Kubernetes writes. Pure but for `file_read`. */

#define KUBE_FILE_BYTES_MAX (4u << 20) /* kubeconfigs with many clusters' certificates */

/* YAML (or JSON, which is YAML) to a tree; every scalar is a string, null and "~" unquoted are JSON's null. At most 32 deep and
 * 100,000 values. *out is the caller's. STATUS_INVALID with a note, STATUS_NO_MEMORY. */
NODISCARD status kube_yaml_read(struct text_slice text, json_t **out, struct error_note *note);

/* "2026-11-21T03:00:02Z", also with a fraction or an offset: milliseconds since 1970. 0: it is none (or NULL). */
uint64_t kube_time_ms(const char *text);

/* Appends the file. STATUS_NOT_FOUND, STATUS_IO, STATUS_TOO_LARGE with a note. */
NODISCARD status kube_file_read(const char *path, struct buffer *out, struct error_note *note);

/* The value at a path of keys ("spec", "pool", "name", NULL); NULL where there is none. */
json_t *kube_get(const json_t *object, const char *key, ...) __attribute__((sentinel));
/* Its text; "" when it is none. Borrowed from the object. */
#define kube_text(...) kube_text_of(kube_get(__VA_ARGS__, NULL))
const char *kube_text_of(const json_t *value);

#endif
