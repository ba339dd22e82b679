#ifndef PENSTOCK_EDGE_RUNTIME_ADAPTERS_H
#define PENSTOCK_EDGE_RUNTIME_ADAPTERS_H

#include <pthread.h>

#include "buffer.h"
#include "config.h"

/* LoRA adapters that clients have loaded while the gateway runs, beside those of the config: what a replica that starts is
 * told, and what a reload keeps. Main changes the list; the control thread reads it. */
struct runtime_adapters {
    pthread_mutex_t lock; /* of all below; main reads without it */
    struct config_runtime_adapter
        *rows; /* owned; with name and path; `model` lives as long as the process */
    uint32_t count;
    size_t bytes; /* of the names and paths, as runtime_adapters_write has them */
};

/* One argument of a command line has at most 128 KiB. */
#define RUNTIME_ADAPTERS_BYTES_MAX (120u * 1024u)

void runtime_adapters_init(struct runtime_adapters *adapters);
void runtime_adapters_deinit(struct runtime_adapters *adapters);

/* NULL: there is none of this name. Thread: main. */
const struct config_runtime_adapter *runtime_adapters_find(const struct runtime_adapters *adapters,
                                                           const char *name);
/* Name and path are copied. STATUS_OK, STATUS_TOO_LARGE (RUNTIME_ADAPTERS_BYTES_MAX), STATUS_NO_MEMORY. Thread: main. */
NODISCARD status runtime_adapters_add(struct runtime_adapters *adapters,
                                      const struct config_runtime_adapter *adapter);
/* Thread: main. */
void runtime_adapters_remove(struct runtime_adapters *adapters, const char *name);

/* Appends those of a model as a replica reads them: "NAME=PATH" lines. Thread: any. */
void runtime_adapters_write(struct runtime_adapters *adapters, const char *model,
                            struct buffer *out);

#endif
