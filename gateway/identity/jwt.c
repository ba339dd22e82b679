#include "jwt.h"

#include <math.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>

#include "base64.h"
#include "check.h"

#define ES256_BYTES         64u
#define ES256_DER_MAX       80
#define TIME_S_MAX          1e15 /* what a double still counts in seconds */
#define SIGNATURE_BYTES_MAX 1024u

struct jwt_parts {
    struct text_slice head, claims, signature, signed_text;
};

static bool parts_read(struct text_slice token, struct jwt_parts *out)
{
    const char *first, *second, *end = token.data + token.bytes;

    if (token.bytes == 0 || token.bytes > JWT_BYTES_MAX)
        return false;
    first = memchr(token.data, '.', token.bytes);
    second = first != NULL ? memchr(first + 1, '.', (size_t)(end - first) - 1) : NULL;
    if (second == NULL || memchr(second + 1, '.', (size_t)(end - second) - 1) != NULL)
        return false;
    *out = (struct jwt_parts){
        .head = {token.data, (size_t)(first - token.data)},
        .claims = {first + 1, (size_t)(second - first) - 1},
        .signature = {second + 1, (size_t)(end - second) - 1},
        .signed_text = {token.data, (size_t)(second - token.data)},
    };
    return true;
}

bool jwt_is_like(struct text_slice text)
{
    struct jwt_parts parts;

    return parts_read(text, &parts);
}

/* A part that is a JSON object; NULL: it is something else. Members that come twice are not taken: others may read
 * another of the two. */
static json_t *object_read(struct text_slice part)
{
    uint8_t bytes[JWT_BYTES_MAX];
    size_t count;
    json_t *object;

    if (base64_read(part, BASE64_URL, bytes, &count) != STATUS_OK)
        return NULL;
    object = json_loadb((const char *)bytes, count, JSON_REJECT_DUPLICATES, NULL);
    if (json_is_object(object))
        return object;
    json_decref(object);
    return NULL;
}

status jwt_issuer(struct text_slice token, char *out, size_t bytes)
{
    struct jwt_parts parts;
    json_t *claims = parts_read(token, &parts) ? object_read(parts.claims) : NULL;
    const char *issuer = json_string_value(json_object_get(claims, "iss"));
    bool is_good = issuer != NULL && strlen(issuer) < bytes;

    if (is_good)
        (void)stpcpy(out, issuer);
    json_decref(claims);
    return is_good ? STATUS_OK : STATUS_INVALID;
}

/* --- the signature --- */

/* Two numbers of 32 bytes become what OpenSSL reads. Returns the bytes in `der`, 0 on failure. */
static size_t es256_convert(const uint8_t *raw, uint8_t der[ES256_DER_MAX])
{
    ECDSA_SIG *signature = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(raw, ES256_BYTES / 2, NULL);
    BIGNUM *s = BN_bin2bn(raw + ES256_BYTES / 2, ES256_BYTES / 2, NULL);
    uint8_t *at = der;
    int bytes = 0;

    if (signature == NULL || r == NULL || s == NULL || ECDSA_SIG_set0(signature, r, s) != 1) {
        BN_free(r);
        BN_free(s);
    } else if (i2d_ECDSA_SIG(signature, NULL) <= ES256_DER_MAX) {
        bytes = i2d_ECDSA_SIG(signature, &at);
    }
    ECDSA_SIG_free(signature);
    return bytes > 0 ? (size_t)bytes : 0;
}

static bool signature_is_good(const struct jwks_key *key, struct text_slice signed_text,
                              const uint8_t *signature, size_t bytes)
{
    uint8_t der[ES256_DER_MAX];
    EVP_MD_CTX *context;
    bool is_good;

    if (key->algorithm == JWT_ES256) {
        if (bytes != ES256_BYTES)
            return false;
        bytes = es256_convert(signature, der);
        signature = der;
    }
    context = EVP_MD_CTX_new();
    is_good = context != NULL && bytes > 0 &&
              EVP_DigestVerifyInit(context, NULL, key->algorithm == JWT_EDDSA ? NULL : EVP_sha256(),
                                   NULL, key->key) == 1 &&
              EVP_DigestVerify(context, signature, bytes, (const uint8_t *)signed_text.data,
                               signed_text.bytes) == 1;
    EVP_MD_CTX_free(context);
    ERR_clear_error();
    return is_good;
}

/* With the key that the token names, or any of the kind where it names none. */
static status signature_check(const struct jwt_parts *parts, enum jwt_algorithm algorithm,
                              const char *id, const struct jwks *keys)
{
    uint8_t signature[SIGNATURE_BYTES_MAX + 3];
    size_t bytes;
    bool is_known = id == NULL;

    if (parts->signature.bytes > SIGNATURE_BYTES_MAX / 3 * 4 ||
        base64_read(parts->signature, BASE64_URL, signature, &bytes) != STATUS_OK)
        return STATUS_DENIED;
    for (uint32_t i = 0; i < keys->count; i++) {
        const struct jwks_key *key = &keys->keys[i];

        if (id != NULL && strcmp(key->id, id) != 0)
            continue;
        is_known = true;
        if (key->algorithm == algorithm &&
            signature_is_good(key, parts->signed_text, signature, bytes))
            return STATUS_OK;
    }
    return is_known ? STATUS_DENIED : STATUS_NOT_FOUND;
}

static status head_check(const struct jwt_parts *parts, const struct jwt_rules *rules,
                         const struct jwks *keys, const char **why)
{
    json_t *head = object_read(parts->head);
    const char *name = json_string_value(json_object_get(head, "alg"));
    const json_t *id = json_object_get(head, "kid");
    enum jwt_algorithm algorithm = JWT_RS256;
    status result = STATUS_DENIED;

    *why = "its head is not understood";
    if (name != NULL && json_object_get(head, "crit") == NULL &&
        (id == NULL || json_is_string(id))) {
        *why = "its algorithm is not allowed";
        if (jwt_algorithm_read(name, &algorithm) == STATUS_OK &&
            (rules->algorithms & 1u << algorithm) != 0) {
            *why = "its signature is wrong";
            result = signature_check(parts, algorithm, json_string_value(id), keys);
        }
    }
    json_decref(head);
    return result;
}

/* --- the claims --- */

/* False: there is none, or it is no time. */
static bool time_read(const json_t *claims, const char *name, double *out)
{
    const json_t *value = json_object_get(claims, name);

    *out = json_number_value(value);
    return json_is_number(value) && isfinite(*out) && fabs(*out) < TIME_S_MAX;
}

static bool audience_is_good(const json_t *claims, const char *wanted)
{
    const json_t *audience = json_object_get(claims, "aud");
    const char *only = json_string_value(audience);

    if (only != NULL)
        return strcmp(only, wanted) == 0;
    for (size_t i = 0; i < json_array_size(audience); i++) {
        const char *one = json_string_value(json_array_get(audience, i));

        if (one != NULL && strcmp(one, wanted) == 0)
            return true;
    }
    return false;
}

/* NULL: all is well. */
static const char *claims_check(const json_t *claims, const struct jwt_rules *rules, uint64_t now_s)
{
    const char *issuer = json_string_value(json_object_get(claims, "iss"));
    double now = (double)now_s, leeway = (double)rules->leeway_s, expires, begins;

    if (issuer == NULL || strcmp(issuer, rules->issuer) != 0)
        return "it is of another issuer";
    if (!audience_is_good(claims, rules->audience))
        return "it is for another audience";
    if (!time_read(claims, "exp", &expires))
        return "it has no end (exp)";
    if (now >= expires + leeway)
        return "it has expired";
    if (json_object_get(claims, "nbf") != NULL &&
        (!time_read(claims, "nbf", &begins) || now + leeway < begins))
        return "it is not good yet";
    return NULL;
}

status jwt_verify(struct text_slice token, const struct jwt_rules *rules, const struct jwks *keys,
                  uint64_t now_s, json_t **claims, const char **why)
{
    struct jwt_parts parts;
    status result;
    json_t *read;

    *why = "it is no token";
    if (!parts_read(token, &parts))
        return STATUS_DENIED;
    result = head_check(&parts, rules, keys, why);
    if (result != STATUS_OK)
        return result;
    read = object_read(parts.claims);
    *why = read != NULL ? claims_check(read, rules, now_s) : "its claims are not understood";
    if (*why != NULL) {
        json_decref(read);
        return STATUS_DENIED;
    }
    *claims = read;
    return STATUS_OK;
}
