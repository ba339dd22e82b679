#ifndef PENSTOCK_KERNELS_CUDA_BACKEND_NET_TESTING_H
#define PENSTOCK_KERNELS_CUDA_BACKEND_NET_TESTING_H

/* A decoder of two small layers over the table of operations, of weights of several types, for tests of how steps are
 * queued, kept as graphs and sampled: every operation that a dense model's step has, in its order. */

#include "backend.h"
#include "device_sampling.h"
#include "kernel_testing.h"
#include "unit_test.h"

#define NET_VOCABULARY 96u
#define NET_D          128u
#define NET_HEADS      2u
#define NET_D_HEAD     64u
#define NET_QKV        ((NET_HEADS + 2) * NET_D_HEAD)
#define NET_FFN        96u
#define NET_LAYERS     2u
#define NET_BLOCKS     24u
#define NET_TABLE      3u /* blocks of a sequence */
#define NET_SEQUENCES  12u
#define NET_ROWS       80u
#define NET_EPSILON    1e-5f
#define NET_STEPS      2u /* that may be queued */

struct net_weights {
    weight *qkv, *out, *gate_up, *down;
};

struct net {
    backend *b;
    const struct backend_operations *o;
    weight *table, *head;
    struct net_weights layers[NET_LAYERS];
    activation *in, *attended, *gated, *last;
    float *gain, *x, *qkv, *logits;
    kv_store *kv;
    float frequencies[NET_D_HEAD / 2];
    struct rope_table rope;
    struct attention_shape attention;
};

/* What a step is called with: sequence s has the rows [start[s], start[s + 1]). */
struct net_step {
    struct step_batch batch;
    int32_t tokens[NET_ROWS];
    uint32_t starts[NET_SEQUENCES + 1], positions[NET_ROWS], sequences[NET_ROWS];
    uint32_t tables[NET_SEQUENCES * NET_TABLE];
    uint32_t logit_rows[NET_SEQUENCES];
    struct device_sample samples[NET_SEQUENCES];
    bool is_usual;
};

static inline status net_weight(struct net *net, enum tensor_type type, uint32_t n_outputs,
                                uint32_t n_cols, uint64_t *state, weight **out)
{
    struct tensor_source source = random_tensor(type, n_outputs, n_cols, state);
    status result = net->o->weight_create(net->b, &source, 1, out);
    tensor_free(&source);
    return result;
}

static inline status net_gated(struct net *net, uint64_t *state, weight **out)
{
    struct tensor_source gate = random_tensor(TENSOR_Q8_0, NET_FFN, NET_D, state);
    struct tensor_source up = random_tensor(TENSOR_Q8_0, NET_FFN, NET_D, state);
    status result = net->o->weight_create_gated(net->b, &gate, &up, out);
    tensor_free(&gate);
    tensor_free(&up);
    return result;
}

static inline status net_open_weights(struct net *net)
{
    uint64_t state = 11;
    status s = net_weight(net, TENSOR_F16, NET_VOCABULARY, NET_D, &state, &net->table);
    if (s == STATUS_OK)
        s = net_weight(net, TENSOR_Q8_0, NET_VOCABULARY, NET_D, &state, &net->head);
    for (uint32_t i = 0; i < NET_LAYERS && s == STATUS_OK; i++) {
        struct net_weights *layer = &net->layers[i];
        s = net_weight(net, TENSOR_Q8_0, NET_QKV, NET_D, &state, &layer->qkv);
        if (s == STATUS_OK)
            s = net_weight(net, TENSOR_BF16, NET_D, NET_HEADS * NET_D_HEAD, &state, &layer->out);
        if (s == STATUS_OK)
            s = net_gated(net, &state, &layer->gate_up);
        if (s == STATUS_OK)
            s = net_weight(net, TENSOR_Q4_0, NET_D, NET_FFN, &state, &layer->down);
    }
    return s;
}

static inline status net_open_activations(struct net *net)
{
    const struct net_weights *layer = &net->layers[0];
    status s = net->o->activation_create(net->b, layer->qkv, NET_ROWS, &net->in);
    if (s == STATUS_OK)
        s = net->o->activation_create(net->b, layer->out, NET_ROWS, &net->attended);
    if (s == STATUS_OK)
        s = net->o->activation_create(net->b, layer->down, NET_ROWS, &net->gated);
    if (s == STATUS_OK)
        s = net->o->activation_create(net->b, net->head, NET_SEQUENCES, &net->last);
    return s;
}

static inline status net_open_buffers(struct net *net)
{
    float gain[NET_D];
    for (uint32_t i = 0; i < NET_D; i++)
        gain[i] = 4.0f + (float)(i % 5);
    net->gain = net->o->allocate(net->b, sizeof(gain));
    net->x = net->o->allocate(net->b, sizeof(float) * NET_ROWS * NET_D);
    net->qkv = net->o->allocate(net->b, sizeof(float) * NET_ROWS * NET_QKV);
    net->logits = net->o->allocate(net->b, sizeof(float) * NET_SEQUENCES * NET_VOCABULARY);
    if (net->gain == NULL || net->x == NULL || net->qkv == NULL || net->logits == NULL)
        return STATUS_NO_MEMORY;
    net->o->upload(net->b, net->gain, gain, sizeof(gain));
    return STATUS_OK;
}

static inline status net_prepare(struct net *net)
{
    const struct step_limits limits = {
        .rows_max = NET_ROWS,
        .sequences_max = NET_SEQUENCES,
        .logit_rows_max = NET_SEQUENCES,
        .block_table_stride = NET_TABLE,
        .vocabulary = NET_VOCABULARY,
        .slots_max = NET_SEQUENCES,
        .n_heads = NET_HEADS,
        .d_head = NET_D_HEAD,
        .steps_max = NET_STEPS,
    };
    return net->o->memory_is_host ? STATUS_OK : net->o->step_prepare(net->b, &limits);
}

/* Takes the backend. What was made stays made when something fails: net_close. */
static inline status net_open(struct net *net, backend *b)
{
    *net = (struct net){.b = b, .o = b->operations};
    for (uint32_t i = 0; i < NET_D_HEAD / 2; i++)
        net->frequencies[i] = powf(10000.0f, -2.0f * (float)i / (float)NET_D_HEAD);
    net->rope = (struct rope_table){net->frequencies, NET_D_HEAD, 1.0f, false};
    net->attention = (struct attention_shape){
        .n_heads = NET_HEADS, .n_kv_heads = 1, .d_head = NET_D_HEAD, .scale = 0.125f};
    const struct kv_shape shape = {NET_LAYERS, 1, NET_D_HEAD, NET_BLOCKS, KV_F16};
    status s = net_open_weights(net);
    if (s == STATUS_OK)
        s = net_open_activations(net);
    if (s == STATUS_OK)
        s = net_open_buffers(net);
    if (s == STATUS_OK)
        s = net->o->kv_create(b, &shape, &net->kv);
    return s == STATUS_OK ? net_prepare(net) : s;
}

static inline void net_close(struct net *net)
{
    activation *activations[] = {net->in, net->attended, net->gated, net->last};
    float *buffers[] = {net->gain, net->x, net->qkv, net->logits};
    for (uint32_t i = 0; i < NET_LAYERS; i++) {
        net->o->weight_destroy(net->b, net->layers[i].qkv);
        net->o->weight_destroy(net->b, net->layers[i].out);
        net->o->weight_destroy(net->b, net->layers[i].gate_up);
        net->o->weight_destroy(net->b, net->layers[i].down);
    }
    net->o->weight_destroy(net->b, net->table);
    net->o->weight_destroy(net->b, net->head);
    for (size_t i = 0; i < ARRAY_COUNT(activations); i++)
        net->o->activation_destroy(net->b, activations[i]);
    for (size_t i = 0; i < ARRAY_COUNT(buffers); i++)
        if (buffers[i] != NULL)
            net->o->release(net->b, buffers[i]);
    net->o->kv_destroy(net->b, net->kv);
    backend_close(net->b);
}

/* The step's operations up to its logits. */
static inline void net_forward(struct net *net, const struct net_step *step, uint32_t n_rows,
                               uint32_t n_logit_rows)
{
    const struct backend_operations *o = net->o;
    const struct gated_terms none = {NULL, NULL};
    o->embed(net->b, net->table, step->tokens, n_rows, 1.0f, net->x);
    for (uint32_t i = 0; i < NET_LAYERS; i++) {
        const struct net_weights *w = &net->layers[i];
        o->rms_norm(net->b, net->x, net->gain, NET_EPSILON, NULL, n_rows, NET_D, net->in);
        o->matmul(net->b, w->qkv, net->in, n_rows, NULL, false, net->qkv);
        o->rope_kv_append(net->b, net->qkv, &net->rope, &net->attention, &step->batch, net->kv, i);
        o->attention(net->b, net->qkv, &net->attention, &step->batch, net->kv, i, net->attended);
        o->matmul(net->b, w->out, net->attended, n_rows, NULL, true, net->x);
        o->rms_norm(net->b, net->x, net->gain, NET_EPSILON, NULL, n_rows, NET_D, net->in);
        o->matmul_gated(net->b, w->gate_up, net->in, n_rows, &none, GATE_SILU, net->gated);
        o->matmul(net->b, w->down, net->gated, n_rows, NULL, true, net->x);
    }
    o->rms_norm(net->b, net->x, net->gain, NET_EPSILON, step->logit_rows, n_logit_rows, NET_D,
                net->last);
    o->matmul(net->b, net->head, net->last, n_logit_rows, NULL, false, net->logits);
}

/* Sequence s gets `counts[s]` rows from position first[s] on, its last row a sample of temperature 1; tokens: [rows]. Its
 * blocks are permuted. */
static inline void net_describe(struct net_step *step, const uint32_t *first,
                                const uint32_t *counts, uint32_t n_sequences, const int32_t *tokens)
{
    uint32_t n = 0;
    for (uint32_t s = 0; s < n_sequences; s++) {
        step->starts[s] = n;
        for (uint32_t i = 0; i < counts[s]; i++, n++) {
            step->tokens[n] = tokens[n];
            step->positions[n] = first[s] + i;
            step->sequences[n] = s;
        }
        step->logit_rows[s] = n - 1;
        step->samples[s] = (struct device_sample){
            .logit_row = s,
            .slot = DEVICE_SAMPLE_NONE,
            .mask = DEVICE_SAMPLE_NONE,
            .position = first[s] + counts[s],
            .logprobs = -1,
            .seed = 1000 + s,
            .temperature = 1.0f,
            .top_p = 1.0f,
        };
        for (uint32_t i = 0; i < NET_TABLE; i++) /* 24 blocks: four sequences have three each */
            step->tables[s * NET_TABLE + i] = (s * NET_TABLE + i) * 5 % NET_BLOCKS;
    }
    step->starts[n_sequences] = n;
    step->batch = (struct step_batch){
        n, n_sequences, step->starts, step->positions, step->sequences, step->tables, NET_TABLE};
}

/* Queues the step and its samples. */
static inline status net_launch(struct net *net, struct net_step *step, uint64_t *ticket)
{
    struct step_extent extent;
    uint32_t n_sequences = step->batch.n_sequences;
    status s = net->o->step_begin(net->b, &step->batch, step->tokens, step->logit_rows, n_sequences,
                                  step->is_usual, &extent);
    if (s != STATUS_OK)
        return s;
    if (!extent.is_replayed)
        net_forward(net, step, extent.n_rows, extent.n_logit_rows);
    net->o->step_sample(net->b, net->logits, step->samples, n_sequences, NULL, 0);
    return net->o->step_end(net->b, ticket);
}

#endif
