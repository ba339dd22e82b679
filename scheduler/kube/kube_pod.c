#include "kube_pod.h"

#include <stdio.h>
#include <string.h>

#include "clock.h"

/* Device plugins' and clouds' taints that a replica may stand beside (kube_node_slices.c reads the same). */
static const char *const tolerated[] = {
    "nvidia.com/gpu",
    "nvidia.com/gpu.shared",
    "amd.com/gpu",
    "gpu.intel.com/xe",
    "gpu.intel.com/i915",
    "habana.ai/gaudi",
    "karpenter.sh/capacity-type",
    "eks.amazonaws.com/capacityType",
    "cloud.google.com/gke-spot",
    "cloud.google.com/gke-preemptible",
    "kubernetes.azure.com/scalesetpriority",
};
/* A node that is away for so long has lost its replicas; the cluster's own default is five minutes. */
#define AWAY_SECONDS      30
#define NOBODY_ID         65532 /* a user that owns nothing, as images without a system have it */
#define LITERAL_BYTES_MAX (1u << 20)

void kube_pod_name(const struct member_order *order, uint32_t part, char out[64])
{
    char name[41];
    (void)snprintf(name, sizeof(name), "%s", order->name);
    size_t bytes = strlen(name);
    while (bytes > 0 && name[bytes - 1] == '-')
        name[--bytes] = '\0';
    (void)snprintf(out, 64, "%s-%016llx-%u", bytes > 0 ? name : "replica",
                   (unsigned long long)order->uid, part % 10000);
}

static json_t *labels_build(const struct member_order *order,
                            const struct kube_member_config *config)
{
    char uid[17];
    (void)snprintf(uid, sizeof(uid), "%016llx", (unsigned long long)order->uid);
    return json_pack("{s:s, s:s, s:s}", "app.kubernetes.io/managed-by", "penstock", KUBE_LABEL_POOL,
                     config->pool, KUBE_LABEL_UID, uid);
}

/* A part's place: its device or its cores, and what of the node's cores and memory it needs beside a device. */
static json_t *resources_build(const struct member_part *part, const struct kube_slice *slice,
                               const struct kube_member_config *config)
{
    char cpu[32], memory[32];
    bool is_cores = strcmp(slice->resource, "cpu") == 0;
    uint64_t bytes = is_cores ? part->memory_bytes : config->host_memory_bytes;
    uint64_t milli = is_cores ? part->compute_milli : (uint64_t)config->cores_per_device * 1000;
    (void)snprintf(cpu, sizeof(cpu), "%llum", (unsigned long long)milli);
    (void)snprintf(memory, sizeof(memory), "%llu", (unsigned long long)bytes);
    json_t *limits = json_object(), *requests = json_object(), *resources = json_object();
    int failed = 0;
    if (milli > 0)
        failed |= json_object_set_new(requests, "cpu", json_string(cpu));
    if (bytes > 0)
        failed |= json_object_set_new(requests, "memory", json_string(memory));
    /* Whole cores with a limit of the same: the node's CPU manager pins them. */
    if (is_cores)
        failed |= json_object_update(limits, requests);
    else if (*slice->resource != '\0')
        failed |= json_object_set_new(limits, slice->resource, json_string("1")) |
                  json_object_set_new(requests, slice->resource, json_string("1"));
    else
        failed |= json_object_set_new(resources, "claims", json_pack("[{s:s}]", "name", "slice"));
    if (json_object_size(limits) > 0)
        failed |= json_object_set(resources, "limits", limits);
    if (json_object_size(requests) > 0)
        failed |= json_object_set(resources, "requests", requests);
    json_decref(limits);
    json_decref(requests);
    if (failed == 0)
        return resources;
    json_decref(resources);
    return NULL;
}

/* Kubernetes reads "$(NAME)" in commands and values as another variable's value, and "$$" as "$". */
static json_t *literal_build(const char *text)
{
    struct buffer out;
    buffer_init(&out, LITERAL_BYTES_MAX);
    for (; *text != '\0'; text++) {
        buffer_append_byte(&out, *text);
        if (*text == '$')
            buffer_append_byte(&out, '$');
    }
    json_t *literal =
        out.failed == STATUS_OK ? json_stringn(out.data != NULL ? out.data : "", out.bytes) : NULL;
    buffer_deinit(&out);
    return literal;
}

/* Server-side apply knows a variable by its name: the last one of a name counts. */
static int variable_add(json_t *list, const char *name, size_t name_bytes, json_t *entry)
{
    size_t i;
    json_t *item;
    json_t *key = json_stringn(name, name_bytes);
    if (key == NULL || entry == NULL) {
        json_decref(key);
        json_decref(entry);
        return -1;
    }
    int failed = json_object_set(entry, "name", key);
    json_array_foreach(list, i, item)
    {
        if (json_equal(json_object_get(item, "name"), key)) {
            (void)json_array_remove(list, i);
            break;
        }
    }
    json_decref(key);
    return failed | json_array_append_new(list, entry);
}

static int value_add(json_t *list, const char *name, size_t name_bytes, const char *value)
{
    return variable_add(list, name, name_bytes, json_pack("{s:o}", "value", literal_build(value)));
}

static int field_add(json_t *list, const char *name, const char *path)
{
    return variable_add(list, name, strlen(name),
                        json_pack("{s:{s:{s:s}}}", "valueFrom", "fieldRef", "fieldPath", path));
}

static json_t *environment_build(const struct member_order *order, uint32_t part)
{
    char number[16], count[16];
    (void)snprintf(number, sizeof(number), "%u", part);
    (void)snprintf(count, sizeof(count), "%u", order->part_count);
    json_t *list = json_array();
    int failed = value_add(list, "HOME", 4, "/tmp");
    for (const char *const *item = order->environment; item != NULL && *item != NULL; item++) {
        const char *equals = strchr(*item, '=');
        if (equals != NULL && equals > *item)
            failed |= value_add(list, *item, (size_t)(equals - *item), equals + 1);
    }
    failed |= value_add(list, "PENSTOCK_PART", strlen("PENSTOCK_PART"), number);
    failed |= value_add(list, "PENSTOCK_PARTS", strlen("PENSTOCK_PARTS"), count);
    failed |= field_add(list, "PENSTOCK_ADDRESS", "status.podIP");
    failed |= field_add(list, "PENSTOCK_NODE", "spec.nodeName");
    if (failed == 0)
        return list;
    json_decref(list);
    return NULL;
}

static json_t *texts_build(const char *const *texts)
{
    json_t *list = json_array();
    for (; texts != NULL && *texts != NULL; texts++)
        (void)json_array_append_new(list, literal_build(*texts));
    return list;
}

static json_t *tolerations_build(void)
{
    static const char *const away[] = {"node.kubernetes.io/not-ready",
                                       "node.kubernetes.io/unreachable"};
    json_t *list = json_array();
    for (size_t i = 0; i < sizeof(tolerated) / sizeof(tolerated[0]); i++)
        (void)json_array_append_new(
            list, json_pack("{s:s, s:s}", "key", tolerated[i], "operator", "Exists"));
    for (size_t i = 0; i < 2; i++)
        (void)json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:i}", "key", away[i],
                                                    "operator", "Exists", "effect", "NoExecute",
                                                    "tolerationSeconds", AWAY_SECONDS));
    return list;
}

/* What the "restricted" standard for pods asks, and more. */
static json_t *container_build(const struct member_order *order, uint32_t part, const char *image,
                               const struct kube_slice *slice,
                               const struct kube_member_config *config)
{
    json_t *mounts = json_pack("[{s:s, s:s}]", "name", "tmp", "mountPath", "/tmp");
    if (config->volume_claim != NULL)
        (void)json_array_append_new(mounts,
                                    json_pack("{s:s, s:s, s:b}", "name", "models", "mountPath",
                                              config->volume_path, "readOnly", 1));
    return json_pack(
        "{s:s, s:s, s:o, s:o, s:o, s:o, s:s, s:{s:b, s:b, s:{s:[s]}}}", "name", "replica", "image",
        image, "command", texts_build(order->arguments), "env", environment_build(order, part),
        "resources", resources_build(&order->parts[part], slice, config), "volumeMounts", mounts,
        /* Its last words are kept with its exit status. */
        "terminationMessagePolicy", "FallbackToLogsOnError", "securityContext",
        "allowPrivilegeEscalation", 0, "readOnlyRootFilesystem", 1, "capabilities", "drop", "ALL");
}

static json_t *volumes_build(const struct kube_member_config *config)
{
    json_t *volumes = json_pack("[{s:s, s:{}}]", "name", "tmp", "emptyDir");
    if (config->volume_claim != NULL)
        (void)json_array_append_new(volumes, json_pack("{s:s, s:{s:s, s:b}}", "name", "models",
                                                       "persistentVolumeClaim", "claimName",
                                                       config->volume_claim, "readOnly", 1));
    return volumes;
}

/* The class of the highest row that is not above the order's priority; NULL: the cluster's default. */
static const char *priority_class(const struct kube_member_config *config, int32_t priority)
{
    const struct kube_member_priority *best = NULL;
    for (uint32_t i = 0; i < config->priority_count; i++) {
        const struct kube_member_priority *row = &config->priorities[i];
        if (row->priority <= priority && (best == NULL || row->priority > best->priority))
            best = row;
    }
    return best != NULL ? best->class_name : NULL;
}

static uint64_t seconds_of(uint64_t ns)
{
    return (ns + NS_PER_SECOND - 1) / NS_PER_SECOND;
}

/* Where it may stand, and until when. */
static int place_set(json_t *spec, const struct member_order *order,
                     const struct kube_member_config *config, const struct kube_slice *slice,
                     const char *name)
{
    const char *class = priority_class(config, order->priority);
    int failed = 0;
    if (slice->report.node != NULL)
        failed |= json_object_set_new(
            spec, "affinity",
            json_pack("{s:{s:{s:[{s:[{s:s, s:s, s:[s]}]}]}}}", "nodeAffinity",
                      "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms",
                      "matchFields", "key", "metadata.name", "operator", "In", "values",
                      slice->report.node));
    if (*slice->resource == '\0')
        failed |= json_object_set_new(
            spec, "resourceClaims",
            json_pack("[{s:s, s:s}]", "name", "slice", "resourceClaimName", name));
    if (order->part_count > 1)
        failed |=
            json_object_set_new(spec, "schedulingGates", json_pack("[{s:s}]", "name", KUBE_GATE));
    if (order->time_limit_ns > 0)
        failed |= json_object_set_new(spec, "activeDeadlineSeconds",
                                      json_integer((json_int_t)seconds_of(order->time_limit_ns)));
    if (class != NULL)
        failed |= json_object_set_new(spec, "priorityClassName", json_string(class));
    if (config->runtime_class != NULL)
        failed |= json_object_set_new(spec, "runtimeClassName", json_string(config->runtime_class));
    return failed;
}

static json_t *spec_build(const struct member_order *order, uint32_t part, const char *image,
                          const struct kube_member_config *config, const struct kube_slice *slice,
                          const char *name)
{
    uint64_t grace_s = seconds_of(order->grace_ns);
    json_t *spec = json_pack(
        "{s:s, s:b, s:b, s:I, s:o, s:[o], s:o, s:{s:b, s:i, s:i, s:{s:s}}}", "restartPolicy",
        "Never", "automountServiceAccountToken", 0, "enableServiceLinks", 0,
        "terminationGracePeriodSeconds", (json_int_t)(grace_s > 0 ? grace_s : 1), "tolerations",
        tolerations_build(), "containers", container_build(order, part, image, slice, config),
        "volumes", volumes_build(config), "securityContext", "runAsNonRoot", 1, "runAsUser",
        NOBODY_ID, "runAsGroup", NOBODY_ID, "seccompProfile", "type", "RuntimeDefault");
    if (spec == NULL || place_set(spec, order, config, slice, name) == 0)
        return spec;
    json_decref(spec);
    return NULL;
}

static json_t *annotations_build(const struct member_order *order, uint32_t part,
                                 const struct kube_slice *slice)
{
    char parts[16], memory[32], compute[16];
    (void)snprintf(parts, sizeof(parts), "%u", order->part_count);
    (void)snprintf(memory, sizeof(memory), "%llu",
                   (unsigned long long)order->parts[part].memory_bytes);
    (void)snprintf(compute, sizeof(compute), "%u", order->parts[part].compute_milli);
    return json_pack("{s:s, s:s, s:s, s:s, s:s}", KUBE_NOTE_NAME, order->name, KUBE_NOTE_SLICE,
                     slice->report.id, KUBE_NOTE_PARTS, parts, KUBE_NOTE_MEMORY, memory,
                     KUBE_NOTE_COMPUTE, compute);
}

status kube_pod_build(const struct member_order *order, uint32_t part,
                      const struct kube_member_config *config, const struct kube_slice *slice,
                      json_t **out, struct error_note *note)
{
    char name[64];
    const char *image =
        order->image != NULL && *order->image != '\0' ? order->image : config->image;
    if (image == NULL || *image == '\0') {
        error_note_set(note,
                       "a replica in Kubernetes needs a container's image, and none is named");
        return STATUS_INVALID;
    }
    kube_pod_name(order, part, name);
    *out = json_pack("{s:s, s:s, s:{s:s, s:o, s:o}, s:o}", "apiVersion", "v1", "kind", "Pod",
                     "metadata", "name", name, "labels", labels_build(order, config), "annotations",
                     annotations_build(order, part, slice), "spec",
                     spec_build(order, part, image, config, slice, name));
    return *out != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

/* What of a shared device's capacity. */
static json_t *capacity_build(const struct member_part *part, const struct kube_slice *slice)
{
    char memory[32];
    (void)snprintf(memory, sizeof(memory), "%llu", (unsigned long long)part->memory_bytes);
    json_t *requests = json_pack("{s:s}", "memory", memory);
    if (slice->compute_units > 0) {
        char compute[32];
        uint64_t units = (slice->compute_units * part->compute_milli + 999) / 1000;
        (void)snprintf(compute, sizeof(compute), "%llu", (unsigned long long)units);
        (void)json_object_set_new(requests, "compute", json_string(compute));
    }
    return json_pack("{s:o}", "requests", requests);
}

status kube_claim_build(const struct member_order *order, uint32_t part,
                        const struct kube_member_config *config, const struct kube_slice *slice,
                        const char *version, const char *pod_uid, json_t **out)
{
    char name[64], api[64];
    kube_pod_name(order, part, name);
    (void)snprintf(api, sizeof(api), "resource.k8s.io/%s", version);
    json_t *wish = json_pack("{s:s, s:s, s:i}", "deviceClassName", slice->class_name,
                             "allocationMode", "ExactCount", "count", 1);
    if (wish != NULL && *slice->selector != '\0')
        (void)json_object_set_new(wish, "selectors",
                                  json_pack("[{s:{s:s}}]", "cel", "expression", slice->selector));
    if (wish != NULL && slice->is_shared)
        (void)json_object_set_new(wish, "capacity", capacity_build(&order->parts[part], slice));
    json_t *request = wish;
    /* v1beta1 has no choice between alternatives, and so no level for it. */
    if (strcmp(version, "v1beta1") != 0)
        request = json_pack("{s:o}", "exactly", wish);
    if (request != NULL)
        (void)json_object_set_new(request, "name", json_string("slice"));
    *out = json_pack("{s:s, s:s, s:{s:s, s:o, s:[{s:s, s:s, s:s, s:s}]}, s:{s:{s:[o]}}}",
                     "apiVersion", api, "kind", "ResourceClaim", "metadata", "name", name, "labels",
                     labels_build(order, config), "ownerReferences", "apiVersion", "v1", "kind",
                     "Pod", "name", name, "uid", pod_uid, "spec", "devices", "requests", request);
    return *out != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}
