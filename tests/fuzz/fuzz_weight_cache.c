/* Weight caches: an input is a header and a table; the file between them is zeros. Its checksums are
 * made good first (but for one input in four), so that what is behind them is reached. Whatever
 * passes lies within the file, in order and without overlap. */

#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "hash.h"
#include "weight_cache_format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

#define HEADER_BYTES    sizeof(struct weight_cache_header)
#define TABLE_BYTES_MAX 65536u

static volatile uint64_t sink; /* what was read, so that the reads stay */

static void check_view(const struct weight_cache_view *view, uint64_t bytes)
{
    uint64_t end = WEIGHT_CACHE_DATA_OFFSET, chunks = 0, sum = 0;
    for (uint64_t i = 0; i < view->weight_count; i++) {
        const struct weight_cache_entry *entry = &view->entries[i];
        CHECK(entry->offset >= end && entry->offset <= bytes && entry->bytes > 0 &&
              entry->bytes <= bytes - entry->offset);
        CHECK(entry->offset % WEIGHT_CACHE_ALIGNMENT == 0 && entry->first_chunk == chunks);
        end = entry->offset + entry->bytes;
        chunks += weight_cache_chunk_count(entry->bytes);
        sum += entry->bytes;
        sink += view->data[entry->offset] + view->data[end - 1] + view->checksums[chunks - 1];
    }
    CHECK((const uint8_t *)view->entries >= view->data + end && sum == view->bytes);
    CHECK((const uint8_t *)(view->checksums + chunks) == view->data + bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes < HEADER_BYTES || bytes - HEADER_BYTES > TABLE_BYTES_MAX)
        return 0;
    size_t table_bytes = bytes - HEADER_BYTES, file_bytes = WEIGHT_CACHE_DATA_OFFSET + table_bytes;
    uint8_t *file = calloc(1, file_bytes); /* as long as the file, so that a read past it is seen */
    CHECK(file != NULL);
    struct weight_cache_header *header = (void *)file;
    memcpy(header, data, HEADER_BYTES);
    memcpy(file + WEIGHT_CACHE_DATA_OFFSET, data + HEADER_BYTES, table_bytes);
    const struct weight_cache_key key = header->key;
    if (header->header_checksum % 4 != 0) {
        memcpy(header->magic, WEIGHT_CACHE_MAGIC, sizeof header->magic);
        header->file_bytes = file_bytes;
        if (header->table_offset <= file_bytes)
            header->table_checksum =
                checksum64(file + header->table_offset, file_bytes - header->table_offset);
        weight_cache_header_seal(header);
    }
    struct weight_cache_view view;
    struct error_note note = {""};
    if (weight_cache_parse(file, file_bytes, &key, &view, &note) == STATUS_OK)
        check_view(&view, file_bytes);
    else
        CHECK(note.text[0] != '\0');
    free(file);
    return 0;
}
