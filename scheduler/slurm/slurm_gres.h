#ifndef PENSTOCK_SCHEDULER_SLURM_GRES_H
#define PENSTOCK_SCHEDULER_SLURM_GRES_H

#include <stdbool.h>
#include <stdint.h>

#include "status.h"
#include "text_slice.h"

/* Slurm's texts of generic resources: items joined by commas outside of parentheses, each name[:type]:count, with a suffix "(IDX:0,2-3)"
 * (indices in use; N/A: none) or "(S:0-1)" (sockets). A count may end in K, M or G (powers of 1024). Newer versions write
 * "gres/gpu:h100=4" and "gres:gpu:h100:1" in other places; both prefixes are taken off. "(null)" and "N/A" are empty lists. */

struct slurm_gres {
    struct text_slice name, type; /* type: empty where there is none */
    uint64_t count;               /* 1 where it is not said */
    struct text_slice indices;    /* of "(IDX:...)"; empty where there is none or N/A */
};

#define SLURM_GRES_COUNT_MAX (1ull << 40)

/* The next item of `rest`, which moves behind it. STATUS_OK; STATUS_NOT_FOUND: no more; STATUS_INVALID: not of this grammar
 * (then `rest` is behind the item all the same). Pure. */
NODISCARD status slurm_gres_next(struct text_slice *rest, struct slurm_gres *out);

#endif
