#include "flight_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "flight_recorder.h"

#define SOCKET_ENDING ".sock"

static bool ends_with(const char *text, const char *ending)
{
    size_t bytes = strlen(text), ending_bytes = strlen(ending);

    return bytes >= ending_bytes && strcmp(text + bytes - ending_bytes, ending) == 0;
}

bool flight_path(const char *address, char out[FLIGHT_PATH_BYTES])
{
    int bytes;

    if (strncmp(address, "unix:", 5) != 0)
        return false;
    bytes = snprintf(out, FLIGHT_PATH_BYTES, "%s" FLIGHT_ENDING, address + 5);
    return bytes > 0 && bytes < (int)FLIGHT_PATH_BYTES;
}

bool flight_make(const char *address)
{
    char path[FLIGHT_PATH_BYTES];
    int fd = -1;

    errno = ENAMETOOLONG;
    if (flight_path(address, path))
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    return fd >= 0 && close(fd) == 0;
}

/* Who ends well leaves an empty one. */
static bool has_steps(const char *path)
{
    struct stat file;

    return lstat(path, &file) == 0 && S_ISREG(file.st_mode) && file.st_size > 0;
}

/* One that is kept: not of a socket that may be in use. */
static bool is_kept(const char *name)
{
    return ends_with(name, FLIGHT_ENDING) && !ends_with(name, SOCKET_ENDING FLIGHT_ENDING);
}

/* How many are kept in the folder, and the oldest of them. */
static uint32_t kept_count(DIR *folder, char oldest[FLIGHT_PATH_BYTES])
{
    const struct dirent *entry;
    struct timespec oldest_time = {0};
    uint32_t count = 0;

    rewinddir(folder);
    while ((entry = readdir(folder)) != NULL) { // NOLINT: the folder is this thread's
        const struct timespec *time;
        struct stat file;

        if (!is_kept(entry->d_name) || strlen(entry->d_name) >= FLIGHT_PATH_BYTES ||
            fstatat(dirfd(folder), entry->d_name, &file, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        time = &file.st_mtim;
        if (count++ == 0 || time->tv_sec < oldest_time.tv_sec ||
            (time->tv_sec == oldest_time.tv_sec && time->tv_nsec < oldest_time.tv_nsec)) {
            oldest_time = *time;
            (void)snprintf(oldest, FLIGHT_PATH_BYTES, "%s", entry->d_name);
        }
    }
    return count;
}

static void thin_out(const char *path, uint32_t kept_max)
{
    char folder_path[FLIGHT_PATH_BYTES], oldest[FLIGHT_PATH_BYTES];
    const char *end = strrchr(path, '/');
    DIR *folder;

    (void)snprintf(folder_path, sizeof(folder_path), "%.*s", (int)(end != NULL ? end - path : 1),
                   end != NULL ? path : ".");
    folder = opendir(folder_path);
    if (folder == NULL)
        return;
    while (kept_count(folder, oldest) > kept_max && unlinkat(dirfd(folder), oldest, 0) == 0)
        ;
    (void)closedir(folder);
}

bool flight_keep(const char *address, int32_t pid, uint32_t kept_max, uint64_t now_s,
                 char out[FLIGHT_PATH_BYTES])
{
    char from[FLIGHT_PATH_BYTES], stamp[32];
    time_t when = (time_t)now_s;
    struct tm parts;
    size_t stem;
    int bytes;

    if (!flight_path(address, from) || !has_steps(from))
        return false;
    if (kept_max == 0)
        return false;
    stem = strlen(from) - strlen(FLIGHT_ENDING);
    if (stem > strlen(SOCKET_ENDING) &&
        strncmp(from + stem - strlen(SOCKET_ENDING), SOCKET_ENDING, strlen(SOCKET_ENDING)) == 0)
        stem -= strlen(SOCKET_ENDING);
    if (gmtime_r(&when, &parts) == NULL ||
        strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &parts) == 0)
        return false;
    bytes = snprintf(out, FLIGHT_PATH_BYTES, "%.*s.%s-%d" FLIGHT_ENDING, (int)stem, from, stamp,
                     (int)pid);
    if (bytes < 0 || bytes >= (int)FLIGHT_PATH_BYTES || rename(from, out) != 0)
        return false;
    thin_out(out, kept_max);
    return access(out, F_OK) == 0;
}
