#include "engine_private.h"

#include "device_plan.h"
#include "memory_plan.h"
#include "rank_backend.h"

/* How much memory is for what. */

#define CONTEXT_LIMIT (1u << 24) /* context_max */
#define CONTEXT_MIN   2u         /* one token in, one out */

/* Of a device's own memory the cache gets what the weights and the steps leave, so far as nobody else has it. Of several ranks' what
 * the first one's leave counts, as often as there are ranks. */
static status plan_device(const engine *e, uint64_t available, uint32_t context_max,
                          uint64_t *kv_bytes, struct error_note *note)
{
    uint64_t adapters = adapter_bytes_max(&e->file_info, e->options.adapters_max,
                                          e->options.adapter_rank_max, e->options.batch_tokens_max);
    const struct device_figures device = {.name = "accelerator",
                                          .memory_bytes =
                                              available > adapters ? available - adapters : 0,
                                          .memory_rate = 1.0,
                                          .bf16_rate = 1.0,
                                          .link_rate = 1.0,
                                          .node_devices = 1};
    uint32_t tensor = e->options.rank_count > 1 ? e->options.rank_count : 1;
    struct model_parts parts;
    model_parts_count(e->source, &e->file_info, &parts);
    const struct device_plan_input input = {.model = &e->file_info,
                                            .parts = &parts,
                                            .device = &device,
                                            .tensor = tensor,
                                            .pipeline = 1,
                                            .sequence_count_max = e->options.sequence_count_max,
                                            .context_max = context_max,
                                            .batch_tokens_max = e->options.batch_tokens_max,
                                            .prompt_tokens = 1,
                                            .kv_bytes = *kv_bytes / tensor};
    struct device_plan plan;
    status s = device_plan_make(&input, &plan, note);
    if (s == STATUS_OK)
        *kv_bytes = plan.kv_bytes * tensor;
    return s;
}

/* Slots below the cache. */
static status plan_host(engine *e, uint64_t block_bytes, struct error_note *note)
{
    uint64_t bytes = e->options.host_bytes;
    if (bytes == 0)
        return STATUS_OK;
    if (e->device->operations->kv_save_blocks == NULL) {
        error_note_set(note,
                       "host memory below the cache is for devices with memory of their own; with "
                       "the %s backend the cache itself is in the host's: make it larger instead",
                       e->device->operations->name);
        return STATUS_UNSUPPORTED;
    }
    if (!e->options.prefix_cache || bytes < block_bytes) {
        error_note_set(note, "%s",
                       e->options.prefix_cache
                           ? "the host memory below the cache holds not one block"
                           : "host memory below the cache needs the prefix cache");
        return STATUS_INVALID;
    }
    uint64_t slots = bytes / block_bytes;
    e->host_slots = slots < UINT32_MAX / 4 ? (uint32_t)slots : UINT32_MAX / 4;
    return STATUS_OK;
}

status engine_device_fits(void *context, uint64_t available_bytes, struct error_note *note)
{
    const engine *e = context;
    uint32_t wanted =
        e->options.context_max != 0 ? e->options.context_max : e->file_info.context_trained;
    uint64_t kv_bytes = e->options.kv_bytes;
    return plan_device(e, available_bytes, wanted > 0 ? wanted : CONTEXT_MIN, &kv_bytes, note);
}

status engine_plan_memory(engine *e, struct error_note *note)
{
    uint32_t trained = e->file_info.context_trained;
    uint32_t wanted = e->options.context_max != 0 ? e->options.context_max : trained;
    if (wanted < CONTEXT_MIN || wanted > CONTEXT_LIMIT || (trained != 0 && wanted > trained)) {
        error_note_set(note, "context_max must be within %u and %u (the model's own), not %u",
                       CONTEXT_MIN, trained != 0 ? trained : CONTEXT_LIMIT, wanted);
        return STATUS_INVALID;
    }
    uint64_t kv_bytes = e->options.kv_bytes;
    status s = STATUS_OK;
    if (kv_bytes == 0 && e->has_device_memory)
        s = plan_device(e, e->device_available_bytes, wanted, &kv_bytes, note);
    if (s != STATUS_OK)
        return s;
    struct memory_plan_input input = {
        .kv_bytes = kv_bytes,
        .kv_block_bytes = e->file_info.kv_block_bytes *
                          rank_kv_copies(e->file_info.n_kv_heads, e->options.rank_count),
        .weight_bytes = e->file_info.weight_bytes +
                        adapter_bytes_max(&e->file_info, e->options.adapters_max,
                                          e->options.adapter_rank_max, e->options.batch_tokens_max),
        .available_bytes = memory_available_bytes(),
        .share_count = e->options.memory_share_count,
        .sequence_count_max = e->options.sequence_count_max,
        .context_max = wanted,
    };
    s = memory_plan_kv_blocks(&input, &e->info.block_count, note);
    if (s == STATUS_OK)
        s = plan_host(e, input.kv_block_bytes, note);
    if (s != STATUS_OK)
        return s;
    /* A sequence that could not finish alone in the cache would be preempted for ever. */
    uint64_t held = (uint64_t)e->info.block_count * BLOCK_TOKENS;
    e->info.context_max = held < wanted ? (uint32_t)held : wanted;
    return STATUS_OK;
}
