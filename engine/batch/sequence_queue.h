#ifndef PENSTOCK_ENGINE_BATCH_SEQUENCE_QUEUE_H
#define PENSTOCK_ENGINE_BATCH_SEQUENCE_QUEUE_H

#include "sequence.h"

/* Waiting sequences by sequence_is_before. Links live in the sequences, so that nothing here can run out of memory.
 * Pairing heap: Fredman, Sedgewick, Sleator, Tarjan 1986. Insert O(1); remove O(log n) amortised, of any element, so
 * that a cancelled request in the middle of a long queue costs no walk. Thread: step. */
struct sequence_queue {
    struct sequence *root; /* the next to run; NULL: empty */
    uint32_t count;
};

void sequence_queue_insert(struct sequence_queue *queue, struct sequence *s);
/* `s` must be in the queue. */
void sequence_queue_remove(struct sequence_queue *queue, struct sequence *s);

#endif
