#ifndef PENSTOCK_TESTS_ADAPTER_BUILDER_H
#define PENSTOCK_TESTS_ADAPTER_BUILDER_H

#include <stdlib.h>
#include <unistd.h>

#include "check.h"
#include "safetensors_builder.h"

/* A LoRA adapter in PEFT's form, for models whose queries are as wide as they: changes of rank 4 to the attention's q and o
 * in every layer, so strong that hardly a token stays what it was. */

#define ADAPTER_RANK 4u

/* Appends the header's rows of one pair, and its floats; A is [rank, width], B [width, rank]. */
static inline void adapter_pair(struct buffer *header, struct buffer *data, uint32_t layer,
                                const char *module, uint32_t width, uint64_t *random)
{
    size_t count = (size_t)ADAPTER_RANK * width;
    for (int b = 0; b < 2; b++) {
        buffer_append_format(
            header,
            "%s\"base_model.model.model.layers.%u.self_attn.%s.lora_%s.weight\":{\"dtype\":\"F32\","
            "\"shape\":[%u,%u],\"data_offsets\":[%zu,%zu]}",
            header->bytes > 1 ? "," : "", layer, module, b == 0 ? "A" : "B",
            b == 0 ? ADAPTER_RANK : width, b == 0 ? width : ADAPTER_RANK, data->bytes,
            data->bytes + count * sizeof(float));
        for (size_t i = 0; i < count; i++) { /* xorshift64 */
            *random ^= *random << 13;
            *random ^= *random >> 7;
            *random ^= *random << 17;
            float value = ((float)(*random >> 40) / (1 << 23) - 1.0f) * 0.25f;
            buffer_append(data, &value, sizeof value);
        }
    }
}

/* Writes the adapter into a new folder under /tmp, whose path goes to `folder`; adapter_remove removes it. */
static inline void adapter_build(uint32_t layers, uint32_t width, uint64_t seed, char folder[64])
{
    static const char config[] = "{\"peft_type\":\"LORA\",\"r\":4,\"lora_alpha\":8}";
    struct buffer header, data;
    char path[256];
    uint64_t random = seed * 2654435761u + 1;
    (void)snprintf(folder, 64, "/tmp/penstock-adapter-XXXXXX");
    CHECK(mkdtemp(folder) != NULL);
    (void)snprintf(path, sizeof path, "%s/adapter_config.json", folder);
    FILE *file = fopen(path, "wb");
    CHECK(file != NULL && fputs(config, file) >= 0 && fclose(file) == 0);
    buffer_init(&header, 1u << 20);
    buffer_init(&data, 1u << 24);
    buffer_append_byte(&header, '{');
    for (uint32_t layer = 0; layer < layers; layer++) {
        adapter_pair(&header, &data, layer, "q_proj", width, &random);
        adapter_pair(&header, &data, layer, "o_proj", width, &random);
    }
    buffer_append_byte(&header, '}');
    CHECK(header.failed == STATUS_OK && data.failed == STATUS_OK);
    (void)snprintf(path, sizeof path, "%s/adapter_model.safetensors", folder);
    CHECK(safetensors_write(path, header.data, data.data, data.bytes));
    buffer_deinit(&header);
    buffer_deinit(&data);
}

static inline void adapter_remove(const char *folder)
{
    char path[256];
    (void)snprintf(path, sizeof path, "%s/adapter_config.json", folder);
    (void)unlink(path);
    (void)snprintf(path, sizeof path, "%s/adapter_model.safetensors", folder);
    (void)unlink(path);
    (void)rmdir(folder);
}

#endif
