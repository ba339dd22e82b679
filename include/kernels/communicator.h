#ifndef PENSTOCK_KERNELS_COMMUNICATOR_H
#define PENSTOCK_KERNELS_COMMUNICATOR_H

#include <stdbool.h>
#include <stdint.h>

#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How the ranks of one model speak to each other. A rank is a backend, the thread that opened it, and a share of the model
 * (Shoeybi et al. 2019, Megatron-LM: columns of one product are rows of the next, and one sum over all ranks comes behind
 * the second). The ranks of a group make the same calls in the same order, each with the same counts.
 *
 * Two kinds. NCCL, in backends that have it: what is called here is queued on the device behind the operations before it,
 * and may be captured in a graph with them. The host's, for all others: a call waits for the other ranks and returns when it
 * is done; where the device's memory is not the host's, the numbers go through the host.
 *
 * Both give bit-equal results on all ranks: each number is summed once, in the order of ranks on the host and in NCCL's own
 * on devices, and everybody gets that sum.
 *
 * Errors are sticky and the group's: when a rank fails, or somebody says that it has (communicator_group_fail), waiting
 * calls of all ranks return, later ones do nothing, and communicator_check tells why. What a call has written then is
 * undefined. */
typedef struct backend backend;
typedef struct communicator communicator;
typedef struct communicator_group communicator_group;

#define COMMUNICATOR_RANKS_MAX 64u
#define COMMUNICATOR_ID_BYTES  128u /* of an NCCL id */

/* Where share `rank` of `total` things begins when whole units of them are spread over `size` ranks as evenly as they go; the
 * share of rank `size` begins at `total`. rank <= size, size > 0, unit > 0. */
static inline uint32_t rank_share_first(uint32_t total, uint32_t unit, uint32_t rank, uint32_t size)
{
    uint64_t units = ((uint64_t)total + unit - 1) / unit, first = units * rank / size * unit;
    return first < total ? (uint32_t)first : total;
}

/* A rank's columns of a matrix whose columns are shared out by rank_share_first. */
struct column_share {
    const float *part; /* device, [n_rows, the rank's columns] */
    float *whole;      /* device, [n_rows, n_cols]; rank 0's, else NULL */
    uint32_t n_rows, n_cols, unit;
};

/* Who a rank is to its device's own kind of communicator (backend.h, communicator_open). */
struct communicator_place {
    const uint8_t *id; /* [COMMUNICATOR_ID_BYTES], borrowed for the call */
    uint32_t rank, size;
    uint64_t floats_max; /* of one call */
};

/* What a kind of communicator can do; `check`, `abort` and `destroy` may be NULL. */
struct communicator_operations {
    const char *name; /* "host", "nccl" */
    /* Calls are queued like the backend's operations, and may be captured in a graph. */
    bool is_queued;
    void (*all_reduce_sum)(communicator *c, float *x, uint64_t count);
    void (*gather_columns)(communicator *c, const struct column_share *share);
    /* Whether the device has seen an error by now. Rank's thread. */
    status (*check)(communicator *c);
    /* Ends what is queued, on all devices, though it has not been able to finish. Any thread; once. */
    void (*abort)(communicator *c);
    void (*destroy)(communicator *c);
};

struct communicator {
    const struct communicator_operations *operations;
    backend *b;                /* borrowed */
    communicator_group *group; /* borrowed; outlives its communicators */
    uint32_t rank, size;
};

/* --- the group: made and destroyed by one thread --- */

/* size: 1..COMMUNICATOR_RANKS_MAX ranks of this process. STATUS_NO_MEMORY. */
NODISCARD status communicator_group_create(uint32_t size, communicator_group **out);
void communicator_group_destroy(
    communicator_group *group); /* accepts NULL; its communicators are closed */

/* The group has failed for the reason `why` (not STATUS_OK); the first reason stays. Any thread. */
void communicator_group_fail(communicator_group *group, status why);
/* STATUS_OK, or that reason. Any thread. */
status communicator_group_status(const communicator_group *group);

/* --- a rank's end of it: its thread alone --- */

/* Joins the group as `rank`; returns when all its ranks have, or one of them failed. Calls will be of at most floats_max
 * numbers; for gather_columns these are n_rows * n_cols. A device that cannot have NCCL, because its library is not
 * there, gets the host's kind, which is logged: it is right, and slow.
 *
 * Ranks in other processes would only need another way to the NCCL id that rank 0 makes here: the join protocol of remote
 * replicas could carry its COMMUNICATOR_ID_BYTES, with the number of the first rank of each process.
 *
 * STATUS_NO_MEMORY, STATUS_INTERNAL (NCCL refused); STATUS_CLOSED: another rank failed. With a note; and the group has failed. */
NODISCARD status communicator_open(communicator_group *group, backend *b, uint32_t rank,
                                   uint64_t floats_max, communicator **out,
                                   struct error_note *note);
void communicator_close(communicator *c); /* accepts NULL */

/* x[i] = the sum of all ranks' x[i]. x: device, [count]. */
void communicator_all_reduce_sum(communicator *c, float *x, uint64_t count);

/* Rank 0's `whole` gets the columns of all ranks. */
void communicator_gather_columns(communicator *c, const struct column_share *share);

/* Waits until all ranks are here; not queued. STATUS_OK, or why the group failed. */
NODISCARD status communicator_barrier(communicator *c);

/* STATUS_OK, or why the group failed, after asking the device. */
NODISCARD status communicator_check(communicator *c);

#ifdef __cplusplus
}
#endif

#endif
