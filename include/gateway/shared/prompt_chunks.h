#ifndef PENSTOCK_GATEWAY_PROMPT_CHUNKS_H
#define PENSTOCK_GATEWAY_PROMPT_CHUNKS_H

#include <stdint.h>

#include "text_slice.h"

/* Names for beginnings of prompts, made from a request's body alone, so that gateway and replica speak of the same thing though only the
 * replica has a tokenizer. What a prompt is made of is taken from the body in the order in which templates write it (tools
 * and instructions before messages), as it stands there, and cut into chunks of PROMPT_CHUNK_BYTES; the name of the
 * beginning that ends with a chunk is the hash of that chunk and of the name before it. Tenants, and cache_salts of one tenant, have names of
 * their own, as they have blocks of their own. Pure; any thread.
 *
 * Two bodies that differ in white space or in the order of keys have different names for the same prompt: such a prompt is not found,
 * and nothing else happens. */

#define PROMPT_CHUNK_BYTES 64u
/* Longer prompts are told apart by their first 256 KiB only. */
#define PROMPT_CHUNKS_MAX 4096u

/* The fields of a body that its prompt follows from, in canonical order. */
#define PROMPT_FIELD_COUNT 10u
extern const char *const prompt_field_names[PROMPT_FIELD_COUNT];

/* Their raw values; data NULL: the body has it not. Borrowed from the body. */
struct prompt_text {
    struct text_slice fields[PROMPT_FIELD_COUNT];
};

/* Bytes of the canonical text: each field that is there, with one byte before it that says which. */
uint64_t prompt_text_bytes(const struct prompt_text *text);
static inline uint32_t prompt_chunk_count(const struct prompt_text *text)
{
    uint64_t count = prompt_text_bytes(text) / PROMPT_CHUNK_BYTES;

    return count < PROMPT_CHUNKS_MAX ? (uint32_t)count : PROMPT_CHUNKS_MAX;
}

uint64_t prompt_chunks_tenant(struct text_slice name);
/* The name before the first chunk. `model`: as the replica is told, without quotes: adapters of one model have blocks of their
 * own. `cache_salt`: the field's raw value; empty: none. */
uint64_t prompt_chunks_root(uint64_t tenant, struct text_slice model, struct text_slice cache_salt);

/* The names of the whole chunks, none of them 0; `out` has prompt_chunk_count. */
void prompt_chunks_name(const struct prompt_text *text, uint64_t root, uint64_t *out);

#endif
