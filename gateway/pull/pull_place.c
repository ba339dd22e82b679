#include "pull_place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER_MODE 0755
#define FILE_MODE   0644

status pull_place_open(int folder, const char *path, struct pull_place *out,
                       struct error_note *note)
{
    int at = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const char *slash;

    while (at >= 0 && (slash = strchr(path, '/')) != NULL) {
        char part[PULL_NAME_BYTES_MAX + 1];
        int next;

        (void)snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
        if (mkdirat(at, part, FOLDER_MODE) != 0 && errno != EEXIST) {
            next = -1;
        } else {
            next = openat(at, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        }
        int error = errno;
        close(at);
        errno = error;
        at = next;
        path = slash + 1;
    }
    if (at < 0) {
        error_note_set(note, "its folder cannot be opened: %s", strerrordesc_np(errno));
        return STATUS_IO;
    }
    out->folder = at;
    (void)snprintf(out->name, sizeof(out->name), "%s", path);
    (void)snprintf(out->part, sizeof(out->part), "%s.part", out->name);
    (void)snprintf(out->tag, sizeof(out->tag), "%s.part.tag", out->name);
    return STATUS_OK;
}

void pull_place_close(struct pull_place *place)
{
    close(place->folder);
}

void pull_place_tag_read(const struct pull_place *place, char *out, size_t bytes)
{
    int descriptor = openat(place->folder, place->tag, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    ssize_t got = descriptor >= 0 ? read(descriptor, out, bytes) : 0;

    if (descriptor >= 0)
        close(descriptor);
    if (got < 0 || got >= (ssize_t)bytes)
        got = 0;
    out[got] = '\0';
    if (strlen(out) != (size_t)got || strpbrk(out, "\r\n") != NULL)
        out[0] = '\0';
}

void pull_place_tag_write(const struct pull_place *place, const char *text)
{
    size_t bytes = strlen(text);
    int descriptor;

    (void)unlinkat(place->folder, place->tag, 0);
    if (bytes == 0)
        return;
    descriptor =
        openat(place->folder, place->tag, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, FILE_MODE);
    if (descriptor < 0)
        return;
    if (write(descriptor, text, bytes) != (ssize_t)bytes)
        (void)unlinkat(place->folder, place->tag, 0);
    close(descriptor);
}

status pull_place_finish(const struct pull_place *place, int part, struct error_note *note)
{
    if (fsync(part) != 0 || renameat(place->folder, place->part, place->folder, place->name) != 0 ||
        fsync(place->folder) != 0) {
        error_note_set(note, "cannot be put in its place: %s", strerrordesc_np(errno));
        return STATUS_IO;
    }
    pull_place_tag_write(place, "");
    return STATUS_OK;
}
