#include "pooling_facts.h"

#include <stdio.h>
#include <string.h>

#include "check.h"
#include "json_file.h"

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL ? text : "";
}

static status read_pooling(const char *folder, const char *path, struct pooling_facts *out,
                           struct error_note *note)
{
    static const struct {
        const char *name;
        enum pooling_kind kind;
        bool is_supported;
    } modes[] = {{"pooling_mode_cls_token", POOLING_CLS, true},
                 {"pooling_mode_mean_tokens", POOLING_MEAN, true},
                 {"pooling_mode_max_tokens", POOLING_MAX, true},
                 {"pooling_mode_mean_sqrt_len_tokens", POOLING_MEAN_SQRT, true},
                 {"pooling_mode_lasttoken", POOLING_LAST, true},
                 {"pooling_mode_weightedmean_tokens", POOLING_MEAN, false}};
    char name[256];
    json_t *config = NULL;
    uint32_t chosen = 0;
    snprintf(name, sizeof name, "%.200s/config.json", path);
    status s = folder_json_read(folder, name, &config, note);
    if (s == STATUS_NOT_FOUND) {
        error_note_set(note, "%s, which modules.json names, is not there", name);
        s = STATUS_INVALID;
    }
    for (size_t i = 0; i < ARRAY_COUNT(modes) && s == STATUS_OK; i++) {
        if (!json_is_true(json_object_get(config, modes[i].name)))
            continue;
        out->kind = modes[i].kind;
        chosen += modes[i].is_supported ? 1 : 2;
    }
    json_decref(config);
    if (s == STATUS_OK && chosen != 1) {
        error_note_set(note,
                       "%s: exactly one of the pooling modes cls_token, mean_tokens, "
                       "max_tokens, mean_sqrt_len_tokens and lasttoken is supported",
                       name);
        s = STATUS_UNSUPPORTED;
    }
    return s;
}

/* modules.json: Transformer, Pooling, and Normalize or not. */
status pooling_facts_read_folder(const char *folder, struct pooling_facts *out,
                                 struct error_note *note)
{
    struct buffer text;
    json_t *modules = NULL;
    static const struct json_limits limits = {.depth_max = 8, .value_count_max = 4096};
    buffer_init(&text, 1u << 20);
    *out = (struct pooling_facts){.are_told = false};
    status s = folder_file_read(folder, "modules.json", &text, note);
    if (s == STATUS_OK)
        s = json_load_limited(buffer_slice(&text), &limits, &modules, note);
    for (size_t i = 0; s == STATUS_OK && i < json_array_size(modules); i++) {
        const json_t *module = json_array_get(modules, i);
        const char *type = text_of(module, "type"), *dot = strrchr(type, '.');
        const char *name = dot != NULL ? dot + 1 : type;
        if (strcmp(name, "Pooling") == 0) {
            s = read_pooling(folder, text_of(module, "path"), out, note);
            out->are_told = s == STATUS_OK;
        } else if (strcmp(name, "Normalize") == 0) {
            out->normalizes = true;
        } else if (strcmp(name, "Transformer") != 0) {
            error_note_set(note, "modules.json: the module \"%.80s\" is not supported", type);
            s = STATUS_UNSUPPORTED;
        }
    }
    json_decref(modules);
    buffer_deinit(&text);
    if (s != STATUS_OK)
        *out = (struct pooling_facts){.are_told = false};
    return s == STATUS_NOT_FOUND ? STATUS_OK : s;
}

status pooling_facts_read_gguf(const gguf *file, const char *architecture,
                               struct pooling_facts *out, struct error_note *note)
{
    static const enum pooling_kind kinds[] = {POOLING_MEAN, POOLING_MEAN, POOLING_CLS,
                                              POOLING_LAST};
    char key[64];
    uint64_t number = 0;
    *out = (struct pooling_facts){.are_told = false};
    snprintf(key, sizeof key, "%s.pooling_type", architecture);
    if (!gguf_get_u64(file, key, &number) || number == 0)
        return STATUS_OK;
    if (number >= ARRAY_COUNT(kinds)) {
        error_note_set(note, "%s %llu is not supported", key, (unsigned long long)number);
        return STATUS_UNSUPPORTED;
    }
    *out = (struct pooling_facts){.are_told = true, .kind = kinds[number]};
    return STATUS_OK;
}
