#include "model_part.h"

#include <inttypes.h>

#include "model.h"

/* Columns of an MLP go over in the largest unit that all formats take, so that a slice of a quantised matrix is of whole blocks
 * (256 columns of the k-quants, 128 of scaled 8-bit floats, 32 of all others). */
static uint32_t ffn_unit(uint32_t d_ffn, uint32_t size)
{
    static const uint32_t units[] = {256, 128, 32, 16, 4};
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (d_ffn % units[i] == 0 && d_ffn / units[i] >= size)
            return units[i];
    return 1;
}

/* Rows of a vocabulary, in what kernels take at once, where there are enough. */
static uint32_t vocabulary_unit(uint32_t vocabulary, uint32_t size)
{
    return vocabulary / 64 >= size ? 64 : 1;
}

static status refuse(struct error_note *note, uint32_t size, uint32_t count, const char *what)
{
    error_note_set(note,
                   "%" PRIu32 " ranks cannot share %" PRIu32
                   " %s: choose a number of ranks that divides them",
                   size, count, what);
    return STATUS_UNSUPPORTED;
}

static status share_heads(const struct model_shape *shape, struct model_part *part,
                          struct error_note *note)
{
    uint32_t size = part->size, n_kv = shape->n_kv_heads;
    if (shape->n_heads % size != 0)
        return refuse(note, size, shape->n_heads, "attention heads");
    if (n_kv % size != 0 && size % n_kv != 0)
        return refuse(note, size, n_kv, "key heads");
    part->n_heads = shape->n_heads / size;
    part->first_head = part->rank * part->n_heads;
    part->n_kv_heads = n_kv >= size ? n_kv / size : 1;
    part->first_kv_head = (uint32_t)((uint64_t)part->rank * n_kv / size);
    return STATUS_OK;
}

static struct model_span share(uint32_t total, uint32_t unit, const struct model_part *part)
{
    uint32_t first = rank_share_first(total, unit, part->rank, part->size),
             end = rank_share_first(total, unit, part->rank + 1, part->size);
    return (struct model_span){first, end - first};
}

status model_part_of(const struct model_shape *shape, uint32_t rank, uint32_t size,
                     struct model_part *out, struct error_note *note)
{
    struct model_part part = {.rank = rank, .size = size};
    uint32_t n_experts = shape->experts.n_experts;
    status s = share_heads(shape, &part, note);
    if (s != STATUS_OK)
        return s;
    if (n_experts != 0 && n_experts < size)
        return refuse(note, size, n_experts, "experts");
    if (n_experts == 0 && shape->d_ffn < size)
        return refuse(note, size, shape->d_ffn, "features of the MLP");
    if (shape->vocabulary < size)
        return refuse(note, size, shape->vocabulary, "tokens of the vocabulary");
    struct model_span ffn = share(shape->d_ffn, ffn_unit(shape->d_ffn, size), &part),
                      experts = share(n_experts, 1, &part);
    part.first_ffn = ffn.first;
    part.d_ffn = ffn.count;
    part.first_expert = experts.first;
    part.n_experts = experts.count;
    part.vocabulary_unit = vocabulary_unit(shape->vocabulary, size);
    struct model_span tokens = share(shape->vocabulary, part.vocabulary_unit, &part);
    part.first_token = tokens.first;
    part.vocabulary = tokens.count;
    *out = part;
    return STATUS_OK;
}

status model_file_check_ranks(const model_source *source, uint32_t rank_count,
                              struct error_note *note)
{
    struct model_shape shape;
    struct model_part part;
    status s = model_shape_read(source, &shape, note);
    return s == STATUS_OK ? model_part_of(&shape, 0, rank_count, &part, note) : s;
}

void model_part_narrow(const struct model_part *part, struct model_shape *shape)
{
    shape->n_heads = part->n_heads;
    shape->n_kv_heads = part->n_kv_heads;
    if (shape->experts.n_experts == 0)
        shape->d_ffn = part->d_ffn;
}

void model_part_qkv(const struct model_part *part, const struct model_shape *whole,
                    struct model_span out[3])
{
    uint32_t d_head = whole->d_head, q = whole->n_heads * d_head, kv = whole->n_kv_heads * d_head,
             first = part->first_kv_head * d_head, count = part->n_kv_heads * d_head;
    out[0] = (struct model_span){part->first_head * d_head, part->n_heads * d_head};
    out[1] = (struct model_span){q + first, count};
    out[2] = (struct model_span){q + kv + first, count};
}
