#include "client_certificate.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <pthread.h>

#include "check.h"
#include "memory.h"

static _Thread_local struct client_certificate_owner *expected;
static pthread_once_t index_once = PTHREAD_ONCE_INIT;
static int owner_index = -1; /* of the SSL object's extra data */

void client_certificate_expect(struct client_certificate_owner *owner)
{
    expected = owner;
}

static void on_ssl_new(void *parent, void *data, CRYPTO_EX_DATA *all, int index, long number,
                       void *context)
{
    (void)parent, (void)data, (void)number, (void)context;
    (void)CRYPTO_set_ex_data(all, index, expected);
}

static void index_make(void)
{
    owner_index = CRYPTO_get_ex_new_index(CRYPTO_EX_INDEX_SSL, 0, NULL, on_ssl_new, NULL, NULL);
}

/* A text as printable ASCII; what else is in it becomes '_'. */
static void text_take(const ASN1_STRING *text, char out[HTTP_CERTIFICATE_NAME_BYTES])
{
    unsigned char *utf8 = NULL;
    int bytes = text != NULL ? ASN1_STRING_to_UTF8(&utf8, text) : 0;
    size_t count = 0;

    for (; bytes > 0 && count < (size_t)bytes && count + 1 < HTTP_CERTIFICATE_NAME_BYTES; count++) {
        bool is_plain =
            utf8[count] > ' ' && utf8[count] < 0x7f && utf8[count] != '"' && utf8[count] != '\\';

        out[count] = is_plain ? (char)utf8[count] : '_';
    }
    /* A name that does not fit is none: its beginning may be somebody else's. */
    out[bytes > 0 && count == (size_t)bytes ? count : 0] = '\0';
    OPENSSL_free(utf8);
}

static void subject_take(X509_NAME *name, int field, char out[HTTP_CERTIFICATE_NAME_BYTES])
{
    int at = X509_NAME_get_index_by_NID(name, field, -1);

    out[0] = '\0';
    if (at >= 0)
        text_take(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)), out);
}

/* The first alternative name of the kind; "": none. */
static void alternative_take(const GENERAL_NAMES *names, int kind,
                             char out[HTTP_CERTIFICATE_NAME_BYTES])
{
    out[0] = '\0';
    for (int i = 0; i < sk_GENERAL_NAME_num(names) && out[0] == '\0'; i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

        if (name->type == kind)
            text_take(name->d.ia5, out);
    }
}

static void names_take(X509 *certificate, struct http_certificate *out)
{
    static const int kinds[] = {GEN_URI, GEN_DNS, GEN_EMAIL};
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    X509_NAME *subject = X509_get_subject_name(certificate);
    struct tm end;

    for (size_t i = 0; names != NULL && i < ARRAY_COUNT(kinds) && out->name[0] == '\0'; i++)
        alternative_take(names, kinds[i], out->name);
    if (out->name[0] == '\0')
        subject_take(subject, NID_commonName, out->name);
    subject_take(subject, NID_organizationName, out->organisation);
    subject_take(subject, NID_organizationalUnitName, out->unit);
    if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &end) == 1)
        out->end_s = (uint64_t)timegm(&end);
    GENERAL_NAMES_free(names);
}

/* Again after a handshake: a session ticket is one, in OpenSSL's eyes. */
static void on_info(const SSL *ssl, int where, int value)
{
    struct client_certificate_owner *owner;
    X509 *certificate;

    (void)value;
    if ((where & SSL_CB_HANDSHAKE_DONE) == 0)
        return;
    owner = SSL_get_ex_data(ssl, owner_index);
    certificate = SSL_get0_peer_certificate(ssl);
    if (owner == NULL || owner->certificate != NULL || certificate == NULL ||
        SSL_get_verify_result(ssl) != X509_V_OK)
        return;
    owner->certificate = memory_allocate_array(1, sizeof(*owner->certificate));
    if (owner->certificate != NULL)
        names_take(certificate, owner->certificate);
    ERR_clear_error();
}

status client_certificate_ask(SSL_CTX *context, const char *authorities, bool is_required,
                              struct error_note *note)
{
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(authorities);

    (void)pthread_once(&index_once, index_make);
    if (owner_index < 0 || names == NULL ||
        SSL_CTX_load_verify_locations(context, authorities, NULL) != 1) {
        error_note_set(note, "%s has no certificates of authorities in PEM form", authorities);
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        ERR_clear_error();
        return STATUS_INVALID;
    }
    SSL_CTX_set_client_CA_list(context, names);
    SSL_CTX_set_verify(context,
                       SSL_VERIFY_PEER | (is_required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), NULL);
    /* Every connection shows and verifies it anew. */
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
    SSL_CTX_set_num_tickets(context, 0);
    SSL_CTX_set_info_callback(context, on_info);
    return STATUS_OK;
}
