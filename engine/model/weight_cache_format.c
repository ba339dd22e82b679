#include "weight_cache_format.h"

#include <inttypes.h>
#include <string.h>

#include "check.h"
#include "hash.h"

_Static_assert(sizeof(struct weight_cache_header) == 112, "no padding");
_Static_assert(sizeof(struct weight_cache_entry) == 32, "no padding");

static uint64_t header_checksum(const struct weight_cache_header *header)
{
    return checksum64(header, offsetof(struct weight_cache_header, header_checksum));
}

void weight_cache_header_seal(struct weight_cache_header *header)
{
    header->header_checksum = header_checksum(header);
}

uint64_t weight_cache_sources_checksum(const struct weight_image *image)
{
    uint64_t sum = image->is_gated;
    for (uint32_t i = 0; i < image->source_count; i++) {
        const struct tensor_source *source = &image->sources[i];
        uint64_t chain[4] = {sum, source->type, source->n_outputs, source->n_cols};
        sum = checksum64(chain, sizeof chain);
    }
    return sum;
}

static status refuse(struct error_note *note, const char *reason)
{
    error_note_set(note, "%s", reason);
    return STATUS_INVALID;
}

static status check_header(const struct weight_cache_header *header, uint64_t bytes,
                           const struct weight_cache_key *key, struct error_note *note)
{
    if (bytes < sizeof *header ||
        memcmp(header->magic, WEIGHT_CACHE_MAGIC, sizeof header->magic) != 0)
        return refuse(note, "it is not a weight cache, or one that was never finished");
    if (header->format != WEIGHT_CACHE_FORMAT || header->header_bytes != sizeof *header)
        return refuse(note, "it has the format of another version");
    if (header->header_checksum != header_checksum(header))
        return refuse(note, "its header is damaged");
    if (header->file_bytes != bytes)
        return refuse(note, "it is cut off, or something was added to it");
    if (memcmp(header->key.layout, key->layout, sizeof key->layout) != 0 ||
        header->key.layout_checksum != key->layout_checksum)
        return refuse(note, "its weights are laid out for another version");
    if (memcmp(&header->key.model, &key->model, sizeof key->model) != 0)
        return refuse(note, "the model file has changed since");
    return STATUS_OK;
}

/* Bounds of the table; only then may it be read. */
static status check_table_bounds(const struct weight_cache_header *header, struct error_note *note)
{
    uint64_t start = header->table_offset;
    if (header->weight_count == 0 || header->weight_count > WEIGHT_CACHE_WEIGHTS_MAX ||
        start < WEIGHT_CACHE_DATA_OFFSET || start > header->file_bytes || start % 8 != 0)
        return refuse(note, "its table is out of bounds");
    uint64_t left = header->file_bytes - start;
    uint64_t entry_bytes = header->weight_count * sizeof(struct weight_cache_entry);
    if (left < entry_bytes || (left - entry_bytes) % sizeof(uint64_t) != 0 ||
        (left - entry_bytes) / sizeof(uint64_t) != header->chunk_count)
        return refuse(note, "its table is out of bounds");
    return STATUS_OK;
}

static status check_entries(const struct weight_cache_header *header,
                            const struct weight_cache_entry *entries, struct error_note *note)
{
    uint64_t end = WEIGHT_CACHE_DATA_OFFSET, chunk = 0;
    for (uint64_t i = 0; i < header->weight_count; i++) {
        const struct weight_cache_entry *entry = &entries[i];
        bool is_good = entry->offset % WEIGHT_CACHE_ALIGNMENT == 0 && entry->offset >= end &&
                       entry->offset <= header->table_offset && entry->bytes > 0 &&
                       entry->bytes <= header->table_offset - entry->offset &&
                       entry->first_chunk == chunk;
        if (!is_good) {
            error_note_set(note, "weight %" PRIu64 " is out of bounds", i);
            return STATUS_INVALID;
        }
        end = entry->offset + entry->bytes;
        chunk += weight_cache_chunk_count(entry->bytes);
    }
    return chunk == header->chunk_count ? STATUS_OK
                                        : refuse(note, "it has not a checksum for each chunk");
}

status weight_cache_parse(const void *data, uint64_t bytes, const struct weight_cache_key *key,
                          struct weight_cache_view *out, struct error_note *note)
{
    CHECK((uintptr_t)data % 8 == 0);
    const struct weight_cache_header *header = data;
    status s = check_header(header, bytes, key, note);
    if (s == STATUS_OK)
        s = check_table_bounds(header, note);
    if (s != STATUS_OK)
        return s;
    const uint8_t *table = (const uint8_t *)data + header->table_offset;
    if (checksum64(table, bytes - header->table_offset) != header->table_checksum)
        return refuse(note, "its table is damaged");
    const struct weight_cache_entry *entries = (const void *)table;
    s = check_entries(header, entries, note);
    if (s != STATUS_OK)
        return s;
    *out = (struct weight_cache_view){
        .data = data,
        .entries = entries,
        .weight_count = header->weight_count,
        .checksums = (const void *)(entries + header->weight_count),
    };
    for (uint64_t i = 0; i < header->weight_count; i++) {
        out->bytes += entries[i].bytes;
        out->end = entries[i].offset + entries[i].bytes;
    }
    return STATUS_OK;
}
