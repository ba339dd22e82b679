"""What an API server refuses of Pods and ResourceClaims, with a namespace that enforces the restricted standard for pods."""
import re

from support import kube_fields
from support.kube_store import KINDS, LABEL, Failure

NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
VARIABLE = re.compile(r"[^=\s]+")
NAME_RULE = ("a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end "
             "with an alphanumeric character (e.g. 'example.com', regex used for validation is "
             "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')")
VOLUMES = {"emptyDir", "persistentVolumeClaim"}  # those of the standard that are known here
UNITS = {"": 1, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def quantity(text):
    number, unit = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", str(text)).groups()
    return float(number) * UNITS[unit]


def invalid(resource, name, field, value, rule):
    kind = KINDS[resource][2]
    cause = f"Invalid value: {value}: {rule}" if value else rule
    return Failure(422, "Invalid", f'{kind} "{name}" is invalid: {field}: {cause}',
                   {"name": name, "kind": kind, "causes": [{"reason": "FieldValueInvalid", "message": cause, "field": field}]})


def check_metadata(resource, item):
    metadata = item["metadata"]
    name = metadata.get("name", "")
    if not NAME.fullmatch(name) or len(name) > 253:
        raise invalid(resource, name, "metadata.name", f'"{name}"', NAME_RULE)
    for key, value in metadata.get("labels", {}).items():
        if not LABEL_KEY.fullmatch(key) or not LABEL.fullmatch(value) or len(value) > 63:
            raise invalid(resource, name, "metadata.labels", f'"{value}"', "a valid label must be an empty string or consist of "
                          "alphanumeric characters, '-', '_' or '.', and must be no more than 63 characters")
    for key in metadata.get("annotations", {}):
        if not LABEL_KEY.fullmatch(key):
            raise invalid(resource, name, "metadata.annotations", f'"{key}"', "name part must consist of alphanumeric characters")
    for owner in metadata.get("ownerReferences", []):
        if not all(owner.get(key) for key in ("apiVersion", "kind", "name", "uid")):
            raise invalid(resource, name, "metadata.ownerReferences", "", "Required value: uid must not be empty")


def check_resources(name, container):
    resources = container.get("resources", {})
    limits, requests = resources.get("limits", {}), resources.setdefault("requests", {})
    for resource, amount in limits.items():
        requests.setdefault(resource, amount)
    for resource, amount in requests.items():
        path = f"spec.containers[0].resources.requests[{resource}]"
        if "/" in resource and (resource not in limits or quantity(limits[resource]) != quantity(amount)):
            raise invalid("pods", name, path, f'"{amount}"', "must be equal to the limit of " + resource)
        if "/" not in resource and resource not in ("cpu", "memory", "ephemeral-storage"):
            raise invalid("pods", name, path, f'"{resource}"', "must be a standard resource type or fully qualified")
        if resource in limits and quantity(amount) > quantity(limits[resource]):
            raise invalid("pods", name, path, f'"{amount}"', f"must be less than or equal to {resource} limit")
    if not requests:
        del resources["requests"]


def check_pod_parts(item):
    """That what is named in a container is there in its pod."""
    spec, name = item["spec"], item["metadata"]["name"]
    volumes = {volume["name"] for volume in spec.get("volumes", [])}
    claims = {claim["name"] for claim in spec.get("resourceClaims", [])}
    if not spec.get("containers"):
        raise invalid("pods", name, "spec.containers", "", "Required value")
    for container in spec["containers"]:
        if not container.get("image"):
            raise invalid("pods", name, "spec.containers[0].image", "", "Required value")
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in volumes:
                raise invalid("pods", name, "spec.containers[0].volumeMounts", f'"{mount["name"]}"', "Not found")
        for claim in container.setdefault("resources", {}).get("claims", []):
            if claim["name"] not in claims:
                raise invalid("pods", name, "spec.containers[0].resources.claims", f'"{claim["name"]}"', "Not found")
        for entry in container.get("env", []):
            if not VARIABLE.fullmatch(entry["name"]) or ("value" in entry and "valueFrom" in entry):
                raise invalid("pods", name, "spec.containers[0].env", f'"{entry["name"]}"', "a valid environment variable name")
        check_resources(name, container)
    if spec.get("terminationGracePeriodSeconds", 30) < 0 or spec.get("activeDeadlineSeconds", 1) < 1:
        raise invalid("pods", name, "spec", "", "must be greater than or equal to 0")
    if spec.get("restartPolicy", "Always") not in ("Always", "Never", "OnFailure"):
        raise invalid("pods", name, "spec.restartPolicy", f'"{spec["restartPolicy"]}"', "supported values: Always, OnFailure, Never")


def standard_breaches(spec):
    """What of the "restricted" pod security standard does not hold."""
    pod = spec.get("securityContext", {})
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(key):
            yield key
    for volume in spec.get("volumes", []):
        if not set(volume) - {"name"} <= VOLUMES:
            yield "restricted volume types"
    for container in spec["containers"]:
        own = container.get("securityContext", {})
        if own.get("allowPrivilegeEscalation") is not False:
            yield "allowPrivilegeEscalation != false"
        if "ALL" not in own.get("capabilities", {}).get("drop", []) or own.get("capabilities", {}).get("add"):
            yield "unrestricted capabilities"
        if own.get("runAsNonRoot", pod.get("runAsNonRoot")) is not True:
            yield "runAsNonRoot != true"
        if own.get("runAsUser", pod.get("runAsUser")) == 0:
            yield "runAsUser=0"
        if own.get("seccompProfile", pod.get("seccompProfile", {})).get("type") not in ("RuntimeDefault", "Localhost"):
            yield "seccompProfile"


def admit_pod(cluster, namespace, item):
    """Defaults and refusals of the server's plugins."""
    spec, name = item["spec"], item["metadata"]["name"]
    breaches = list(standard_breaches(spec)) if namespace in cluster.restricted else []
    if breaches:
        raise Failure(403, "Forbidden", f'pods "{name}" is forbidden: violates PodSecurity "restricted:latest": '
                      + ", ".join(breaches), {"name": name, "kind": "pods"})
    priority_class = spec.get("priorityClassName")
    if priority_class is not None and priority_class not in cluster.priority_classes:
        raise Failure(403, "Forbidden", f'pods "{name}" is forbidden: no PriorityClass with name {priority_class} was found',
                      {"name": name, "kind": "pods"})
    spec["priority"] = cluster.priority_classes.get(priority_class, 0)
    if spec.get("runtimeClassName", "nvidia") not in cluster.runtime_classes:
        raise Failure(403, "Forbidden", f'pods "{name}" is forbidden: pod rejected: RuntimeClass "{spec["runtimeClassName"]}" not '
                      "found", {"name": name, "kind": "pods"})
    limit = cluster.quota_pods
    if limit is not None and len(cluster.store.objects["pods"]) >= limit:
        raise Failure(403, "Forbidden", f'pods "{name}" is forbidden: exceeded quota: gpus, requested: pods=1, used: pods={limit}, '
                      f"limited: pods={limit}", {"name": name, "kind": "pods"})


def check_claim(item, version):
    name = item["metadata"]["name"]
    requests = item["spec"]["devices"]["requests"]
    if not requests:
        raise invalid("resourceclaims", name, "spec.devices.requests", "", "Required value")
    for request in requests:
        wish = request.get("exactly") if version != "v1beta1" else request
        if wish is None or not wish.get("deviceClassName"):
            raise invalid("resourceclaims", name, "spec.devices.requests[0]", "", "Required value: exactly one of `exactly` or "
                          "`firstAvailable` is required, with a deviceClassName")


def check_change(resource, before, after, version):
    """What may not change in place."""
    name = before["metadata"]["name"]
    for key in ("name", "namespace", "uid"):
        if after["metadata"].get(key) != before["metadata"].get(key):
            raise Failure(409, "Conflict", f"Precondition failed: {key} in precondition: {after['metadata'].get(key)}, {key} in object "
                          f"meta: {before['metadata'].get(key)}", {"name": name, "kind": resource})
    if resource == "pods":
        old, new = dict(before["spec"]), dict(after["spec"])
        old_gates, new_gates = old.pop("schedulingGates", []), new.pop("schedulingGates", [])
        if old != new or any(gate not in old_gates for gate in new_gates):
            raise invalid("pods", name, "spec", "", "Forbidden: pod updates may not change fields other than `spec.containers[*].image`")
    elif resource == "resourceclaims" and before["spec"] != after["spec"]:
        raise invalid("resourceclaims", name, "spec", "", "Invalid value: field is immutable")


def check_kind(resource, item, version):
    """Fields that no such object has are refused."""
    try:
        kube_fields.check(item, kube_fields.kind_of(resource, version))
    except kube_fields.Undeclared as reason:
        group = KINDS[resource][0]
        raise Failure(400, "BadRequest", f"failed to create typed patch object ({item['metadata'].get('namespace', '')}/"
                      f"{item['metadata'].get('name', '')}; {group}/{version}, Kind={KINDS[resource][2]}): {reason}") from None
