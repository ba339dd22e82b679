/* One description for both kinds of files. A GGUF file's tensors are taken over as they are; a folder's get GGUF's names
 * (hf_folder.c). */

#include <string.h>
#include <sys/stat.h>

#include "check.h"
#include "hash.h"
#include "memory.h"
#include "model_source_private.h"

static status list_gguf(model_source *source, struct error_note *note)
{
    uint64_t count = gguf_tensor_count(source->file);
    source->tensors = memory_allocate_array(count, sizeof *source->tensors);
    if (source->tensors == NULL || gguf_names_init(&source->names, source->tensors,
                                                   sizeof *source->tensors, count) != STATUS_OK) {
        error_note_set(note, "no memory for the list of tensors");
        return STATUS_NO_MEMORY;
    }
    for (uint64_t i = 0; i < count; i++) {
        const struct gguf_tensor *tensor = gguf_tensor_at(source->file, i);
        struct source_tensor *out = &source->tensors[i];
        uint32_t other;
        *out = (struct source_tensor){
            .name = tensor->name, .type = tensor->type, .data = tensor->data};
        memcpy(out->dimensions, tensor->dimensions, sizeof out->dimensions);
        CHECK(gguf_names_add(&source->names, (uint32_t)i, &other)); /* the reader has checked it */
    }
    source->tensor_count = count;
    return STATUS_OK;
}

static status source_create(model_source **out, struct error_note *note)
{
    *out = memory_allocate_array(1, sizeof **out);
    if (*out == NULL) {
        error_note_set(note, "no memory for a model");
        return STATUS_NO_MEMORY;
    }
    return STATUS_OK;
}

static status finish(model_source *source, status s, model_source **out)
{
    if (s == STATUS_OK)
        *out = source;
    else
        model_source_close(source);
    return s;
}

status model_source_open(const char *path, model_source **out, struct error_note *note)
{
    struct stat info;
    bool is_folder = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
    model_source *source;
    status s = source_create(&source, note);
    if (s != STATUS_OK)
        return s;
    if (!is_folder) {
        s = gguf_open(path, &source->file, note);
        return finish(source, s == STATUS_OK ? list_gguf(source, note) : s, out);
    }
    size_t bytes = strlen(path) + 1;
    source->folder = memory_allocate(bytes);
    if (source->folder == NULL) {
        error_note_set(note, "no memory for a path");
        return finish(source, STATUS_NO_MEMORY, out);
    }
    memcpy(source->folder, path, bytes);
    return finish(source, hf_folder_read(source, note), out);
}

status model_source_open_memory(const void *data, uint64_t bytes, model_source **out,
                                struct error_note *note)
{
    model_source *source;
    status s = source_create(&source, note);
    if (s != STATUS_OK)
        return s;
    s = gguf_open_memory(data, bytes, &source->file, note);
    return finish(source, s == STATUS_OK ? list_gguf(source, note) : s, out);
}

void model_source_close(model_source *source)
{
    if (source == NULL)
        return;
    gguf_names_deinit(&source->names);
    memory_release(source->tensors);
    memory_release(source->name_bytes);
    memory_release(source->numbers);
    json_decref(source->config);
    safetensors_close(source->weights);
    gguf_close(source->file);
    memory_release(source->folder);
    memory_release(source);
}

void model_source_prefetch(const model_source *source)
{
    if (source->file != NULL)
        gguf_prefetch(source->file);
    else
        safetensors_prefetch(source->weights);
}

void model_source_get_identity(const model_source *source, struct gguf_identity *out)
{
    if (source->file != NULL) {
        gguf_get_identity(source->file, out);
        return;
    }
    struct safetensors_identity weights;
    safetensors_get_identity(source->weights, &weights);
    uint64_t chain[2] = {weights.checksum, source->config_checksum};
    *out =
        (struct gguf_identity){weights.bytes, weights.modified_ns, checksum64(chain, sizeof chain)};
}

const gguf *model_source_gguf(const model_source *source)
{
    return source->file;
}

const char *model_source_folder(const model_source *source)
{
    return source->folder;
}

uint64_t model_source_tensor_count(const model_source *source)
{
    return source->tensor_count;
}

const struct source_tensor *model_source_tensor_at(const model_source *source, uint64_t index)
{
    return index < source->tensor_count ? &source->tensors[index] : NULL;
}

const struct source_tensor *model_source_tensor_find(const model_source *source, const char *name)
{
    uint32_t index;
    return gguf_names_find(&source->names, text_slice_of(name), &index) ? &source->tensors[index]
                                                                        : NULL;
}
