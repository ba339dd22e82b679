#include "tls.h"

#include <h2o.h>
#include <openssl/err.h>

#include "self_signed.h"

/* OpenSSL's own reason for the last failure, for the operator. */
static void note_failure(struct error_note *note, const char *what, const char *file)
{
    char reason[256];
    ERR_error_string_n(ERR_get_error(), reason, sizeof reason);
    error_note_set(note, "%s %s: %s", what, file, reason);
    ERR_clear_error();
}

static SSL_CTX *context_create(void)
{
    static const h2o_iovec_t protocols[] = {
        {H2O_STRLIT("h2")}, {H2O_STRLIT("http/1.1")}, {NULL, 0}};
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (context == NULL)
        return NULL;
    ERR_clear_error();
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                     SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(
        context, SSL_SESS_CACHE_OFF); /* tickets are enough, and take no memory of ours */
    h2o_ssl_register_alpn_protocols(context, protocols);
    return context;
}

status tls_context_create(const char *certificate, const char *key, SSL_CTX **out,
                          struct error_note *note)
{
    SSL_CTX *context = context_create();
    if (context == NULL)
        return STATUS_NO_MEMORY;
    if (SSL_CTX_use_certificate_chain_file(context, certificate) != 1) {
        note_failure(note, "certificate", certificate);
        goto fail;
    }
    if (SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(context) != 1) {
        note_failure(note, "key", key);
        goto fail;
    }
    *out = context;
    return STATUS_OK;
fail:
    SSL_CTX_free(context);
    return STATUS_INVALID;
}

status tls_context_create_self_signed(const http_self_signed *identity, SSL_CTX **out,
                                      struct error_note *note)
{
    SSL_CTX *context = context_create();
    if (context == NULL)
        return STATUS_NO_MEMORY;
    if (self_signed_use(identity, context) != STATUS_OK) {
        note_failure(note, "certificate", "of this process");
        SSL_CTX_free(context);
        return STATUS_INTERNAL;
    }
    *out = context;
    return STATUS_OK;
}
