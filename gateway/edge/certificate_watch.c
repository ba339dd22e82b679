#include "certificate_watch.h"

#include "check.h"
#include "log.h"

static void file_look(const char *path, struct certificate_file *out)
{
    struct stat info;

    *out = (struct certificate_file){0};
    if (path[0] != '\0' && stat(path, &info) == 0)
        *out = (struct certificate_file){info.st_dev, info.st_ino, info.st_size, info.st_mtim};
}

static bool is_same(const struct certificate_file *a, const struct certificate_file *b)
{
    return a->device == b->device && a->inode == b->inode && a->bytes == b->bytes &&
           a->written.tv_sec == b->written.tv_sec && a->written.tv_nsec == b->written.tv_nsec;
}

/* True: something is not as it was at the last look. */
static bool files_look(struct certificate_watch *watch, const struct config_server *config)
{
    const char *const paths[] = {config->tls_certificate, config->tls_key, config->tls_client_ca};
    bool has_changed = false;

    _Static_assert(ARRAY_COUNT(paths) == CERTIFICATE_FILES_MAX, "a file each");
    for (size_t i = 0; i < ARRAY_COUNT(paths); i++) {
        struct certificate_file now;

        file_look(paths[i], &now);
        has_changed |= !is_same(&now, &watch->files[i]);
        watch->files[i] = now;
    }
    return has_changed;
}

void certificate_watch_init(struct certificate_watch *watch, const struct config_server *config)
{
    *watch = (struct certificate_watch){.is_settling = false};
    (void)files_look(watch, config);
}

void certificate_watch_look(struct certificate_watch *watch, struct edge *edge)
{
    const struct config_server *config = &config_store_get(&edge->configs)->config->server;
    struct error_note note = {""};
    bool has_changed = files_look(watch, config), is_due = watch->is_settling && !has_changed;

    watch->is_settling = has_changed;
    if (!is_due || config->tls_certificate[0] == '\0')
        return;
    if (http_server_reload_certificates(edge->server, &note) == STATUS_OK)
        log_info("gateway/edge", "the certificate's files have changed: new connections use them");
    else
        log_error("gateway/edge",
                  "the certificate's files have changed, and are not good: %s; the "
                  "ones from before stay in force",
                  note.text);
}
