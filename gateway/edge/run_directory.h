#ifndef PENSTOCK_EDGE_RUN_DIRECTORY_H
#define PENSTOCK_EDGE_RUN_DIRECTORY_H

#include <stdbool.h>
#include <stddef.h>

#include "status.h"
#include "text_slice.h"

/* The folder with the replicas' sockets and the config that they read. */

/* `wanted`, or when it is "" a new private folder (mode 0700) under $XDG_RUNTIME_DIR, else /tmp.
 * The text goes into `out`. STATUS_OK, STATUS_IO, STATUS_TOO_LARGE with the note filled. */
NODISCARD status run_directory_open(const char *wanted, char *out, size_t out_bytes, bool *is_ours,
                                    struct error_note *note);

/* Writes `text` to `folder`/config.yaml, whole or not at all. STATUS_OK, STATUS_IO (errno tells).
 */
NODISCARD status run_directory_write_config(const char *folder, struct text_slice text);
/* Path of that file; `out` has at least 128 bytes. */
void run_directory_config_path(const char *folder, char *out, size_t out_bytes);

/* The text of a version of a model's settings, whole or not at all, and the file's path; `out` has at least 160 bytes. Gateways that take
 * over from each other count versions each from 1 on. STATUS_OK, STATUS_IO. */
NODISCARD status run_directory_write_version(const char *folder, unsigned model_index,
                                             unsigned version, unsigned epoch,
                                             struct text_slice text);
void run_directory_version_path(const char *folder, unsigned model_index, unsigned version,
                                unsigned epoch, char *out, size_t out_bytes);

/* "unix:FOLDER/<model index>-<model>-<replica index>.sock"; what cannot stand in a file's name
 * becomes '_', and long names are cut (`model_index` keeps them apart). Gateways that take over from each other have rising
 * epochs, which stand behind the replica's number from 1 on, since both may have replicas at once. STATUS_TOO_LARGE when a
 * socket's path cannot be so long. */
NODISCARD status run_directory_socket(const char *folder, const char *model, unsigned model_index,
                                      unsigned replica_index, unsigned epoch, char *out,
                                      size_t out_bytes);

/* Removes the config and texts of versions, and the folder with all that is left in it when it is ours. */
void run_directory_close(const char *folder, bool is_ours);

#endif
