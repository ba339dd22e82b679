"""What works on a Kubernetes cluster's objects beside its API server: a scheduler that binds pods as their affinity, resources, taints,
claims and priorities allow, a kubelet that runs their commands as processes, and a collector of what has lost its owner."""
import copy
import datetime
import math
import os
import re
import subprocess
import threading
import time
import uuid

from support.kube_admission import quantity

OVER = ("Succeeded", "Failed")


def now_text(later_seconds=0):
    now = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=later_seconds)
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")


def tolerates(toleration, taint):
    if toleration.get("key") is not None and toleration["key"] != taint["key"]:
        return False
    if toleration.get("effect") not in (None, taint["effect"]):
        return False
    return toleration.get("operator", "Equal") == "Exists" or toleration.get("value", "") == taint.get("value", "")


def device_matches(expression, driver, device):
    """CEL as the driver writes it: terms joined by &&."""
    for term in expression.split(" && "):
        found = re.fullmatch(r"""device\.driver == ['"](.*)['"]""", term)
        if found is not None:
            if found[1] != driver:
                return False
            continue
        domain, name, value = re.fullmatch(r"""device\.attributes\[['"](.*)['"]\]\.(\w+) == (.*)""", term).groups()
        attribute = device.get("attributes", {}).get(name if domain == driver else f"{domain}/{name}", {})
        text = attribute.get("string", attribute.get("version"))
        if value != (f'"{text}"' if text is not None else str(attribute.get("int"))):
            return False
    return True


class Cluster:
    """`store` has the objects; one thread works on them until `is_ended`."""

    def __init__(self, store, folder):
        self.store, self.folder = store, folder
        self.volume_claims, self.runtime_classes, self.restricted = {"models"}, {"nvidia"}, {"llm"}
        self.priority_classes = {"high": 1000, "low": -1000}
        self.quota_pods = None
        self.processes = {}
        self.is_ended = False
        self.worker = threading.Thread(target=self.work, daemon=True)

    def work(self):
        while not self.is_ended:
            with self.store.changed:
                self.store.changed.wait(0.05)
                for pod in list(self.store.objects["pods"].values()):
                    self.schedule(pod)
                for pod in list(self.store.objects["pods"].values()):
                    self.run(pod)
                self.collect()

    def end(self):
        self.is_ended = True
        self.worker.join(10)
        for process in self.processes.values():
            process.kill()
            process.wait()

    def set_status(self, pod, **status):
        """The pod with another status."""
        after = copy.deepcopy(pod)
        after["status"].update(status)
        if after == pod:
            return pod
        self.store.put("pods", after, pod)
        return after

    # --- the collector ---

    def collect(self):
        alive = {pod["metadata"]["uid"]: pod for pod in self.store.objects["pods"].values()}
        for key, claim in list(self.store.objects["resourceclaims"].items()):
            owners = claim["metadata"].get("ownerReferences", [])
            users = [user for user in claim["status"].get("reservedFor", []) if user["uid"] in alive and
                     alive[user["uid"]]["status"]["phase"] not in OVER]
            if users != claim["status"].get("reservedFor", []):
                after = copy.deepcopy(claim)
                after["status"] = {**after["status"], "reservedFor": users} if users else {}
                self.store.put("resourceclaims", after, claim)
                claim = after
            if owners and all(owner["uid"] not in alive for owner in owners) and not users:
                self.store.remove("resourceclaims", key)

    # --- the scheduler ---

    def running_on(self, node):
        return [pod for pod in self.store.objects["pods"].values()
                if pod["spec"].get("nodeName") == node["metadata"]["name"] and pod["status"]["phase"] not in OVER]

    def free(self, node):
        left = {name: quantity(amount) for name, amount in node["status"]["allocatable"].items()}
        for pod in self.running_on(node):
            for name, amount in pod["spec"]["containers"][0].get("resources", {}).get("requests", {}).items():
                left[name] = left.get(name, 0) - quantity(amount)
        return left

    def wanted_nodes(self, pod):
        terms = pod["spec"].get("affinity", {}).get("nodeAffinity", {}).get(
            "requiredDuringSchedulingIgnoredDuringExecution", {}).get("nodeSelectorTerms", [])
        names = {value for term in terms for field in term["matchFields"] for value in field["values"]}
        for (_, name), node in sorted(self.store.objects["nodes"].items()):
            taints = [taint for taint in node["spec"].get("taints", []) if taint["effect"] != "PreferNoSchedule"]
            is_tolerated = all(any(tolerates(toleration, taint) for toleration in pod["spec"].get("tolerations", []))
                               for taint in taints)
            if (not terms or name in names) and is_tolerated and not node["spec"].get("unschedulable"):
                yield node

    def schedule(self, pod):
        spec = pod["spec"]
        if spec.get("nodeName") or spec.get("schedulingGates") or "deletionTimestamp" in pod["metadata"]:
            return
        missing = [volume["persistentVolumeClaim"]["claimName"] for volume in spec.get("volumes", [])
                   if volume.get("persistentVolumeClaim", {}).get("claimName", "models") not in self.volume_claims]
        requests = spec["containers"][0].get("resources", {}).get("requests", {})
        lacking = f'persistentvolumeclaim "{missing[0]}" not found' if missing else "node(s) didn't match Pod's node affinity/selector"
        for node in () if missing else self.wanted_nodes(pod):
            left = self.free(node)
            short = [name for name, amount in requests.items() if left.get(name, 0) < quantity(amount)]
            if short:
                lacking = f"Insufficient {short[0]}"
                self.preempt(pod, node, short[0])
            elif not self.allocate(pod, node):
                lacking = "cannot allocate all claims"
            else:
                after = copy.deepcopy(pod)
                after["spec"]["nodeName"] = node["metadata"]["name"]
                after["status"]["conditions"] = [{"type": "PodScheduled", "status": "True"}]
                self.store.put("pods", after, pod)
                return
        self.set_status(pod, conditions=[{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": f"0/{len(self.store.objects['nodes'])} nodes are available: {lacking}."}])

    def preempt(self, pod, node, resource):
        """Evicts a pod of less priority that holds what is short."""
        if any("deletionTimestamp" in other["metadata"] for other in self.running_on(node)):
            return
        for victim in sorted(self.running_on(node), key=lambda other: other["spec"].get("priority", 0)):
            holds = victim["spec"]["containers"][0].get("resources", {}).get("requests", {})
            if victim["spec"].get("priority", 0) < pod["spec"].get("priority", 0) and resource in holds:
                condition = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
                             "message": "preempting to accommodate a higher priority pod"}
                marked = self.set_status(victim, conditions=victim["status"].get("conditions", []) + [condition])
                self.terminate(marked, marked["spec"].get("terminationGracePeriodSeconds", 30))
                return

    def terminate(self, pod, grace):
        after = copy.deepcopy(pod)
        after["metadata"].update(deletionTimestamp=now_text(grace), deletionGracePeriodSeconds=grace)
        self.store.put("pods", after, pod)
        return after

    def allocate(self, pod, node):
        """Gives each claim of the pod a device of the node."""
        for wish in pod["spec"].get("resourceClaims", []):
            key = (pod["metadata"]["namespace"], wish["resourceClaimName"])
            claim = self.store.objects["resourceclaims"].get(key)
            if claim is None or "deletionTimestamp" in claim["metadata"]:
                return False
            if claim["status"].get("allocation"):
                continue
            request = claim["spec"]["devices"]["requests"][0]
            result = self.device_for(request.get("exactly", request), node)
            if result is None:
                return False
            after = copy.deepcopy(claim)
            after["status"] = {"allocation": {"devices": {"results": [{"request": request["name"], **result}]}}, "reservedFor": [
                {"resource": "pods", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}]}
            self.store.put("resourceclaims", after, claim)
        return True

    def device_for(self, wish, node):
        """The allocation of a device that the wish selects and that has room; None."""
        device_class = self.store.objects["deviceclasses"].get(("", wish["deviceClassName"]))
        if device_class is None:
            return None
        expressions = [selector["cel"]["expression"] for selector in
                       device_class["spec"].get("selectors", []) + wish.get("selectors", [])]
        for part in self.store.objects["resourceslices"].values():
            spec = part["spec"]
            for entry in spec.get("devices", []) if spec.get("nodeName") == node["metadata"]["name"] else ():
                device = entry.get("basic", entry)
                place = {"driver": spec["driver"], "pool": spec["pool"]["name"], "device": entry["name"]}
                taints = [taint for taint in device.get("taints", []) if taint["effect"] in ("NoSchedule", "NoExecute")]
                if taints or not all(device_matches(text, spec["driver"], device) for text in expressions):
                    continue
                share = self.share_of(device, place, wish)
                if share is not None:
                    return {**place, **share}
        return None

    def share_of(self, device, place, wish):
        """What of the device is had: {} for all of it; None where there is no room."""
        taken = [result for claim in self.store.objects["resourceclaims"].values()
                 for result in claim["status"].get("allocation", {}).get("devices", {}).get("results", [])
                 if all(result[key] == place[key] for key in place)]
        if not device.get("allowMultipleAllocations"):
            return {} if not taken else None
        consumed = {}
        for name, capacity in device["capacity"].items():
            policy = capacity.get("requestPolicy", {}).get("validRange", {})
            wanted = quantity(wish.get("capacity", {}).get("requests", {}).get(name, capacity["value"]))
            step = quantity(policy.get("step", "1"))
            amount = max(math.ceil(wanted / step) * step, quantity(policy.get("min", "0")))
            used = sum(quantity(result["consumedCapacity"][name]) for result in taken)
            if used + amount > quantity(capacity["value"]):
                return None
            consumed[name] = str(int(amount))
        return {"shareID": str(uuid.uuid4()), "consumedCapacity": consumed}

    # --- the kubelet ---

    def run(self, pod):
        uid, status = pod["metadata"]["uid"], pod["status"]
        if not pod["spec"].get("nodeName") or status["phase"] in OVER:
            return
        node = self.store.objects["nodes"].get(("", pod["spec"]["nodeName"]))
        if node is None or node["status"]["conditions"][0]["status"] != "True":
            return  # nobody is there
        process = self.processes.get(uid)
        is_ending = "deletionTimestamp" in pod["metadata"]
        if process is None and not is_ending:
            container = pod["spec"]["containers"][0]
            self.processes[uid] = self.spawn(pod, container)
            self.set_status(pod, phase="Running", podIP="127.0.0.1", hostIP="127.0.0.1", containerStatuses=[
                {"name": container["name"], "ready": True, "state": {"running": {"startedAt": now_text()}}}])
        elif process is None or process.poll() is not None:
            self.ended(pod, process, is_ending)
        elif is_ending and not getattr(process, "ends", None):
            process.terminate()
            process.ends = time.monotonic() + pod["metadata"]["deletionGracePeriodSeconds"]
        elif is_ending and time.monotonic() > process.ends:
            process.kill()

    def log_of(self, pod):
        return self.folder / f"{pod['metadata']['uid']}.log"

    def spawn(self, pod, container):
        fields = {"status.podIP": "127.0.0.1", "spec.nodeName": pod["spec"]["nodeName"], "metadata.name": pod["metadata"]["name"]}
        values = {}
        for entry in container.get("env", []):
            values[entry["name"]] = expanded(entry["value"], values) if "value" in entry else \
                fields[entry["valueFrom"]["fieldRef"]["fieldPath"]]
        if values.get("HOME") == "/tmp":
            values["HOME"] = str(self.folder)  # a pod's /tmp is its own
        with open(self.log_of(pod), "wb") as log:
            return subprocess.Popen([expanded(word, values) for word in container["command"]], env={
                "PATH": os.environ["PATH"], **values}, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def ended(self, pod, process, is_ending):
        if is_ending:
            self.store.remove("pods", (pod["metadata"]["namespace"], pod["metadata"]["name"]))
            return
        container = pod["spec"]["containers"][0]
        code = process.returncode if process.returncode >= 0 else 128 - process.returncode
        state = {"terminated": {"exitCode": code, "reason": "Completed" if code == 0 else "Error"}}
        if code != 0 and container.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            state["terminated"]["message"] = self.log_of(pod).read_text(errors="replace")[-2048:]
        self.set_status(pod, phase="Succeeded" if code == 0 else "Failed", containerStatuses=[
            {"name": container["name"], "ready": False, "state": state}])


def expanded(text, values):
    """$(NAME) is another variable's value, $$ a dollar; what is not known stays."""
    return re.sub(r"\$(\$|\(([^)]*)\))", lambda found: "$" if found[1] == "$" else values.get(found[2], found[0]), text)
