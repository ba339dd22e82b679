#include "sampling.h"

#include "check.h"
#include "sampling_kernels.h"

/* A draw keeps the weights of a chunk where it keeps the sums of chunks. */
#define VOCABULARY_MAX (SAMPLING_CHUNKS_MAX * (SAMPLING_CHUNKS_MAX - 8))

struct sampling_shape sampling_shape_of(uint32_t vocabulary)
{
    CHECK(vocabulary > 0 && vocabulary <= VOCABULARY_MAX);
    struct sampling_shape shape;
    shape.vocabulary = vocabulary;
    uint32_t size = (vocabulary / SAMPLING_CHUNKS_MAX + 1 + 7) / 8 * 8;
    shape.chunk_size = size > 256 ? size : 256;
    shape.chunk_count = (vocabulary + shape.chunk_size - 1) / shape.chunk_size;
    shape.part_count = (shape.chunk_count + SAMPLING_PART_CHUNKS - 1) / SAMPLING_PART_CHUNKS;
    shape.parts_at = ((uint64_t)vocabulary * sizeof(float) + 15) / 16 * 16;
    shape.sums_at = shape.parts_at + shape.part_count * sizeof(struct sampling_part);
    uint64_t sums_end = shape.sums_at + 2 * shape.chunk_count * sizeof(float);
    shape.best_at = (sums_end + 7) / 8 * 8;
    uint64_t keys = (uint64_t)shape.part_count * (SAMPLING_EXACT + DEVICE_ALTERNATIVES_MAX);
    shape.sample_bytes = (shape.best_at + keys * sizeof(uint64_t) + 15) / 16 * 16;
    return shape;
}

uint64_t sampling_scratch_bytes(uint32_t sample_count, uint32_t vocabulary)
{
    return sample_count * sampling_shape_of(vocabulary).sample_bytes;
}

void sampling_launch(device_stream *stream, const struct sampling_args *args)
{
    struct sampling_shape shape = sampling_shape_of(args->vocabulary);
    sampling_read_launch(stream, args, &shape);
    sampling_part_launch(stream, args, &shape);
    sampling_draw_launch(stream, args, &shape);
}
