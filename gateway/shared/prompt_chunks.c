#include "prompt_chunks.h"

#include "hash.h"

/* Equal in both roles. It is no secret: whoever makes two beginnings collide only gets a replica picked
 * that does not have his prompt. */
static const struct hash_key key = {0x70726f6d70742063ull, 0x68756e6b206e616dull};

const char *const prompt_field_names[PROMPT_FIELD_COUNT] = {
    "chat_template", "chat_template_kwargs", "reasoning_effort", "tools",  "documents",
    "system",        "instructions",         "messages",         "prompt", "input"};

uint64_t prompt_text_bytes(const struct prompt_text *text)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < PROMPT_FIELD_COUNT; i++)
        bytes += text->fields[i].data != NULL ? text->fields[i].bytes + 1 : 0;
    return bytes;
}

uint64_t prompt_chunks_tenant(struct text_slice name)
{
    return hash64(&key, name.data, name.bytes);
}

uint64_t prompt_chunks_root(uint64_t tenant, struct text_slice model, struct text_slice cache_salt)
{
    uint64_t all[3] = {tenant, hash64(&key, model.data, model.bytes),
                       hash64(&key, cache_salt.data, cache_salt.bytes)};

    return hash64(&key, all, sizeof(all));
}

/* A chunk behind the name before it. */
struct record {
    uint64_t parent;
    char bytes[PROMPT_CHUNK_BYTES];
};

/* Where a name is made: the chunk under way, and the names so far. */
struct namer {
    struct record record;
    uint32_t used;
    uint64_t *out;
    uint32_t count, count_max;
};

static void take(struct namer *namer, const char *data, size_t bytes)
{
    while (bytes > 0 && namer->count < namer->count_max) {
        size_t room = PROMPT_CHUNK_BYTES - namer->used;
        size_t taken = bytes < room ? bytes : room;

        memcpy(namer->record.bytes + namer->used, data, taken);
        namer->used += (uint32_t)taken;
        data += taken;
        bytes -= taken;
        if (namer->used < PROMPT_CHUNK_BYTES)
            return;
        namer->used = 0;
        namer->record.parent = hash64(&key, &namer->record, sizeof(namer->record));
        namer->record.parent += namer->record.parent == 0;
        namer->out[namer->count++] = namer->record.parent;
    }
}

void prompt_chunks_name(const struct prompt_text *text, uint64_t root, uint64_t *out)
{
    struct namer namer = {.record.parent = root, .out = out, .count_max = prompt_chunk_count(text)};

    for (uint32_t i = 0; i < PROMPT_FIELD_COUNT; i++) {
        char tag = (char)(i + 1);

        if (text->fields[i].data == NULL)
            continue;
        take(&namer, &tag, 1);
        take(&namer, text->fields[i].data, text->fields[i].bytes);
    }
}
