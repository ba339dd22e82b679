#include "secret_source.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void secret_forget(char *secret, size_t bytes)
{
    OPENSSL_cleanse(secret, bytes);
}

/* False: there is none. */
static bool take(const char *text, size_t bytes, char *out)
{
    while (bytes > 0 && isspace((unsigned char)text[bytes - 1]))
        bytes--;
    while (bytes > 0 && isspace((unsigned char)*text)) {
        text++;
        bytes--;
    }
    if (bytes == 0 || bytes > SECRET_BYTES_MAX)
        return false;
    for (size_t i = 0; i < bytes; i++) {
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
            return false;
    }
    memcpy(out, text, bytes);
    out[bytes] = '\0';
    return true;
}

static status file_read(const char *file, char *out, struct error_note *note)
{
    char text[SECRET_BYTES_MAX + 64];
    int descriptor = open(file, O_RDONLY | O_CLOEXEC);
    ssize_t bytes = descriptor >= 0 ? read(descriptor, text, sizeof(text)) : -1;
    int error = errno;
    bool is_good;

    if (descriptor >= 0)
        close(descriptor);
    if (bytes < 0) {
        error_note_set(note, "%s: %s", file, strerrordesc_np(error));
        return STATUS_IO;
    }
    is_good = take(text, (size_t)bytes, out);
    OPENSSL_cleanse(text, sizeof(text));
    if (!is_good)
        error_note_set(note, "%s holds no secret of 1 to %u characters", file, SECRET_BYTES_MAX);
    return is_good ? STATUS_OK : STATUS_INVALID;
}

status secret_read(const char *file, const char *variable, char out[SECRET_BYTES_MAX + 1],
                   struct error_note *note)
{
    const char *value;

    out[0] = '\0';
    if (file[0] != '\0')
        return file_read(file, out, note);
    if (variable[0] == '\0')
        return STATUS_OK;
    value = getenv(variable); // NOLINT: nobody changes the environment
    if (value != NULL && take(value, strlen(value), out))
        return STATUS_OK;
    error_note_set(note, "the environment variable %s holds no secret of 1 to %u characters",
                   variable, SECRET_BYTES_MAX);
    return STATUS_INVALID;
}
