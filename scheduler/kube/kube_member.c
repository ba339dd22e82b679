#include "kube_member.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "hash.h"
#include "json.h"
#include "kube_follow.h"
#include "memory.h"

/* The driver. Its watcher (kube_follow.c) and its worker (kube_order.c) have each a client and a kubeconfig of their own;
 * between them is only what `lock` guards: the view that says how a slice is had, and which replicas we have asked to end (so that their end
 * is told as one that was wanted). No network and no sink is called under it. */

static bool label_is_valid(const char *text)
{
    size_t bytes = text != NULL ? strlen(text) : 0;
    if (bytes == 0 || bytes > 63)
        return false;
    for (size_t i = 0; i < bytes; i++) {
        char c = text[i];
        bool is_word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        bool is_inner = i > 0 && i + 1 < bytes && (c == '-' || c == '_' || c == '.');
        if (!is_word && !is_inner)
            return false;
    }
    return true;
}

static const char *text_or_null(const char *text)
{
    return text != NULL && *text != '\0' ? text : NULL;
}

static void config_keep(struct kube_member_config *kept, const struct kube_member_config *config)
{
    *kept = *config;
    kept->kubeconfig = text_or_null(config->kubeconfig);
    kept->context = text_or_null(config->context);
    kept->namespace_name = text_or_null(config->namespace_name);
    kept->region = text_or_null(config->region);
    kept->zone = text_or_null(config->zone);
    kept->owner = text_or_null(config->owner);
    kept->image = text_or_null(config->image);
    kept->runtime_class = text_or_null(config->runtime_class);
    kept->volume_claim = text_or_null(config->volume_claim);
    kept->partition_profile = text_or_null(config->partition_profile);
}

static void destroy(void *driver)
{
    struct kube_member *member = driver;
    kube_view_destroy(member->view);
    json_decref(member->asked);
    if (member->has_worker) {
        kube_client_close(&member->worker);
        kube_access_close(&member->worker_access);
    }
    (void)pthread_mutex_destroy(&member->lock);
    memory_release(member);
}

status kube_member_create(const struct kube_member_config *config, struct member_driver *out,
                          struct error_note *note)
{
    if (!label_is_valid(config->pool)) {
        error_note_set(note,
                       "the pool's name must be a label's value: letters, digits, and -_. between, "
                       "63 at most");
        return STATUS_INVALID;
    }
    if (text_or_null(config->volume_claim) != NULL &&
        (config->volume_path == NULL || *config->volume_path != '/')) {
        error_note_set(note, "the path that the volume is mounted at must begin with a slash");
        return STATUS_INVALID;
    }
    struct kube_member *member = memory_allocate_array(1, sizeof(*member));
    if (member == NULL)
        return STATUS_NO_MEMORY;
    config_keep(&member->config, config);
    member->asked = json_object();
    if (member->asked == NULL || pthread_mutex_init(&member->lock, NULL) != 0) {
        json_decref(member->asked);
        memory_release(member);
        return STATUS_NO_MEMORY;
    }
    *out = (struct member_driver){.follow = kube_follow,
                                  .start = kube_start,
                                  .stop = kube_stop,
                                  .destroy = destroy,
                                  .driver = member};
    return STATUS_OK;
}

void kube_member_asked(struct kube_member *member, uint64_t uid, bool is_asked)
{
    char key[17];
    (void)snprintf(key, sizeof(key), "%016llx", (unsigned long long)uid);
    (void)pthread_mutex_lock(&member->lock);
    if (is_asked)
        (void)json_object_set_new(member->asked, key, json_true());
    else
        (void)json_object_del(member->asked, key);
    (void)pthread_mutex_unlock(&member->lock);
}

bool kube_member_is_asked(struct kube_member *member, uint64_t uid)
{
    char key[17];
    (void)snprintf(key, sizeof(key), "%016llx", (unsigned long long)uid);
    (void)pthread_mutex_lock(&member->lock);
    bool is_asked = json_object_get(member->asked, key) != NULL;
    (void)pthread_mutex_unlock(&member->lock);
    return is_asked;
}

status kube_version_probe(struct kube_client *client, char version[16], struct error_note *note)
{
    static const char *const known[] = {"v1", "v1beta2", "v1beta1"};
    static const struct json_limits limits = {.depth_max = 16, .value_count_max = 1000};
    struct buffer body;
    json_t *group = NULL;
    int code = 0;
    version[0] = '\0';
    buffer_init(&body, 1u << 20);
    status result = kube_client_call(
        client, &(struct kube_call){.method = "GET", .path = "/apis/resource.k8s.io"}, &code, &body,
        note);
    if (result == STATUS_OK && code == 200)
        result = json_load_limited(buffer_slice(&body), &limits, &group, note);
    else if (result == STATUS_OK && code != 404)
        result = kube_answer_status(code, buffer_slice(&body), note);
    for (size_t k = 0; k < sizeof(known) / sizeof(known[0]) && version[0] == '\0'; k++) {
        size_t i;
        json_t *item;
        json_array_foreach(json_object_get(group, "versions"), i, item)
        {
            if (strcmp(kube_text(item, "version"), known[k]) == 0)
                (void)snprintf(version, 16, "%s", known[k]);
        }
    }
    json_decref(group);
    buffer_deinit(&body);
    return result;
}
