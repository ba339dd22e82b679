#include <string.h>

#include "check.h"
#include "model.h"
#include "scratch_folder.h"

/* The config.json of a model folder whose weights are one small tensor: whatever it says, the folder is refused with a
 * note, or is a model whose numbers are within what the engine can hold. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void write_weights(void)
{
    static const char header[] = "{\"model.embed_tokens.weight\":{\"dtype\":\"F32\",\"shape\":[2,2]"
                                 ",\"data_offsets\":[0,16]}} ";
    unsigned char file[8 + sizeof header - 1 + 16] = {sizeof header - 1};
    memcpy(file + 8, header, sizeof header - 1);
    scratch_write("model.safetensors", file, sizeof file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static bool has_weights;
    model_source *source = NULL;
    struct model_info info;
    struct error_note note = {""};
    if (!has_weights)
        write_weights();
    has_weights = true;
    scratch_write("config.json", data, bytes);
    if (model_source_open(scratch_path(), &source, &note) != STATUS_OK) {
        CHECK(note.text[0] != '\0');
        return 0;
    }
    if (model_file_info(source, KV_F16, &info, &note) == STATUS_OK)
        CHECK(info.n_layers > 0 && info.d > 0 && info.kv_block_bytes > 0);
    else
        CHECK(note.text[0] != '\0');
    model_source_close(source);
    return 0;
}
