#ifndef PENSTOCK_WEIGHT_CACHE_FORMAT_H
#define PENSTOCK_WEIGHT_CACHE_FORMAT_H

#include "gguf.h"

/* The bytes of a weight cache: a model's weights in a backend's layout, as one file.
 *
 *   byte 0       struct weight_cache_header, written last
 *   2 MiB        the weights in the order of loading, each at a multiple of 4 KiB: memory mapped at a
 *                multiple of 2 MiB can be in huge pages, and a page belongs to one weight
 *   table        struct weight_cache_entry for each weight
 *                a checksum for each 256 KiB of each weight, in order
 *
 * All numbers are little-endian. A file that is shorter or longer than it says, or whose header or
 * table is damaged, is refused as a whole; the weights' own checksums are compared when they are
 * taken. Nothing in the file is a pointer or an index that kernels follow. */

#define WEIGHT_CACHE_MAGIC       "PENSTKWC"
#define WEIGHT_CACHE_FORMAT      1u
#define WEIGHT_CACHE_DATA_OFFSET (UINT64_C(2) << 20)
#define WEIGHT_CACHE_ALIGNMENT   UINT64_C(4096)
#define WEIGHT_CACHE_CHUNK_BYTES (UINT64_C(256) << 10)
/* More than the tensors a model file may have. */
#define WEIGHT_CACHE_WEIGHTS_MAX (UINT64_C(1) << 18)
#define WEIGHT_CACHE_LAYOUT_MAX  16u

/* What a file must have been made of and for. */
struct weight_cache_key {
    char layout[WEIGHT_CACHE_LAYOUT_MAX]; /* name of the backend's layout, padded with NUL */
    uint64_t layout_checksum;
    struct gguf_identity model;
};

struct weight_cache_header {
    char magic[8];
    uint32_t format;
    uint32_t header_bytes;
    struct weight_cache_key key;
    uint64_t file_bytes;
    uint64_t weight_count;
    uint64_t chunk_count; /* of all weights */
    uint64_t table_offset;
    uint64_t table_checksum;
    uint64_t header_checksum; /* of everything before it */
};

struct weight_cache_entry {
    uint64_t offset;
    uint64_t bytes;
    uint64_t sources_checksum; /* of its sources' types and shapes */
    uint64_t first_chunk;      /* its first checksum */
};

/* A checked file; points into it. */
struct weight_cache_view {
    const uint8_t *data; /* of the file */
    const struct weight_cache_entry *entries;
    uint64_t weight_count;
    const uint64_t *checksums; /* [chunk_count] */
    uint64_t bytes;            /* of all weights */
    uint64_t end;              /* offset behind the last weight */
};

static inline uint64_t weight_cache_chunk_count(uint64_t bytes)
{
    return bytes / WEIGHT_CACHE_CHUNK_BYTES + (bytes % WEIGHT_CACHE_CHUNK_BYTES != 0);
}

/* Checks everything but the weights' content. `data` is aligned to 8 bytes and outlives the view.
 * STATUS_INVALID: the note says what is wrong with the file, or that it was made for something else.
 * Pure. */
NODISCARD status weight_cache_parse(const void *data, uint64_t bytes,
                                    const struct weight_cache_key *key,
                                    struct weight_cache_view *out, struct error_note *note);

/* What an entry remembers of a weight's sources. */
uint64_t weight_cache_sources_checksum(const struct weight_image *image);

/* Puts the checksum into a header that is complete otherwise. */
void weight_cache_header_seal(struct weight_cache_header *header);

#endif
