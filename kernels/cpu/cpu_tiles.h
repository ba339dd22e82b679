#ifndef PENSTOCK_KERNELS_CPU_CPU_TILES_H
#define PENSTOCK_KERNELS_CPU_CPU_TILES_H

#include <stdbool.h>
#include <stdint.h>

#include "kernel_table.h"

/* AMX: whether it may be used, and from how many rows on it should be. */

/* Has this CPU tile products of int8, and does the system give this process tile registers? Asks for them: once granted
 * they belong to the process and its later threads for good. */
bool cpu_tiles_request(void);

/* The least number of rows from which kernels->gemm_tiles is faster than gemm_codes, by timing both on a small weight
 * (about a millisecond); UINT32_MAX when there is none or it never is. Results do not depend on it. */
uint32_t cpu_tiles_rows_min(const struct cpu_kernels *kernels);

#endif
