#include "kube_access.h"
#include "base64.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base64.h"
#include "kube_text.h"

/* The kubeconfig's format: k8s.io/client-go/tools/clientcmd/api/v1. Data wins over a file of the same thing; files are
 * relative to the kubeconfig's folder. */

#define ACCESS_BYTES_MAX (16u << 20)
#define ACCOUNT_FOLDER   "/var/run/secrets/kubernetes.io/serviceaccount/"

static status text_keep(struct kube_access *access, const char *text, size_t bytes,
                        const char **out)
{
    *out = arena_copy_text(access->memory, text, bytes);
    if (*out != NULL)
        return STATUS_OK;
    *out = "";
    return STATUS_NO_MEMORY;
}

/* The named entry of "clusters", "users" or "contexts": its "cluster", "user" or "context". */
static const json_t *entry_find(const json_t *config, const char *list, const char *key,
                                const char *name)
{
    size_t i;
    json_t *entry;
    json_array_foreach(json_object_get(config, list), i, entry)
    {
        if (strcmp(kube_text(entry, "name"), name) == 0)
            return json_object_get(entry, key);
    }
    return NULL;
}

/* `path` as the kubeconfig means it. */
static status path_keep(struct kube_access *access, const char *path, const char **out)
{
    if (*path == '/' || *path == '\0')
        return text_keep(access, path, strlen(path), out);
    struct buffer whole;
    buffer_init(&whole, 8192);
    buffer_append_format(&whole, "%s%s", access->folder, path);
    status result =
        whole.failed == STATUS_OK ? text_keep(access, whole.data, whole.bytes, out) : whole.failed;
    buffer_deinit(&whole);
    return result;
}

/* Appends what the text says. */
static status base64_append(const char *text, struct buffer *out)
{
    size_t bytes = strlen(text);
    status result = buffer_reserve(out, bytes / 4 * 3 + 3);
    if (result == STATUS_OK)
        result = base64_read(text_slice_of(text), BASE64_STANDARD,
                             (uint8_t *)out->data + out->bytes, &bytes);
    if (result == STATUS_OK)
        out->bytes += bytes;
    if (out->data != NULL)
        out->data[out->bytes] = '\0';
    return result;
}

/* "x-data" in base64, or the file "x". */
static status pem_keep(struct kube_access *access, const json_t *section, const char *name,
                       const char **out, struct error_note *note)
{
    struct buffer pem;
    char key[64];
    const char *path = "";
    buffer_init(&pem, KUBE_FILE_BYTES_MAX);
    (void)snprintf(key, sizeof(key), "%s-data", name);
    const char *data = kube_text(section, key);
    status result = STATUS_OK;
    if (*data != '\0') {
        result = base64_append(data, &pem);
        if (result == STATUS_INVALID)
            error_note_set(note, "%s: not base64", key);
    } else {
        result = path_keep(access, kube_text(section, name), &path);
        if (result == STATUS_OK && *path != '\0')
            result = kube_file_read(path, &pem, note);
    }
    if (result == STATUS_OK)
        result = text_keep(access, pem.data != NULL ? pem.data : "", pem.bytes, out);
    buffer_deinit(&pem);
    return result;
}

/* What the cluster's section has for plugins: its extension of this name. */
static json_t *exec_config_find(const json_t *cluster)
{
    size_t i;
    json_t *extension;
    json_array_foreach(json_object_get(cluster, "extensions"), i, extension)
    {
        if (strcmp(kube_text(extension, "name"), "client.authentication.k8s.io/exec") == 0)
            return json_object_get(extension, "extension");
    }
    return NULL;
}

static status cluster_read(struct kube_access *access, const json_t *cluster,
                           struct error_note *note)
{
    const char *server = kube_text(cluster, "server");
    size_t bytes = strlen(server);
    while (bytes > 0 && server[bytes - 1] == '/')
        bytes--;
    if (strncmp(server, "https://", 8) != 0 && strncmp(server, "http://", 7) != 0) {
        error_note_set(note, "the cluster's server is \"%s\", not an http or https address",
                       server);
        return STATUS_INVALID;
    }
    access->is_insecure = strcmp(kube_text(cluster, "insecure-skip-tls-verify"), "true") == 0;
    access->exec_config = json_incref(exec_config_find(cluster));
    status result = text_keep(access, server, bytes, &access->server);
    if (result == STATUS_OK)
        result = text_keep(access, kube_text(cluster, "tls-server-name"),
                           strlen(kube_text(cluster, "tls-server-name")), &access->tls_server_name);
    if (result == STATUS_OK)
        result = text_keep(access, kube_text(cluster, "proxy-url"),
                           strlen(kube_text(cluster, "proxy-url")), &access->proxy_url);
    return result == STATUS_OK
               ? pem_keep(access, cluster, "certificate-authority", &access->ca_pem, note)
               : result;
}

static status user_read(struct kube_access *access, const json_t *user, struct error_note *note)
{
    const char *token = kube_text(user, "token");
    if (json_object_get(user, "auth-provider") != NULL ||
        json_object_get(user, "username") != NULL) {
        error_note_set(note, "the user has %s, which is gone from Kubernetes",
                       json_object_get(user, "username") != NULL
                           ? "a username (until 1.19)"
                           : "an auth-provider (until 1.26): use an exec plugin");
        return STATUS_UNSUPPORTED;
    }
    status result = text_keep(access, token, strlen(token), &access->token);
    if (result == STATUS_OK)
        result = path_keep(access, kube_text(user, "tokenFile"), &access->token_file);
    if (result == STATUS_OK)
        result = pem_keep(access, user, "client-certificate", &access->certificate_pem, note);
    if (result == STATUS_OK)
        result = pem_keep(access, user, "client-key", &access->key_pem, note);
    json_t *exec = json_object_get(user, "exec");
    if (result == STATUS_OK && json_is_object(exec))
        access->exec = json_incref(exec);
    return result;
}

static status context_read(struct kube_access *access, const json_t *config, const char *name,
                           struct error_note *note)
{
    if (name == NULL || *name == '\0')
        name = kube_text(config, "current-context");
    const json_t *context = entry_find(config, "contexts", "context", name);
    if (context == NULL) {
        error_note_set(note, "there is no context \"%s\"", name);
        return STATUS_INVALID;
    }
    const char *cluster_name = kube_text(context, "cluster");
    const char *user_name = kube_text(context, "user");
    const json_t *cluster = entry_find(config, "clusters", "cluster", cluster_name);
    const json_t *user = entry_find(config, "users", "user", user_name);
    if (cluster == NULL || (user == NULL && *user_name != '\0')) {
        error_note_set(note, "context \"%s\" names the %s \"%s\", which is not there", name,
                       cluster == NULL ? "cluster" : "user",
                       cluster == NULL ? cluster_name : user_name);
        return STATUS_INVALID;
    }
    const char *space = kube_text(context, "namespace");
    status result = *space != '\0'
                        ? text_keep(access, space, strlen(space), &access->namespace_name)
                        : STATUS_OK;
    if (result == STATUS_OK)
        result = cluster_read(access, cluster, note);
    return result == STATUS_OK ? user_read(access, user, note) : result;
}

static status config_read(struct kube_access *access, const char *path, const char *context,
                          struct error_note *note)
{
    struct buffer text;
    json_t *config = NULL;
    buffer_init(&text, KUBE_FILE_BYTES_MAX);
    const char *slash = strrchr(path, '/');
    status result =
        text_keep(access, path, slash != NULL ? (size_t)(slash - path) + 1 : 0, &access->folder);
    if (result == STATUS_OK)
        result = kube_file_read(path, &text, note);
    if (result == STATUS_OK) {
        result = kube_yaml_read(buffer_slice(&text), &config, note);
        if (result == STATUS_OK)
            result = context_read(access, config, context, note);
        if (result != STATUS_OK)
            error_note_prefix(note, "%s", path);
    }
    json_decref(config);
    buffer_deinit(&text);
    return result;
}

static status account_file_read(struct kube_access *access, const char *path, const char **out,
                                struct error_note *note)
{
    struct buffer text;
    buffer_init(&text, KUBE_FILE_BYTES_MAX);
    status result = kube_file_read(path, &text, note);
    if (result == STATUS_OK)
        result = text_keep(access, text.data != NULL ? text.data : "", text.bytes, out);
    buffer_deinit(&text);
    return result;
}

static status account_read(struct kube_access *access, struct error_note *note)
{
    const char *host = getenv("KUBERNETES_SERVICE_HOST");
    const char *port = getenv("KUBERNETES_SERVICE_PORT");
    if (host == NULL || port == NULL) {
        error_note_set(note, "no kubeconfig is named, and this is no pod of a cluster "
                             "(KUBERNETES_SERVICE_HOST is not set)");
        return STATUS_INVALID;
    }
    char server[512];
    (void)snprintf(server, sizeof(server),
                   strchr(host, ':') != NULL ? "https://[%s]:%s" : "https://%s:%s", host, port);
    access->token_file = ACCOUNT_FOLDER "token";
    status result = text_keep(access, server, strlen(server), &access->server);
    if (result == STATUS_OK)
        result = account_file_read(access, ACCOUNT_FOLDER "ca.crt", &access->ca_pem, note);
    if (result == STATUS_OK)
        result =
            account_file_read(access, ACCOUNT_FOLDER "namespace", &access->namespace_name, note);
    return result;
}

status kube_access_open(const char *path, const char *context, struct kube_access *out,
                        struct error_note *note)
{
    *out = (struct kube_access){.server = "",
                                .namespace_name = "default",
                                .ca_pem = "",
                                .certificate_pem = "",
                                .key_pem = "",
                                .token = "",
                                .token_file = "",
                                .tls_server_name = "",
                                .proxy_url = "",
                                .folder = ""};
    status result = arena_create(ACCESS_BYTES_MAX, &out->memory);
    if (result == STATUS_OK)
        result = path != NULL && *path != '\0' ? config_read(out, path, context, note)
                                               : account_read(out, note);
    if (result != STATUS_OK)
        kube_access_close(out);
    return result;
}

void kube_access_close(struct kube_access *access)
{
    json_decref(access->exec);
    json_decref(access->exec_config);
    arena_destroy(access->memory);
    access->exec = access->exec_config = NULL;
    access->memory = NULL;
}
