#ifndef PENSTOCK_GATEWAY_SERVING_EVENT_QUEUE_H
#define PENSTOCK_GATEWAY_SERVING_EVENT_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "status.h"

/* Bytes from one thread to another, in records that lie in one piece: a ring of fixed size, one
 * producer and one consumer, no lock and no allocation after creation. It stands between the
 * publisher, which may neither block nor allocate, and the loop of a connection, which formats.
 *
 * Positions only grow; a position's place in memory is its low bits. A record that would cross the
 * end of memory is preceded by a filler up to the end.
 *
 *      tail (consumer)          head (producer)
 *   ....|rec|record|filler|     wraps   |rec|....
 *
 * `head` is stored with release after a record is written and loaded with acquire before it is
 * read; `tail` the other way round, after a record is done with and before its place is reused. */
struct event_queue {
    char *memory;        /* owned; 8-byte aligned */
    size_t capacity;     /* power of two */
    size_t reserved;     /* producer: bytes of the record being written, with header and filler */
    _Atomic size_t head; /* written by the producer */
    _Atomic size_t tail; /* written by the consumer */
};

/* `bytes` is rounded up to a power of two. */
NODISCARD status event_queue_init(struct event_queue *queue, size_t bytes);
void event_queue_deinit(struct event_queue *queue);

/* Producer. Room for one record of `bytes`, 8-byte aligned; NULL when the queue has none. */
void *event_queue_reserve(struct event_queue *queue, size_t bytes);
/* Producer. Hands the reserved record over. */
void event_queue_commit(struct event_queue *queue);

/* Consumer. The oldest record, writable until popped; NULL: none. */
void *event_queue_peek(struct event_queue *queue);
/* Consumer. Done with the record that peek gave. */
void event_queue_pop(struct event_queue *queue);

#endif
