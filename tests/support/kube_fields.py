"""Fields of Kubernetes' objects: which there are, how lists of them are merged, and who has set which.

This is what server-side apply needs (structured merge and diff): an object is a tree whose leaves each belong to managers. A kind is
a dict (a struct of these fields), ("map", kind), ("list", kind) (changed as a whole), ("keyed", key, kind) (items are known by
this field), or a scalar's name.
"""
import json
import re

STRING, INTEGER, BOOLEAN, QUANTITY, ANY = "string", "integer", "boolean", "quantity", "any"
QUANTITY_TEXT = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][+-]?[0-9]+)?")
TEXTS, AMOUNTS = ("map", STRING), ("map", QUANTITY)
RESOURCES = {"limits": AMOUNTS, "requests": AMOUNTS, "claims": ("keyed", "name", {"name": STRING, "request": STRING})}
CONTAINER = {
    "name": STRING, "image": STRING, "imagePullPolicy": STRING, "command": ("list", STRING), "args": ("list", STRING),
    "workingDir": STRING, "terminationMessagePath": STRING, "terminationMessagePolicy": STRING, "resources": RESOURCES,
    "env": ("keyed", "name", {"name": STRING, "value": STRING,
                              "valueFrom": {"fieldRef": {"apiVersion": STRING, "fieldPath": STRING}}}),
    "volumeMounts": ("keyed", "mountPath", {"name": STRING, "mountPath": STRING, "readOnly": BOOLEAN, "subPath": STRING}),
    "securityContext": {"allowPrivilegeEscalation": BOOLEAN, "privileged": BOOLEAN, "readOnlyRootFilesystem": BOOLEAN,
                        "runAsNonRoot": BOOLEAN, "runAsUser": INTEGER, "runAsGroup": INTEGER,
                        "capabilities": {"add": ("list", STRING), "drop": ("list", STRING)},
                        "seccompProfile": {"type": STRING, "localhostProfile": STRING}},
}
TERM = {"matchFields": ("list", {"key": STRING, "operator": STRING, "values": ("list", STRING)}),
        "matchExpressions": ("list", {"key": STRING, "operator": STRING, "values": ("list", STRING)})}
POD_SPEC = {
    "containers": ("keyed", "name", CONTAINER), "initContainers": ("keyed", "name", CONTAINER), "nodeName": STRING,
    "nodeSelector": TEXTS, "restartPolicy": STRING, "terminationGracePeriodSeconds": INTEGER, "activeDeadlineSeconds": INTEGER,
    "dnsPolicy": STRING, "serviceAccountName": STRING, "serviceAccount": STRING, "automountServiceAccountToken": BOOLEAN,
    "enableServiceLinks": BOOLEAN, "hostNetwork": BOOLEAN, "hostPID": BOOLEAN, "hostIPC": BOOLEAN, "hostname": STRING,
    "subdomain": STRING, "schedulerName": STRING, "priorityClassName": STRING, "priority": INTEGER, "preemptionPolicy": STRING,
    "runtimeClassName": STRING, "overhead": AMOUNTS,
    "schedulingGates": ("keyed", "name", {"name": STRING}),
    "resourceClaims": ("keyed", "name", {"name": STRING, "resourceClaimName": STRING, "resourceClaimTemplateName": STRING}),
    "tolerations": ("list", {"key": STRING, "operator": STRING, "value": STRING, "effect": STRING, "tolerationSeconds": INTEGER}),
    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": ("list", TERM)}}},
    "volumes": ("keyed", "name", {"name": STRING, "emptyDir": {"medium": STRING, "sizeLimit": QUANTITY},
                                  "hostPath": {"path": STRING, "type": STRING},
                                  "persistentVolumeClaim": {"claimName": STRING, "readOnly": BOOLEAN}}),
    "securityContext": {"runAsNonRoot": BOOLEAN, "runAsUser": INTEGER, "runAsGroup": INTEGER, "fsGroup": INTEGER,
                        "seccompProfile": {"type": STRING, "localhostProfile": STRING}},
}
WISH = {"deviceClassName": STRING, "allocationMode": STRING, "count": INTEGER, "adminAccess": BOOLEAN,
        "selectors": ("list", {"cel": {"expression": STRING}}), "capacity": {"requests": AMOUNTS}}
CLAIM_SPEC = {version: {"devices": {
    "requests": ("list", {"name": STRING, **({"exactly": WISH, "firstAvailable": ANY} if version != "v1beta1" else WISH)}),
    "constraints": ANY, "config": ANY}} for version in ("v1", "v1beta2", "v1beta1")}
METADATA = {
    "name": STRING, "namespace": STRING, "uid": STRING, "resourceVersion": STRING, "generation": INTEGER,
    "creationTimestamp": STRING, "deletionTimestamp": STRING, "deletionGracePeriodSeconds": INTEGER, "labels": TEXTS,
    "annotations": TEXTS, "finalizers": ("list", STRING), "managedFields": ANY,
    "ownerReferences": ("keyed", "uid", {"apiVersion": STRING, "kind": STRING, "name": STRING, "uid": STRING,
                                         "controller": BOOLEAN, "blockOwnerDeletion": BOOLEAN}),
}
SCALARS = {STRING: str, INTEGER: int, BOOLEAN: bool}


def kind_of(resource, version="v1"):
    """The kind of a resource's objects."""
    spec = {"pods": POD_SPEC, "resourceclaims": CLAIM_SPEC.get(version, ANY)}.get(resource, ANY)
    return {"apiVersion": STRING, "kind": STRING, "metadata": METADATA, "spec": spec, "status": ANY}


class Undeclared(Exception):
    """A value that does not fit its kind."""


def check(value, kind, path=""):
    if isinstance(kind, dict):
        fits = isinstance(value, dict)
        for key in value if fits else ():
            if key not in kind:
                raise Undeclared(f"{path}.{key}: field not declared in schema")
            check(value[key], kind[key], f"{path}.{key}")
    elif kind[0] == "map":
        fits = isinstance(value, dict)
        for key in value if fits else ():
            check(value[key], kind[1], f"{path}.{key}")
    elif kind[0] in ("list", "keyed"):
        fits = isinstance(value, list)
        for item in value if fits else ():
            check(item, kind[-1], f"{path}[]")
        if fits and kind[0] == "keyed":
            keys = [item.get(kind[1]) for item in value]
            if None in keys or len(set(keys)) != len(keys):
                raise Undeclared(f"{path}: duplicate entries for key [{kind[1]}], or an entry without it")
    elif kind == QUANTITY:
        fits = isinstance(value, (str, int)) and QUANTITY_TEXT.fullmatch(str(value)) is not None
    else:
        fits = kind == ANY or (isinstance(value, SCALARS[kind]) and isinstance(value, bool) == (kind == BOOLEAN))
    if not fits:
        raise Undeclared(f"{path}: {value!r} is no {kind if isinstance(kind, str) else 'value of its kind'}")


def key_of(kind, item):
    return "k:" + json.dumps({kind[1]: item[kind[1]]}, separators=(",", ":"))


def leaves(value, kind, path=()):
    """Paths of all that belongs to somebody."""
    if isinstance(value, dict) and value and (isinstance(kind, dict) or kind[0] == "map"):
        for key in value:
            yield from leaves(value[key], kind[key] if isinstance(kind, dict) else kind[1], path + ("f:" + key,))
    elif isinstance(value, list) and value and kind[0] == "keyed":
        for item in value:
            yield from leaves(item, kind[2], path + (key_of(kind, item),))
    else:
        yield path


def owned_leaves(item, kind):
    """Without what names the object or is the server's."""
    mine = {"f:name", "f:namespace", "f:uid", "f:resourceVersion", "f:generation", "f:creationTimestamp", "f:managedFields",
            "f:deletionTimestamp", "f:deletionGracePeriodSeconds"}
    return {path for path in leaves(item, kind) if path[0] not in ("f:apiVersion", "f:kind") and
            not (path[0] == "f:metadata" and (len(path) == 1 or path[1] in mine))}


def step(value, kind, part):
    """(child, its kind) by one part of a path; (None, None) where it is not."""
    if part.startswith("f:"):
        child = value.get(part[2:]) if isinstance(value, dict) else None
        if child is None:
            return None, None
        return child, kind[part[2:]] if isinstance(kind, dict) else kind[1]
    for item in value if isinstance(value, list) else ():
        if key_of(kind, item) == part:
            return item, kind[2]
    return None, None


def find(value, kind, path):
    for part in path:
        value, kind = step(value, kind, part)
        if value is None:
            return None
    return value


def remove(value, kind, path):
    """Takes the leaf away, and what is empty without it."""
    child, child_kind = step(value, kind, path[0])
    if child is None:
        return
    if len(path) > 1:
        remove(child, child_kind, path[1:])
        if child and not (path[0].startswith("k:") and set(child) == {kind[1]}):
            return
    if path[0].startswith("f:"):
        del value[path[0][2:]]
    else:
        value.remove(child)


def merged(value, patch, kind):
    if isinstance(patch, dict) and isinstance(value, dict) and (isinstance(kind, dict) or kind[0] == "map"):
        out = dict(value)
        for key, item in patch.items():
            out[key] = merged(value.get(key), item, kind[key] if isinstance(kind, dict) else kind[1])
        return out
    if isinstance(patch, list) and isinstance(value, list) and kind[0] == "keyed":
        out = {item[kind[1]]: item for item in value}
        for item in patch:
            out[item[kind[1]]] = merged(out.get(item[kind[1]]), item, kind[2])
        return list(out.values())
    return patch


def dotted(path):
    return "".join("." + part[2:] if part.startswith("f:") else "[" + part[2:].strip("{}").replace('":', '"=').replace('"', "", 2) +
                   "]" for part in path)


class Managers:
    """Who has set which fields of one object: {(manager, operation): paths}."""

    def __init__(self):
        self.fields = {}

    def conflicts(self, manager, before, patch, kind):
        """[(manager, path)] where others have set another value."""
        wanted = owned_leaves(patch, kind)
        return sorted((other, path) for (other, operation), paths in self.fields.items()
                      if (other, operation) != (manager, "Apply") for path in paths & wanted
                      if find(before, kind, path) != find(patch, kind, path))

    def apply(self, manager, before, patch, kind):
        """The object after the patch, which all conflicts are decided for."""
        wanted = owned_leaves(patch, kind)
        after = merged(json.loads(json.dumps(before)), patch, kind)
        dropped = self.fields.get((manager, "Apply"), set()) - wanted
        for (other, operation), paths in self.fields.items():
            if (other, operation) != (manager, "Apply"):
                dropped -= paths
                paths -= {path for path in paths & wanted if find(before, kind, path) != find(patch, kind, path)}
        for path in dropped:
            remove(after, kind, path)
        self.fields[(manager, "Apply")] = wanted
        return after

    def update(self, manager, before, after, kind):
        """What a change in place makes of them."""
        now, was = owned_leaves(after, kind), owned_leaves(before, kind)
        changed = {path for path in now if find(before, kind, path) != find(after, kind, path)}
        for paths in self.fields.values():
            paths -= changed | (was - now)
        if changed:
            self.fields.setdefault((manager, "Update"), set()).update(changed)

    def described(self, api_version):
        out = []
        for (manager, operation), paths in self.fields.items():
            tree = {}
            for path in sorted(paths):
                at = tree
                for part in path:
                    at = at.setdefault(part, {"." : {}} if part.startswith("k:") else {})
            out.append({"manager": manager, "operation": operation, "apiVersion": api_version, "fieldsType": "FieldsV1",
                        "fieldsV1": tree})
        return out
