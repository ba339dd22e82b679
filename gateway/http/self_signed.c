#include "self_signed.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "check.h"
#include "hash.h"
#include "memory.h"

#define PIN_PREFIX "sha256//"
/* A clock that is a day behind must not make it invalid; nobody who pins looks at its end. */
#define VALID_BEFORE_S (-24L * 3600)
#define VALID_AFTER_S  (10L * 365 * 24 * 3600)

struct http_self_signed {
    X509 *certificate; /* counted */
    EVP_PKEY *key;     /* counted */
    char pin[HTTP_PIN_TEXT_BYTES];
};

/* The key that the certificate has, as it stands in it. */
static bool key_hash(const X509 *certificate, unsigned char hash[HTTP_PIN_BYTES])
{
    unsigned char *info = NULL;
    int bytes = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &info);

    if (bytes > 0)
        (void)SHA256(info, (size_t)bytes, hash);
    OPENSSL_free(info);
    return bytes > 0;
}

static void pin_write(const unsigned char hash[HTTP_PIN_BYTES], char out[HTTP_PIN_TEXT_BYTES])
{
    memcpy(out, PIN_PREFIX, strlen(PIN_PREFIX));
    (void)EVP_EncodeBlock((unsigned char *)out + strlen(PIN_PREFIX), hash, HTTP_PIN_BYTES);
}

bool http_pin_read(const char *text, unsigned char hash[HTTP_PIN_BYTES])
{
    /* 44 digits are 33 bytes; the last of them stands for the padding. */
    unsigned char decoded[HTTP_PIN_BYTES + 1];
    char again[HTTP_PIN_TEXT_BYTES];

    if (strlen(text) != HTTP_PIN_TEXT_BYTES - 1 ||
        strncmp(text, PIN_PREFIX, strlen(PIN_PREFIX)) != 0 ||
        EVP_DecodeBlock(decoded, (const unsigned char *)text + strlen(PIN_PREFIX),
                        (int)(HTTP_PIN_TEXT_BYTES - 1 - strlen(PIN_PREFIX))) !=
            (int)sizeof(decoded))
        return false;
    pin_write(decoded, again);
    if (strcmp(text, again) != 0) /* there is one way to write a hash */
        return false;
    memcpy(hash, decoded, HTTP_PIN_BYTES);
    return true;
}

/* --- making --- */

static bool extension_add(X509 *certificate, int kind, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, kind, value);
    bool is_good = extension != NULL && X509_add_ext(certificate, extension, -1) == 1;

    X509_EXTENSION_free(extension);
    return is_good;
}

static bool certificate_fill(X509 *certificate, EVP_PKEY *key)
{
    X509_NAME *name = X509_get_subject_name(certificate);
    uint64_t serial;

    random_bytes(&serial, sizeof(serial));
    return X509_set_version(certificate, X509_VERSION_3) == 1 &&
           ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial >> 1) == 1 &&
           X509_gmtime_adj(X509_getm_notBefore(certificate), VALID_BEFORE_S) != NULL &&
           X509_gmtime_adj(X509_getm_notAfter(certificate), VALID_AFTER_S) != NULL &&
           X509_set_pubkey(certificate, key) == 1 &&
           X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                                      (const unsigned char *)SELF_SIGNED_NAME, -1, -1, 0) == 1 &&
           X509_set_issuer_name(certificate, name) == 1 &&
           extension_add(certificate, NID_subject_alt_name, "DNS:" SELF_SIGNED_NAME) &&
           X509_sign(certificate, key, EVP_sha256()) > 0;
}

status http_self_signed_create(http_self_signed **out, struct error_note *note)
{
    http_self_signed *identity = memory_allocate_array(1, sizeof(*identity));
    unsigned char hash[HTTP_PIN_BYTES];

    if (identity == NULL)
        return STATUS_NO_MEMORY;
    ERR_clear_error();
    identity->key = EVP_EC_gen("P-256");
    identity->certificate = X509_new();
    if (identity->key == NULL || identity->certificate == NULL ||
        !certificate_fill(identity->certificate, identity->key) ||
        !key_hash(identity->certificate, hash)) {
        char reason[256];

        ERR_error_string_n(ERR_get_error(), reason, sizeof(reason));
        ERR_clear_error();
        error_note_set(note, "a certificate cannot be made: %s", reason);
        http_self_signed_destroy(identity);
        return STATUS_INTERNAL;
    }
    pin_write(hash, identity->pin);
    *out = identity;
    return STATUS_OK;
}

void http_self_signed_destroy(http_self_signed *identity)
{
    if (identity == NULL)
        return;
    X509_free(identity->certificate);
    EVP_PKEY_free(identity->key);
    memory_release(identity);
}

const char *http_self_signed_pin(const http_self_signed *identity)
{
    return identity->pin;
}

/* --- in use --- */

status self_signed_use(const http_self_signed *identity, SSL_CTX *context)
{
    bool is_good = SSL_CTX_use_certificate(context, identity->certificate) == 1 &&
                   SSL_CTX_use_PrivateKey(context, identity->key) == 1;

    return is_good ? STATUS_OK : STATUS_INTERNAL;
}

/* Instead of the usual walk up to an authority. 1: it is the one. */
static int is_expected(X509_STORE_CTX *store, void *expected)
{
    const X509 *certificate = X509_STORE_CTX_get0_cert(store);
    unsigned char hash[HTTP_PIN_BYTES];
    bool is = certificate != NULL && key_hash(certificate, hash) &&
              CRYPTO_memcmp(hash, expected, HTTP_PIN_BYTES) == 0;

    X509_STORE_CTX_set_error(store, is ? X509_V_OK : X509_V_ERR_CERT_UNTRUSTED);
    return is;
}

status self_signed_expect(const unsigned char hash[HTTP_PIN_BYTES], SSL_CTX **out)
{
    static const unsigned char protocols[] = "\x08http/1.1";
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());

    if (context == NULL)
        return STATUS_NO_MEMORY;
    SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_cert_verify_callback(context, is_expected, (void *)(uintptr_t)hash);
    if (SSL_CTX_set_alpn_protos(context, protocols, sizeof(protocols) - 1) != 0) {
        SSL_CTX_free(context);
        return STATUS_NO_MEMORY;
    }
    *out = context;
    return STATUS_OK;
}
