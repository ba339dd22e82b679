#ifndef PENSTOCK_SCHEDULER_SLURM_MARK_H
#define PENSTOCK_SCHEDULER_SLURM_MARK_H

#include "buffer.h"
#include "member.h"

/* The comment of our jobs, whose they are and which slices we meant for them, so that who starts anew knows what is whose:
 *
 *   penstock=<pool>;uid=<16 hex digits>;at=<device>*<milli>*<bytes>;<places>@<nodes>;<places>@<nodes>...
 *
 * A comment has at most 1024 bytes, so a gang is written by what its parts have in common: all have as much of the same
 * device, and nodes with the same places are one list of hosts. "at=gpu:h100*1000*85899345920;0-7@n[0-3]" are 32 parts. */

struct slurm_mark {
    uint64_t uid;
    struct text_slice parts; /* of the comment: what follows "at=" */
};

#define SLURM_MARK_BYTES_MAX 1024u /* Slurm refuses a longer comment */

/* `order` has at most POOL_GANG_MAX parts, all with as much of the same device. */
void slurm_mark_write(struct buffer *out, const char *pool, const struct member_order *order);
/* False: not one of this pool's. Pure. */
bool slurm_mark_read(const char *comment, const char *pool, struct slurm_mark *out);
/* Calls `part` (its texts are borrowed for the call) for each, until it returns false. STATUS_OK; STATUS_INVALID: not of this form; STATUS_TOO_LARGE: more than POOL_GANG_MAX.
 * What came before has been told then. */
status slurm_mark_parts(const struct slurm_mark *mark,
                        bool (*part)(void *context, const struct member_part *part), void *context);

/* What stands in an id before its first '/', and behind it. */
struct text_slice slurm_slice_node(struct text_slice id);
struct text_slice slurm_slice_device(struct text_slice id);
/* "gpu:h100" of "n0/gpu:h100/2", "cpu" of "n3/cpu". */
struct text_slice slurm_slice_kind(struct text_slice id);

#endif
