#include "scope.h"

#include <fnmatch.h>
#include <stdio.h>

#include "check.h"

#define PATTERN_BYTES_MAX 256u

static const struct {
    enum scope scope;
    const char *name;
} scopes_known[] = {
    {SCOPE_INFERENCE, "inference"}, {SCOPE_EMBEDDINGS, "embeddings"}, {SCOPE_ADMIN, "admin"}};

const char *scope_name(enum scope scope)
{
    for (size_t i = 0; i < ARRAY_COUNT(scopes_known); i++) {
        if (scopes_known[i].scope == scope)
            return scopes_known[i].name;
    }
    return "none";
}

status scope_add(struct text_slice name, uint32_t *scopes)
{
    for (size_t i = 0; i < ARRAY_COUNT(scopes_known); i++) {
        if (text_slice_is(name, scopes_known[i].name)) {
            *scopes |= scopes_known[i].scope;
            return STATUS_OK;
        }
    }
    return STATUS_NOT_FOUND;
}

struct text_slice list_next(const char **list)
{
    const char *at = *list + strspn(*list, " ,");
    size_t bytes = strcspn(at, " ,");

    *list = at + bytes;
    return (struct text_slice){bytes > 0 ? at : NULL, bytes};
}

status scopes_parse(const char *text, uint32_t *scopes, struct text_slice *unknown)
{
    uint32_t found = 0;

    for (struct text_slice word = list_next(&text); word.data != NULL; word = list_next(&text)) {
        if (scope_add(word, &found) != STATUS_OK) {
            *unknown = word;
            return STATUS_NOT_FOUND;
        }
    }
    *scopes = found;
    return STATUS_OK;
}

bool patterns_match(const char *patterns, const char *name)
{
    struct text_slice word = list_next(&patterns);

    if (word.data == NULL)
        return true;
    for (; word.data != NULL; word = list_next(&patterns)) {
        char pattern[PATTERN_BYTES_MAX];

        if (word.bytes >= sizeof(pattern))
            continue;
        memcpy(pattern, word.data, word.bytes);
        pattern[word.bytes] = '\0';
        if (fnmatch(pattern, name, FNM_NOESCAPE) == 0)
            return true;
    }
    return false;
}
