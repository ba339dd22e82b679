#include "jwks.h"

#include <jansson.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>

#include "base64.h"
#include "check.h"
#include "memory.h"

#define NUMBER_BYTES_MAX 1026u /* of an RSA modulus: 8,192 bits */
#define RSA_BITS_MIN     2048
#define P256_BYTES       32u
#define ED25519_BYTES    32u
#define JSON_DEPTH_FLAGS (JSON_REJECT_DUPLICATES)

static const char *const algorithm_names[JWT_ALGORITHM_COUNT] = {
    [JWT_RS256] = "RS256", [JWT_ES256] = "ES256", [JWT_EDDSA] = "EdDSA"};

const char *jwt_algorithm_name(enum jwt_algorithm algorithm)
{
    return algorithm_names[algorithm];
}

status jwt_algorithm_read(const char *name, enum jwt_algorithm *out)
{
    for (unsigned i = 0; i < JWT_ALGORITHM_COUNT; i++) {
        if (strcmp(algorithm_names[i], name) == 0) {
            *out = (enum jwt_algorithm)i;
            return STATUS_OK;
        }
    }
    return STATUS_NOT_FOUND;
}

/* A member that is a text; NULL: there is none. */
static const char *member(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

/* A member with binary data. False: none, or too long. */
static bool member_bytes(const json_t *object, const char *name, uint8_t *out, size_t bytes_max,
                         size_t *bytes)
{
    struct text_slice text = text_slice_of(member(object, name));

    return text.data != NULL && text.bytes <= bytes_max / 3 * 4 &&
           base64_read(text, BASE64_URL, out, bytes) == STATUS_OK;
}

static EVP_PKEY *key_build(const char *kind, OSSL_PARAM *parameters)
{
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, kind, NULL);
    EVP_PKEY *key = NULL;

    if (context == NULL || parameters == NULL || EVP_PKEY_fromdata_init(context) != 1 ||
        EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, parameters) != 1)
        key = NULL;
    EVP_PKEY_CTX_free(context);
    return key;
}

static EVP_PKEY *rsa_read(const json_t *object)
{
    uint8_t n_bytes[NUMBER_BYTES_MAX + 3], e_bytes[16];
    size_t n_count, e_count;
    BIGNUM *n = NULL, *e = NULL;
    OSSL_PARAM_BLD *builder = NULL;
    OSSL_PARAM *parameters = NULL;
    EVP_PKEY *key = NULL;

    if (!member_bytes(object, "n", n_bytes, NUMBER_BYTES_MAX, &n_count) ||
        !member_bytes(object, "e", e_bytes, sizeof(e_bytes) - 3, &e_count))
        return NULL;
    n = BN_bin2bn(n_bytes, (int)n_count, NULL);
    e = BN_bin2bn(e_bytes, (int)e_count, NULL);
    builder = OSSL_PARAM_BLD_new();
    if (n != NULL && e != NULL && builder != NULL &&
        OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
        OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, e) == 1)
        parameters = OSSL_PARAM_BLD_to_param(builder);
    key = key_build("RSA", parameters);
    if (key != NULL && EVP_PKEY_get_bits(key) < RSA_BITS_MIN) {
        EVP_PKEY_free(key);
        key = NULL;
    }
    OSSL_PARAM_free(parameters);
    OSSL_PARAM_BLD_free(builder);
    BN_free(n);
    BN_free(e);
    return key;
}

static bool is_on_curve(EVP_PKEY *key)
{
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key, NULL);
    bool is_good = context != NULL && EVP_PKEY_public_check(context) == 1;

    EVP_PKEY_CTX_free(context);
    return is_good;
}

static EVP_PKEY *ec_read(const json_t *object)
{
    uint8_t point[1 + 2 * P256_BYTES + 3] = {4}; /* uncompressed */
    char group[] = "P-256";
    size_t x_count, y_count;
    const char *curve = member(object, "crv");
    EVP_PKEY *key;

    if (curve == NULL || strcmp(curve, "P-256") != 0 ||
        !member_bytes(object, "x", point + 1, P256_BYTES + 3, &x_count) || x_count != P256_BYTES ||
        !member_bytes(object, "y", point + 1 + P256_BYTES, P256_BYTES + 3, &y_count) ||
        y_count != P256_BYTES)
        return NULL;
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, 1 + 2 * P256_BYTES),
        OSSL_PARAM_construct_end()};
    key = key_build("EC", parameters);
    if (key != NULL && !is_on_curve(key)) {
        EVP_PKEY_free(key);
        key = NULL;
    }
    return key;
}

static EVP_PKEY *okp_read(const json_t *object)
{
    uint8_t bytes[ED25519_BYTES + 4];
    const char *curve = member(object, "crv");
    size_t count;

    if (curve == NULL || strcmp(curve, "Ed25519") != 0 ||
        !member_bytes(object, "x", bytes, ED25519_BYTES + 3, &count) || count != ED25519_BYTES)
        return NULL;
    return EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, bytes, count);
}

/* False: not one that we can use. */
static bool key_read(const json_t *object, struct jwks_key *out)
{
    static const struct {
        const char *kind;
        enum jwt_algorithm algorithm;
        EVP_PKEY *(*read)(const json_t *object);
    } kinds[] = {
        {"RSA", JWT_RS256, rsa_read}, {"EC", JWT_ES256, ec_read}, {"OKP", JWT_EDDSA, okp_read}};
    const char *kind = member(object, "kty"), *use = member(object, "use");
    const char *algorithm = member(object, "alg"), *id = member(object, "kid");

    if (kind == NULL || (use != NULL && strcmp(use, "sig") != 0) ||
        (id != NULL && strlen(id) > JWKS_ID_BYTES_MAX))
        return false;
    for (size_t i = 0; i < ARRAY_COUNT(kinds); i++) {
        if (strcmp(kind, kinds[i].kind) != 0)
            continue;
        if (algorithm != NULL && strcmp(algorithm, jwt_algorithm_name(kinds[i].algorithm)) != 0)
            return false;
        out->algorithm = kinds[i].algorithm;
        (void)stpcpy(out->id, id != NULL ? id : "");
        out->key = kinds[i].read(object);
        return out->key != NULL;
    }
    return false;
}

status jwks_read(struct text_slice json, struct jwks **out, struct error_note *note)
{
    json_t *root = json_loadb(json.data, json.bytes, JSON_DEPTH_FLAGS, NULL);
    const json_t *list = json_object_get(root, "keys");
    struct jwks *keys = memory_allocate_array(1, sizeof(*keys));
    size_t count = json_array_size(list);
    status result = STATUS_OK;

    if (keys == NULL)
        result = STATUS_NO_MEMORY;
    for (size_t i = 0; result == STATUS_OK && i < count && keys->count < JWKS_KEY_COUNT_MAX; i++)
        keys->count += key_read(json_array_get(list, i), &keys->keys[keys->count]);
    ERR_clear_error();
    json_decref(root);
    if (result == STATUS_OK && keys->count == 0) {
        error_note_set(note, "no key set, or without a key for RS256 (2,048 bits), ES256 or EdDSA");
        result = STATUS_INVALID;
    }
    if (result == STATUS_OK)
        *out = keys;
    else
        jwks_destroy(keys);
    return result;
}

void jwks_destroy(struct jwks *keys)
{
    for (uint32_t i = 0; keys != NULL && i < keys->count; i++)
        EVP_PKEY_free(keys->keys[i].key);
    memory_release(keys);
}
