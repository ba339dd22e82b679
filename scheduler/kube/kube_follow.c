#include "kube_follow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "hash.h"
#include "memory.h"

/* The watcher: lists six collections, tells all, then follows six watches and tells the difference. Whatever goes wrong with the
 * connection ends it with a status and without a word to the sink: what was told stands until the cluster says otherwise.
 *
 * Slices are computed whole from what is held (a node's slices hang on its pods, a device's on the claims), and those
 * whose bytes are others are told: no path on which a rare order of events leaves a wrong rest behind. That costs about a
 * microsecond a slice, so changes are gathered for FLUSH_PAUSE_NS. Replicas are told at once. */

#define FLUSH_PAUSE_NS (50 * NS_PER_MS)
#define POLL_MS        100

enum collection { NODES, USAGES, OURS, DEVICES, CLAIMS, CLASSES, COLLECTION_COUNT };

struct follow {
    struct kube_member *member;
    const struct member_sink *sink;
    struct kube_access access;
    struct kube_client client;
    struct kube_source sources[COLLECTION_COUNT];
    json_t *told;  /* id -> checksum of what was told */
    json_t *dirty; /* uids of replicas to tell -> their pods, gathered when they are told */
    json_t *gone;  /* uid -> last words of pods of it */
    struct member_part *parts; /* owned: of the replica that is told */
    uint32_t part_capacity;
    bool is_changed;
    uint64_t flushed_ns, heard_ns;
};

static const char *namespace_of(const struct follow *follow)
{
    const char *named = follow->member->config.namespace_name;
    return named != NULL ? named : follow->access.namespace_name;
}

static void sources_init(struct follow *follow, const char *version)
{
    static const char *const device_paths[] = {"resourceslices", "resourceclaims", "deviceclasses"};
    struct kube_source *sources = follow->sources;
    (void)snprintf(sources[NODES].path, sizeof(sources[NODES].path), "/api/v1/nodes");
    (void)snprintf(sources[USAGES].path, sizeof(sources[USAGES].path), "/api/v1/pods");
    (void)snprintf(sources[USAGES].selector, sizeof(sources[USAGES].selector),
                   "fieldSelector=status.phase%%21%%3DSucceeded%%2Cstatus.phase%%21%%3DFailed");
    sources[USAGES].keep = kube_pod_usage;
    (void)snprintf(sources[OURS].path, sizeof(sources[OURS].path), "/api/v1/namespaces/%s/pods",
                   namespace_of(follow));
    (void)snprintf(sources[OURS].selector, sizeof(sources[OURS].selector),
                   "labelSelector=penstock%%2Fpool%%3D%s", follow->member->config.pool);
    for (int i = 0; i < 3 && *version != '\0'; i++)
        (void)snprintf(sources[DEVICES + i].path, sizeof(sources[DEVICES + i].path),
                       "/apis/resource.k8s.io/%s/%s", version, device_paths[i]);
}

/* --- replicas --- */

/* Of a gang: the part that is worst off speaks for all. */
static int phase_rank(enum member_phase phase)
{
    static const int ranks[MEMBER_PHASE_COUNT] = {
        [MEMBER_REPLICA_ENDED] = 0,   [MEMBER_REPLICA_RUNNING] = 1,  [MEMBER_REPLICA_STARTING] = 2,
        [MEMBER_REPLICA_PENDING] = 3, [MEMBER_REPLICA_STOPPING] = 4, [MEMBER_REPLICA_FAILED] = 5};
    return ranks[phase];
}

static const json_t *node_of(const struct follow *follow, const json_t *pod)
{
    char key[512];
    (void)snprintf(key, sizeof(key), "/%s", kube_text(pod, "spec", "nodeName"));
    return json_object_get(follow->sources[NODES].objects, key);
}

/* What the pods of one replica come to. */
struct fold {
    struct kube_pod_state worst;
    const char *handle, *node, *address; /* of its first part */
    uint32_t count;
    bool is_bound; /* its parts were all there once */
};

static bool part_keep(struct follow *follow, uint32_t index, const struct member_part *part)
{
    if (index == follow->part_capacity) {
        uint32_t capacity = index > 0 ? index * 2 : 8;
        struct member_part *parts = memory_resize(follow->parts, capacity * sizeof(parts[0]));
        if (parts == NULL)
            return false;
        follow->parts = parts;
        follow->part_capacity = capacity;
    }
    follow->parts[index] = *part;
    return true;
}

static void fold_add(struct follow *follow, struct fold *fold, const struct kube_pod_state *state)
{
    size_t bytes = strlen(state->name);
    bool is_first = bytes > 2 && strcmp(state->name + bytes - 2, "-0") == 0;
    if (!part_keep(follow, fold->count, &state->part))
        return;
    if (is_first || fold->count == 0) {
        fold->handle = state->name;
        fold->node = state->node;
        fold->address = state->address;
    }
    fold->is_bound |= !state->is_gated;
    if (fold->count++ == 0 || phase_rank(state->phase) > phase_rank(fold->worst.phase))
        fold->worst = *state;
}

/* Some of its parts are not there: not yet, or not any more (they are let go together, once all are there). */
static void fold_lack(struct fold *fold)
{
    struct kube_pod_state *worst = &fold->worst;
    worst->phase = fold->is_bound ? MEMBER_REPLICA_FAILED : MEMBER_REPLICA_PENDING;
    worst->cause = fold->is_bound ? MEMBER_CAUSE_PREEMPTED : MEMBER_CAUSE_NONE;
    (void)snprintf(worst->text, sizeof(worst->text), "%u of %u parts are %s", fold->count,
                   worst->parts, fold->is_bound ? "left" : "there");
}

static void replica_tell(struct follow *follow, const struct fold *fold)
{
    const struct kube_pod_state *worst = &fold->worst;
    uint64_t wall_ms = clock_wall_ms();
    uint64_t left_ms = worst->ends_ms > wall_ms ? worst->ends_ms - wall_ms : 0;
    struct member_replica replica = {.uid = worst->uid,
                                     .phase = worst->phase,
                                     .cause = worst->cause,
                                     .handle = fold->handle,
                                     .node = fold->node,
                                     .endpoint = "",
                                     .reason = worst->text,
                                     .name = worst->order_name,
                                     .parts = follow->parts,
                                     .part_count = fold->count,
                                     .address = fold->address};
    if (worst->ends_ms > 0)
        replica.ends_notice_ns = clock_now_ns() + left_ms * NS_PER_MS;
    follow->sink->replica(follow->sink->context, &replica);
}

/* `pods`: those of the replica that are there; `last`: the last words of those that have gone just now, NULL. */
static void replica_flush(struct follow *follow, const char *uid, const json_t *pods,
                          const json_t *last)
{
    struct fold fold = {0};
    struct kube_pod_state state;
    size_t i;
    json_t *pod;
    uint64_t number = strtoull(uid, NULL, 16);
    bool is_asked = kube_member_is_asked(follow->member, number);
    json_array_foreach(pods, i, pod)
    {
        if (kube_pod_read(pod, node_of(follow, pod), is_asked, false, &state))
            fold_add(follow, &fold, &state);
    }
    uint32_t there = fold.count;
    if (there > 0 && there < fold.worst.parts && !is_asked &&
        phase_rank(fold.worst.phase) < phase_rank(MEMBER_REPLICA_STOPPING))
        fold_lack(&fold);
    json_array_foreach(last, i, pod)
    {
        if (!kube_pod_read(pod, NULL, is_asked, true, &state))
            continue;
        if (there == 0)
            fold_add(follow, &fold, &state);
        else if (state.phase == MEMBER_REPLICA_FAILED)
            fold.worst = state;
    }
    if (there == 0)
        kube_member_asked(follow->member, number, false);
    if (fold.count > 0)
        replica_tell(follow, &fold);
}

static void dirty_mark(struct follow *follow, const json_t *pod)
{
    const char *uid = kube_text(pod, "metadata", "labels", KUBE_LABEL_UID);
    if (json_object_get(follow->dirty, uid) == NULL)
        (void)json_object_set_new(follow->dirty, uid, json_array());
}

static void replicas_flush(struct follow *follow)
{
    const char *key, *uid;
    json_t *pod, *pods;
    if (json_object_size(follow->dirty) == 0)
        return;
    json_object_foreach(follow->sources[OURS].objects, key, pod)
    {
        pods = json_object_get(follow->dirty, kube_text(pod, "metadata", "labels", KUBE_LABEL_UID));
        if (pods != NULL)
            (void)json_array_append(pods, pod);
    }
    json_object_foreach(follow->dirty, uid, pods)
    {
        replica_flush(follow, uid, pods, json_object_get(follow->gone, uid));
    }
    json_object_clear(follow->dirty);
    json_object_clear(follow->gone);
}

static void ours_changed(void *context, const json_t *before, const json_t *after)
{
    struct follow *follow = context;
    const json_t *pod = after != NULL ? after : before;
    const char *uid = kube_text(pod, "metadata", "labels", KUBE_LABEL_UID);
    dirty_mark(follow, pod);
    if (after != NULL)
        return;
    json_t *last = json_object_get(follow->gone, uid);
    if (last == NULL) {
        last = json_array();
        (void)json_object_set_new(follow->gone, uid, last);
    }
    (void)json_array_append(last, (json_t *)before);
}

/* A node that has gone away takes those with it that were stopping there. */
static void stopping_mark(struct follow *follow)
{
    const char *key;
    json_t *pod;
    json_object_foreach(follow->sources[OURS].objects, key, pod)
    {
        if (kube_get(pod, "metadata", "deletionTimestamp", NULL) != NULL)
            dirty_mark(follow, pod);
    }
}

/* --- slices --- */

static status view_make(struct follow *follow, struct kube_view **out)
{
    struct kube_objects objects = {.nodes = follow->sources[NODES].objects,
                                   .usages = follow->sources[USAGES].objects,
                                   .devices = follow->sources[DEVICES].objects,
                                   .claims = follow->sources[CLAIMS].objects,
                                   .classes = follow->sources[CLASSES].objects};
    return kube_view_create(&follow->member->config, &objects, out);
}

/* The view that orders read from now on; the old one is nobody's any more. */
static void view_publish(struct follow *follow, struct kube_view *view)
{
    (void)pthread_mutex_lock(&follow->member->lock);
    struct kube_view *before = follow->member->view;
    follow->member->view = view;
    (void)pthread_mutex_unlock(&follow->member->lock);
    kube_view_destroy(before);
}

/* Tells what is new or other, and what is gone; in a list everything. */
static status slices_tell(struct follow *follow, bool is_list)
{
    struct kube_view *view = NULL;
    struct buffer bytes;
    json_t *told = json_object();
    buffer_init(&bytes, 1u << 20);
    status result = told != NULL ? view_make(follow, &view) : STATUS_NO_MEMORY;
    for (uint32_t i = 0; result == STATUS_OK && i < view->count; i++) {
        const struct kube_slice *slice = &view->slices[i];
        buffer_clear(&bytes);
        kube_slice_write(slice, &bytes);
        json_int_t sum = (json_int_t)checksum64(bytes.data, bytes.bytes);
        const json_t *before = json_object_get(follow->told, slice->report.id);
        if (json_object_set_new(told, slice->report.id, json_integer(sum)) != 0)
            result = STATUS_NO_MEMORY;
        if (is_list || before == NULL || json_integer_value(before) != sum)
            follow->sink->slice(follow->sink->context, &slice->report);
    }
    const char *id;
    json_t *sum;
    json_object_foreach(follow->told, id, sum)
    {
        if (result == STATUS_OK && !is_list && json_object_get(told, id) == NULL)
            follow->sink->slice_gone(follow->sink->context, id);
    }
    buffer_deinit(&bytes);
    if (result != STATUS_OK) {
        kube_view_destroy(view);
        json_decref(told);
        return result;
    }
    json_decref(follow->told);
    follow->told = told;
    follow->is_changed = false;
    follow->flushed_ns = clock_now_ns();
    view_publish(follow, view);
    return STATUS_OK;
}

static status slices_list(struct follow *follow)
{
    const struct member_sink *sink = follow->sink;
    sink->list_begin(sink->context);
    status result = slices_tell(follow, true);
    if (result == STATUS_OK)
        sink->list_end(sink->context);
    return result;
}

static void replicas_list(struct follow *follow)
{
    const char *key;
    json_t *pod;
    json_object_foreach(follow->sources[OURS].objects, key, pod)
    {
        dirty_mark(follow, pod);
    }
    replicas_flush(follow);
    follow->sink->replicas_listed(follow->sink->context);
}

static status all_tell(struct follow *follow)
{
    status result = slices_list(follow);
    if (result != STATUS_OK)
        return result;
    replicas_list(follow);
    follow->heard_ns = clock_now_ns();
    return STATUS_OK;
}

/* --- the course --- */

static status lists_load(struct follow *follow, struct error_note *note)
{
    char version[16];
    status result = kube_version_probe(&follow->client, version, note);
    if (result == STATUS_OK)
        result =
            kube_access_review(&follow->client, namespace_of(follow), version[0] != '\0', note);
    sources_init(follow, version);
    for (int i = 0; i < COLLECTION_COUNT && result == STATUS_OK; i++)
        result = kube_source_list(&follow->client, &follow->sources[i], note);
    return result == STATUS_NOT_FOUND ? STATUS_INVALID : result;
}

/* Asks whether it is there, when it has been silent for long. */
static status heartbeat(struct follow *follow, struct error_note *note)
{
    struct buffer body;
    int code = 0;
    uint64_t now_ns = clock_now_ns();
    if (now_ns - follow->heard_ns < follow->member->config.heartbeat_ns)
        return STATUS_OK;
    buffer_init(&body, 1u << 20);
    status result =
        kube_client_call(&follow->client, &(struct kube_call){.method = "GET", .path = "/readyz"},
                         &code, &body, note);
    if (result == STATUS_OK && code != 200) {
        result = kube_answer_status(code, buffer_slice(&body), note);
        error_note_prefix(note, "GET /readyz");
    }
    if (result == STATUS_OK) {
        follow->heard_ns = clock_now_ns();
        follow->sink->heard(follow->sink->context);
    }
    buffer_deinit(&body);
    return result;
}

/* A source that was too old is listed anew; what hangs on it is told whole. */
static status expiry_take(struct follow *follow, int source, bool *is_list_due,
                          struct error_note *note)
{
    if (source != OURS)
        follow->sink->resync(follow->sink->context);
    status result = kube_source_list(&follow->client, &follow->sources[source], note);
    if (result == STATUS_OK && source == OURS)
        replicas_list(follow);
    *is_list_due |= source != OURS;
    return result;
}

static status source_follow(struct follow *follow, int source, bool *is_list_due,
                            struct error_note *note)
{
    enum kube_news news;
    status result = kube_source_follow(&follow->client, &follow->sources[source],
                                       source == OURS ? ours_changed : NULL, follow, &news, note);
    if (result != STATUS_OK || news == KUBE_NOTHING)
        return result;
    follow->heard_ns = clock_now_ns();
    follow->sink->heard(follow->sink->context);
    if (news == KUBE_EXPIRED)
        return expiry_take(follow, source, is_list_due, note);
    follow->is_changed |= news == KUBE_CHANGED && source != OURS;
    if (news == KUBE_CHANGED && source == NODES)
        stopping_mark(follow);
    return STATUS_OK;
}

static status sources_follow(struct follow *follow, struct error_note *note)
{
    bool is_list_due = false;
    status result = STATUS_OK;
    for (int i = 0; i < COLLECTION_COUNT && result == STATUS_OK; i++)
        result = source_follow(follow, i, &is_list_due, note);
    if (result != STATUS_OK)
        return result;
    replicas_flush(follow);
    if (is_list_due)
        return slices_list(follow);
    bool is_due = clock_now_ns() - follow->flushed_ns >= FLUSH_PAUSE_NS;
    return follow->is_changed && is_due ? slices_tell(follow, false) : STATUS_OK;
}

static status course_run(struct follow *follow, const _Atomic bool *is_stopping,
                         struct error_note *note)
{
    status result = lists_load(follow, note);
    if (result == STATUS_OK)
        result = all_tell(follow);
    while (result == STATUS_OK && !atomic_load(is_stopping)) {
        result = sources_follow(follow, note);
        if (result == STATUS_OK)
            result = heartbeat(follow, note);
        http_streams_poll(follow->client.streams, POLL_MS);
    }
    return result == STATUS_CANCELLED ? STATUS_OK : result;
}

status kube_follow(void *driver, const struct member_sink *sink, const _Atomic bool *is_stopping,
                   struct error_note *note)
{
    struct follow *follow = memory_allocate_array(1, sizeof(*follow));
    if (follow == NULL)
        return STATUS_NO_MEMORY;
    follow->member = driver;
    follow->sink = sink;
    follow->told = json_object();
    follow->dirty = json_object();
    follow->gone = json_object();
    const struct kube_member_config *config = &follow->member->config;
    for (int i = 0; i < COLLECTION_COUNT; i++)
        kube_source_init(&follow->sources[i]);
    status result = kube_access_open(config->kubeconfig, config->context, &follow->access, note);
    if (result == STATUS_OK) {
        result = kube_client_open(&follow->client, &follow->access, is_stopping, note);
        if (result == STATUS_OK)
            result = course_run(follow, is_stopping, note);
        for (int i = 0; i < COLLECTION_COUNT; i++)
            kube_source_deinit(&follow->sources[i]);
        kube_client_close(&follow->client);
        kube_access_close(&follow->access);
    }
    json_decref(follow->told);
    json_decref(follow->dirty);
    json_decref(follow->gone);
    memory_release(follow->parts);
    memory_release(follow);
    if (result == STATUS_OK)
        note->text[0] = '\0';
    bool is_config = result == STATUS_NOT_FOUND || result == STATUS_IO ||
                     result == STATUS_UNSUPPORTED || result == STATUS_TOO_LARGE;
    return is_config ? STATUS_INVALID : result;
}
