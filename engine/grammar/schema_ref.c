#include <stdlib.h>

#include "hex.h"
#include "schema.h"

/* References inside the document: "#", "#/pointer" (RFC 6901, in a URI fragment), "#anchor", and the same after the
 * document's own $id. Anything else would have to be fetched, which a server must not do for a client. */

#define ANCHOR_DEPTH_MAX 128u

/* One step of a pointer, from *at to the next '/': %XX and ~0, ~1 resolved into `out`, which has room. */
static size_t read_step(const char **at, char *out)
{
    size_t used = 0;
    while (**at != '\0' && **at != '/') {
        char byte = *(*at)++;
        if (byte == '%' && hex_digit_value((*at)[0]) >= 0 && hex_digit_value((*at)[1]) >= 0) {
            byte = (char)(hex_digit_value((*at)[0]) * 16 + hex_digit_value((*at)[1]));
            *at += 2;
        }
        if (byte == '~' && (**at == '0' || **at == '1'))
            byte = *(*at)++ == '0' ? '~' : '/';
        out[used++] = byte;
    }
    return used;
}

static const json_t *follow_step(const json_t *value, const char *step, size_t bytes)
{
    if (json_is_object(value))
        return json_object_getn(value, step, bytes);
    char *end;
    size_t index = strtoul(step, &end, 10);
    return json_is_array(value) && bytes > 0 && *end == '\0' ? json_array_get(value, index) : NULL;
}

static const json_t *follow_pointer(struct schema *s, const char *pointer)
{
    const json_t *value = s->root;
    char *step = compile_allocate(s->c, strlen(pointer) + 1, 1);
    while (step != NULL && value != NULL && *pointer == '/') {
        pointer++;
        size_t bytes = read_step(&pointer, step);
        step[bytes] = '\0';
        value = follow_step(value, step, bytes);
    }
    return step != NULL && *pointer == '\0' ? value : NULL;
}

/* The schema with this $anchor, or the $id "#name" of old drafts. */
static const json_t *find_anchor(const json_t *value, const char *name, uint32_t depth)
{
    const char *anchor = json_string_value(json_object_get(value, "$anchor"));
    const char *id = json_string_value(json_object_get(value, "$id"));
    const char *old_id = json_string_value(json_object_get(value, "id")); /* draft 4 */
    id = id != NULL ? id : old_id;
    if (anchor != NULL && strcmp(anchor, name) == 0)
        return value;
    if (id != NULL && id[0] == '#' && strcmp(id + 1, name) == 0)
        return value;
    if (depth == ANCHOR_DEPTH_MAX)
        return NULL;
    const json_t *found = NULL;
    const char *key;
    size_t index;
    json_t *item;
    json_object_foreach((json_t *)(uintptr_t)value, key, item)
    {
        found = found != NULL ? found : find_anchor(item, name, depth + 1);
    }
    json_array_foreach(value, index, item)
    {
        found = found != NULL ? found : find_anchor(item, name, depth + 1);
    }
    return found;
}

/* What follows the document's own address, or all; NULL: another document. */
static const char *fragment_of(const struct schema *s, const char *reference)
{
    const char *id = json_string_value(json_object_get(s->root, "$id"));
    size_t bytes = id != NULL ? strcspn(id, "#") : 0;
    if (bytes > 0 && strncmp(reference, id, bytes) == 0)
        reference += bytes;
    return *reference == '#' || *reference == '\0' ? reference : NULL;
}

bool schema_resolve(struct schema *s, const struct place *from, const char *reference,
                    const json_t **out, const char **path)
{
    const char *fragment = fragment_of(s, reference);
    if (fragment == NULL)
        return schema_fail(s, STATUS_UNSUPPORTED, from, "$ref",
                           "must stay in the document: '#', '#/...' or '#anchor'");
    const char *name = *fragment == '#' ? fragment + 1 : fragment;
    *out = *name == '/' || *name == '\0' ? follow_pointer(s, name) : find_anchor(s->root, name, 0);
    *path = name;
    if (*out != NULL)
        return true;
    return s->c->failed == STATUS_OK &&
           schema_fail(s, STATUS_INVALID, from, "$ref", "names nothing in the schema");
}
