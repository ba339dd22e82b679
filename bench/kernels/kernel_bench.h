#ifndef PENSTOCK_BENCH_KERNEL_BENCH_H
#define PENSTOCK_BENCH_KERNEL_BENCH_H

#include <jansson.h>
#include <stdio.h>

#include "kernel_testing.h"
#include "roofs.h"

/* What the files of the kernel benchmark share: one path at work, a way to time, to compare and to report. */

#define COLD_BYTES                                                                                 \
    (96u << 20) /* copies of a weight until they fill this; the set of the read roof */

struct bench {
    backend *reference;
    backend *b;
    enum backend_path path;
    uint32_t threads;
    struct roofs roofs;
    const char *filter;   /* part of a case's name; NULL: all */
    json_t *rows, *paths; /* results; roofs by path */
    uint64_t random;
};

struct timing {
    const char *operation;
    char shape[64];
    uint32_t n_rows;
    double bytes, int8_ops, float_ops; /* a call; multiply and add counted as two */
    double ns;                         /* a call, fastest */
};

bool is_wanted(const struct bench *bench, const char *name);

/* Fastest time of one call of `run`. */
double fastest_ns(void (*run)(void *context), void *context);

void report(struct bench *bench, const struct timing *t);

/* Ends the program unless `actual` is within what int8 activations allow: about 1 % of the result's own size. A wrong
 * kernel is not. */
void check_close(const char *name, const float *expected, const float *actual, size_t count);

/* Each compares with the reference, then times. */
void bench_products(struct bench *bench);         /* matmul, matmul_gated */
void bench_row_operations(struct bench *bench);   /* embed, rms_norm */
void bench_cache_operations(struct bench *bench); /* attention, rope_kv_append, kv_copy_blocks */

#endif
