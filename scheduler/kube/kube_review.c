#include <stdio.h>
#include <string.h>

#include "json.h"
#include "kube_follow.h"

/* What the driver does, as rules of a role: asked of the server before anything is followed, so that a missing one is named at once and
 * not met later, half-way through a gang. */
static const struct {
    const char *group, *resource, *verb;
    bool is_in_namespace, is_of_devices;
} rules[] = {
    {"", "nodes", "list", false, false},
    {"", "nodes", "watch", false, false},
    {"", "pods", "list", false, false},
    {"", "pods", "watch", false, false},
    {"", "pods", "get", true, false},
    {"", "pods", "create", true, false},
    {"", "pods", "patch", true, false},
    {"", "pods", "delete", true, false},
    {"resource.k8s.io", "resourceslices", "list", false, true},
    {"resource.k8s.io", "resourceslices", "watch", false, true},
    {"resource.k8s.io", "deviceclasses", "list", false, true},
    {"resource.k8s.io", "deviceclasses", "watch", false, true},
    {"resource.k8s.io", "resourceclaims", "list", false, true},
    {"resource.k8s.io", "resourceclaims", "watch", false, true},
    {"resource.k8s.io", "resourceclaims", "get", true, true},
    {"resource.k8s.io", "resourceclaims", "create", true, true},
    {"resource.k8s.io", "resourceclaims", "patch", true, true},
};

static status rule_ask(struct kube_client *client, const char *space, size_t rule,
                       struct error_note *note)
{
    static const struct json_limits limits = {.depth_max = 32, .value_count_max = 10000};
    struct buffer body, question;
    json_t *answer = NULL;
    int code = 0;
    const char *where = rules[rule].is_in_namespace ? space : "";
    buffer_init(&body, 1u << 20);
    buffer_init(&question, 4096);
    buffer_append_format(
        &question,
        "{\"apiVersion\":\"authorization.k8s.io/v1\",\"kind\":\"SelfSubjectAccessReview\","
        "\"spec\":{\"resourceAttributes\":{\"namespace\":\"%s\",\"verb\":\"%s\","
        "\"group\":\"%s\",\"resource\":\"%s\"}}}",
        where, rules[rule].verb, rules[rule].group, rules[rule].resource);
    status result = kube_client_call(
        client,
        &(struct kube_call){.method = "POST",
                            .path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
                            .content_type = "application/json",
                            .body = buffer_slice(&question)},
        &code, &body, note);
    if (result == STATUS_OK && code != 201 && code != 200)
        result = kube_answer_status(code, buffer_slice(&body), note);
    else if (result == STATUS_OK)
        result = json_load_limited(buffer_slice(&body), &limits, &answer, note);
    if (result == STATUS_OK && !json_is_true(kube_get(answer, "status", "allowed", NULL))) {
        error_note_set(note, "not allowed: verb \"%s\" of resource \"%s\" in apiGroup \"%s\"%s%s",
                       rules[rule].verb, rules[rule].resource, rules[rule].group,
                       *where != '\0' ? " in namespace " : " in the whole cluster", where);
        result = STATUS_DENIED;
    }
    json_decref(answer);
    buffer_deinit(&question);
    buffer_deinit(&body);
    return result;
}

status kube_access_review(struct kube_client *client, const char *namespace_name, bool has_devices,
                          struct error_note *note)
{
    status result = STATUS_OK;
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]) && result == STATUS_OK; i++)
        if (has_devices || !rules[i].is_of_devices)
            result = rule_ask(client, namespace_name, i, note);
    return result;
}
