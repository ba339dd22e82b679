#include "attention_testing.h"

#include <math.h>
#include <stdlib.h>

#include "kernel_testing.h"
#include "reference/reference_private.h"

const struct page_order plain_order = {.multiplier = 1, .dead = 0xff};

static uint32_t logical_page(uint32_t sequence, uint32_t position)
{
    return sequence * PAIR_PAGES_EACH + position / KV_BLOCK_TOKENS;
}

static uint32_t physical_page(const struct page_order *order, uint32_t page)
{
    return (page * order->multiplier + order->offset) % PAIR_PAGES;
}

static float *random_floats(uint32_t count, float middle, float spread, uint64_t seed)
{
    float *floats = malloc(count * sizeof *floats);
    assert_non_null(floats);
    for (uint32_t i = 0; i < count; i++)
        floats[i] = middle + spread * random_float(&seed);
    return floats;
}

static uint32_t row_width(const struct attention_pair *p)
{
    return (p->c.group + 2) * p->c.n_kv_heads * p->c.d_head;
}

uint32_t step_row_count(const struct step_part *parts, uint32_t count)
{
    uint32_t rows = 0;
    for (uint32_t i = 0; i < count; i++)
        rows += parts[i].end - parts[i].first;
    return rows;
}

/* Arrays of struct step_batch, and its rows of qkv. */
struct step_arrays {
    uint32_t *row_start, *row_position, *row_sequence, *tables;
    float *qkv;
    struct step_batch batch;
};

static void step_arrays_make(const struct attention_pair *p, const struct step_part *parts,
                             uint32_t count, struct step_arrays *out)
{
    uint32_t n_rows = step_row_count(parts, count), width = row_width(p), r = 0;
    *out = (struct step_arrays){.row_start = malloc((count + 1) * sizeof(uint32_t)),
                                .row_position = malloc((n_rows + 1) * sizeof(uint32_t)),
                                .row_sequence = malloc((n_rows + 1) * sizeof(uint32_t)),
                                .tables = malloc(count * PAIR_PAGES_EACH * sizeof(uint32_t)),
                                .qkv = malloc((size_t)(n_rows + 1) * width * sizeof(float))};
    for (uint32_t s = 0; s < count; s++) {
        out->row_start[s] = r;
        for (uint32_t i = 0; i < PAIR_PAGES_EACH; i++)
            out->tables[s * PAIR_PAGES_EACH + i] = parts[s].sequence * PAIR_PAGES_EACH + i;
        for (uint32_t at = parts[s].first; at < parts[s].end; at++, r++) {
            uint64_t seed = (parts[s].sequence * UINT64_C(1000) + p->lengths[parts[s].sequence]) *
                                UINT64_C(10007) +
                            at;
            out->row_position[r] = at;
            out->row_sequence[r] = s;
            for (uint32_t i = 0; i < width; i++)
                out->qkv[(size_t)r * width + i] = 2 * random_float(&seed);
        }
    }
    out->row_start[count] = n_rows;
    out->batch = (struct step_batch){
        n_rows,      count,          out->row_start, out->row_position, out->row_sequence,
        out->tables, PAIR_PAGES_EACH};
}

static void step_arrays_free(struct step_arrays *a)
{
    free(a->row_start);
    free(a->row_position);
    free(a->row_sequence);
    free(a->tables);
    free(a->qkv);
}

static void tables_fill(struct attention_pair *p)
{
    const struct head_case *c = &p->c;
    p->frequencies = malloc(c->d_rope / 2 * sizeof(float));
    for (uint32_t i = 0; i < c->d_rope / 2; i++)
        p->frequencies[i] = (float)pow(10000.0, -2.0 * i / c->d_rope);
    p->query_gain = random_floats(c->d_head, 0.9f, 0.3f, 5);
    p->key_gain = random_floats(c->d_head, 0.9f, 0.3f, 6);
    p->sinks = random_floats(c->group * c->n_kv_heads, 0, 6, 7);
    p->rope = (struct rope_table){p->frequencies, c->d_rope, 1.1f, c->is_interleaved};
    p->shape = (struct attention_shape){.n_heads = c->group * c->n_kv_heads,
                                        .n_kv_heads = c->n_kv_heads,
                                        .d_head = c->d_head,
                                        .scale = 1.0f / sqrtf((float)c->d_head),
                                        .soft_cap = c->soft_cap,
                                        .window = c->window,
                                        .sinks = c->has_sinks ? p->sinks : NULL,
                                        .query_gain = c->has_gains ? p->query_gain : NULL,
                                        .key_gain = c->has_gains ? p->key_gain : NULL,
                                        .gain_epsilon = 1e-3f};
}

void attention_pair_open(struct attention_pair *p, const struct head_case *c,
                         const uint32_t *lengths, uint32_t n_sequences)
{
    *p = (struct attention_pair){.c = *c, .reference = backend_open_or_die(BACKEND_REFERENCE, 1)};
    tables_fill(p);
    struct step_part parts[PAIR_SEQUENCES_MAX];
    assert_true(n_sequences <= PAIR_SEQUENCES_MAX);
    for (uint32_t s = 0; s < n_sequences; s++) {
        assert_true(lengths[s] <= PAIR_PAGES_EACH * KV_BLOCK_TOKENS);
        p->lengths[s] = lengths[s];
        parts[s] = (struct step_part){s, 0, lengths[s]};
    }
    struct kv_shape shape = {1, c->n_kv_heads, c->d_head, PAIR_PAGES, c->type};
    const struct backend_operations *op = p->reference->operations;
    assert_int_equal(op->kv_create(p->reference, &shape, &p->kv), STATUS_OK);
    struct step_arrays all;
    step_arrays_make(p, parts, n_sequences, &all);
    op->rope_kv_append(p->reference, all.qkv, &p->rope, &p->shape, &all.batch, p->kv, 0);
    step_arrays_free(&all);
}

void attention_pair_close(struct attention_pair *p)
{
    p->reference->operations->kv_destroy(p->reference, p->kv);
    backend_close(p->reference);
    free(p->frequencies);
    free(p->query_gain);
    free(p->key_gain);
    free(p->sinks);
}

float *attention_pair_expected(struct attention_pair *p, const struct step_part *parts,
                               uint32_t count)
{
    const struct backend_operations *op = p->reference->operations;
    struct step_arrays a;
    step_arrays_make(p, parts, count, &a);
    uint32_t width = p->shape.n_heads * p->c.d_head;
    activation out = {.n_cols = width,
                      .rows_max = a.batch.n_rows,
                      .values = malloc((size_t)(a.batch.n_rows + 1) * width * sizeof(float))};
    op->rope_kv_append(p->reference, a.qkv, &p->rope, &p->shape, &a.batch, p->kv, 0);
    op->attention(p->reference, a.qkv, &p->shape, &a.batch, p->kv, 0, &out);
    step_arrays_free(&a);
    return out.values;
}

const uint8_t *reference_vector_at(const struct attention_pair *p, bool is_value, uint32_t sequence,
                                   uint32_t position, uint32_t kv_head)
{
    uint32_t page = logical_page(sequence, position);
    size_t vector =
        ((size_t)page * p->c.n_kv_heads + kv_head) * KV_BLOCK_TOKENS + position % KV_BLOCK_TOKENS;
    return (is_value ? p->kv->values : p->kv->keys) +
           vector * reference_vector_bytes(&p->kv->shape);
}

/* The device's vector of a position: where it is in an array of them. */
static size_t device_vector(const struct attention_pair *p, const struct page_order *order,
                            uint32_t sequence, uint32_t position, uint32_t kv_head)
{
    size_t page = physical_page(order, logical_page(sequence, position));
    return (page * p->c.n_kv_heads + kv_head) * KV_BLOCK_TOKENS + position % KV_BLOCK_TOKENS;
}

/* Keys or values of the positions before the step, and dead bytes. */
static void layer_fill(struct attention_pair *p, struct device_rig *rig, bool is_value,
                       const struct step_part *parts, uint32_t count,
                       const struct page_order *order, void **vectors, float **scales)
{
    bool is_int8 = p->c.type == KV_INT8;
    size_t bytes = (p->c.type == KV_F16 ? 2 : 1) * p->c.d_head;
    size_t all = (size_t)PAIR_PAGES * p->c.n_kv_heads * KV_BLOCK_TOKENS;
    uint8_t *data = malloc(all * bytes);
    float *factors = malloc(all * sizeof(float));
    memset(data, order->dead, all * bytes);
    memset(factors, order->dead, all * sizeof(float));
    for (uint32_t s = 0; s < count; s++) {
        for (uint32_t at = 0; at < parts[s].first; at++) {
            for (uint32_t h = 0; h < p->c.n_kv_heads; h++) {
                size_t vector = device_vector(p, order, parts[s].sequence, at, h);
                const uint8_t *from = reference_vector_at(p, is_value, parts[s].sequence, at, h);
                memcpy(data + vector * bytes, from, bytes);
                if (is_int8)
                    memcpy(&factors[vector], from + bytes, sizeof(float));
            }
        }
    }
    uint64_t earlier = order->base * p->c.n_kv_heads * KV_BLOCK_TOKENS;
    *vectors = (void *)((uintptr_t)device_rig_put(rig, data, all * bytes) - earlier * bytes);
    if (is_int8)
        *scales = (float *)((uintptr_t)device_rig_put(rig, factors, all * sizeof(float)) -
                            earlier * sizeof(float));
    assert_int_equal(device_stream_synchronize(rig->stream), STATUS_OK);
    free(data);
    free(factors);
}

static void state_fill(struct device_rig *rig, const struct step_arrays *a,
                       const struct page_order *order, uint32_t padding, struct step_state *out)
{
    uint32_t n = a->batch.n_sequences, rows = a->batch.n_rows;
    uint32_t *start = calloc(n + padding + 1, sizeof *start);
    uint32_t *position = calloc(rows + padding, sizeof *position);
    uint32_t *sequence = calloc(rows + padding, sizeof *sequence);
    uint32_t *tables = malloc((size_t)(n + padding) * PAIR_PAGES_EACH * sizeof *tables);
    memcpy(start, a->row_start, (n + 1) * sizeof *start);
    memcpy(position, a->row_position, rows * sizeof *position);
    memcpy(sequence, a->row_sequence, rows * sizeof *sequence);
    for (uint32_t i = 0; i < padding; i++) {
        start[n + i + 1] = rows + i + 1;
        sequence[rows + i] = n + i;
    }
    /* the trash page is the last of the cache, which no sequence of the tests is long enough to have */
    for (uint32_t i = 0; i < (n + padding) * PAIR_PAGES_EACH; i++)
        tables[i] = (uint32_t)(physical_page(order, i < n * PAIR_PAGES_EACH ? a->tables[i]
                                                                            : PAIR_PAGES - 1) +
                               order->base);
    uint32_t counts[3] = {rows, n, 0};
    *out = (struct step_state){
        .row_position = device_rig_put(rig, position, (rows + padding) * sizeof *position),
        .row_sequence = device_rig_put(rig, sequence, (rows + padding) * sizeof *sequence),
        .row_start = device_rig_put(rig, start, (n + padding + 1) * sizeof *start),
        .block_tables =
            device_rig_put(rig, tables, (uint64_t)(n + padding) * PAIR_PAGES_EACH * sizeof *tables),
        .block_table_stride = PAIR_PAGES_EACH,
        .counts = device_rig_put(rig, counts, sizeof counts)};
    assert_int_equal(device_stream_synchronize(rig->stream), STATUS_OK);
    free(start);
    free(position);
    free(sequence);
    free(tables);
}

static const float *put_or_null(struct device_rig *rig, const float *floats, uint32_t count)
{
    return floats != NULL && count > 0 ? device_rig_put(rig, floats, count * sizeof *floats) : NULL;
}

/* All forms of an activation. */
static struct activation_view view_make(struct device_rig *rig, uint32_t n_rows, uint32_t n_cols)
{
    uint64_t all = (uint64_t)n_rows * n_cols;
    struct activation_view view = {.n_cols = n_cols,
                                   .f32 = device_rig_room(rig, all * 4),
                                   .bf16 = device_rig_room(rig, all * 2),
                                   .f16 = device_rig_room(rig, all * 2)};
    if (n_cols % ACTIVATION_GROUP == 0) {
        view.codes = device_rig_room(rig, all);
        view.scales = device_rig_room(rig, all / ACTIVATION_GROUP * 4);
        view.sums = device_rig_room(rig, all / ACTIVATION_GROUP * 4);
    }
    return view;
}

static void arguments_fill(struct attention_pair *p, struct device_rig *rig,
                           const struct step_arrays *a, uint32_t chunks_of, uint32_t padding,
                           struct device_step *out)
{
    const struct head_case *c = &p->c;
    uint32_t heads = p->shape.n_heads, n_sequences = a->batch.n_sequences + padding;
    float *qkv = device_rig_put(rig, a->qkv, (uint64_t)out->n_rows * row_width(p) * sizeof(float));
    struct rope_append_args *append = &out->append;
    append->qkv = qkv;
    append->n_rows = out->n_rows;
    append->n_heads = heads;
    append->frequencies = put_or_null(rig, p->frequencies, c->d_rope / 2);
    append->d_rope = c->d_rope;
    append->magnitude = p->rope.magnitude;
    append->is_interleaved = c->is_interleaved;
    append->query_gain = put_or_null(rig, p->shape.query_gain, c->d_head);
    append->key_gain = put_or_null(rig, p->shape.key_gain, c->d_head);
    append->gain_epsilon = p->shape.gain_epsilon;
    uint32_t chunks = attention_chunks(chunks_of);
    out->attention = (struct attention_args){
        .qkv = qkv,
        .kv = append->kv,
        .state = append->state,
        .n_heads = heads,
        .scale = p->shape.scale,
        .soft_cap = c->soft_cap,
        .window = c->window,
        .sinks = put_or_null(rig, p->shape.sinks, heads),
        .n_rows = out->n_rows,
        .n_sequences = n_sequences,
        .may_have_split = true,
        .may_have_long = padding == 0,
        .chunks = chunks,
        .partials =
            device_rig_room(rig, attention_partial_bytes(n_sequences, chunks, heads, c->d_head)),
        .multiprocessors = 2,
        .out = view_make(rig, out->n_rows, heads * c->d_head)};
}

void device_step_make(struct attention_pair *p, struct device_rig *rig,
                      const struct step_part *parts, uint32_t count, const struct page_order *order,
                      uint32_t chunks_of, uint32_t padding, struct device_step *out)
{
    const struct head_case *c = &p->c;
    struct step_arrays a;
    step_arrays_make(p, parts, count, &a);
    *out = (struct device_step){.n_rows = a.batch.n_rows + padding};
    a.qkv = realloc(a.qkv, (size_t)(out->n_rows + 1) * row_width(p) * sizeof(float));
    assert_non_null(a.qkv);
    for (size_t i = (size_t)a.batch.n_rows * row_width(p); i < (size_t)out->n_rows * row_width(p);
         i++)
        a.qkv[i] = 1;
    struct kv_layer *kv = &out->append.kv;
    *kv = (struct kv_layer){.type = c->type, .n_kv_heads = c->n_kv_heads, .d_head = c->d_head};
    layer_fill(p, rig, false, parts, count, order, &kv->keys, &kv->key_scales);
    layer_fill(p, rig, true, parts, count, order, &kv->values, &kv->value_scales);
    state_fill(rig, &a, order, padding, &out->append.state);
    arguments_fill(p, rig, &a, chunks_of, padding, out);
    assert_int_equal(device_stream_synchronize(rig->stream), STATUS_OK);
    step_arrays_free(&a);
}

float *device_step_run(struct device_rig *rig, const struct device_step *step)
{
    rope_append_launch(rig->stream, &step->append);
    attention_launch(rig->stream, &step->attention);
    size_t bytes = (size_t)step->n_rows * step->attention.out.n_cols * sizeof(float);
    float *rows = malloc(bytes);
    device_rig_get(rig, rows, step->attention.out.f32, bytes);
    return rows;
}

size_t device_vector_read(struct attention_pair *p, struct device_rig *rig,
                          const struct device_step *step, const struct page_order *order,
                          bool is_value, uint32_t sequence, uint32_t position, uint32_t kv_head,
                          uint8_t *out)
{
    const struct kv_layer *kv = &step->append.kv;
    size_t bytes = (p->c.type == KV_F16 ? 2 : 1) * p->c.d_head;
    size_t vector = device_vector(p, order, sequence, position, kv_head) +
                    order->base * p->c.n_kv_heads * KV_BLOCK_TOKENS;
    device_rig_get(rig, out, (const uint8_t *)(is_value ? kv->values : kv->keys) + vector * bytes,
                   bytes);
    if (p->c.type != KV_INT8)
        return bytes;
    device_rig_get(rig, out + bytes, (is_value ? kv->value_scales : kv->key_scales) + vector,
                   sizeof(float));
    return bytes + sizeof(float);
}
