#ifndef PENSTOCK_KERNELS_CUDA_BACKEND_CUDA_GRAPHS_H
#define PENSTOCK_KERNELS_CUDA_BACKEND_CUDA_GRAPHS_H

#include "runtime/device_runtime.h"

/* Steps that are kept as graphs: those of one row a sequence, whose operations follow from how many rows there are. Rows are
 * padded to a bucket, so that some twenty graphs serve every batch. The first step of a bucket runs as it is called (a library
 * may still have to choose its algorithms), the second is captured, and from then on it is launched as one.
 *
 * A graph holds addresses. They are those of the model's buffers, which live as long as the model, of one model a backend;
 * whatever releases memory of the device calls graphs_drop. */

struct cuda_backend;

#define GRAPH_BUCKETS_MAX 128u

struct graph_entry {
    uint32_t n_rows, n_logit_rows; /* padded; 0: free */
    uint32_t run_count;            /* steps that ran as they were called */
    device_graph *graph;           /* owned; NULL before the capture */
};

struct cuda_graphs {
    struct graph_entry entries[GRAPH_BUCKETS_MAX];
    struct graph_entry *captured; /* the one that is captured now, or NULL */
    uint64_t capture_count, replay_count;
};

/* The smallest bucket that holds n, but at most `most` (>= n). 1, 2, 4, 8, then steps of a quarter to a half. */
uint32_t graphs_bucket(uint32_t n, uint32_t most);

/* For a step of these padded extents: launches its graph (true), or begins its capture, or neither. */
bool graphs_begin(struct cuda_backend *b, uint32_t n_rows, uint32_t n_logit_rows);
/* Ends a capture and launches what was captured; nothing when none is under way. A failure is the device's. */
void graphs_finish(struct cuda_backend *b);
void graphs_drop(struct cuda_backend *b);

#endif
