#include "repository.h"

#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "http_download.h"
#include "json.h"
#include "memory.h"
#include "pull_name.h"

#define PAGE_BYTES_MAX (16u << 20)
#define URL_BYTES_MAX  8192u
#define PAGES_MAX      1000u
#define IDLE_NS        (60 * NS_PER_SECOND)
#define HEX            "0123456789abcdef"

void repository_deinit(struct repository *repository)
{
    for (size_t i = 0; i < repository->file_count; i++)
        memory_release(repository->files[i].path);
    memory_release(repository->files);
}

/* What may not stand in a path is written as %XX (RFC 3986, section 2.1). */
static void path_append(struct buffer *out, const char *text, bool keeps_slash)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";

    for (; *text != '\0'; text++) {
        if (strchr(plain, *text) != NULL || (*text == '/' && keeps_slash))
            buffer_append_byte(out, *text);
        else
            buffer_append_format(out, "%%%02X", (unsigned)(unsigned char)*text);
    }
}

void repository_file_url(const struct repository *repository, const char *path, struct buffer *out)
{
    buffer_append_format(out, "%s/%s/resolve/%s/", repository->endpoint, repository->name,
                         repository->commit);
    path_append(out, path, true);
}

static bool on_head(void *context, const struct http_download_head *head)
{
    (void)context, (void)head;
    return true;
}

static bool on_bytes(void *context, const void *data, size_t bytes)
{
    struct buffer *out = context;

    buffer_append(out, data, bytes);
    return out->failed == STATUS_OK;
}

static status ask(const struct repository *repository, const char *url, struct buffer *out,
                  struct http_download_head *head, struct error_note *note)
{
    struct http_download download = {.url = url,
                                     .bearer = repository->token,
                                     .idle_ns = IDLE_NS,
                                     .on_head = on_head,
                                     .on_bytes = on_bytes,
                                     .context = out};
    struct buffer refusal;
    status result;

    buffer_init(&refusal, 4096);
    result = http_download(&download, head, &refusal, note);
    buffer_deinit(&refusal);
    if (out->failed == STATUS_TOO_LARGE)
        error_note_set(note, "the answer is longer than %u bytes", PAGE_BYTES_MAX);
    if (result != STATUS_OK)
        return out->failed != STATUS_OK ? out->failed : result;
    if (head->code == 200)
        return STATUS_OK;
    if (head->code == 404) {
        error_note_set(
            note, "there is no such repository or revision (or it is private and wants a token)");
        return STATUS_NOT_FOUND;
    }
    error_note_set(note, "the server answers %d%s", head->code,
                   head->code == 401 || head->code == 403
                       ? ": it wants a token that may read this (--token-file or HF_TOKEN)"
                       : "");
    return head->code == 401 || head->code == 403 ? STATUS_DENIED : STATUS_INVALID;
}

/* The answer as JSON, which is the caller's. */
static status ask_json(const struct repository *repository, const char *url, json_t **out,
                       struct http_download_head *head, struct error_note *note)
{
    static const struct json_limits limits = {.depth_max = 32, .value_count_max = 4u << 20};
    struct buffer page;
    status result;

    buffer_init(&page, PAGE_BYTES_MAX);
    result = ask(repository, url, &page, head, note);
    if (result == STATUS_OK)
        result = json_load_limited(buffer_slice(&page), &limits, out, note);
    buffer_deinit(&page);
    if (result != STATUS_OK)
        error_note_prefix(note, "%s", url);
    return result;
}

static bool is_hex(const char *text, size_t digits)
{
    return text != NULL && strlen(text) == digits && strspn(text, HEX) == digits;
}

static status commit_find(struct repository *repository, const char *revision,
                          struct error_note *note)
{
    struct http_download_head head;
    struct buffer url;
    json_t *answer = NULL;
    const char *commit;
    status result;

    buffer_init(&url, URL_BYTES_MAX);
    buffer_append_format(&url, "%s/api/models/%s/revision/", repository->endpoint,
                         repository->name);
    path_append(&url, revision, false);
    result =
        url.failed != STATUS_OK ? url.failed : ask_json(repository, url.data, &answer, &head, note);
    if (result == STATUS_OK) {
        commit = json_string_value(json_object_get(answer, "sha"));
        if (is_hex(commit, GIT_OID_HEX_BYTES)) {
            memcpy(repository->commit, commit, GIT_OID_HEX_BYTES + 1);
        } else {
            error_note_set(note, "%s: the answer names no commit", url.data);
            result = STATUS_INVALID;
        }
    }
    json_decref(answer);
    buffer_deinit(&url);
    return result;
}

/* One of the listing: large files are stored apart, under their SHA-256 (Git LFS); small ones have git's hash. */
static status file_add(struct repository *repository, const json_t *item, struct error_note *note)
{
    const json_t *lfs = json_object_get(item, "lfs"), *size = json_object_get(item, "size");
    const char *kind = json_string_value(json_object_get(item, "type")),
               *path = json_string_value(json_object_get(item, "path"));
    const char *oid = json_string_value(json_object_get(item, "oid"));
    const char *sha256 = json_string_value(json_object_get(lfs, "oid"));
    struct repository_file *file;

    if (kind != NULL && strcmp(kind, "file") != 0)
        return STATUS_OK;
    if (repository->file_count == FILE_COUNT_MAX) {
        error_note_set(note, "the repository has more than %u files", FILE_COUNT_MAX);
        return STATUS_TOO_LARGE;
    }
    file = &repository->files[repository->file_count];
    *file = (struct repository_file){.bytes = UINT64_MAX};
    if (json_is_integer(size) && json_integer_value(size) >= 0)
        file->bytes = (uint64_t)json_integer_value(size);
    if (is_hex(sha256, SHA256_HEX_BYTES))
        memcpy(file->sha256, sha256, SHA256_HEX_BYTES + 1);
    else if (!json_is_object(lfs) && is_hex(oid, GIT_OID_HEX_BYTES))
        memcpy(file->git_oid, oid, GIT_OID_HEX_BYTES + 1);
    if (path == NULL || file->bytes == UINT64_MAX ||
        (file->sha256[0] == '\0' && file->git_oid[0] == '\0')) {
        error_note_set(note, "the listing has a file without path, size or hash");
        return STATUS_INVALID;
    }
    file->path = memory_allocate(strlen(path) + 1);
    if (file->path == NULL)
        return STATUS_NO_MEMORY;
    memcpy(file->path, path, strlen(path) + 1);
    repository->file_count++;
    return STATUS_OK;
}

/* The next page is on the same server, or the token would go elsewhere. */
static bool is_of_endpoint(const struct repository *repository, const char *url)
{
    size_t bytes = strlen(repository->endpoint);

    return strncmp(url, repository->endpoint, bytes) == 0 && url[bytes] == '/';
}

static status page_read(struct repository *repository, const char *url,
                        char next[HTTP_DOWNLOAD_LINK_BYTES], struct error_note *note)
{
    struct http_download_head head;
    json_t *answer = NULL;
    const json_t *item;
    size_t i;
    status result = ask_json(repository, url, &answer, &head, note);

    next[0] = '\0';
    if (result == STATUS_OK && !json_is_array(answer)) {
        error_note_set(note, "%s: the answer is no list of files", url);
        result = STATUS_INVALID;
    }
    if (result == STATUS_OK) {
        json_array_foreach(answer, i, item)
        {
            result = file_add(repository, item, note);
            if (result != STATUS_OK)
                break;
        }
        memcpy(next, head.next, sizeof(head.next));
    }
    if (result == STATUS_OK && next[0] != '\0' && !is_of_endpoint(repository, next)) {
        error_note_set(note, "%s: the listing goes on at another server: %s", url, next);
        result = STATUS_INVALID;
    }
    json_decref(answer);
    return result;
}

status repository_list(struct repository *repository, const char *revision, struct error_note *note)
{
    char next[HTTP_DOWNLOAD_LINK_BYTES] = "";
    struct buffer url;
    status result = commit_find(repository, revision, note);

    if (result != STATUS_OK)
        return result;
    repository->files = memory_allocate_array(FILE_COUNT_MAX, sizeof(*repository->files));
    if (repository->files == NULL)
        return STATUS_NO_MEMORY;
    buffer_init(&url, URL_BYTES_MAX);
    buffer_append_format(&url, "%s/api/models/%s/tree/%s?recursive=true", repository->endpoint,
                         repository->name, repository->commit);
    result = url.failed != STATUS_OK ? url.failed : page_read(repository, url.data, next, note);
    for (unsigned pages = 1; result == STATUS_OK && next[0] != '\0'; pages++) {
        char at[HTTP_DOWNLOAD_LINK_BYTES];

        memcpy(at, next, sizeof(at));
        if (pages < PAGES_MAX) {
            result = page_read(repository, at, next, note);
        } else {
            error_note_set(note, "the listing has more than %u pages", PAGES_MAX);
            result = STATUS_TOO_LARGE;
        }
    }
    buffer_deinit(&url);
    return result;
}
