"""An API server of Kubernetes for tests: what kube-apiserver 1.36 was seen to answer (tests/data/kube), and no more.

It is strict where a client may be wrong: every object has a version of one counter, a watch goes on from a version exactly or says
that it is too old, a change from an old version is a conflict, fields have managers and server-side apply minds them, fields that no
object has are refused, a pod's spec cannot be changed, its gates only lifted, and the namespace enforces the restricted standard.
kube_cluster.py has the scheduler and the kubelet beside it.

Tests hold the object itself: they add nodes, take pods away, compact the history, make it slow, and stop and start it on its port.
"""
import base64
import copy
import gzip
import http.server
import json
import pathlib
import ssl
import subprocess
import threading
import time
import urllib.parse
import uuid

from support import kube_admission, kube_fields
from support.kube_cluster import OVER, Cluster, now_text
from support.kube_store import KINDS, Failure, Selection, Store, not_found

GZIP_BYTES = 128 * 1024  # smaller bodies are not packed


class KubeApi:
    """`tokens` are those that it knows; `denied` are pairs (verb, resource) that it forbids; `faults` are functions of a request's
    handler that may deal with it in the server's place (True)."""

    def __init__(self, folder, tokens=("secret",), resource_version="v1", bookmark_seconds=0.5, server_name=None):
        self.folder = pathlib.Path(folder)
        self.tokens = set(tokens)
        self.denied, self.faults, self.requests = set(), [], []
        self.bookmarks = {}  # path -> version of the last one
        self.rules = None  # (is it of the whole cluster, groups, resources, verbs) that are allowed; None: all but what is denied
        self.resource_version = resource_version  # None: no dynamic resource allocation
        self.bookmark_seconds = bookmark_seconds
        self.store = Store()
        self.cluster = Cluster(self.store, self.folder)
        self.busy, self.busy_seconds = 0, 1  # so many requests are refused with 429, and asked to wait
        self.slow_seconds = 0.0  # between two halves of each event
        self.server, self.port = None, 0
        self.make_certificates(f"DNS:{server_name}" if server_name else "IP:127.0.0.1")
        self.start()
        self.cluster.worker.start()

    # --- certificates ---

    def openssl(self, *words):
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)

    def make_certificates(self, name):
        self.authority = self.folder / "ca.pem"
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
                     self.folder / "ca.key", "-out", self.authority, "-days", "2", "-subj", "/CN=kubernetes-ca")
        self.issue("server", "/CN=kube-apiserver", f"subjectAltName={name}")

    def issue(self, stem, subject, extension="extendedKeyUsage=clientAuth"):
        """(certificate, key) of the cluster's authority; for clients CN is the user and O the group."""
        certificate, key, request = (self.folder / f"{stem}.{end}" for end in ("pem", "key", "csr"))
        (self.folder / f"{stem}.ext").write_text(extension)
        self.openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out",
                     request, "-subj", subject)
        self.openssl("x509", "-req", "-in", request, "-CA", self.authority, "-CAkey", self.folder / "ca.key", "-CAcreateserial",
                     "-days", "2", "-extfile", self.folder / f"{stem}.ext", "-out", certificate)
        return certificate, key

    # --- life ---

    def start(self):
        api = self

        class Handler(RequestHandler):
            server_api = api

        class Server(http.server.ThreadingHTTPServer):
            allow_reuse_address = True
            daemon_threads = True
            block_on_close = False
            request_queue_size = 64

            def get_request(self):
                connection, address = super().get_request()
                connection.settimeout(60)
                return api.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

            def handle_error(self, request, client_address):
                """Clients go as they like."""

        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.folder / "server.pem", self.folder / "server.key")
        self.context.load_verify_locations(self.authority)
        self.context.verify_mode = ssl.CERT_OPTIONAL
        self.server = Server(("127.0.0.1", self.port), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self):
        """Goes away: the port is closed and every watch is cut. What is stored stays, and pods run on."""
        server, self.server = self.server, None
        self.store.cut_watches()
        server.shutdown()
        server.server_close()

    def close(self):
        if self.server:
            self.stop()
        self.cluster.end()

    def wait(self, condition, seconds=60):
        """Until it is true, looked at whenever something changes."""
        deadline = time.monotonic() + seconds
        with self.store.changed:
            while not condition():
                assert time.monotonic() < deadline, "it did not come about"
                self.store.changed.wait(0.1)

    # --- what tests do ---

    def kubeconfig_cluster(self, **more):
        data = base64.b64encode(self.authority.read_bytes()).decode()
        return {"server": f"https://127.0.0.1:{self.port}", "certificate-authority-data": data, **more}

    def write_kubeconfig(self, path, users=None, others=(), **more):
        """A kubeconfig of this cluster (context "a") and of others ("b", ...); `more` is put to the clusters."""
        clusters, contexts, entries = [], [], []
        for letter, api in zip("abcdef", (self, *others)):
            clusters.append({"name": letter, "cluster": api.kubeconfig_cluster(**more)})
            entries.append({"name": letter, "user": (users or {}).get(letter, {"token": "secret"})})
            contexts.append({"name": letter, "context": {"cluster": letter, "user": letter, "namespace": "llm"}})
        pathlib.Path(path).write_text(json.dumps({"apiVersion": "v1", "kind": "Config", "clusters": clusters, "users": entries,
                                                  "contexts": contexts, "current-context": "a"}))

    def add(self, resource, item):
        item = copy.deepcopy(item)
        metadata = item.setdefault("metadata", {})
        metadata.setdefault("uid", str(uuid.uuid4()))
        metadata.setdefault("creationTimestamp", now_text())
        item.setdefault("status", {})
        self.store.put(resource, item, None)

    def add_node(self, name, allocatable, labels=None):
        self.add("nodes", {"metadata": {"name": name, "labels": labels or {}}, "spec": {},
                           "status": {"allocatable": {"pods": "110", **allocatable}, "conditions": [
                               {"type": "Ready", "status": "True", "reason": "KubeletReady"}]}})

    def add_pod(self, name, node, requests, labels=None, namespace="other"):
        """Somebody's pod that sleeps on a node, or finds one by itself (None)."""
        spec = {"containers": [{"name": "c", "image": "i", "command": ["sleep", "600"],
                                "resources": {"requests": requests, "limits": dict(requests)}}]}
        spec.update({"nodeName": node} if node else {})
        self.add("pods", {"metadata": {"name": name, "namespace": namespace, "labels": labels or {}}, "spec": spec,
                          "status": {"phase": "Pending"}})

    def change(self, resource, name, change, namespace=""):
        """`change` is given the object and alters it."""
        with self.store.changed:
            before = self.store.objects[resource][(namespace, name)]
            after = copy.deepcopy(before)
            change(after)
            self.store.put(resource, after, before)

    def pods(self):
        with self.store.changed:
            return [copy.deepcopy(pod) for pod in self.store.objects["pods"].values()]

    # --- the API ---

    def may(self, verb, resource, namespace):
        if self.rules is None:
            return (verb, resource) not in self.denied
        return any((is_whole or namespace) and KINDS[resource][0] in groups and resource in resources and verb in verbs
                   for is_whole, groups, resources, verbs in self.rules)

    def collection(self, path):
        """(resource, namespace or None, name or None, subresource or None) of a path."""
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "v1"]:
            rest, group = parts[2:], ""
        elif parts[:2] == ["apis", "resource.k8s.io"] and len(parts) > 3 and parts[2] == self.resource_version:
            rest, group = parts[3:], "resource.k8s.io"
        else:
            raise Failure(404, "NotFound", "the server could not find the requested resource")
        namespace = None
        if rest[:1] == ["namespaces"] and len(rest) > 2:
            namespace, rest = rest[1], rest[2:]
        if not rest or rest[0] not in KINDS or KINDS[rest[0]][0] != group or (len(rest) > 1 and KINDS[rest[0]][3] and not namespace):
            raise Failure(404, "NotFound", "the server could not find the requested resource")
        return rest[0], namespace, rest[1] if len(rest) > 1 else None, rest[2] if len(rest) > 2 else None

    def api_version(self, resource):
        group, version = KINDS[resource][:2]
        return f"{group}/{self.resource_version}" if group else version

    def kind(self, resource):
        return kube_fields.kind_of(resource, self.resource_version or "v1")

    def described(self, resource, item):
        out = {"kind": KINDS[resource][2], "apiVersion": self.api_version(resource), **copy.deepcopy(item)}
        managers = self.store.managers.get(item["metadata"].get("uid"))
        if managers is not None:
            out["metadata"]["managedFields"] = managers.described(self.api_version(resource))
        return out

    def found(self, resource, namespace, name):
        item = self.store.objects[resource].get((namespace or "", name))
        if item is None:
            raise not_found(resource, name)
        return item

    def list(self, resource, namespace, query):
        items, metadata = self.store.list(Selection(resource, namespace, query), query)
        return {"kind": KINDS[resource][2] + "List", "apiVersion": self.api_version(resource), "metadata": metadata, "items": items}

    def admitted(self, resource, namespace, item):
        """The object as it is stored, when it is new."""
        kube_admission.check_metadata(resource, item)
        name = item["metadata"]["name"]
        if (namespace or "", name) in self.store.objects[resource]:
            raise Failure(409, "AlreadyExists", f'{resource} "{name}" already exists', {"name": name, "kind": resource})
        item = copy.deepcopy({key: value for key, value in item.items() if key not in ("kind", "apiVersion")})
        if namespace:
            item["metadata"]["namespace"] = namespace
        item["metadata"].update(uid=str(uuid.uuid4()), creationTimestamp=now_text(), generation=1)
        item["status"] = {}
        if resource == "pods":
            kube_admission.check_pod_parts(item)
            kube_admission.admit_pod(self.cluster, namespace, item)
            item["status"] = {"phase": "Pending", "qosClass": "BestEffort"}
            if item["spec"].get("schedulingGates"):
                item["status"]["conditions"] = [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
                                                 "message": "Scheduling is blocked due to non-empty scheduling gates"}]
        elif resource == "resourceclaims":
            kube_admission.check_claim(item, self.resource_version)
        return item

    def create(self, resource, namespace, item, manager="unknown"):
        with self.store.changed:
            kube_admission.check_kind(resource, item, self.resource_version or "v1")
            after = self.admitted(resource, namespace, item)
            self.store.put(resource, after, None)
            managers = self.store.managers[after["metadata"]["uid"]] = kube_fields.Managers()
            managers.update(manager, {"metadata": {}}, after, self.kind(resource))
            return after

    def apply(self, resource, namespace, name, query, patch):
        """(code, object) of a server-side apply."""
        manager = query.get("fieldManager")
        if not manager:
            raise Failure(400, "BadRequest", "PatchOptions.meta.k8s.io is invalid: fieldManager: Required value: is required for apply "
                          "patch")
        if patch.get("kind") != KINDS[resource][2] or patch.get("apiVersion") != self.api_version(resource):
            raise Failure(400, "BadRequest", "Invalid value: apiVersion and kind must be those of the object")
        if patch.get("metadata", {}).get("name") != name:
            raise Failure(400, "BadRequest", f"name in URL does not match name in object: {name}")
        kube_admission.check_kind(resource, patch, self.resource_version or "v1")
        before = self.store.objects[resource].get((namespace or "", name))
        if before is None:
            if patch["metadata"].get("uid") or patch["metadata"].get("resourceVersion"):
                raise Failure(409, "Conflict", f'Operation cannot be fulfilled on {resource} "{name}": StorageError')
            after = self.admitted(resource, namespace, patch)
            self.store.put(resource, after, None)
            managers = self.store.managers[after["metadata"]["uid"]] = kube_fields.Managers()
            managers.fields[(manager, "Apply")] = kube_fields.owned_leaves(patch, self.kind(resource))
            return 201, after
        managers = self.store.managers.setdefault(before["metadata"]["uid"], kube_fields.Managers())
        conflicts = managers.conflicts(manager, before, patch, self.kind(resource))
        if conflicts and query.get("force") != "true":
            causes = [{"reason": "FieldManagerConflict", "message": f'conflict with "{other}"', "field": kube_fields.dotted(path)}
                      for other, path in conflicts]
            raise Failure(409, "Conflict", f"Apply failed with {len(causes)} conflict{'s' if len(causes) > 1 else ''}: " +
                          ", ".join(f'{cause["message"]}: {cause["field"]}' for cause in causes), {"causes": causes})
        plain = {key: value for key, value in patch.items() if key not in ("kind", "apiVersion")}
        return 200, self.changed(resource, before, managers.apply(manager, before, plain, self.kind(resource)))

    def changed(self, resource, before, after):
        """Stores it, if it is another and may be."""
        kube_admission.check_change(resource, before, after, self.resource_version)
        if after == before:
            return before
        after["metadata"]["generation"] = before["metadata"].get("generation", 1) + (after.get("spec") != before.get("spec"))
        self.store.put(resource, after, before)
        return after

    def patch(self, resource, namespace, name, query, content_type, patch):
        """(code, object)."""
        with self.store.changed:
            if content_type == "application/apply-patch+yaml":
                return self.apply(resource, namespace, name, query, patch)
            before = self.found(resource, namespace, name)
            if content_type == "application/json-patch+json":
                after = json_patched(before, patch)
            elif content_type in ("application/merge-patch+json", "application/strategic-merge-patch+json"):
                after = merge_patched(before, patch)
            else:
                raise Failure(415, "UnsupportedMediaType", f"the body of the request was in an unknown format: {content_type}")
            return 200, self.updated(resource, before, after, query.get("fieldManager", "unknown"))

    def updated(self, resource, before, after, manager):
        version = after["metadata"].get("resourceVersion", before["metadata"]["resourceVersion"])
        name = before["metadata"]["name"]
        if version != before["metadata"]["resourceVersion"]:
            raise Failure(409, "Conflict", f'Operation cannot be fulfilled on {resource} "{name}": the object has been '
                          "modified; please apply your changes to the latest version and try again",
                          {"name": name, "kind": resource})
        after = {**after, "metadata": {**after["metadata"], "resourceVersion": version}}
        managers = self.store.managers.setdefault(before["metadata"]["uid"], kube_fields.Managers())
        managers.update(manager, before, after, self.kind(resource))
        return self.changed(resource, before, after)

    def replace(self, resource, namespace, name, item, manager="unknown"):
        with self.store.changed:
            before = self.found(resource, namespace, name)
            item = copy.deepcopy({key: value for key, value in item.items() if key not in ("kind", "apiVersion")})
            item["metadata"].pop("managedFields", None)
            for key in ("uid", "namespace", "generation", "creationTimestamp"):
                if key in before["metadata"]:
                    item["metadata"].setdefault(key, before["metadata"][key])
            item["status"] = before["status"]
            return self.updated(resource, before, item, manager)

    def delete(self, resource, namespace, name, query, body=None):
        with self.store.changed:
            before = self.found(resource, namespace, name)
            conditions = (body or {}).get("preconditions", {})
            if any(before["metadata"][key] != value for key, value in conditions.items()):
                raise Failure(409, "Conflict", f'Operation cannot be fulfilled on {resource} "{name}": the UID in the precondition does '
                              "not match the UID in record", {"name": name, "kind": resource})
            grace = int(query.get("gracePeriodSeconds", before.get("spec", {}).get("terminationGracePeriodSeconds", 30)))
            is_run = resource == "pods" and before["spec"].get("nodeName") and before["status"]["phase"] not in OVER
            if not is_run or grace == 0:
                return self.store.remove(resource, (namespace or "", name))
            known = before["metadata"].get("deletionGracePeriodSeconds")
            return before if known is not None and known <= grace else self.cluster.terminate(before, grace)


def json_patched(before, steps):
    after = copy.deepcopy(before)
    for change in steps:
        keys = [key.replace("~1", "/").replace("~0", "~") for key in change["path"].strip("/").split("/")]
        target = after
        for key in keys[:-1]:
            target = target[key]
        if change["op"] != "add" and keys[-1] not in target:
            raise Failure(422, "Invalid", "the server rejected our request due to an error in our request")
        if change["op"] == "test":
            if target[keys[-1]] != change["value"]:
                raise Failure(422, "Invalid", "the server rejected our request due to an error in our request")
        elif change["op"] == "remove" or change.get("value") == []:
            target.pop(keys[-1], None)
        else:
            target[keys[-1]] = change["value"]
    return after


def merge_patched(before, patch):
    if not isinstance(patch, dict) or not isinstance(before, dict):
        return copy.deepcopy(patch)
    out = copy.deepcopy(before)
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        elif key not in ("kind", "apiVersion"):
            out[key] = merge_patched(out.get(key), value)
    return out


class RequestHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_api = None

    def log_message(self, *_):
        pass

    def answer(self, code, body, headers=None):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        if len(data) >= GZIP_BYTES and "gzip" in self.headers.get("Accept-Encoding", ""):
            data = gzip.compress(data, 1)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def do(self):
        self.data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urllib.parse.urlsplit(self.path)
        self.url_path, self.query = url.path, dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        if self.server_api.server is None:  # it has gone, and so have the connections that were kept
            self.close_connection = True
            return
        try:
            self.server_api.requests.append((self.command, self.path))
            if not any(fault(self) for fault in list(self.server_api.faults)):
                self.route()
        except Failure as failure:
            self.answer(failure.code, failure.body, failure.headers)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do

    def user(self):
        """Who asks: of a token, or of a certificate that the cluster's authority has signed."""
        word, _, token = self.headers.get("Authorization", "").partition(" ")
        if word == "Bearer" and token in self.server_api.tokens:
            return "gateway"
        certificate = self.connection.getpeercert()
        if certificate and not word:
            return dict(pair for part in certificate["subject"] for pair in part)["commonName"]
        raise Failure(401, "Unauthorized", "Unauthorized")

    def route(self):
        api = self.server_api
        user = self.user()
        if api.busy > 0:
            api.busy -= 1
            raise Failure(429, "TooManyRequests", "the server has received too many requests and has asked us to try again later",
                          {"retryAfterSeconds": api.busy_seconds}, {"Retry-After": str(api.busy_seconds)})
        if self.url_path == "/readyz":
            return self.answer(200, b"ok")
        if self.url_path == "/apis/resource.k8s.io" and api.resource_version:
            version = {"groupVersion": f"resource.k8s.io/{api.resource_version}", "version": api.resource_version}
            return self.answer(200, {"kind": "APIGroup", "apiVersion": "v1", "name": "resource.k8s.io", "versions": [version],
                                     "preferredVersion": version})
        if self.url_path == "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews":
            review = json.loads(self.data)
            asked = review["spec"]["resourceAttributes"]
            allowed = api.may(asked["verb"], asked["resource"], asked["namespace"])
            return self.answer(201, {**review, "metadata": {}, "status": {"allowed": allowed}})
        resource, namespace, name, sub = api.collection(self.url_path)
        if sub is not None:
            raise not_found(resource, name)
        verb = {"GET": "get" if name else "list", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}[self.command]
        if verb == "list" and self.query.get("watch") in ("1", "true"):
            verb = "watch"
        self.authorize(user, verb, resource, namespace)
        if verb == "watch":
            return self.watch(resource, namespace)
        return self.answer(*self.carry_out(resource, namespace, name))

    def authorize(self, user, verb, resource, namespace):
        needed = [verb] + (["create"] if "apply-patch" in self.headers.get("Content-Type", "") else [])
        for one in needed:
            if not self.server_api.may(one, resource, namespace):
                where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
                raise Failure(403, "Forbidden", f'{resource} is forbidden: User "{user}" cannot {one} resource "{resource}" in API group '
                              f'"{KINDS[resource][0]}" {where}', {"kind": resource})

    def carry_out(self, resource, namespace, name):
        """(code, body)."""
        api = self.server_api
        if self.command == "GET" and name is None:
            return 200, api.list(resource, namespace, self.query)
        with api.store.changed:
            if self.command == "GET":
                return 200, api.described(resource, api.found(resource, namespace, name))
            body = json.loads(self.data) if self.data else None
            if self.command == "DELETE":
                return 200, api.described(resource, api.delete(resource, namespace, name, self.query, body))
            if self.command == "POST":
                return 201, api.described(resource, api.create(resource, namespace, body, self.query.get("fieldManager", "unknown")))
            if self.command == "PUT":
                return 200, api.described(resource, api.replace(resource, namespace, name, body))
            code, item = api.patch(resource, namespace, name, self.query, self.headers["Content-Type"], body)
            return code, api.described(resource, item)

    def chunk(self, data):
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def watch_events(self, resource, namespace):
        """Those of a server whose storage cannot tell how far it is: it must be listed first."""
        query, store = self.query, self.server_api.store
        if query.get("resourceVersion", "0") == "0" or query.get("sendInitialEvents"):
            return iter([("ERROR", Failure(500, "InternalError", "a watch stream was requested by the client but the required storage "
                                           "feature RequestWatchProgress is disabled").body)])
        with store.changed:
            store.watch_check(query)
        return store.events(Selection(resource, namespace, query), query, self.server_api.bookmark_seconds)

    def watch(self, resource, namespace):
        api = self.server_api
        events = self.watch_events(resource, namespace)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in events:
            if event is None:
                self.close_connection = True
                return
            kind, item = event
            line = json.dumps({"type": kind, "object": item if kind == "ERROR" else api.described(resource, item)}).encode() + b"\n"
            if api.slow_seconds > 0:
                self.chunk(line[:len(line) // 2])
                time.sleep(api.slow_seconds)
                line = line[len(line) // 2:]
            self.chunk(line)
            if kind == "BOOKMARK":
                api.bookmarks[self.url_path] = int(item["metadata"]["resourceVersion"])
        self.wfile.write(b"0\r\n\r\n")
