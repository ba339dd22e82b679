#include <string.h>

#include "check.h"
#include "model_adapter.h"
#include "scratch_folder.h"
#include "tiny_llama.h"

/* A LoRA adapter for a tiny model: adapter_config.json, a NUL byte, then adapter_model.safetensors. Whatever they say, the
 * adapter is refused with a note, or fits the model and gives all its memory back. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static model *open_model(void)
{
    static const struct model_options options = {.batch_tokens_max = 4,
                                                 .logit_rows_max = 1,
                                                 .sequence_count_max = 1,
                                                 .context_max = 16,
                                                 .kv_blocks = 1,
                                                 .kv_type = KV_F16,
                                                 .adapter_rank_max = 8};
    struct backend_options device = {.path = BACKEND_REFERENCE, .threads = 1};
    struct error_note note = {""};
    static backend *b;
    static model_source *source;
    static void *file;
    static model *m; /* these live as long as the program */
    size_t bytes;
    if (m != NULL)
        return m;
    file = tiny_llama_build(NULL, &bytes);
    CHECK(model_source_open_memory(file, bytes, &source, &note) == STATUS_OK);
    CHECK(backend_open(&device, &b, &note) == STATUS_OK);
    CHECK(model_open(source, b, &options, &m, &note) == STATUS_OK);
    return m;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    const uint8_t *end = bytes > 0 ? memchr(data, 0, bytes) : NULL;
    size_t config = end != NULL ? (size_t)(end - data) : bytes;
    size_t rest = end != NULL ? config + 1 : bytes;
    model *m = open_model();
    model_adapter *adapter = NULL;
    struct error_note note = {""};
    scratch_write("adapter_config.json", data, config);
    scratch_write("adapter_model.safetensors", data + rest, bytes - rest);
    if (model_adapter_open(m, scratch_path(), &adapter, &note) != STATUS_OK) {
        CHECK(note.text[0] != '\0' && adapter == NULL);
        return 0;
    }
    CHECK(model_adapter_bytes(adapter) > 0);
    model_adapter_close(m, adapter);
    return 0;
}
