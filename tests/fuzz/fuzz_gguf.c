/* GGUF files: open, walk all metadata through every getter, dequantise the first block of every
 * tensor, and read the hyperparameters and the vocabulary as a model would. */

#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "gguf.h"
#include "model.h"
#include "tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* Arrays are read in full up to this length. */
#define ARRAY_READ_MAX 4096u
/* The largest block of any type. */
#define BLOCK_ELEMENTS_MAX 256u

static volatile uint64_t sink; /* what was read, so that the reads stay */

static void read_array(const gguf *file, const char *key, uint64_t count)
{
    struct text_slice *texts = calloc(count + 1, sizeof *texts);
    CHECK(texts != NULL);
    if (gguf_read_texts(file, key, texts, count))
        for (uint64_t i = 0; i < count; i++)
            for (size_t at = 0; at < texts[i].bytes; at++)
                sink += (unsigned char)texts[i].data[at];
    if (gguf_read_i32(file, key, (int32_t *)texts, count))
        sink += count;
    if (gguf_read_f32(file, key, (float *)texts, count))
        sink += count;
    free(texts);
}

static void read_key(const gguf *file, const char *key)
{
    uint64_t number, count;
    int64_t signed_number;
    double real;
    bool is_set;
    struct text_slice text;
    enum gguf_type element;
    sink += gguf_get_u64(file, key, &number) + gguf_get_i64(file, key, &signed_number);
    sink += gguf_get_f64(file, key, &real) + gguf_get_bool(file, key, &is_set);
    if (gguf_get_text(file, key, &text) && text.bytes > 0)
        sink += (unsigned char)text.data[text.bytes - 1];
    if (gguf_get_array(file, key, &element, &count) && count <= ARRAY_READ_MAX)
        read_array(file, key, count);
}

static void read_keys(const gguf *file)
{
    for (uint64_t i = 0; i < gguf_metadata_count(file); i++) {
        struct text_slice name = gguf_metadata_key(file, i);
        char *key = calloc(name.bytes + 1, 1);
        CHECK(key != NULL);
        memcpy(key, name.data, name.bytes);
        read_key(file, key);
        free(key);
    }
}

static void read_tensors(const gguf *file)
{
    for (uint64_t i = 0; i < gguf_tensor_count(file); i++) {
        const struct gguf_tensor *tensor = gguf_tensor_at(file, i);
        uint32_t elements, block_bytes;
        float block[BLOCK_ELEMENTS_MAX];
        CHECK(tensor_type_block(tensor->type, &elements, &block_bytes) &&
              elements <= BLOCK_ELEMENTS_MAX);
        CHECK(tensor->dimensions[0] >= elements && tensor->bytes >= block_bytes);
        struct tensor_source source = {
            .type = tensor->type, .data = tensor->data, .n_outputs = 1, .n_cols = elements};
        tensor_dequantise(&source, 0, 0, elements, block);
        sink += block[elements - 1] > 0;
        sink += ((const unsigned char *)tensor->data)[tensor->bytes - 1];
    }
}

static void read_model(const model_source *source)
{
    struct error_note note = {""};
    struct model_info info;
    struct tokenizer_folder text;
    if (model_file_info(source, KV_F16, &info, &note) == STATUS_OK)
        sink += info.parameter_count;
    else
        CHECK(note.text[0] != '\0');
    if (model_file_text(source, &text, &note) != STATUS_OK)
        return;
    sink += text.chat_template.bytes;
    tokenizer_folder_deinit(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    /* An exact copy with the alignment that model_source_open_memory asks for. */
    void *copy = malloc(bytes != 0 ? bytes : 1);
    CHECK(copy != NULL);
    if (bytes != 0)
        memcpy(copy, data, bytes);
    struct error_note note = {""};
    model_source *source = NULL;
    status s = model_source_open_memory(copy, bytes, &source, &note);
    if (s == STATUS_OK) {
        read_keys(model_source_gguf(source));
        read_tensors(model_source_gguf(source));
        read_model(source);
        model_source_close(source);
    } else {
        CHECK(note.text[0] != '\0' && source == NULL);
    }
    free(copy);
    return 0;
}
