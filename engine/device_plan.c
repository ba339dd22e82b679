#include "device_plan.h"

#include <math.h>
#include <string.h>

#include "batcher.h"
#include "check.h"
#include "device_sampling.h"

#define GB   1e9
#define TERA 1e12
#define MIB  ((uint64_t)1 << 20)

/* From the vendors' data sheets: dense rates, without sparsity; links one way. */
static const struct device_figures DEVICES[] = {
    {"L40S", 48000 * (uint64_t)1000000, 864 * GB, 362 * TERA, 733 * TERA, 32 * GB, 8, false},
    {"A100", 80000 * (uint64_t)1000000, 2039 * GB, 312 * TERA, 0, 300 * GB, 8, false},
    {"H100", 80000 * (uint64_t)1000000, 3350 * GB, 989 * TERA, 1979 * TERA, 450 * GB, 8, false},
    {"H200", 141000 * (uint64_t)1000000, 4800 * GB, 989 * TERA, 1979 * TERA, 450 * GB, 8, false},
    {"B200", 180000 * (uint64_t)1000000, 8000 * GB, 2250 * TERA, 4500 * TERA, 900 * GB, 8, false},
    {"MI300X", 192000 * (uint64_t)1000000, 5300 * GB, 1307 * TERA, 2615 * TERA, 448 * GB, 8, true},
};

/* Shares of the peaks that servers reach: vLLM reads an 8B model's weights at 70 % of an H100's rate, and products of large
 * prompts run at 60 % of the tensor cores'. */
#define MEMORY_SHARE  0.70
#define COMPUTE_SHARE 0.60

/* A launch inside a graph, and launches a layer once small operations are fused. */
#define LAUNCH_S         1.3e-6
#define LAUNCHES_A_LAYER 7.0

/* What adding up costs beside its bytes: NCCL in a graph within a node; over a network. */
#define ADD_S        12e-6
#define ADD_REMOTE_S 30e-6
#define NETWORK_RATE (50 * GB) /* 400 Gbit/s a device */

/* Left alone: contexts, libraries' own memory, fragmentation. */
#define DEVICE_SHARE   0.95
#define RESERVED_BYTES (1024 * MIB)

/* Rows behind which a coded weight is made bf16 for the product: room for the largest matrix. */
#define SCRATCH_ELEMENT_BYTES 2u

/* What the CUDA backend's steps make room for (cuda_step.c, attention.h, cuda_memory.c); engine_plan_device_test.c holds it to
 * this. */
#define SAMPLES_AT_ONCE         64.0
#define SAMPLE_VOCABULARY_BYTES 8.0
#define ATTENTION_CHUNK         256.0
#define ATTENTION_CHUNKS_MIN    8.0
#define ATTENTION_CHUNKS_MAX    64.0
#define SMALL_BYTES             (5.0 * MIB) /* rings of small arrays, tables of angles */

const struct device_figures *device_figures_at(uint32_t index)
{
    return index < ARRAY_COUNT(DEVICES) ? &DEVICES[index] : NULL;
}

static char upper(char c)
{
    return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
}

static bool is_word_end(char c)
{
    c = upper(c);
    return !((c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'));
}

static bool has_word(const char *text, const char *word)
{
    size_t length = strlen(word);
    for (size_t i = 0; text[i] != '\0'; i++) {
        size_t j = 0;
        while (j < length && upper(text[i + j]) == word[j])
            j++;
        if (j == length && is_word_end(text[i + j]) && (i == 0 || is_word_end(text[i - 1])))
            return true;
    }
    return false;
}

const struct device_figures *device_figures_find(const char *product)
{
    for (uint32_t i = 0; i < ARRAY_COUNT(DEVICES); i++)
        if (has_word(product, DEVICES[i].name))
            return &DEVICES[i];
    return NULL;
}

/* --- what a rank holds --- */

static uint64_t ceil_divided(uint64_t a, uint64_t b)
{
    return (a + b - 1) / b;
}

/* Layers of the stage that has most. */
static uint32_t stage_layers(const struct device_plan_input *input)
{
    return (uint32_t)ceil_divided(input->model->n_layers, input->pipeline);
}

/* Key heads of a rank: those that are fewer than ranks are held by several. */
static uint32_t rank_kv_heads(const struct device_plan_input *input)
{
    uint32_t heads = input->model->n_kv_heads;
    return heads > input->tensor ? heads / input->tensor : 1;
}

/* Of the layers' bytes or elements, what one rank of a stage has. */
static double layers_share(const struct device_plan_input *input, const uint64_t *counts,
                           double expert_share)
{
    const struct model_info *m = input->model;
    double stage = (double)stage_layers(input) / m->n_layers;
    double kv = (double)rank_kv_heads(input) / m->n_kv_heads;
    double split = (double)counts[PART_QUERY] + (double)counts[PART_FFN] +
                   (double)counts[PART_EXPERTS] * expert_share;
    return stage * (split / input->tensor + (double)counts[PART_KEY_VALUE] * kv +
                    (double)counts[PART_REST]);
}

static double head_bytes(const struct device_plan_input *input)
{
    const uint64_t *bytes = input->parts->bytes;
    return (double)(bytes[PART_HEAD] > 0 ? bytes[PART_HEAD] : bytes[PART_EMBEDDING]);
}

/* One stage: all; several: the first has the embedding, the last the head. */
static double rank_weight_bytes(const struct device_plan_input *input)
{
    const uint64_t *bytes = input->parts->bytes;
    double ends = (double)bytes[PART_EMBEDDING] + (double)bytes[PART_HEAD];
    if (input->pipeline > 1)
        ends = fmax((double)bytes[PART_EMBEDDING], head_bytes(input));
    return layers_share(input, bytes, 1.0) + ends / input->tensor;
}

/* The largest matrix of a rank, of which there may be a copy in bf16. */
static double scratch_elements(const struct device_plan_input *input)
{
    const struct model_info *m = input->model;
    double ffn = 2.0 * m->d * m->d_ffn / input->tensor;
    double head = (double)m->d * m->vocabulary / input->tensor;
    return fmax(ffn, head);
}

static uint64_t rank_token_bytes(const struct device_plan_input *input)
{
    const struct model_info *m = input->model;
    double whole = (double)m->kv_block_bytes / KV_BLOCK_TOKENS;
    double heads = (double)rank_kv_heads(input) / m->n_kv_heads;
    return (uint64_t)ceil(whole * heads * stage_layers(input) / m->n_layers);
}

/* Rows that go through the MLP: of a mixture each row once for each of its experts. */
static double ffn_rows(const struct device_plan_input *input)
{
    uint32_t used = input->model->n_experts_used;
    return (double)input->batch_tokens_max * (used > 0 ? used : 1);
}

/* Floats of the stream, its sum, query, key and value, and of gate and up; and inputs of products, as bf16 and codes. */
static double rank_row_bytes(const struct device_plan_input *input)
{
    const struct model_info *m = input->model;
    double qkv = (double)(m->n_heads / input->tensor + 2 * rank_kv_heads(input)) * m->d_head;
    double gated = 2.0 * m->d_ffn / input->tensor;
    double slots = m->n_experts_used > 0 ? (double)m->d : 0.0;
    return (4.0 * (2.0 * m->d + qkv) + 3.25 * 2.0 * m->d) * input->batch_tokens_max +
           (4.0 * gated + 3.25 * (gated + slots)) * ffn_rows(input);
}

/* Logits, on all ranks also the rank's part of them; and what drawing from them takes: counts of tokens and biases a slot, masks,
 * and a row of scratch or two a sample of a launch. */
static double rank_sampling_bytes(const struct device_plan_input *input)
{
    double slots = input->sequence_count_max, vocabulary = input->model->vocabulary;
    double rows = slots + STEP_DRAFTS_MAX + STEP_SCORES_MAX;
    double logits = 4.0 * rows * vocabulary;
    if (input->tensor > 1)
        logits += logits / input->tensor;
    double samples = fmin(rows, SAMPLES_AT_ONCE);
    return logits + 4.0 * slots * vocabulary + rows * vocabulary / 8.0 +
           SAMPLE_VOCABULARY_BYTES * samples * vocabulary +
           slots * DEVICE_BIASES_MAX * sizeof(struct device_logit_bias);
}

/* Partial results of attention, and block tables. */
static double rank_sequence_bytes(const struct device_plan_input *input)
{
    const struct model_info *m = input->model;
    double chunks = fmin(fmax((double)input->context_max / ATTENTION_CHUNK, ATTENTION_CHUNKS_MIN),
                         ATTENTION_CHUNKS_MAX);
    double heads = (double)m->n_heads / input->tensor;
    double tables = 4.0 * (double)input->context_max / KV_BLOCK_TOKENS;
    return input->sequence_count_max * (4.0 * (chunks + 1.0) * heads * (m->d_head + 1) + tables);
}

/* Blocks beside the cache's own: one that padding writes to, and the ring of those on their way to the host. */
#define EXTRA_BLOCKS 9u

static double rank_activation_bytes(const struct device_plan_input *input)
{
    return rank_row_bytes(input) + rank_sampling_bytes(input) + rank_sequence_bytes(input) +
           EXTRA_BLOCKS * KV_BLOCK_TOKENS * (double)rank_token_bytes(input) + SMALL_BYTES +
           SCRATCH_ELEMENT_BYTES * scratch_elements(input);
}

/* --- how long a step takes --- */

/* Of a layer's experts, the share that a step of so many rows reads. */
static double expert_share(const struct model_info *m, double rows)
{
    if (m->n_experts == 0)
        return 1.0;
    double missed = 1.0 - (double)m->n_experts_used / m->n_experts;
    return 1.0 - pow(missed, rows);
}

/* Parameters that a token passes, of all ranks. */
static double active_elements(const struct device_plan_input *input)
{
    const uint64_t *e = input->parts->elements;
    const struct model_info *m = input->model;
    double experts = (double)e[PART_EXPERTS];
    if (m->n_experts > 0)
        experts *= (double)m->n_experts_used / m->n_experts;
    return (double)e[PART_QUERY] + (double)e[PART_KEY_VALUE] + (double)e[PART_FFN] + experts;
}

/* Adding up `rows` rows over the tensor ranks, twice a layer, and handing them from stage to stage. */
static double exchange_s(const struct device_plan_input *input, double rows)
{
    const struct model_info *m = input->model;
    double bytes = rows * m->d * sizeof(float), total = 0.0;
    if (input->tensor > 1) {
        bool is_near = input->tensor <= input->device->node_devices;
        double rate = is_near ? input->device->link_rate : NETWORK_RATE;
        double moved = 2.0 * bytes * (input->tensor - 1) / input->tensor;
        total += 2.0 * m->n_layers * ((is_near ? ADD_S : ADD_REMOTE_S) + moved / rate);
    }
    return total + (input->pipeline - 1) * (ADD_REMOTE_S + bytes / NETWORK_RATE);
}

/* A step of `rows` rows over all stages, one after the other; `attended`: positions that they look at, in all; `logit_rows`:
 * rows of the head. */
static double step_s(const struct device_plan_input *input, double rows, double attended,
                     double logit_rows)
{
    const struct model_info *m = input->model;
    const struct device_figures *d = input->device;
    double stages = (double)m->n_layers / stage_layers(input);
    double share = expert_share(m, rows);
    double bytes = layers_share(input, input->parts->bytes, share) * stages +
                   head_bytes(input) / input->tensor +
                   attended * (double)rank_token_bytes(input) * stages;
    double head = (double)m->d * m->vocabulary;
    double operations = 2.0 * (active_elements(input) * rows + head * logit_rows) +
                        4.0 * attended * m->n_heads * m->d_head * m->n_layers;
    double reading = bytes / (d->memory_rate * MEMORY_SHARE);
    double computing = operations / input->tensor / (d->bf16_rate * COMPUTE_SHARE);
    return fmax(reading, computing) + m->n_layers * LAUNCHES_A_LAYER * LAUNCH_S +
           exchange_s(input, rows);
}

/* A prompt is read in pieces of batch_tokens_max; stages work on different ones at a time. */
static double first_token_s(const struct device_plan_input *input)
{
    double piece = fmin(input->batch_tokens_max, input->prompt_tokens);
    double pieces = ceil(input->prompt_tokens / piece);
    double rows = input->prompt_tokens / pieces;
    double total = 0.0, longest = 0.0;
    for (double i = 0; i < pieces; i++) {
        /* Keys are read once for a tile of rows, not for each: what counts of attention is its operations. */
        double seen = i * rows + rows / 2.0;
        double operations = 4.0 * rows * seen * input->model->n_heads * input->model->d_head *
                            input->model->n_layers;
        double step = step_s(input, rows, 0.0, i + 1 == pieces ? 1.0 : 0.0) +
                      operations / input->tensor / (input->device->bf16_rate * COMPUTE_SHARE);
        total += step;
        longest = fmax(longest, step);
    }
    double stages = input->pipeline;
    return total / stages + longest * (stages - 1.0) / stages;
}

static void predict(const struct device_plan_input *input, struct device_plan *out)
{
    double context = fmin(input->prompt_tokens, input->context_max);
    uint64_t held = out->kv_tokens / (uint64_t)fmax(context, 1.0);
    uint64_t streams = held < input->sequence_count_max ? held : input->sequence_count_max;
    out->full_streams = streams > 0 ? (uint32_t)streams : 1;
    out->first_token_s = first_token_s(input);
    out->inter_token_s = step_s(input, 1.0, context, 1.0);
    out->inter_token_full_s =
        step_s(input, out->full_streams, context * out->full_streams, out->full_streams);
    out->output_tokens_s = out->full_streams / out->inter_token_full_s;
}

/* --- does it divide, does it fit --- */

static status check_layout(const struct device_plan_input *input, struct error_note *note)
{
    const struct model_info *m = input->model;
    uint32_t t = input->tensor;
    if (m->n_heads % t != 0 || (m->n_kv_heads % t != 0 && t % m->n_kv_heads != 0)) {
        error_note_set(note,
                       "%u tensor ranks do not divide %u heads with %u key heads; take a divisor "
                       "of both",
                       t, m->n_heads, m->n_kv_heads);
        return STATUS_INVALID;
    }
    if (m->n_experts == 0 && m->d_ffn % (32 * (uint64_t)t) != 0) {
        error_note_set(note, "%u tensor ranks do not divide the MLP's width %u in blocks of 32", t,
                       m->d_ffn);
        return STATUS_INVALID;
    }
    if (input->pipeline > m->n_layers) {
        error_note_set(note, "%u stages are more than the model's %u layers", input->pipeline,
                       m->n_layers);
        return STATUS_INVALID;
    }
    return STATUS_OK;
}

/* Bytes that are left for the cache on the fullest rank; negative: it does not fit. */
static double left_bytes(const struct device_plan_input *input)
{
    return (double)input->device->memory_bytes * DEVICE_SHARE - (double)RESERVED_BYTES -
           rank_weight_bytes(input) - rank_activation_bytes(input);
}

/* One sequence of full length must have room. */
static bool fits(const struct device_plan_input *input)
{
    double needed = (double)rank_token_bytes(input) * input->context_max;
    return left_bytes(input) >= needed;
}

static bool find_layout(const struct device_plan_input *input, struct device_plan_input *found)
{
    *found = *input;
    for (found->pipeline = 1; found->pipeline <= 16; found->pipeline *= 2)
        for (found->tensor = 1; found->tensor <= input->device->node_devices; found->tensor *= 2)
            if (check_layout(found, NULL) == STATUS_OK && fits(found))
                return true;
    return false;
}

static status refuse_size(const struct device_plan_input *input, struct error_note *note)
{
    struct device_plan_input found;
    double needed = rank_weight_bytes(input) + rank_activation_bytes(input) +
                    (double)rank_token_bytes(input) * input->context_max + (double)RESERVED_BYTES;
    double has = (double)input->device->memory_bytes * DEVICE_SHARE;
    if (find_layout(input, &found))
        error_note_set(note,
                       "a rank needs %.1f GB and an %s has %.1f for it; the smallest layout that "
                       "fits is %u tensor ranks x %u stages",
                       needed / GB, input->device->name, has / GB, found.tensor, found.pipeline);
    else
        error_note_set(note,
                       "a rank needs %.1f GB and an %s has %.1f for it; lower max_model_len or "
                       "max_num_seqs, or take a larger device",
                       needed / GB, input->device->name, has / GB);
    return STATUS_TOO_LARGE;
}

status device_plan_make(const struct device_plan_input *input, struct device_plan *out,
                        struct error_note *note)
{
    status s = check_layout(input, note);
    if (s != STATUS_OK)
        return s;
    if (!fits(input))
        return refuse_size(input, note);
    double left = left_bytes(input);
    if (input->kv_bytes > 0 && (double)input->kv_bytes < left)
        left = (double)input->kv_bytes;
    *out = (struct device_plan){
        .weight_bytes = (uint64_t)rank_weight_bytes(input),
        .activation_bytes = (uint64_t)rank_activation_bytes(input),
        .reserved_bytes = RESERVED_BYTES,
        .kv_bytes = (uint64_t)left,
        .kv_token_bytes = rank_token_bytes(input),
    };
    out->kv_tokens = out->kv_bytes / (out->kv_token_bytes * KV_BLOCK_TOKENS) * KV_BLOCK_TOKENS;
    predict(input, out);
    return STATUS_OK;
}
