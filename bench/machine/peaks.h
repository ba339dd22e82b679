#ifndef PENSTOCK_BENCH_PEAKS_H
#define PENSTOCK_BENCH_PEAKS_H

#include "backend.h"

/* Loops of one instruction each, in as many independent chains as its latency needs. One call of `run` is one piece of
 * work for one member of the team. */
struct peak {
    void (*run)(void *context, uint32_t index);
    double ops; /* of one call, multiply and add counted as two */
};

/* `run` is NULL where this CPU or this path has no such instruction. */
struct peak peak_int8(enum backend_path path);
struct peak peak_float(enum backend_path path);
/* Asks the system for the tiles. */
struct peak peak_amx(void);

#endif
