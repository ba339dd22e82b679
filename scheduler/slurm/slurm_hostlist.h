#ifndef PENSTOCK_SCHEDULER_SLURM_HOSTLIST_H
#define PENSTOCK_SCHEDULER_SLURM_HOSTLIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "status.h"
#include "text_slice.h"

/* Slurm's lists of hosts: "n[0-3,07-09],gpu-a[1-2]b[0-1]". Numbers keep the width of the first one written with zeros; brackets multiply. */

#define SLURM_HOST_BYTES_MAX 255u
#define SLURM_HOSTS_MAX      65536u /* Slurm's own bound of a hostlist's range */
#define SLURM_BRACKETS_MAX   4u

/* Calls `host` for each name, in the list's order (a NUL-terminated text, borrowed for the call), until it returns false. STATUS_OK; STATUS_INVALID: not of this
 * grammar; STATUS_TOO_LARGE: a name or the number of hosts; what came before has been told then. Pure. */
status slurm_hostlist_expand(struct text_slice text, bool (*host)(void *context, const char *name),
                             void *context);

#endif
