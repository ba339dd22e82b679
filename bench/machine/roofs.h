#ifndef PENSTOCK_BENCH_ROOFS_H
#define PENSTOCK_BENCH_ROOFS_H

#include <jansson.h>

#include "backend.h"

/* What the machine can do at most, measured with the backend's own team in the same run as what is compared with it.
 * Each is the best of many short tries: neighbours on the machine only ever take away. */
struct roofs {
    uint64_t near_bytes; /* a working set like the model's, which a large cache may hold */
    double near_bytes_per_s;
    uint64_t far_bytes; /* a set far larger than the last-level cache */
    double far_bytes_per_s;
    /* Multiply and add counted as two. The first two are of the path's own vectors, and 0 for the reference; the third
     * is of AMX tiles whatever the path, and 0 where the CPU has none. */
    double int8_ops_per_s;
    double float_ops_per_s;
    double amx_ops_per_s;
    /* Cores' worth of work that the team got over the tries: its mean f32 rate over the best of one thread. Less than the
     * threads where a neighbour or a quota takes the rest: such a run is of fewer threads than it says. 0: reference. */
    double cores_given;
    double dispatch_ns; /* an empty job for the team, there and back */
};

/* Takes about a second. `near_bytes` is rounded to whole pieces of the read. Thread: step. */
struct roofs roofs_measure(backend *b, enum backend_path path, uint32_t threads,
                           uint64_t near_bytes);

/* A new object with the fields above. */
json_t *roofs_json(const struct roofs *roofs);

/* One line on stderr, with their units. */
void roofs_print(const struct roofs *roofs, const char *path, uint32_t threads);

#endif
