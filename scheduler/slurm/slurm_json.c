#include "slurm_json.h"

#include <string.h>
#include <strings.h>

#define NUMBER_MAX 9007199254740992.0 /* 2^53: what a double holds exactly */

static bool plain_number(const json_t *value, uint64_t *out)
{
    if (json_is_integer(value) && json_integer_value(value) >= 0) {
        *out = (uint64_t)json_integer_value(value);
        return true;
    }
    if (json_is_real(value) && json_real_value(value) >= 0 &&
        json_real_value(value) <= NUMBER_MAX) {
        *out = (uint64_t)json_real_value(value);
        return true;
    }
    return false;
}

bool slurm_number(const json_t *object, const char *name, uint64_t *out)
{
    const json_t *value = json_object_get(object, name);

    if (!json_is_object(value))
        return plain_number(value, out);
    if (!json_is_true(json_object_get(value, "set")) ||
        json_is_true(json_object_get(value, "infinite")))
        return false;
    return plain_number(json_object_get(value, "number"), out);
}

uint64_t slurm_number_or_0(const json_t *object, const char *name)
{
    uint64_t value;

    return slurm_number(object, name, &value) ? value : 0;
}

const char *slurm_text(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text != NULL ? text : "";
}

static bool text_has_word(const char *text, const char *word)
{
    size_t bytes = strlen(word);

    while (*text != '\0') {
        size_t length = strcspn(text, ",+ ");

        if (length == bytes && strncasecmp(text, word, bytes) == 0)
            return true;
        text += length;
        text += strspn(text, ",+ ");
    }
    return false;
}

bool slurm_has_flag(const json_t *object, const char *name, const char *word)
{
    const json_t *value = json_object_get(object, name);

    if (json_is_string(value))
        return text_has_word(json_string_value(value), word);
    for (size_t i = 0; i < json_array_size(value); i++) {
        const char *text = json_string_value(json_array_get(value, i));

        if (text != NULL && strcasecmp(text, word) == 0)
            return true;
    }
    return false;
}
