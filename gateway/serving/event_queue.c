#include "event_queue.h"

#include <stdatomic.h>

#include "check.h"
#include "memory.h"

/* Before each record; its size keeps the records 8-byte aligned. */
struct record_head {
    uint32_t bytes; /* of the record with this head, or of the filler */
    uint32_t is_filler;
};

#define ALIGN_UP(bytes)       (((bytes) + 7u) & ~(size_t)7u)
#define EVENT_QUEUE_BYTES_MIN 256u

status event_queue_init(struct event_queue *queue, size_t bytes)
{
    size_t capacity = EVENT_QUEUE_BYTES_MIN;
    while (capacity < bytes && capacity < UINT32_MAX / 2)
        capacity *= 2;
    *queue = (struct event_queue){.capacity = capacity};
    queue->memory = memory_allocate(capacity);
    return queue->memory != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

void event_queue_deinit(struct event_queue *queue)
{
    memory_release(queue->memory);
    queue->memory = NULL;
}

static struct record_head *record_at(const struct event_queue *queue, size_t position)
{
    return (struct record_head *)(void *)(queue->memory + (position & (queue->capacity - 1)));
}

void *event_queue_reserve(struct event_queue *queue, size_t bytes)
{
    size_t needed = ALIGN_UP(bytes) + sizeof(struct record_head);
    size_t head = atomic_load_explicit(&queue->head, memory_order_relaxed);
    /* acquire: pairs with the release in event_queue_pop; the place is not read any more */
    size_t tail = atomic_load_explicit(&queue->tail, memory_order_acquire);
    size_t to_end = queue->capacity - (head & (queue->capacity - 1));
    size_t filler = to_end < needed ? to_end : 0;
    if (needed > queue->capacity || filler + needed > queue->capacity - (head - tail))
        return NULL;
    if (filler > 0)
        *record_at(queue, head) = (struct record_head){(uint32_t)filler, 1};
    struct record_head *record = record_at(queue, head + filler);
    *record = (struct record_head){(uint32_t)needed, 0};
    queue->reserved = filler + needed;
    return record + 1;
}

void event_queue_commit(struct event_queue *queue)
{
    DCHECK(queue->reserved > 0);
    size_t head = atomic_load_explicit(&queue->head, memory_order_relaxed);
    /* release: pairs with the acquire in event_queue_peek; the record is whole */
    atomic_store_explicit(&queue->head, head + queue->reserved, memory_order_release);
    queue->reserved = 0;
}

void *event_queue_peek(struct event_queue *queue)
{
    size_t tail = atomic_load_explicit(&queue->tail, memory_order_relaxed);
    size_t head = atomic_load_explicit(&queue->head, memory_order_acquire);
    if (tail == head)
        return NULL;
    struct record_head *record = record_at(queue, tail);
    if (record->is_filler) {
        tail += record->bytes;
        atomic_store_explicit(&queue->tail, tail, memory_order_release);
        record = record_at(queue, tail);
    }
    return record + 1;
}

void event_queue_pop(struct event_queue *queue)
{
    size_t tail = atomic_load_explicit(&queue->tail, memory_order_relaxed);
    struct record_head *record = record_at(queue, tail);
    DCHECK(!record->is_filler);
    atomic_store_explicit(&queue->tail, tail + record->bytes, memory_order_release);
}
