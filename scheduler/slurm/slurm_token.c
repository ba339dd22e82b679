#include "slurm_token.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>
#include <unistd.h>

#include "base64.h"
#include "json.h"

/* "eyJ..." of {"alg":"HS256","typ":"JWT"} */
#define HEADER_TEXT "{\"alg\":\"HS256\",\"typ\":\"JWT\"}"

status slurm_token_mint(struct text_slice key, const char *user, uint64_t now_seconds,
                        struct buffer *out)
{
    unsigned char signature[EVP_MAX_MD_SIZE];
    unsigned signature_bytes = 0;
    struct buffer claims;
    status result;

    buffer_clear(out);
    buffer_init(&claims, SLURM_TOKEN_BYTES_MAX);
    buffer_append_format(&claims, "{\"exp\":%llu,\"iat\":%llu,\"sun\":",
                         (unsigned long long)(now_seconds + SLURM_TOKEN_SECONDS),
                         (unsigned long long)now_seconds);
    json_write_text(&claims, user);
    buffer_append_byte(&claims, '}');
    result = claims.failed;
    if (result == STATUS_OK) {
        base64_write(out, BASE64_URL, HEADER_TEXT, sizeof(HEADER_TEXT) - 1);
        buffer_append_byte(out, '.');
        base64_write(out, BASE64_URL, claims.data, claims.bytes);
        result = out->failed;
    }
    buffer_deinit(&claims);
    if (result != STATUS_OK)
        return result;
    if (HMAC(EVP_sha256(), key.data, (int)key.bytes, (const unsigned char *)out->data, out->bytes,
             signature, &signature_bytes) == NULL)
        return STATUS_INTERNAL;
    buffer_append_byte(out, '.');
    base64_write(out, BASE64_URL, signature, signature_bytes);
    return out->failed;
}

static status file_read(const char *path, struct buffer *out)
{
    char chunk[4096];
    ssize_t got;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return STATUS_IO;
    while ((got = read(fd, chunk, sizeof(chunk))) > 0)
        buffer_append(out, chunk, (size_t)got);
    close(fd);
    return got < 0 ? STATUS_IO : out->failed;
}

/* Leaves the first line of a token's file, without the name before it. */
static void token_trim(struct buffer *out)
{
    static const char name[] = "SLURM_JWT=";

    if (out->bytes > 0)
        out->bytes = strcspn(out->data, " \t\r\n");
    if (text_slice_starts_with(buffer_slice(out), name))
        buffer_consume(out, sizeof(name) - 1);
}

status slurm_secret_read(const char *path, bool is_key, struct buffer *out, struct error_note *note)
{
    status result;

    buffer_clear(out);
    result = file_read(path, out);
    if (result == STATUS_OK && !is_key)
        token_trim(out);
    if (result == STATUS_OK && out->bytes == 0)
        result = STATUS_INVALID;
    if (result == STATUS_IO)
        error_note_set(note, "%s: %s", path, strerrorname_np(errno));
    else if (result != STATUS_OK)
        error_note_set(note, "%s: %s", path, result == STATUS_INVALID ? "is empty" : "is too long");
    return result;
}
