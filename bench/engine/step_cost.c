#include "step_cost.h"

#include <stddef.h>

static double tensor_elements(const struct gguf_tensor *tensor)
{
    double elements = 1;
    for (uint32_t i = 0; i < tensor->dimension_count; i++)
        elements *= (double)tensor->dimensions[i];
    return elements;
}

struct model_cost model_cost_of(const gguf *file, const struct model_info *info)
{
    const struct gguf_tensor *embedding = gguf_tensor_find(file, "token_embd.weight");
    const struct gguf_tensor *head = gguf_tensor_find(file, "output.weight");
    struct model_cost cost = {.layer_bytes = (double)info->weight_bytes,
                              .layer_products = (double)info->parameter_count,
                              .token_bytes = (double)info->kv_block_bytes / KV_BLOCK_TOKENS};
    cost.layer_bytes -= (double)embedding->bytes;
    cost.layer_products -= tensor_elements(embedding);
    if (head != NULL) {
        cost.layer_bytes -= (double)head->bytes;
        cost.layer_products -= tensor_elements(head);
    } else {
        head = embedding; /* tied */
    }
    cost.head_bytes = (double)head->bytes;
    cost.head_products = tensor_elements(head);
    /* A key and a value of d_head for each query head. */
    cost.pair_products = 2.0 * info->n_heads * info->d_head * info->n_layers;
    return cost;
}

struct step_cost decode_cost(const struct model_cost *per, uint32_t batch, uint32_t context)
{
    double pairs = (double)batch * context;
    return (struct step_cost){.bytes =
                                  per->layer_bytes + per->head_bytes + pairs * per->token_bytes,
                              .product_ops = 2 * batch * (per->layer_products + per->head_products),
                              .attention_ops = 2 * pairs * per->pair_products};
}

struct step_cost prefill_cost(const struct model_cost *per, uint32_t tokens, uint32_t step_tokens)
{
    struct step_cost cost = {.bytes = per->head_bytes};
    for (uint32_t first = 0, count; first < tokens; first += count) {
        count = tokens - first < step_tokens ? tokens - first : step_tokens;
        cost.bytes += per->layer_bytes + (double)(first + count) * per->token_bytes;
    }
    cost.product_ops = 2 * ((double)tokens * per->layer_products + per->head_products);
    cost.attention_ops = (double)tokens * (tokens + 1.0) * per->pair_products;
    return cost;
}
