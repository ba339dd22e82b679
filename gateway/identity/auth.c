#include "auth.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <strings.h>

#include "check.h"

static uint8_t hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return (uint8_t)(c - '0');
    return (uint8_t)((c | 0x20) - 'a' + 10);
}

status auth_keys_init(struct auth_keys *keys, const struct config *config)
{
    const struct config_key *rows = config->auth.keys.items;
    uint32_t count = config->auth.keys.count;
    uint8_t(*hashes)[AUTH_HASH_BYTES];

    _Static_assert(AUTH_HASH_BYTES == SHA256_DIGEST_LENGTH, "one SHA-256 a key");
    *keys = (struct auth_keys){0};
    if (count == 0)
        return STATUS_OK;
    hashes = arena_allocate_array(config->memory, count, AUTH_HASH_BYTES);
    if (hashes == NULL)
        return STATUS_NO_MEMORY;
    for (uint32_t i = 0; i < count; i++) {
        CHECK(strlen(rows[i].sha256) == (size_t)2 * AUTH_HASH_BYTES);
        for (size_t j = 0; j < AUTH_HASH_BYTES; j++)
            hashes[i][j] = (uint8_t)(hex_digit(rows[i].sha256[2 * j]) << 4 |
                                     hex_digit(rows[i].sha256[2 * j + 1]));
    }
    *keys = (struct auth_keys){(const uint8_t(*)[AUTH_HASH_BYTES])hashes, count};
    return STATUS_OK;
}

struct text_slice auth_bearer(struct text_slice authorization)
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

uint32_t auth_find(const struct auth_keys *keys, struct text_slice shown)
{
    uint8_t hash[AUTH_HASH_BYTES];
    uint32_t found = AUTH_NONE;

    if (shown.data == NULL || shown.bytes == 0 || shown.bytes > AUTH_KEY_BYTES_MAX)
        return AUTH_NONE;
    if (SHA256((const unsigned char *)shown.data, shown.bytes, hash) == NULL)
        return AUTH_NONE;
    for (uint32_t i = 0; i < keys->count; i++) {
        /* All ones when equal, else zero: no branch on the outcome. */
        uint32_t is_equal = (uint32_t)(CRYPTO_memcmp(hash, keys->hashes[i], AUTH_HASH_BYTES) == 0);
        uint32_t mask = 0u - is_equal;

        found = (found & ~mask) | (i & mask);
    }
    return found;
}
