#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "json.h"
#include "kube_follow.h"
#include "memory.h"

/* The worker: starts and stops. A part is looked for by its name before it is made, so that an order given twice makes nothing twice; it is
 * made by server-side apply. The claim of a device is owned by its pod and comes after it, so that it goes with it
 * whatever happens between; a pod without its claim waits. The pods of a gang have a gate that is lifted when all are there.
 *
 * An order that can never be carried out takes back what it has made, also what an earlier try of it had made: as long as one part was
 * missing the replica has not run. */

struct part_order {
    json_t *pod, *claim; /* owned; claim NULL: none */
    char name[64];
    char uid[64];
    bool is_there, is_made, is_gated; /* made: by this call */
};

#define PARTS_MAX 4096u

static status worker_open(struct kube_member *member, struct error_note *note)
{
    if (member->has_worker)
        return STATUS_OK;
    status result = kube_access_open(member->config.kubeconfig, member->config.context,
                                     &member->worker_access, note);
    if (result != STATUS_OK)
        return result;
    result = kube_client_open(&member->worker, &member->worker_access, NULL, note);
    if (result == STATUS_OK)
        result = kube_version_probe(&member->worker, member->worker_version, note);
    member->has_worker = result == STATUS_OK;
    if (result != STATUS_OK) {
        kube_client_close(&member->worker);
        kube_access_close(&member->worker_access);
    }
    return result;
}

/* What went wrong may lie in what the kubeconfig said: it is read anew the next time. */
static status worker_result(struct kube_member *member, status result, struct error_note *note)
{
    if (result == STATUS_OK)
        note->text[0] = '\0'; /* of a question whose answer was no, on the way */
    bool is_broken = result == STATUS_CLOSED || result == STATUS_TIMEOUT || result == STATUS_DENIED;
    if (is_broken && member->has_worker) {
        kube_client_close(&member->worker);
        kube_access_close(&member->worker_access);
        member->has_worker = false;
    }
    switch (result) {
    case STATUS_CANCELLED:
        return STATUS_CLOSED;
    case STATUS_NOT_FOUND:
    case STATUS_IO:
    case STATUS_TOO_LARGE:
    case STATUS_UNSUPPORTED:
        return STATUS_INVALID;
    default:
        return result;
    }
}

static const char *space_of(const struct kube_member *member)
{
    return member->config.namespace_name != NULL ? member->config.namespace_name
                                                 : member->worker_access.namespace_name;
}

/* A call with an object to send and one to get. `code`: the answer's. */
static status object_call(struct kube_member *member, const char *method, const char *path,
                          const char *type, const json_t *sent, int *code, json_t **got,
                          struct error_note *note)
{
    static const struct json_limits limits = {.depth_max = 128, .value_count_max = 1000000};
    struct buffer text, body;
    buffer_init(&text, 4u << 20);
    buffer_init(&body, KUBE_ANSWER_BYTES_MAX);
    if (sent != NULL)
        json_write_value(&text, sent);
    status result = text.failed;
    struct kube_call call = {
        .method = method, .path = path, .content_type = type, .body = buffer_slice(&text)};
    if (result == STATUS_OK)
        result = kube_client_call(&member->worker, &call, code, &body, note);
    if (result == STATUS_OK && *code >= 300) {
        result = kube_answer_status(*code, buffer_slice(&body), note);
        if (*code == 403 && strstr(note->text, "exceeded quota") != NULL)
            result = STATUS_FULL;
    } else if (result == STATUS_OK && got != NULL) {
        result = json_load_limited(buffer_slice(&body), &limits, got, note);
    }
    buffer_deinit(&text);
    buffer_deinit(&body);
    return result;
}

static void pod_path(const struct kube_member *member, const char *name, const char *query,
                     char out[1024])
{
    (void)snprintf(out, 1024, "/api/v1/namespaces/%s/pods/%s%s", space_of(member), name, query);
}

/* Is it our order's? Another pool's gateway may use the same namespace. */
static bool pod_is_of(const struct kube_member *member, const json_t *wanted, const json_t *pod)
{
    const json_t *labels = kube_get(pod, "metadata", "labels", NULL);
    const char *uid = kube_text(wanted, "metadata", "labels", KUBE_LABEL_UID);
    return strcmp(kube_text(labels, KUBE_LABEL_POOL), member->config.pool) == 0 &&
           strcmp(kube_text(labels, KUBE_LABEL_UID), uid) == 0;
}

static void pod_found(struct part_order *part, const json_t *pod)
{
    (void)snprintf(part->uid, sizeof(part->uid), "%s", kube_text(pod, "metadata", "uid"));
    part->is_gated = json_array_size(kube_get(pod, "spec", "schedulingGates", NULL)) > 0;
    part->is_there = true;
}

static status pod_look(struct kube_member *member, struct part_order *part, struct error_note *note)
{
    char path[1024];
    json_t *pod = NULL;
    int code = 0;
    pod_path(member, part->name, "", path);
    status result = object_call(member, "GET", path, NULL, NULL, &code, &pod, note);
    if (result == STATUS_OK && pod_is_of(member, part->pod, pod)) {
        pod_found(part, pod);
    } else if (result == STATUS_OK) {
        error_note_set(note, "the pod %s is there and belongs to somebody else", part->name);
        result = STATUS_INVALID;
    }
    json_decref(pod);
    return result == STATUS_NOT_FOUND ? STATUS_OK : result;
}

static status pod_make(struct kube_member *member, struct part_order *part, struct error_note *note)
{
    char path[1024];
    json_t *pod = NULL;
    int code = 0;
    pod_path(member, part->name, "?fieldManager=penstock", path);
    status result = object_call(member, "PATCH", path, "application/apply-patch+yaml", part->pod,
                                &code, &pod, note);
    if (result == STATUS_OK) {
        pod_found(part, pod);
        part->is_made = true;
    }
    json_decref(pod);
    return result;
}

static void claim_path(const struct kube_member *member, const char *name, const char *query,
                       char out[1024])
{
    (void)snprintf(out, 1024, "/apis/resource.k8s.io/%s/namespaces/%s/resourceclaims/%s%s",
                   member->worker_version, space_of(member), name, query);
}

/* A pod that an earlier call has made may have its claim; one that is there stays as it is. */
static status claim_ensure(struct kube_member *member, struct part_order *part,
                           struct error_note *note)
{
    char path[1024];
    int code = 0;
    if (part->claim == NULL)
        return STATUS_OK;
    if (!part->is_made) {
        claim_path(member, part->name, "", path);
        status found = object_call(member, "GET", path, NULL, NULL, &code, NULL, note);
        if (found != STATUS_NOT_FOUND)
            return found;
    }
    json_t *owner = json_array_get(kube_get(part->claim, "metadata", "ownerReferences", NULL), 0);
    if (json_object_set_new(owner, "uid", json_string(part->uid)) != 0)
        return STATUS_NO_MEMORY;
    claim_path(member, part->name, "?fieldManager=penstock", path);
    return object_call(member, "PATCH", path, "application/apply-patch+yaml", part->claim, &code,
                       NULL, note);
}

static status gate_lift(struct kube_member *member, const struct part_order *part,
                        struct error_note *note)
{
    char path[1024];
    int code = 0;
    if (!part->is_gated)
        return STATUS_OK;
    json_t *patch =
        json_pack("[{s:s, s:s, s:[]}]", "op", "replace", "path", "/spec/schedulingGates", "value");
    if (patch == NULL)
        return STATUS_NO_MEMORY;
    pod_path(member, part->name, "", path);
    status result =
        object_call(member, "PATCH", path, "application/json-patch+json", patch, &code, NULL, note);
    json_decref(patch);
    return result;
}

/* Pods and claims of all parts, from the view as it is now. */
static status parts_build(struct kube_member *member, const struct member_order *order,
                          struct part_order *parts, struct error_note *note)
{
    status result = STATUS_OK;
    (void)pthread_mutex_lock(&member->lock);
    for (uint32_t i = 0; i < order->part_count && result == STATUS_OK; i++) {
        const struct kube_slice *slice = kube_view_find(member->view, order->parts[i].slice_id);
        kube_pod_name(order, i, parts[i].name);
        if (member->view == NULL) {
            error_note_set(note, "the cluster's slices have not been read yet");
            result = STATUS_AGAIN;
        } else if (slice == NULL) {
            error_note_set(note, "the slice \"%s\" is not there any more",
                           order->parts[i].slice_id);
            result = STATUS_FULL;
        } else {
            result = kube_pod_build(order, i, &member->config, slice, &parts[i].pod, note);
            if (result == STATUS_OK && *slice->resource == '\0')
                result = kube_claim_build(order, i, &member->config, slice, member->worker_version,
                                          "", &parts[i].claim);
        }
    }
    (void)pthread_mutex_unlock(&member->lock);
    return result;
}

static status parts_run(struct kube_member *member, struct part_order *parts, uint32_t count,
                        struct error_note *note)
{
    status result = STATUS_OK;
    for (uint32_t i = 0; i < count && result == STATUS_OK; i++)
        result = pod_look(member, &parts[i], note);
    for (uint32_t i = 0; i < count && result == STATUS_OK; i++) {
        if (!parts[i].is_there)
            result = pod_make(member, &parts[i], note);
        if (result == STATUS_OK)
            result = claim_ensure(member, &parts[i], note);
    }
    for (uint32_t i = 0; i < count && result == STATUS_OK; i++)
        result = gate_lift(member, &parts[i], note);
    return result;
}

static status pod_delete(struct kube_member *member, const char *name, uint64_t grace_s,
                         struct error_note *note)
{
    char path[1024], query[64];
    int code = 0;
    (void)snprintf(query, sizeof(query), "?gracePeriodSeconds=%llu", (unsigned long long)grace_s);
    pod_path(member, name, query, path);
    status result = object_call(member, "DELETE", path, NULL, NULL, &code, NULL, note);
    return result == STATUS_NOT_FOUND ? STATUS_OK : result;
}

/* It will never be: what has been made of it goes. The first reason is the one to tell. */
static void parts_undo(struct kube_member *member, const struct member_order *order,
                       const struct part_order *parts)
{
    struct error_note ignored;
    bool is_any_there = false, is_any_new = false;
    for (uint32_t i = 0; i < order->part_count; i++) {
        is_any_there |= parts[i].is_there;
        is_any_new |= !parts[i].is_there || parts[i].is_made;
    }
    if (!is_any_there || !is_any_new)
        return;
    kube_member_asked(member, order->uid, true);
    for (uint32_t i = 0; i < order->part_count; i++)
        if (parts[i].is_there)
            (void)pod_delete(member, parts[i].name, 1, &ignored);
}

static status order_run(struct kube_member *member, const struct member_order *order,
                        struct part_order *parts, struct error_note *note)
{
    status result = parts_build(member, order, parts, note);
    if (result != STATUS_OK)
        return result;
    result = parts_run(member, parts, order->part_count, note);
    if (result == STATUS_FULL || result == STATUS_DENIED || result == STATUS_INVALID ||
        result == STATUS_NOT_FOUND)
        parts_undo(member, order, parts);
    return result;
}

status kube_start(void *driver, const struct member_order *order, struct error_note *note)
{
    struct kube_member *member = driver;
    status result = worker_open(member, note);
    if (result != STATUS_OK)
        return worker_result(member, result, note);
    if (order->part_count == 0 || order->part_count > PARTS_MAX) {
        error_note_set(note, "an order of %u parts", order->part_count);
        return STATUS_INVALID;
    }
    struct part_order *parts = memory_allocate_array(order->part_count, sizeof(parts[0]));
    if (parts == NULL)
        return STATUS_NO_MEMORY;
    result = order_run(member, order, parts, note);
    for (uint32_t i = 0; i < order->part_count; i++) {
        json_decref(parts[i].pod);
        json_decref(parts[i].claim);
    }
    memory_release(parts);
    return worker_result(member, result, note);
}

status kube_stop(void *driver, uint64_t uid, uint64_t grace_ns, struct error_note *note)
{
    struct kube_member *member = driver;
    status result = worker_open(member, note);
    if (result != STATUS_OK)
        return worker_result(member, result, note);
    char path[1024];
    json_t *list = NULL, *pod;
    int code = 0;
    size_t i;
    kube_member_asked(member, uid, true);
    (void)snprintf(path, sizeof(path),
                   "/api/v1/namespaces/%s/pods?labelSelector=penstock%%2Fpool%%3D%s%%2C"
                   "penstock%%2Fuid%%3D%016llx",
                   space_of(member), member->config.pool, (unsigned long long)uid);
    result = object_call(member, "GET", path, NULL, NULL, &code, &list, note);
    /* Never 0: that forgets the pod without waiting for its node, and its device would be given away while it runs. */
    uint64_t grace_s =
        grace_ns > NS_PER_SECOND ? (grace_ns + NS_PER_SECOND - 1) / NS_PER_SECOND : 1;
    json_array_foreach(json_object_get(list, "items"), i, pod)
    {
        if (result == STATUS_OK)
            result = pod_delete(member, kube_text(pod, "metadata", "name"), grace_s, note);
    }
    if (result == STATUS_OK && json_array_size(json_object_get(list, "items")) == 0)
        kube_member_asked(member, uid, false);
    json_decref(list);
    return worker_result(member, result, note);
}
