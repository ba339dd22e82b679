#include <string.h>

#include "kube_quantity.h"
#include "kube_text.h"
#include "kube_view.h"

/* requests[resource] of `target` += or max= those of `requests`. */
static void amounts_merge(json_t *target, const char *resource, json_int_t milli, bool is_sum)
{
    json_int_t before = json_integer_value(json_object_get(target, resource));
    json_int_t after = is_sum ? before + milli : milli > before ? milli : before;
    if (after > INT64_MAX / 4)
        after = INT64_MAX / 4;
    (void)json_object_set_new(target, resource, json_integer(after));
}

static void requests_merge(json_t *target, const json_t *requests, bool is_sum)
{
    const char *resource;
    json_t *amount;
    json_object_foreach((json_t *)requests, resource, amount)
    {
        int64_t milli = 0;
        if (kube_quantity_milli(kube_text_of(amount), &milli) == STATUS_OK && milli > 0)
            amounts_merge(target, resource, milli > INT64_MAX / 4 ? INT64_MAX / 4 : milli, is_sum);
    }
}

static void amounts_all(json_t *target, const json_t *amounts, bool is_sum)
{
    const char *resource;
    json_t *amount;
    json_object_foreach((json_t *)amounts, resource, amount)
    {
        amounts_merge(target, resource, json_integer_value(amount), is_sum);
    }
}

/* Containers and sidecars run together; each initialising one runs beside the sidecars before it. */
static json_t *requests_of(const json_t *pod)
{
    json_t *total = json_object(), *sidecars = json_object(), *peak = json_object();
    size_t i;
    json_t *container;
    json_array_foreach(kube_get(pod, "spec", "containers", NULL), i, container)
    {
        requests_merge(total, kube_get(container, "resources", "requests", NULL), true);
    }
    json_array_foreach(kube_get(pod, "spec", "initContainers", NULL), i, container)
    {
        const json_t *requests = kube_get(container, "resources", "requests", NULL);
        if (strcmp(kube_text(container, "restartPolicy"), "Always") == 0) {
            requests_merge(sidecars, requests, true);
            amounts_all(peak, sidecars, false);
            continue;
        }
        json_t *together = json_copy(sidecars);
        requests_merge(together, requests, true);
        amounts_all(peak, together, false);
        json_decref(together);
    }
    amounts_all(total, sidecars, true);
    amounts_all(total, peak, false);
    requests_merge(total, kube_get(pod, "spec", "overhead", NULL), true);
    json_decref(sidecars);
    json_decref(peak);
    return total;
}

json_t *kube_pod_usage(json_t *pod)
{
    const char *phase = kube_text(pod, "status", "phase");
    const char *node = kube_text(pod, "spec", "nodeName");
    json_t *usage = NULL;
    if (*node != '\0' && strcmp(phase, "Succeeded") != 0 && strcmp(phase, "Failed") != 0)
        usage = json_pack("{s:s, s:s, s:s, s:o}", "node", node, "pool",
                          kube_text(pod, "metadata", "labels", KUBE_LABEL_POOL), "slice",
                          kube_text(pod, "metadata", "annotations", KUBE_NOTE_SLICE), "requests",
                          requests_of(pod));
    json_decref(pod);
    return usage;
}
