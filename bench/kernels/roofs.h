#ifndef PENSTOCK_BENCH_ROOFS_H
#define PENSTOCK_BENCH_ROOFS_H

#include "backend.h"

/* What the machine can do at most, measured with the backend's own team in the same run as the
 * kernels. */
struct roofs {
    double read_bytes_per_s; /* streaming reads of a buffer far larger than the caches we own */
    double int8_ops_per_s;   /* multiply and add counted as two; 0 where the path has no int8 dot
                                product */
    double dispatch_ns;      /* an empty job, there and back */
};

struct roofs roofs_measure(backend *b, enum backend_path path, uint32_t threads);

#endif
