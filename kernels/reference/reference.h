#ifndef PENSTOCK_KERNELS_REFERENCE_H
#define PENSTOCK_KERNELS_REFERENCE_H

#include "backend.h"

/* The oracle backend: plain scalar C on the calling thread, float activations, sums in double,
 * weights read in the file's own blocks. Slow by design; every other backend is compared with it.
 */
NODISCARD status reference_open(backend **out);

#endif
