/* Blocks of the cache to pinned memory and back.
 *
 * A block is gathered into an image on the device by a kernel of the main stream, at the speed of the device's memory, and
 * crosses to the host on a stream of its own, so that steps go on meanwhile; and the other way round, where the main
 * stream waits for what it is to read. Images take turns in a ring of device memory:
 *
 *     main   gather 0, gather 1, ...            step ...           (gather i waits until slot i % n has crossed)
 *     copy             slot 0 to host, slot 1 to host, ...
 */

#include "check.h"
#include "cuda_backend.h"
#include "memory.h"

#define BLOCK_SLOTS 8u

struct block_copies {
    uint8_t *images; /* owned; device, [BLOCK_SLOTS, image_bytes] */
    uint64_t image_bytes;
    device_event *filled[BLOCK_SLOTS]; /* the slot has what it is to have */
    device_event *emptied[BLOCK_SLOTS];
    uint32_t next;
};

void block_copies_close(struct cuda_backend *b)
{
    struct block_copies *copies = b->block_copies;
    if (copies == NULL)
        return;
    (void)device_stream_synchronize(b->stream);
    (void)device_stream_synchronize(b->copy_stream);
    for (uint32_t i = 0; i < BLOCK_SLOTS; i++) {
        device_event_destroy(copies->filled[i]);
        device_event_destroy(copies->emptied[i]);
    }
    device_release(b->device, copies->images);
    memory_release(copies);
    b->block_copies = NULL;
}

/* Nothing of the ring is needed between copies. */
void block_copies_forget(struct cuda_backend *b)
{
    if (b->block_copies != NULL)
        device_forget(b->device, b->block_copies->images);
}

static status copies_open(struct cuda_backend *b, uint64_t image_bytes)
{
    struct block_copies *copies = memory_allocate_array(1, sizeof(*copies));
    if (copies == NULL)
        return STATUS_NO_MEMORY;
    b->block_copies = copies;
    copies->image_bytes = image_bytes;
    copies->images = device_allocate(b->device, BLOCK_SLOTS * image_bytes);
    status result = copies->images != NULL ? STATUS_OK : STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < BLOCK_SLOTS && result == STATUS_OK; i++) {
        result = device_event_create(b->device, &copies->filled[i]);
        if (result == STATUS_OK)
            result = device_event_create(b->device, &copies->emptied[i]);
    }
    if (result != STATUS_OK)
        block_copies_close(b);
    return result;
}

/* The ring for images of this cache; NULL: there is no memory for it, and the device counts as failed, as blocks
 * that were promised to be copied are not. */
static struct block_copies *copies_of(struct cuda_backend *b, const kv_store *kv)
{
    uint64_t bytes = kv_page_image_bytes(&kv->pages.shape);
    if (b->block_copies != NULL && b->block_copies->image_bytes != bytes)
        block_copies_close(b);
    if (b->block_copies == NULL && copies_open(b, bytes) != STATUS_OK)
        device_stream_fail(b->stream, "copies of cache blocks", "no memory is left");
    return b->block_copies;
}

void cuda_kv_save_blocks(backend *base, const kv_store *kv, const uint32_t *blocks, uint32_t count,
                         void *host)
{
    struct cuda_backend *b = of_cuda(base);
    struct block_copies *copies = copies_of(b, kv);
    if (copies == NULL || count == 0)
        return;
    const uint32_t *numbers = loose_copy(b, blocks, count * sizeof(*blocks));
    for (uint32_t i = 0; i < count; i++) {
        uint32_t slot = copies->next++ % BLOCK_SLOTS;
        uint8_t *image = copies->images + slot * copies->image_bytes;
        device_stream_wait(b->stream, copies->emptied[slot]);
        kv_save_pages_launch(b->stream, &kv->pages, numbers + i, 1, image);
        device_event_record(copies->filled[slot], b->stream);
        device_stream_wait(b->copy_stream, copies->filled[slot]);
        device_copy_to_host(b->copy_stream, (uint8_t *)host + i * copies->image_bytes, image,
                            copies->image_bytes);
        device_event_record(copies->emptied[slot], b->copy_stream);
    }
}

void cuda_kv_load_blocks(backend *base, kv_store *kv, const uint32_t *blocks, uint32_t count,
                         const void *host)
{
    struct cuda_backend *b = of_cuda(base);
    struct block_copies *copies = copies_of(b, kv);
    if (copies == NULL || count == 0)
        return;
    const uint32_t *numbers = loose_copy(b, blocks, count * sizeof(*blocks));
    for (uint32_t i = 0; i < count; i++) {
        uint32_t slot = copies->next++ % BLOCK_SLOTS;
        uint8_t *image = copies->images + slot * copies->image_bytes;
        device_stream_wait(b->copy_stream, copies->emptied[slot]);
        device_copy_to_device(b->copy_stream, image,
                              (const uint8_t *)host + i * copies->image_bytes, copies->image_bytes);
        device_event_record(copies->filled[slot], b->copy_stream);
        device_stream_wait(b->stream, copies->filled[slot]);
        kv_load_pages_launch(b->stream, &kv->pages, numbers + i, 1, image);
        device_event_record(copies->emptied[slot], b->stream);
    }
}

status cuda_kv_settle(backend *base)
{
    struct cuda_backend *b = of_cuda(base);
    return cuda_told(b, device_stream_synchronize(b->copy_stream));
}
