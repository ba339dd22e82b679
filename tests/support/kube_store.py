"""What an API server of Kubernetes keeps: objects with versions of one counter, their history, pages of lists, and watches."""
import base64
import copy
import json
import re
import threading
import time

from support import kube_fields

# Collection -> (group, version, kind, is in a namespace, fields that can be selected by).
KINDS = {
    "nodes": ("", "v1", "Node", False, {"metadata.name", "spec.unschedulable"}),
    "pods": ("", "v1", "Pod", True, {"metadata.name", "metadata.namespace", "spec.nodeName", "spec.restartPolicy",
                                     "spec.schedulerName", "status.phase", "status.podIP"}),
    "resourceslices": ("resource.k8s.io", None, "ResourceSlice", False, {"metadata.name", "spec.nodeName", "spec.driver"}),
    "deviceclasses": ("resource.k8s.io", None, "DeviceClass", False, {"metadata.name"}),
    "resourceclaims": ("resource.k8s.io", None, "ResourceClaim", True, {"metadata.name", "metadata.namespace"}),
}
LABEL = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")


class Failure(Exception):
    """An answer that is a Status."""

    def __init__(self, code, reason, message, details=None, headers=None, metadata=None):
        super().__init__(message)
        self.code, self.headers = code, headers or {}
        self.body = {"kind": "Status", "apiVersion": "v1", "metadata": metadata or {}, "status": "Failure", "message": message,
                     "reason": reason, "code": code}
        if details:
            self.body["details"] = details


def not_found(resource, name):
    return Failure(404, "NotFound", f'{resource} "{name}" not found', {"name": name, "kind": resource})


def label_terms(selector):
    """[(key, value)] that must all be; the set-based forms are not spoken here."""
    terms = []
    for term in filter(None, selector.split(",")):
        key, equals, value = term.partition("=")
        value = value.lstrip("=")
        if not equals or not LABEL.fullmatch(value) or len(value) > 63:
            raise Failure(400, "BadRequest", f'unable to parse requirement: "{term}"')
        terms.append((key, value))
    return terms


def field_terms(selector, resource):
    """[(path, is it equal, value)]."""
    terms = []
    for term in filter(None, selector.split(",")):
        found = re.fullmatch(r"([\w.]+)(!=|==|=)(.*)", term)
        if found is None:
            raise Failure(400, "BadRequest", f"invalid selector: '{term}'; can't understand '{term}'")
        path, operator, value = found.groups()
        if path not in KINDS[resource][4]:
            raise Failure(400, "BadRequest", f'field label not supported: "{path}"')
        terms.append((path.split("."), operator != "!=", value))
    return terms


class Selection:
    """Which objects of a collection a list or a watch is of."""

    def __init__(self, resource, namespace, query):
        self.resource, self.namespace = resource, namespace
        self.labels = label_terms(query.get("labelSelector", ""))
        self.fields = field_terms(query.get("fieldSelector", ""), resource)
        self.is_partial = bool(self.labels or self.fields)

    def has(self, item):
        if item is None or (self.namespace is not None and item["metadata"].get("namespace") != self.namespace):
            return False
        labels = item["metadata"].get("labels", {})
        if any(labels.get(key) != value for key, value in self.labels):
            return False
        for path, is_equal, value in self.fields:
            found = item
            for key in path:
                found = (found or {}).get(key)
            if ((found or "") == value) != is_equal:
                return False
        return True


class Store:
    """Everything under one lock, `changed`."""

    def __init__(self):
        self.changed = threading.Condition(threading.RLock())
        self.version = 100
        self.oldest = 0  # history before it is compacted
        self.objects = {resource: {} for resource in KINDS}
        self.managers = {}  # uid -> who has set what
        self.history = []  # (version, resource, before, after)
        self.snapshots = {}  # version -> {resource: objects} that pages are of
        self.generation = 0  # watches of an older one are cut

    def put(self, resource, item, before):
        with self.changed:
            key = (item["metadata"].get("namespace", ""), item["metadata"]["name"])
            assert self.objects[resource].get(key) is before, "changed from what it is not"
            self.version += 1
            item["metadata"]["resourceVersion"] = str(self.version)
            self.objects[resource][key] = item
            self.history.append((self.version, resource, before, item))
            self.changed.notify_all()

    def remove(self, resource, key):
        with self.changed:
            before = self.objects[resource].pop(key)
            self.managers.pop(before["metadata"]["uid"], None)
            self.version += 1
            last = copy.deepcopy(before)
            last["metadata"]["resourceVersion"] = str(self.version)
            self.history.append((self.version, resource, last, None))
            self.changed.notify_all()
            return last

    def compact(self):
        with self.changed:
            self.oldest = self.version
            self.history.clear()
            self.snapshots.clear()
            self.changed.notify_all()

    def cut_watches(self):
        with self.changed:
            self.generation += 1
            self.changed.notify_all()

    # --- lists ---

    def list(self, selection, query):
        """(items, metadata) of one page."""
        with self.changed:
            if query.get("resourceVersionMatch") == "Exact" and query.get("resourceVersion") != str(self.version):
                raise Failure(410, "Expired", "The resourceVersion for the provided list is too old.")
            version, start, objects = self.version, "", self.objects[selection.resource]
            if query.get("continue"):
                version, start, objects = self.continued(selection, query)
            limit = int(query.get("limit", 0))
            left = [item for key, item in sorted(objects.items()) if "/".join(key) > start and selection.has(item)]
            page = left[:limit] if limit else left
            metadata = {"resourceVersion": str(version)}
            if len(page) < len(left):
                self.snapshots.setdefault(version, {}).setdefault(selection.resource, dict(objects))
                last = page[-1]["metadata"]
                metadata["continue"] = self.token(version, f"{last.get('namespace', '')}/{last['name']}")
                if not selection.is_partial:  # the server does not count those that a selector leaves out
                    metadata["remainingItemCount"] = len(left) - len(page)
            return copy.deepcopy(page), metadata

    @staticmethod
    def token(version, start):
        text = json.dumps({"v": "meta.k8s.io/v1", "rv": version, "start": start + "\0"}, separators=(",", ":"))
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    def continued(self, selection, query):
        if query.get("resourceVersion"):
            raise Failure(400, "BadRequest", "specifying resource version is not allowed when using continue")
        token = query["continue"]
        try:
            found = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        except ValueError:
            raise Failure(400, "BadRequest", "continue key is not valid") from None
        objects = self.snapshots.get(found["rv"], {}).get(selection.resource)
        if objects is None:
            raise Failure(410, "Expired", "The provided continue parameter is too old to display a consistent list result. You can "
                          "start a new list without the continue parameter, or use the continue token in this response to retrieve "
                          "the remainder of the results.", metadata={"continue": self.token(-1, found["start"][:-1])})
        return found["rv"], found["start"].removesuffix("\0"), objects

    # --- watches ---

    def watch_check(self, query):
        """The version to go on from; failures before the stream begins."""
        text = query["resourceVersion"]
        if not text.isdigit():
            raise Failure(400, "BadRequest", f'invalid resource version: "{text}"')
        if int(text) > self.version:
            raise Failure(504, "Timeout", f"Timeout: Too large resource version: {text}, current: {self.version}",
                          {"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
                           "retryAfterSeconds": 1})
        return int(text)

    def events(self, selection, query, bookmark_seconds):
        """Yields (type, object) of a watch until its time is over; None: cut here."""
        version = self.watch_check(query)
        ends = time.monotonic() + float(query.get("timeoutSeconds", 1800))
        bookmark = time.monotonic() + bookmark_seconds
        generation = self.generation
        while True:
            with self.changed:
                if generation == self.generation and version == self.version:
                    self.changed.wait(0.1)
                is_cut, oldest, current = generation != self.generation, self.oldest, self.version
                news = [event for event in self.history if event[0] > version]
            if is_cut:
                yield None
                return
            if version < oldest:
                yield "ERROR", Failure(410, "Expired", f"too old resource version: {version} ({oldest})").body
                return
            version = current
            for number, resource, before, after in news:
                if resource == selection.resource:
                    yield from self.change_events(selection, number, before, after)
            is_over = time.monotonic() > ends
            if query.get("allowWatchBookmarks") == "true" and (is_over or time.monotonic() > bookmark):
                bookmark = time.monotonic() + bookmark_seconds
                yield "BOOKMARK", {"metadata": {"resourceVersion": str(version), "creationTimestamp": None}}
            if is_over:
                return

    @staticmethod
    def change_events(selection, number, before, after):
        was, is_now = selection.has(before), selection.has(after)
        if is_now:
            yield ("MODIFIED" if was else "ADDED"), after
        elif was:
            last = copy.deepcopy(before)
            last["metadata"]["resourceVersion"] = str(number)
            yield "DELETED", last
