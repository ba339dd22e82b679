#include "kube_credential.h"

#include <string.h>

#include "clock.h"
#include "json.h"
#include "kube_plugin.h"
#include "kube_text.h"

#define TOKEN_BYTES_MAX  (1u << 20)
#define FILE_AGE_MAX_NS  (60 * NS_PER_SECOND) /* as client-go: rotated tokens overlap by more */
#define EXPIRY_MARGIN_MS 10000u

void kube_credential_init(struct kube_credential *credential, const struct kube_access *access,
                          const _Atomic bool *is_stopping)
{
    *credential = (struct kube_credential){.access = access, .is_stopping = is_stopping};
    buffer_init(&credential->token, TOKEN_BYTES_MAX);
    buffer_init(&credential->certificate_pem, TOKEN_BYTES_MAX);
    buffer_init(&credential->key_pem, TOKEN_BYTES_MAX);
}

void kube_credential_deinit(struct kube_credential *credential)
{
    buffer_deinit(&credential->token);
    buffer_deinit(&credential->certificate_pem);
    buffer_deinit(&credential->key_pem);
}

const char *kube_credential_token(const struct kube_credential *credential)
{
    return credential->token.bytes > 0 ? credential->token.data : credential->access->token;
}

static status text_replace(struct buffer *kept, struct text_slice text)
{
    buffer_clear(kept);
    buffer_append_slice(kept, text);
    return kept->failed;
}

/* A line's end in it would begin another header. */
static status token_check(struct text_slice token, struct error_note *note)
{
    for (size_t i = 0; i < token.bytes; i++) {
        if ((unsigned char)token.data[i] <= ' ' || token.data[i] == '\x7f') {
            error_note_set(note, "the token has blanks or control characters");
            return STATUS_DENIED;
        }
    }
    return STATUS_OK;
}

static status file_refresh(struct kube_credential *credential, struct error_note *note)
{
    struct buffer text;
    buffer_init(&text, TOKEN_BYTES_MAX);
    status result = kube_file_read(credential->access->token_file, &text, note);
    if (result == STATUS_OK) {
        struct text_slice token = buffer_slice(&text);
        while (token.bytes > 0 && strchr(" \r\n\t", token.data[token.bytes - 1]) != NULL)
            token.bytes--;
        result = token_check(token, note);
        if (result == STATUS_OK)
            result = text_replace(&credential->token, token);
    }
    buffer_deinit(&text);
    return result == STATUS_OK || result == STATUS_NO_MEMORY ? result : STATUS_DENIED;
}

/* --- plugins --- */

static status plugin_answer_take(struct kube_credential *credential, const json_t *answer,
                                 struct error_note *note)
{
    const json_t *given = json_object_get(answer, "status");
    const char *token = kube_text(given, "token");
    const char *certificate = kube_text(given, "clientCertificateData");
    const char *key = kube_text(given, "clientKeyData");
    if (*token == '\0' && (*certificate == '\0' || *key == '\0')) {
        error_note_set(note, "the exec plugin gave neither a token nor a certificate and its key");
        return STATUS_DENIED;
    }
    status result = token_check(text_slice_of(token), note);
    if (result == STATUS_OK)
        result = text_replace(&credential->token, text_slice_of(token));
    if (result == STATUS_OK)
        result = text_replace(&credential->certificate_pem, text_slice_of(certificate));
    if (result == STATUS_OK)
        result = text_replace(&credential->key_pem, text_slice_of(key));
    credential->expires_ms = kube_time_ms(kube_text(given, "expirationTimestamp"));
    return result;
}

static status plugin_refresh(struct kube_credential *credential, struct error_note *note)
{
    static const struct json_limits limits = {.depth_max = 16, .value_count_max = 1000};
    struct buffer output;
    json_t *answer = NULL;
    buffer_init(&output, TOKEN_BYTES_MAX);
    status result = kube_plugin_run(credential->access, credential->is_stopping, &output, note);
    if (result == STATUS_OK &&
        json_load_limited(buffer_slice(&output), &limits, &answer, note) != STATUS_OK) {
        error_note_prefix(note, "the exec plugin's answer is no ExecCredential");
        result = STATUS_DENIED;
    }
    if (result == STATUS_OK)
        result = plugin_answer_take(credential, answer, note);
    json_decref(answer);
    buffer_deinit(&output);
    return result;
}

status kube_credential_refresh(struct kube_credential *credential, bool is_refused,
                               struct error_note *note)
{
    const struct kube_access *access = credential->access;
    uint64_t now_ns = clock_now_ns();
    bool is_due = credential->fetched_ns == 0 || is_refused;
    status result = STATUS_OK;
    if (access->exec != NULL) {
        bool is_over = credential->expires_ms > 0 &&
                       clock_wall_ms() + EXPIRY_MARGIN_MS >= credential->expires_ms;
        if (!is_due && !is_over)
            return STATUS_OK;
        result = plugin_refresh(credential, note);
    } else if (*access->token_file != '\0') {
        if (!is_due && now_ns - credential->fetched_ns < FILE_AGE_MAX_NS)
            return STATUS_OK;
        result = file_refresh(credential, note);
    } else if (is_due) {
        result = token_check(text_slice_of(access->token), note);
    }
    if (result == STATUS_OK)
        credential->fetched_ns = clock_now_ns();
    return result;
}

status kube_credential_renew(struct kube_credential *credential, uint64_t asked_ns,
                             struct error_note *note)
{
    if (credential->fetched_ns > asked_ns)
        return STATUS_OK;
    return kube_credential_refresh(credential, true, note);
}
