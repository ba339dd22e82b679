#include "run_directory.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#define NAME_BYTES_MAX 24u

status run_directory_open(const char *wanted, char *out, size_t out_bytes, bool *is_ours,
                          struct error_note *note)
{
    const char *base = getenv("XDG_RUNTIME_DIR");
    int bytes;

    if (base == NULL || base[0] != '/' || access(base, W_OK | X_OK) != 0)
        base = "/tmp";
    *is_ours = wanted[0] == '\0';
    if (*is_ours)
        bytes = snprintf(out, out_bytes, "%s/penstock-XXXXXX", base);
    else
        bytes = snprintf(out, out_bytes, "%s", wanted);
    if (bytes < 0 || (size_t)bytes >= out_bytes) {
        error_note_set(note, "the path of the run directory is longer than %zu bytes",
                       out_bytes - 1);
        return STATUS_TOO_LARGE;
    }
    if (*is_ours && mkdtemp(out) == NULL) {
        error_note_set(note, "no private folder can be made under %s: %s", base, strerror(errno));
        return STATUS_IO;
    }
    return STATUS_OK;
}

void run_directory_config_path(const char *folder, char *out, size_t out_bytes)
{
    (void)snprintf(out, out_bytes, "%s/config.yaml", folder);
}

static status file_write(const char *path, struct text_slice text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    status result = STATUS_OK;

    if (fd < 0)
        return STATUS_IO;
    while (text.bytes > 0 && result == STATUS_OK) {
        ssize_t written = write(fd, text.data, text.bytes);

        if (written < 0 && errno != EINTR)
            result = STATUS_IO;
        if (written > 0) {
            text.data += written;
            text.bytes -= (size_t)written;
        }
    }
    return close(fd) == 0 ? result : STATUS_IO;
}

static status file_replace(const char *path, struct text_slice text)
{
    char fresh[176];

    (void)snprintf(fresh, sizeof(fresh), "%s.new", path);
    if (file_write(fresh, text) == STATUS_OK && rename(fresh, path) == 0)
        return STATUS_OK;
    (void)unlink(fresh);
    return STATUS_IO;
}

status run_directory_write_config(const char *folder, struct text_slice text)
{
    char path[160];

    run_directory_config_path(folder, path, sizeof(path));
    return file_replace(path, text);
}

#define VERSION_PREFIX "penstock-version-"

void run_directory_version_path(const char *folder, unsigned model_index, unsigned version,
                                unsigned epoch, char *out, size_t out_bytes)
{
    (void)snprintf(out, out_bytes, "%s/" VERSION_PREFIX "%u-%u.%u.yaml", folder, model_index,
                   version, epoch);
}

status run_directory_write_version(const char *folder, unsigned model_index, unsigned version,
                                   unsigned epoch, struct text_slice text)
{
    char path[160];

    run_directory_version_path(folder, model_index, version, epoch, path, sizeof(path));
    return file_replace(path, text);
}

status run_directory_socket(const char *folder, const char *model, unsigned model_index,
                            unsigned replica_index, unsigned epoch, char *out, size_t out_bytes)
{
    const size_t path_bytes_max = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1;
    char name[NAME_BYTES_MAX + 1], suffix[16] = "";
    size_t bytes = 0;
    int written;

    for (; model[bytes] != '\0' && bytes < NAME_BYTES_MAX; bytes++)
        name[bytes] =
            isalnum((unsigned char)model[bytes]) || model[bytes] == '-' ? model[bytes] : '_';
    name[bytes] = '\0';
    if (epoch > 0)
        (void)snprintf(suffix, sizeof(suffix), ".%u", epoch);
    written = snprintf(out, out_bytes, "unix:%s/%u-%s-%u%s.sock", folder, model_index, name,
                       replica_index, suffix);
    if (written < 0 || (size_t)written >= out_bytes ||
        (size_t)written - strlen("unix:") > path_bytes_max)
        return STATUS_TOO_LARGE;
    return STATUS_OK;
}

/* Those whose names begin so. */
static void files_remove(const char *folder, const char *prefix)
{
    DIR *directory = opendir(folder);
    const struct dirent *entry;

    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        if (entry->d_name[0] != '.' && strncmp(entry->d_name, prefix, strlen(prefix)) == 0)
            (void)unlinkat(dirfd(directory), entry->d_name, 0);
    }
    if (directory != NULL)
        (void)closedir(directory);
}

void run_directory_close(const char *folder, bool is_ours)
{
    char path[160];

    run_directory_config_path(folder, path, sizeof(path));
    (void)unlink(path);
    files_remove(folder, VERSION_PREFIX);
    if (!is_ours)
        return;
    files_remove(folder, ""); /* what replicas of gateways before this one have left, too */
    (void)rmdir(folder);
}
