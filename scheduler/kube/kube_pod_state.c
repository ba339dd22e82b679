#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kube_pod.h"
#include "kube_text.h"

#define LINE_BYTES_MAX 300u

static const json_t *condition_of(const json_t *object, const char *type)
{
    size_t i;
    json_t *condition;
    json_array_foreach(kube_get(object, "status", "conditions", NULL), i, condition)
    {
        if (strcmp(kube_text(condition, "type"), type) == 0)
            return condition;
    }
    return NULL;
}

static bool condition_is(const json_t *object, const char *type, const char *value)
{
    return strcmp(kube_text(condition_of(object, type), "status"), value) == 0;
}

static void reason_set(struct kube_pod_state *out, const char *reason, const char *message)
{
    (void)snprintf(out->text, sizeof(out->text), "%s%s%s", reason,
                   *reason != '\0' && *message != '\0' ? ": " : "", message);
}

/* Of what a program said at its end, which the pod keeps. */
static struct text_slice last_line(const char *text)
{
    size_t end = strlen(text);
    while (end > 0 && (text[end - 1] == '\n' || text[end - 1] == ' '))
        end--;
    size_t start = end;
    while (start > 0 && text[start - 1] != '\n' && end - start < LINE_BYTES_MAX)
        start--;
    return (struct text_slice){text + start, end - start};
}

/* What the pod's end was, by the words of its status. */
static void failure_set(const json_t *pod, struct kube_pod_state *out)
{
    static const char *const by_node[] = {"NodeLost",
                                          "NodeShutdown",
                                          "Shutdown",
                                          "Terminated",
                                          "DeletionByTaintManager",
                                          "DeletionByPodGC",
                                          "TerminationByKubelet"};
    static const char *const preempted[] = {"Preempting", "PreemptionByScheduler", "Evicted",
                                            "EvictionByEvictionAPI", "Preempted"};
    const json_t *disruption = condition_of(pod, "DisruptionTarget");
    bool is_disrupted = condition_is(pod, "DisruptionTarget", "True");
    const char *reason =
        is_disrupted ? kube_text(disruption, "reason") : kube_text(pod, "status", "reason");
    const char *message =
        is_disrupted ? kube_text(disruption, "message") : kube_text(pod, "status", "message");
    out->cause = *reason != '\0' ? MEMBER_CAUSE_REFUSED : MEMBER_CAUSE_PROGRAM;
    for (size_t i = 0; i < sizeof(by_node) / sizeof(by_node[0]); i++)
        if (strcmp(reason, by_node[i]) == 0)
            out->cause = MEMBER_CAUSE_NODE;
    for (size_t i = 0; i < sizeof(preempted) / sizeof(preempted[0]); i++)
        if (strcmp(reason, preempted[i]) == 0)
            out->cause = MEMBER_CAUSE_PREEMPTED;
    reason_set(out, reason, message);
    const json_t *ended =
        kube_get(json_array_get(kube_get(pod, "status", "containerStatuses", NULL), 0), "state",
                 "terminated", NULL);
    if (ended == NULL || out->cause != MEMBER_CAUSE_PROGRAM)
        return;
    long long code = (long long)json_integer_value(json_object_get(ended, "exitCode"));
    long long signal = (long long)json_integer_value(json_object_get(ended, "signal"));
    if (signal == 0 && code > 128 && code < 193)
        signal = code - 128;
    struct text_slice words = last_line(kube_text(ended, "message"));
    (void)snprintf(out->text, sizeof(out->text),
                   signal > 0 ? "%s, signal %lld%s%.*s" : "%s, exit status %lld%s%.*s",
                   kube_text(ended, "reason"), signal > 0 ? signal : code,
                   words.bytes > 0 ? ": " : "", (int)words.bytes, words.data);
}

/* On its way, or running. */
static void life_set(const json_t *pod, struct kube_pod_state *out)
{
    const json_t *scheduled = condition_of(pod, "PodScheduled");
    const json_t *container = json_array_get(kube_get(pod, "status", "containerStatuses", NULL), 0);
    const json_t *waiting = kube_get(container, "state", "waiting", NULL);
    if (*out->node == '\0') {
        out->phase = MEMBER_REPLICA_PENDING;
        reason_set(out, kube_text(scheduled, "reason"), kube_text(scheduled, "message"));
    } else if (strcmp(kube_text(pod, "status", "phase"), "Running") == 0) {
        out->phase = MEMBER_REPLICA_RUNNING;
    } else {
        out->phase = MEMBER_REPLICA_STARTING;
        reason_set(out, kube_text(waiting, "reason"), kube_text(waiting, "message"));
    }
}

/* It goes. A node that is away never says that it has gone: then it is lost. */
static void end_set(const json_t *pod, const json_t *node, bool is_asked,
                    struct kube_pod_state *out)
{
    bool is_away = *out->node != '\0' && (node == NULL || !condition_is(node, "Ready", "True"));
    out->phase = MEMBER_REPLICA_STOPPING;
    if (is_away) {
        out->phase = is_asked ? MEMBER_REPLICA_ENDED : MEMBER_REPLICA_FAILED;
        out->cause = is_asked ? MEMBER_CAUSE_NONE : MEMBER_CAUSE_NODE;
        reason_set(out, "its node is away", "");
        return;
    }
    if (!is_asked)
        failure_set(pod, out);
    out->cause = MEMBER_CAUSE_NONE;
    out->ends_ms = kube_time_ms(kube_text(pod, "metadata", "deletionTimestamp"));
}

/* It is over, and nobody here has asked for it. */
static void loss_set(const json_t *pod, bool is_over, struct kube_pod_state *out)
{
    bool is_taken = !is_over || kube_get(pod, "metadata", "deletionTimestamp", NULL) != NULL;
    out->phase = MEMBER_REPLICA_FAILED;
    failure_set(pod, out);
    if (is_taken && !condition_is(pod, "DisruptionTarget", "True")) {
        out->cause = MEMBER_CAUSE_PREEMPTED;
        reason_set(out, "deleted by somebody else", "");
    }
}

/* What its annotations keep of its order. */
static void order_read(const json_t *pod, struct kube_pod_state *out)
{
    const json_t *notes = kube_get(pod, "metadata", "annotations", NULL);
    unsigned long parts = strtoul(kube_text(notes, KUBE_NOTE_PARTS), NULL, 10);
    unsigned long long milli = strtoull(kube_text(notes, KUBE_NOTE_COMPUTE), NULL, 10);
    out->parts = parts >= 1 && parts <= 4096 ? (uint32_t)parts : 1;
    out->order_name = kube_text(notes, KUBE_NOTE_NAME);
    out->part.slice_id = kube_text(notes, KUBE_NOTE_SLICE);
    out->part.memory_bytes = strtoull(kube_text(notes, KUBE_NOTE_MEMORY), NULL, 10);
    out->part.compute_milli = milli <= SLICE_COMPUTE_MILLI_MAX ? (uint32_t)milli : 0;
}

bool kube_pod_read(const json_t *pod, const json_t *node, bool is_asked, bool is_deleted,
                   struct kube_pod_state *out)
{
    memset(out, 0, sizeof(*out));
    char *end;
    const char *uid = kube_text(pod, "metadata", "labels", KUBE_LABEL_UID);
    out->uid = strtoull(uid, &end, 16);
    if (out->uid == 0 || *end != '\0' || strlen(uid) != 16)
        return false;
    order_read(pod, out);
    out->name = kube_text(pod, "metadata", "name");
    out->node = kube_text(pod, "spec", "nodeName");
    out->address = kube_text(pod, "status", "podIP");
    out->is_gated = json_array_size(kube_get(pod, "spec", "schedulingGates", NULL)) > 0;
    const char *phase = kube_text(pod, "status", "phase");
    bool is_over = strcmp(phase, "Failed") == 0 || strcmp(phase, "Succeeded") == 0;
    if (is_asked && (is_over || is_deleted)) {
        out->phase = MEMBER_REPLICA_ENDED;
    } else if (is_over || is_deleted) {
        loss_set(pod, is_over, out);
    } else if (kube_get(pod, "metadata", "deletionTimestamp", NULL) != NULL) {
        end_set(pod, node, is_asked, out);
    } else {
        life_set(pod, out);
    }
    return true;
}
