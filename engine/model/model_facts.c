#include "model_facts.h"

#include <stdio.h>

#include "check.h"

const char *fact_name(const model_source *source, const struct model_family *family,
                      const struct fact_key *key, char name[FACT_NAME_MAX])
{
    int bytes = source->file != NULL
                    ? snprintf(name, FACT_NAME_MAX, "%s.%s", family->architecture,
                               key->gguf != NULL ? key->gguf : "")
                    : snprintf(name, FACT_NAME_MAX, "%s", key->hf != NULL ? key->hf : "");
    CHECK(bytes >= 0 && bytes < (int)FACT_NAME_MAX);
    return name;
}

/* NULL: absent. */
static const json_t *value_of(const model_source *source, const struct fact_key *key)
{
    const json_t *value = key->hf != NULL ? json_object_get(source->config, key->hf) : NULL;
    return json_is_null(value) ? NULL : value;
}

static bool has_gguf(const model_source *source, const struct model_family *family,
                     const struct fact_key *key, char name[FACT_NAME_MAX])
{
    if (key->gguf == NULL)
        return false;
    struct text_slice wanted = text_slice_of(fact_name(source, family, key, name));
    for (uint64_t i = 0; i < gguf_metadata_count(source->file); i++)
        if (text_slice_equals(gguf_metadata_key(source->file, i), wanted))
            return true;
    return false;
}

enum fact_outcome fact_u64(const model_source *source, const struct model_family *family,
                           const struct fact_key *key, uint64_t *out)
{
    if (source->file != NULL) {
        char name[FACT_NAME_MAX];
        if (!has_gguf(source, family, key, name))
            return FACT_ABSENT;
        return gguf_get_u64(source->file, name, out) ? FACT_FOUND : FACT_WRONG;
    }
    const json_t *value = value_of(source, key);
    if (value == NULL)
        return FACT_ABSENT;
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return FACT_WRONG;
    *out = (uint64_t)json_integer_value(value);
    return FACT_FOUND;
}

enum fact_outcome fact_f64(const model_source *source, const struct model_family *family,
                           const struct fact_key *key, double *out)
{
    if (source->file != NULL) {
        char name[FACT_NAME_MAX];
        if (!has_gguf(source, family, key, name))
            return FACT_ABSENT;
        return gguf_get_f64(source->file, name, out) ? FACT_FOUND : FACT_WRONG;
    }
    const json_t *value = value_of(source, key);
    if (value == NULL)
        return FACT_ABSENT;
    if (!json_is_number(value))
        return FACT_WRONG;
    *out = json_number_value(value);
    return FACT_FOUND;
}

status fact_positive(const model_source *source, const struct model_family *family,
                     const struct fact_key *key, double fallback, double max, double *out,
                     struct error_note *note)
{
    double value = fallback;
    enum fact_outcome outcome = fact_f64(source, family, key, &value);
    *out = value;
    if (outcome == FACT_ABSENT || (outcome == FACT_FOUND && value > 0 && value <= max))
        return STATUS_OK;
    char name[FACT_NAME_MAX];
    fact_name(source, family, key, name);
    if (outcome == FACT_WRONG)
        error_note_set(note, "%s is not a number", name);
    else
        error_note_set(note, "%s is %g; more than 0 and at most %g is possible", name, value, max);
    return STATUS_INVALID;
}
