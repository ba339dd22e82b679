#ifndef PENSTOCK_EDGE_REPLICA_PATHS_H
#define PENSTOCK_EDGE_REPLICA_PATHS_H

#include "arena.h"
#include "config.h"
#include "member.h"

/* The files that a replica on this machine opens, for its order: everything else is shut to it. Its socket's folder it may not write
 * to: what other replicas read there (the config's copy) and their sockets are out of its reach. A model whose clients may load adapters
 * reads whatever this user may, since an adapter may lie anywhere. */

#define REPLICA_PATHS_MAX 192u /* a sandbox takes 256, and has some of its own */

struct replica_paths_source {
    const char *run_directory; /* has the config's copy, sockets, pages and recordings */
    const char *config_file;   /* NULL: none */
    const char *address;       /* "unix:..." */
    const struct config_model *model;
    bool has_flight; /* it records its steps beside its socket */
};

/* What `out` points to is in `memory`. STATUS_OK; STATUS_TOO_LARGE beyond REPLICA_PATHS_MAX; STATUS_NO_MEMORY. Reads folders. Any thread. */
NODISCARD status replica_paths_write(const struct replica_paths_source *source, arena *memory,
                                     const struct member_path **out, uint32_t *count);

#endif
