#ifndef PENSTOCK_SCHEDULER_POOL_INTERNAL_H
#define PENSTOCK_SCHEDULER_POOL_INTERNAL_H

#include "pool.h"

/* What the pool's own files share: pool.c (creation, names, capacity), pool_member.c (members' states and lists),
 * pool_slice.c (reports into columns), pool_label.c, pool_booking.c (the book). */

struct member {
    uint32_t name; /* held; NAME_NONE: the place is free */
    enum member_state state;
    uint64_t interval_ns, lost_after_ns;
    uint64_t heard_ns, synced_ns;
    uint32_t slice_count;
    uint32_t listing; /* counts up with each list; 0: none yet */
    bool is_listing, is_leaving;
};

struct part {
    struct booking_part of;
    uint32_t rested_milli;               /* that it gave back to rest; 0: it has all */
    uint32_t row;                        /* of its booking; of a free part: the next free one */
    uint32_t next;                       /* in its booking */
    uint32_t slice_next, slice_previous; /* on its slice */
};

struct row {
    struct booking booking; /* uid 0: free */
    uint32_t next;          /* in its bucket, or of the free ones */
};

/* All that a slice was reported with, declared or not. */
struct pool_slice_labels {
    uint32_t count;
    uint32_t names[SLICE_LABELS_MAX]; /* held, of the pool's own scope */
};

struct pool {
    struct pool_limits limits;
    struct quota_tree *quota; /* borrowed; NULL: none */
    struct name_table *names; /* owned */
    struct pool_columns columns;
    void *column_memory; /* owned: all columns */
    uint64_t version;    /* last given */
    char labels[SLICE_LABELS_MAX][SLICE_NAME_BYTES_MAX + 1];
    uint32_t label_count;

    struct member *members; /* owned: [members_max] */
    uint32_t member_bound;

    uint32_t *slice_of_id;                  /* owned: [names_max + 1], by an id's number */
    uint32_t *slice_listing;                /* owned: [slices_max], the list it was in last */
    uint32_t *slice_part;                   /* owned: [slices_max], first part, POOL_SLICE_NONE */
    struct pool_slice_labels *slice_labels; /* owned: [slices_max] */
    uint32_t *free_slices;                  /* owned: [slices_max], a stack */
    uint32_t free_slice_count;              /* of the stack */

    struct row *rows;     /* owned: [bookings_max] */
    uint32_t *row_models; /* owned: [bookings_max], for scans; POOL_MODEL_NONE: free */
    uint32_t *buckets;    /* owned: [bucket_mask + 1] */
    uint32_t bucket_mask, row_bound, row_free, booking_count;
    struct part *parts; /* owned: [parts_max] */
    uint32_t part_bound, part_free, part_count;
};

/* Names of a member's own, and its slices' ids; 0 is everybody's. */
static inline uint32_t pool_scope_of(uint32_t member)
{
    return member * 2 + 1;
}

static inline uint32_t pool_id_scope_of(uint32_t member)
{
    return member * 2 + 2;
}

/* pool_part_size, for scans. */
static inline void pool_size_part(const struct pool_columns *columns, uint32_t slice,
                                  const struct slice_shape *shape, uint64_t *memory_bytes,
                                  uint32_t *compute_milli)
{
    uint32_t step = columns->step_milli[slice], wanted = shape->compute_milli;

    *memory_bytes = shape->memory_bytes;
    if (step != 0 && wanted != 0) {
        if (wanted > SLICE_COMPUTE_MILLI_MAX)
            wanted = SLICE_COMPUTE_MILLI_MAX;
        *compute_milli = (wanted + step - 1) / step * step;
        return;
    }
    *compute_milli = columns->compute_milli[slice];
    /* Whoever has a whole slice has all of its memory but what others hold already. */
    if (columns->memory_bytes[slice] > columns->memory_foreign[slice] &&
        columns->memory_bytes[slice] - columns->memory_foreign[slice] > shape->memory_bytes)
        *memory_bytes = columns->memory_bytes[slice] - columns->memory_foreign[slice];
}

/* The names of a report's labels, held; statuses of name_table_acquire, then none is. */
NODISCARD status pool_labels_acquire(struct pool *pool, const struct slice_report *report,
                                     struct pool_slice_labels *out);
void pool_labels_release(struct pool *pool, struct pool_slice_labels *labels);
/* Those of them that are declared. */
uint64_t pool_labels_bits(const struct pool *pool, const struct pool_slice_labels *labels);

/* Recomputes what is free of a slice, and gives it a new version. */
void pool_slice_settle(struct pool *pool, uint32_t slice);
/* The member does not have it: gone, and free at once if nothing is booked there. */
void pool_slice_lose(struct pool *pool, uint32_t slice);
/* After a release: frees the index of one that is gone and empty. */
void pool_slice_forget_if_empty(struct pool *pool, uint32_t slice);
/* Members' silence; returns when the next state is due. */
uint64_t pool_members_tick(struct pool *pool, uint64_t now_ns);
/* Releases reservations whose time is over; returns when the next ends. */
uint64_t pool_expire(struct pool *pool, uint64_t now_ns);

#endif
