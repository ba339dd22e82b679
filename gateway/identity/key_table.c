#include "key_table.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <strings.h>

#include "arena.h"
#include "check.h"
#include "hex.h"

/* A key's texts are at most six names; most share none of it. */
#define ARENA_BYTES_MAX ((size_t)256 << 20)

struct slot {
    uint8_t hash[KEY_HASH_BYTES];
    const struct key_identity *identity; /* NULL: free */
    uint64_t expires_s;
};

struct key_table {
    arena *memory;                                   /* owned; the table itself is in it */
    const struct key_identity *last;                 /* secrets of one key come together */
    uint32_t count, count_max, slot_count_minus_one; /* a power of two, at most half of it full */
    struct slot *slots;
};

status key_table_create(uint32_t count_max, struct key_table **out)
{
    uint32_t slot_count = 4;
    arena *memory = NULL;
    struct key_table *table = NULL;
    status result;

    _Static_assert(KEY_HASH_BYTES == 32, "one SHA-256 a key");
    if (count_max > KEY_COUNT_MAX)
        return STATUS_TOO_LARGE;
    while (slot_count < 2 * count_max)
        slot_count *= 2;
    result = arena_create(ARENA_BYTES_MAX, &memory);
    if (result != STATUS_OK)
        return result;
    table = arena_allocate(memory, sizeof(*table));
    if (table != NULL)
        table->slots = arena_allocate_array(memory, slot_count, sizeof(table->slots[0]));
    if (table == NULL || table->slots == NULL) {
        arena_destroy(memory);
        return STATUS_NO_MEMORY;
    }
    table->memory = memory;
    table->count_max = count_max;
    table->slot_count_minus_one = slot_count - 1;
    *out = table;
    return STATUS_OK;
}

void key_table_destroy(struct key_table *table)
{
    if (table != NULL)
        arena_destroy(table->memory);
}

/* The slot of the hash, or the free one where it would be. */
static struct slot *slot_find(const struct key_table *table, const uint8_t hash[KEY_HASH_BYTES])
{
    uint32_t at;

    memcpy(&at, hash, sizeof(at));
    for (;; at++) {
        struct slot *slot = &table->slots[at & table->slot_count_minus_one];

        if (slot->identity == NULL || CRYPTO_memcmp(slot->hash, hash, KEY_HASH_BYTES) == 0)
            return slot;
    }
}

static const struct key_identity *identity_copy(arena *memory, const struct key_identity *given)
{
    struct key_identity *copy = arena_allocate(memory, sizeof(*copy));
    const char **texts[] = {&copy->id, &copy->organisation, &copy->team, &copy->name,
                            &copy->models};

    if (copy == NULL)
        return NULL;
    *copy = *given;
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        *texts[i] = arena_copy_text(memory, *texts[i], strlen(*texts[i]));
        if (*texts[i] == NULL)
            return NULL;
    }
    return copy;
}

status key_table_add(struct key_table *table, const uint8_t hash[KEY_HASH_BYTES],
                     const struct key_identity *identity, uint64_t expires_s)
{
    struct slot *slot = slot_find(table, hash);

    if (table->count == table->count_max)
        return STATUS_FULL;
    if (table->last == NULL || strcmp(table->last->id, identity->id) != 0)
        table->last = identity_copy(table->memory, identity);
    if (table->last == NULL)
        return STATUS_NO_MEMORY;
    table->count += slot->identity == NULL;
    memcpy(slot->hash, hash, KEY_HASH_BYTES);
    slot->identity = table->last;
    slot->expires_s = expires_s;
    return STATUS_OK;
}

uint32_t key_table_count(const struct key_table *table)
{
    return table->count;
}

const struct key_identity *key_table_find(const struct key_table *table,
                                          const uint8_t hash[KEY_HASH_BYTES], uint64_t now_s)
{
    const struct slot *slot;

    if (table == NULL)
        return NULL;
    slot = slot_find(table, hash);
    if (slot->identity == NULL || (slot->expires_s != 0 && now_s >= slot->expires_s))
        return NULL;
    return slot->identity;
}

static EVP_MD *sha256; /* of OpenSSL's default provider; as long as the process */

static void sha256_fetch(void)
{
    sha256 = EVP_MD_fetch(NULL, "SHA2-256", NULL);
}

/* Fetched once: OpenSSL 3 looks an algorithm up under a lock each time that it is only named, which takes longer than
 * the hash. */
bool key_hash(struct text_slice shown, uint8_t hash[KEY_HASH_BYTES])
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    if (shown.data == NULL || shown.bytes == 0 || shown.bytes > KEY_SHOWN_BYTES_MAX)
        return false;
    CHECK(pthread_once(&once, sha256_fetch) == 0);
    return sha256 != NULL && EVP_Digest(shown.data, shown.bytes, hash, NULL, sha256, NULL) == 1;
}

void key_hash_read(const char *digits, uint8_t hash[KEY_HASH_BYTES])
{
    CHECK(strlen(digits) == (size_t)2 * KEY_HASH_BYTES);
    for (size_t i = 0; i < KEY_HASH_BYTES; i++)
        hash[i] =
            (uint8_t)(hex_digit_value(digits[2 * i]) << 4 | hex_digit_value(digits[2 * i + 1]));
}

struct text_slice key_of_bearer(struct text_slice authorization)
{
    const size_t scheme_bytes = sizeof("Bearer ") - 1;
    struct text_slice key = {NULL, 0};

    if (authorization.bytes <= scheme_bytes ||
        strncasecmp(authorization.data, "Bearer ", scheme_bytes) != 0)
        return key;
    key =
        (struct text_slice){authorization.data + scheme_bytes, authorization.bytes - scheme_bytes};
    while (key.bytes > 0 && key.data[0] == ' ') {
        key.data++;
        key.bytes--;
    }
    return key;
}
