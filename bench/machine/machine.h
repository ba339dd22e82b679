#ifndef PENSTOCK_BENCH_MACHINE_H
#define PENSTOCK_BENCH_MACHINE_H

#include <jansson.h>
#include <stdint.h>

/* What a figure has to be read with: CPU, its kernels' instruction sets, cores, caches, memory, load, date. A new
 * object. */
json_t *machine_json(void);

/* Bytes of this process that lie in memory now. */
uint64_t machine_resident_bytes(void);

#endif
