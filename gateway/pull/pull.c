#include "pull.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pull_name.h"
#include "repository.h"

#define FOLDER_BYTES_MAX 4096u
#define FOLDER_MODE      0755
#define URL_BYTES_MAX    8192u

static bool is_url(const char *text)
{
    return strstr(text, "://") != NULL;
}

/* Makes what is missing of the operator's own folder. */
static status folder_open(const char *path, int *out, struct error_note *note)
{
    char text[FOLDER_BYTES_MAX];
    size_t bytes = strlen(path);

    if (bytes >= sizeof(text))
        return STATUS_TOO_LARGE;
    memcpy(text, path, bytes + 1);
    for (char *at = text + 1; (at = strchr(at, '/')) != NULL; at++) {
        *at = '\0';
        (void)mkdir(text, FOLDER_MODE); /* what matters is whether it opens in the end */
        *at = '/';
    }
    (void)mkdir(text, FOLDER_MODE);
    *out = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*out >= 0)
        return STATUS_OK;
    error_note_set(note, "%s: %s", path, strerrordesc_np(errno));
    return STATUS_IO;
}

static status url_pull(const struct pull_order *order, int folder, struct error_note *note)
{
    char name[PULL_NAME_BYTES_MAX + 1];
    struct pull_file file = {.folder = folder,
                             .path = name,
                             .url = order->from,
                             .token = order->token,
                             .bytes = UINT64_MAX,
                             .sha256 = order->sha256 != NULL ? order->sha256 : "",
                             .git_oid = "",
                             .is_quiet = order->is_quiet};

    if (pull_url_name(order->from, name))
        return pull_file(&file, note);
    error_note_set(note, "the URL's last part is no name for a file: %s", order->from);
    return STATUS_INVALID;
}

static bool is_chosen(const struct pull_order *order, const struct repository_file *file)
{
    return order->pattern == NULL || fnmatch(order->pattern, file->path, 0) == 0;
}

static bool is_gguf(const char *path)
{
    size_t bytes = strlen(path);

    return bytes > 5 && strcmp(path + bytes - 5, ".gguf") == 0;
}

/* Before anything is fetched: every name must be safe, and it must be clear what is wanted. */
static status choice_check(const struct pull_order *order, const struct repository *repository,
                           struct error_note *note)
{
    size_t chosen = 0, ggufs = 0;

    for (size_t i = 0; i < repository->file_count; i++) {
        const char *path = repository->files[i].path;

        if (!is_chosen(order, &repository->files[i]))
            continue;
        if (!pull_path_is_safe(path)) {
            error_note_set(note,
                           "the repository has a file whose name leads elsewhere or is no name: "
                           "'%.200s'; nothing was fetched",
                           path);
            return STATUS_INVALID;
        }
        chosen++;
        ggufs += is_gguf(path);
    }
    if (chosen == 0) {
        error_note_set(note, "no file of %s matches '%s'", repository->name,
                       order->pattern != NULL ? order->pattern : "*");
        return STATUS_NOT_FOUND;
    }
    if (order->pattern != NULL || ggufs < 2)
        return STATUS_OK;
    error_note_set(note,
                   "%s has %zu .gguf files, mostly the same model in several precisions; name one "
                   "with --file, for example --file '*Q4_K_M*'",
                   repository->name, ggufs);
    return STATUS_INVALID;
}

static status file_pull(const struct pull_order *order, const struct repository *repository,
                        const struct repository_file *row, int folder, struct error_note *note)
{
    struct pull_file file = {.folder = folder,
                             .path = row->path,
                             .token = order->token,
                             .bytes = row->bytes,
                             .sha256 = row->sha256,
                             .git_oid = row->git_oid,
                             .is_quiet = order->is_quiet};
    struct buffer url;
    status result;

    buffer_init(&url, URL_BYTES_MAX);
    repository_file_url(repository, row->path, &url);
    file.url = url.data;
    result = url.failed != STATUS_OK ? url.failed : pull_file(&file, note);
    buffer_deinit(&url);
    return result;
}

static status repository_pull(const struct pull_order *order, int folder, struct error_note *note)
{
    struct repository repository = {
        .endpoint = order->endpoint, .name = order->from, .token = order->token};
    status result =
        repository_list(&repository, order->revision != NULL ? order->revision : "main", note);

    if (result == STATUS_OK)
        result = choice_check(order, &repository, note);
    for (size_t i = 0; i < repository.file_count && result == STATUS_OK; i++) {
        if (is_chosen(order, &repository.files[i]))
            result = file_pull(order, &repository, &repository.files[i], folder, note);
    }
    repository_deinit(&repository);
    return result;
}

status pull(const struct pull_order *order, struct error_note *note)
{
    const char *server = is_url(order->from) ? order->from : order->endpoint;
    int folder = -1;
    status result;

    if (!is_url(order->from) && !pull_repository_is_safe(order->from)) {
        error_note_set(note, "'%s' is neither a URL nor organisation/name", order->from);
        return STATUS_INVALID;
    }
    if (server == NULL) {
        error_note_set(note, "a repository needs its server: --endpoint URL, or HF_ENDPOINT");
        return STATUS_INVALID;
    }
    if (!pull_url_is_allowed(server)) {
        error_note_set(note, "%s: only https:// is taken, and http:// of this machine", server);
        return STATUS_INVALID;
    }
    result = folder_open(order->folder, &folder, note);
    if (result != STATUS_OK)
        return result;
    result =
        is_url(order->from) ? url_pull(order, folder, note) : repository_pull(order, folder, note);
    close(folder);
    return result;
}
