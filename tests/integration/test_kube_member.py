"""The Kubernetes member's slices and replicas, against an API server that keeps to what a real one was seen to answer."""
import json
import pathlib

import pytest

from support import kube_store
from support.kube_world import GPU_LABELS, KubeWorld, gpu

DATA = pathlib.Path(__file__).resolve().parents[1] / "data/kube"


@pytest.fixture
def world(tmp_path):
    with KubeWorld(tmp_path) as made:
        yield made


def test_a_replica_starts_runs_and_stops(world):
    api = world.cluster()
    member = world.listed(api)
    assert sorted(member.slices) == [gpu(number) for number in range(4)]
    assert member.slices[gpu(0)]["region"] == "eu-de" and member.slices[gpu(0)]["labels"] == ["eu"]
    assert member.start(7, [gpu(2)])["status"] == "ok"
    told = member.wait_phase(7, "running")
    assert told["node"] == "n0" and told["address"] == "127.0.0.1" and told["name"] == "replica-of-a-model"
    assert told["parts"] == [{"slice": gpu(2), "memory": 1 << 30, "milli": 1000}]
    pod, = api.pods()
    assert pod["metadata"]["labels"]["penstock/pool"] == "p" and pod["metadata"]["labels"]["penstock/uid"] == "0" * 15 + "7"
    assert member.start(7, [gpu(2)])["status"] == "ok"  # once more: nothing is made
    assert len(api.pods()) == 1
    assert member.stop(7)["status"] == "ok"
    member.wait_phase(7, "ended")
    assert api.pods() == []
    assert member.stop(7)["status"] == "ok"


def test_a_pod_is_applied_by_us_and_has_what_it_needs(world):
    api = world.cluster()
    member = world.listed(api, runtime_class="nvidia", volume_claim="models", cores_per_device=2, host_memory=4 << 30)
    assert member.start(1, [gpu(0)], priority=5)["status"] == "ok"
    member.wait_phase(1, "running")
    item, = api.pods()
    spec, container = item["spec"], item["spec"]["containers"][0]
    managed, = (entry for entry in api.described("pods", item)["metadata"]["managedFields"] if entry["operation"] == "Apply")
    assert managed["manager"] == "penstock" and 'k:{"name":"replica"}' in managed["fieldsV1"]["f:spec"]["f:containers"]
    assert (spec["restartPolicy"], spec["terminationGracePeriodSeconds"], spec["runtimeClassName"]) == ("Never", 5, "nvidia")
    assert container["image"] == "img" and container["command"] == ["sleep", "600"] and "readinessProbe" not in container
    assert container["resources"] == {"limits": {"nvidia.com/gpu": "1"}, "requests": {
        "nvidia.com/gpu": "1", "cpu": "2000m", "memory": str(4 << 30)}}
    assert {"name": "models", "mountPath": "/models", "readOnly": True} in container["volumeMounts"]
    assert spec["automountServiceAccountToken"] is False and spec["securityContext"]["runAsUser"] > 1000


def test_a_program_gets_its_words_and_its_environment_as_they_are(world):
    api = world.cluster()
    member = world.listed(api)
    out = world.folder / "out"
    words = ["$(HOME)", "$$", "a b", "\"'\\", "$PENSTOCK_NODE", "line\nline", "ü"]
    script = 'import json, os, sys; json.dump([sys.argv[2:], dict(os.environ)], open(sys.argv[1], "w"))'
    environment = ["KEY=$(HOME) $$ $(NONE)", "EMPTY=", "TWICE=1", "TWICE=2", "EQUALS=a=b", "PENSTOCK_JOIN_TOKEN=t"]
    assert member.start(1, [gpu(1)], ["python3", "-c", script, str(out), *words], environment)["status"] == "ok"
    member.wait_phase(1, "failed")  # it has ended by itself
    told, variables = json.loads(out.read_text())
    assert told == words
    assert variables["KEY"] == "$(HOME) $$ $(NONE)" and variables["EMPTY"] == "" and variables["EQUALS"] == "a=b"
    assert variables["TWICE"] == "2" and variables["PENSTOCK_JOIN_TOKEN"] == "t" and variables["HOME"] == str(api.folder)
    assert (variables["PENSTOCK_PART"], variables["PENSTOCK_PARTS"]) == ("0", "1")
    assert (variables["PENSTOCK_ADDRESS"], variables["PENSTOCK_NODE"]) == ("127.0.0.1", "n0")


def test_a_program_that_fails_is_told_with_its_last_words(world):
    api = world.cluster()
    member = world.listed(api)
    member.start(1, [gpu(0)], ["sh", "-c", "echo begun; echo no such model >&2; exit $CODE"], ["CODE=3"])
    told = member.wait_phase(1, "failed")
    assert told["cause"] == "program" and "exit status 3: no such model" in told["reason"]
    member.stop(1)
    member.wait_phase(1, "ended")
    assert api.pods() == []


def test_a_gang_is_bound_together_and_all_or_nothing(world):
    api = world.cluster(nodes=2)
    member = world.listed(api)
    assert member.start(1, [gpu(0), gpu(1), gpu(0, "n1")])["status"] == "ok"
    told = member.wait_phase(1, "running")
    assert sorted(part["slice"] for part in told["parts"]) == [gpu(0), gpu(1), gpu(0, "n1")]
    assert sorted(pod["spec"]["nodeName"] for pod in api.pods()) == ["n0", "n0", "n1"]
    assert not any(event.get("phase") in ("starting", "running") for event in member.events
                   if event.get("uid") == 1 and len(event["parts"]) < 3)
    api.cluster.quota_pods = 4
    answer = member.start(2, [gpu(2), gpu(3)])
    assert answer["status"] == "full" and "quota" in answer["note"]
    api.wait(lambda: len(api.store.objects["pods"]) == 3)
    member.stop(1)
    member.wait_phase(1, "ended")


def test_a_gang_that_another_try_had_begun_is_taken_back_too(world):
    api = world.cluster()
    member = world.listed(api)

    def second_part_fails(handler):
        if handler.command != "PATCH" or "-1?" not in handler.path:
            return False
        handler.answer(500, {"kind": "Status", "code": 500, "reason": "InternalError", "message": "failed calling webhook"})
        return True

    api.faults.append(second_part_fails)
    answer = member.start(1, [gpu(0), gpu(1)])
    assert answer["status"] == "closed" and "webhook" in answer["note"]
    pod, = api.pods()
    assert pod["spec"]["schedulingGates"] and not pod["spec"].get("nodeName")
    told = member.wait_phase(1, "pending")
    member.wait(lambda: "1 of 2 parts" in member.replicas[1]["reason"])
    assert told["parts"] == [{"slice": gpu(0), "memory": 1 << 30, "milli": 1000}]
    api.faults.clear()
    api.cluster.quota_pods = 1
    assert member.start(1, [gpu(0), gpu(1)])["status"] == "full"
    api.wait(lambda: not api.store.objects["pods"])
    member.wait_phase(1, "ended")


def test_a_gang_that_loses_a_part_has_failed(world):
    api = world.cluster()
    member = world.listed(api)
    member.start(1, [gpu(0), gpu(1)])
    member.wait_phase(1, "running")
    name = next(pod["metadata"]["name"] for pod in api.pods() if pod["metadata"]["name"].endswith("-1"))
    api.delete("pods", "llm", name, {"gracePeriodSeconds": "1"})
    told = member.wait_phase(1, "failed")
    assert told["cause"] == "preempted"
    second = world.listed(api)  # who comes later sees it as well
    assert second.replicas[1]["phase"] == "failed" and "1 of 2 parts are left" in second.replicas[1]["reason"]
    assert second.stop(1)["status"] == "ok"
    second.wait_phase(1, "ended")


def test_what_others_hold_is_told(world):
    api = world.cluster()
    member = world.listed(api)
    api.add_pod("x", "n0", {"nvidia.com/gpu": "3"})
    member.wait(lambda: sum(item["milli_foreign"] for item in member.slices.values()) == 3000)
    assert member.start(1, [gpu(3)])["status"] == "ok"
    api.delete("pods", "other", "x", {"gracePeriodSeconds": "0"})
    member.wait(lambda: sum(item["milli_foreign"] for item in member.slices.values()) == 0)


def test_a_restart_finds_what_runs(world):
    api = world.cluster()
    first = world.listed(api)
    first.start(5, [gpu(1)], milli=500, memory=123456789)
    first.wait_phase(5, "running")
    first.kill()
    second = world.listed(api)
    told = second.replicas[5]
    assert told["phase"] == "running" and told["name"] == "replica-of-a-model"
    assert told["parts"] == [{"slice": gpu(1), "memory": 123456789, "milli": 500}]
    assert second.slices[gpu(1)]["milli_foreign"] == 0
    assert second.start(5, [gpu(1)])["status"] == "ok"
    assert len(api.pods()) == 1
    second.stop(5)
    second.wait_phase(5, "ended")


def test_another_pools_pods_are_left_alone(world):
    api = world.cluster()
    ours, theirs = world.listed(api), world.listed(api, pool="q")
    assert theirs.start(3, [gpu(0)])["status"] == "ok"
    theirs.wait_phase(3, "running")
    ours.wait(lambda: sum(item["milli_foreign"] for item in ours.slices.values()) == 1000)
    assert 3 not in ours.replicas
    answer = ours.start(3, [gpu(1)])
    assert answer["status"] == "invalid" and "somebody else" in answer["note"]
    assert ours.stop(3)["status"] == "ok"
    assert len(api.pods()) == 1 and "deletionTimestamp" not in api.pods()[0]["metadata"]


def test_two_clusters_of_one_kubeconfig_are_apart(world):
    one, two = world.cluster(), world.cluster(nodes=2, tokens=("other",))
    users = {"b": {"token": "other"}}
    a = world.listed(one, two, users=users, context="a")
    b = world.listed(one, two, users=users, context="b")
    assert len(a.slices) == 4 and len(b.slices) == 8
    b.start(1, [gpu(0, "n1")])
    b.wait_phase(1, "running")
    assert one.pods() == [] and len(two.pods()) == 1
    two.stop()
    b.wait(lambda: b.count("follow_end") >= 1)
    assert len(b.slices) == 8
    assert a.start(2, [gpu(0)])["status"] == "ok"
    a.wait_phase(2, "running")


def test_a_node_that_dies_takes_its_replica(world):
    api = world.cluster()
    member = world.listed(api)
    member.start(1, [gpu(0)])
    member.wait_phase(1, "running")
    api.change("nodes", "n0", lambda node: node["status"]["conditions"][0].update(status="Unknown", reason="NodeStatusUnknown"))
    member.wait(lambda: member.slices[gpu(0)]["health"] == "bad")
    pod, = api.pods()
    api.delete("pods", "llm", pod["metadata"]["name"], {"gracePeriodSeconds": "5"})
    told = member.wait_phase(1, "failed")
    assert told["cause"] == "node"


def test_priorities_are_classes_and_the_lesser_one_goes(world):
    api = world.cluster(gpus=1)
    member = world.listed(api, priorities={"low": -100, "high": 100})
    begun, leave = world.folder / "begun", world.folder / "leave"
    program = f"trap 'while [ ! -e {leave} ]; do sleep 0.1; done; exit 0' TERM; touch {begun}; while :; do sleep 0.1; done"
    assert member.start(1, [gpu(0)], ["sh", "-c", program], priority=-1, grace_s=600)["status"] == "ok"
    member.wait_phase(1, "running")
    api.wait(begun.exists)
    assert member.start(2, [gpu(0)], priority=100)["status"] == "ok"
    told = member.wait_phase(1, "stopping")
    assert told["notice"] and "PreemptionByScheduler" in told["reason"]
    leave.touch()
    told = member.wait_phase(1, "failed")
    assert told["cause"] == "preempted" and "PreemptionByScheduler" in told["reason"]
    member.wait_phase(2, "running")
    pod, = api.pods()
    assert pod["spec"]["priorityClassName"] == "high" and pod["spec"]["priority"] == 1000


def test_a_class_that_is_not_there_is_refused_and_named(world):
    api = world.cluster()
    member = world.listed(api, priorities={"none": 0})
    answer = member.start(1, [gpu(0)])
    assert answer["status"] == "denied" and "no PriorityClass with name none" in answer["note"]
    assert api.pods() == []
    assert member.start(2, [gpu(0)], priority=-1)["status"] == "ok"


def test_a_cordoned_node_drains(world):
    api = world.cluster()
    member = world.listed(api)
    api.change("nodes", "n0", lambda node: node["spec"].update(unschedulable=True))
    member.wait(lambda: all(item["health"] == "draining" for item in member.slices.values()))
    api.change("nodes", "n0", lambda node: node["spec"].update(unschedulable=False, taints=[
        {"key": "aws-node-termination-handler/spot-itn", "effect": "NoSchedule"}]))
    member.wait(lambda: all("spot-itn" in (item["reason"] or "") for item in member.slices.values()))


def test_a_mig_instance_is_a_slice_and_is_had(world):
    api = world.cluster(nodes=0)
    api.add_node("n0", {"nvidia.com/gpu": "0", "nvidia.com/mig-1g.10gb": "2"}, {
        **GPU_LABELS, "penstock/price": "0.5", "penstock/label.hipaa": "true", "cloud.google.com/gke-spot": "true"})
    member = world.listed(api)
    assert sorted(member.slices) == ["n0/nvidia.com/mig-1g.10gb#0", "n0/nvidia.com/mig-1g.10gb#1"]
    told = member.slices["n0/nvidia.com/mig-1g.10gb#0"]
    assert (told["kind"], told["profile"], told["memory"], told["milli"]) == ("mig", "1g.10gb", 10 << 30, 143)
    assert told["price"] == 500_000_000 and told["spot"] and sorted(told["labels"]) == ["eu", "hipaa"]
    assert member.start(1, ["n0/nvidia.com/mig-1g.10gb#1"])["status"] == "ok"
    member.wait_phase(1, "running")
    pod, = api.pods()
    assert pod["spec"]["containers"][0]["resources"]["limits"] == {"nvidia.com/mig-1g.10gb": "1"}


def test_cores_are_slices_and_a_process_of_our_own_runs_on_them(world):
    api = world.cluster()
    member = world.listed(api, cpu_slices=True)
    cpu = member.slices["n0/cpu"]
    assert cpu["milli"] == 8000 and cpu["memory"] == 32 << 30 and cpu["kind"] == "cpu_set"
    member.start(1, ["n0/cpu"], milli=2000)
    member.wait_phase(1, "running")
    pod, = api.pods()
    resources = pod["spec"]["containers"][0]["resources"]
    assert resources == {"requests": {"cpu": "2000m", "memory": str(1 << 30)}, "limits": {"cpu": "2000m", "memory": str(1 << 30)}}
    assert member.slices["n0/cpu"]["milli_foreign"] == 0
    api.add_pod("x", "n0", {"cpu": "1500m", "memory": "2Gi"})
    member.wait(lambda: member.slices["n0/cpu"]["milli_foreign"] == 2000)
    assert member.slices["n0/cpu"]["memory_foreign"] == 2 << 30


DRIVER = "gpu.example.com"


def add_devices(api, version="v1", shared=False):
    """Two devices of a driver on n0, and the class for them."""
    devices = []
    for number in range(2):
        body = {"attributes": {"uuid": {"string": f"GPU-{number}"}, "productName": {"string": "NVIDIA H100"}},
                "capacity": {"memory": {"value": "80Gi"}}}
        if shared:
            body["allowMultipleAllocations"] = True
            body["capacity"] = {
                "memory": {"value": "80Gi", "requestPolicy": {"default": "10Gi", "validRange": {"min": "5Gi", "step": "5Gi"}}},
                "compute": {"value": "100", "requestPolicy": {"default": "10", "validRange": {"min": "1", "step": "1"}}}}
        devices.append({"name": f"gpu-{number}", **({"basic": body} if version == "v1beta1" else body)})
    api.add("deviceclasses", {"metadata": {"name": DRIVER}, "spec": {"selectors": [
        {"cel": {"expression": f"device.driver == '{DRIVER}'"}}]}})
    api.add("resourceslices", {"metadata": {"name": "s"}, "spec": {
        "driver": DRIVER, "nodeName": "n0", "devices": devices, "pool": {"name": "n0", "generation": 1, "resourceSliceCount": 1}}})


def device(number):
    return f"{DRIVER}/n0/gpu-{number}"


@pytest.mark.parametrize("version", ["v1", "v1beta2", "v1beta1"])
def test_a_device_is_claimed_and_freed(world, version):
    api = world.cluster(nodes=1, gpus=0, resource_version=version)
    add_devices(api, version)
    member = world.listed(api)
    assert sorted(member.slices) == [device(0), device(1)]
    assert member.start(1, [device(1)])["status"] == "ok"
    member.wait_phase(1, "running")
    claim, = api.store.objects["resourceclaims"].values()
    assert claim["status"]["allocation"]["devices"]["results"][0]["device"] == "gpu-1"
    assert claim["metadata"]["ownerReferences"][0]["uid"] == api.pods()[0]["metadata"]["uid"]
    assert member.start(1, [device(1)])["status"] == "ok"
    assert claim is next(iter(api.store.objects["resourceclaims"].values()))
    member.stop(1)
    member.wait_phase(1, "ended")
    api.wait(lambda: not api.store.objects["resourceclaims"])


def test_a_share_of_a_device_is_had_and_what_others_have_of_it_is_told(world):
    api = world.cluster(nodes=1, gpus=0)
    add_devices(api, shared=True)
    member = world.listed(api)
    assert member.slices[device(0)]["kind"] == "fraction"
    assert member.start(1, [device(0)], memory=22 << 30, milli=300)["status"] == "ok"
    assert member.start(2, [device(0)], memory=20 << 30, milli=200)["status"] == "ok"
    member.wait_phase(1, "running")
    member.wait_phase(2, "running")
    consumed = sorted(claim["status"]["allocation"]["devices"]["results"][0]["consumedCapacity"]["memory"]
                      for claim in api.store.objects["resourceclaims"].values())
    assert consumed == [str(20 << 30), str(25 << 30)]
    assert member.slices[device(0)]["memory_foreign"] == 0
    foreign = {"metadata": {"name": "f", "namespace": "other"}, "spec": {"devices": {"requests": []}}, "status": {
        "reservedFor": [], "allocation": {"devices": {"results": [
            {"request": "r", "driver": DRIVER, "pool": "n0", "device": "gpu-1",
             "consumedCapacity": {"memory": "10Gi", "compute": "25"}}]}}}}
    api.add("resourceclaims", foreign)
    member.wait(lambda: member.slices[device(1)]["memory_foreign"] == 10 << 30)
    assert member.slices[device(1)]["milli_foreign"] == 250


def test_a_pod_whose_claim_was_never_made_gets_it_from_the_next_try(world):
    api = world.cluster(nodes=1, gpus=0)
    add_devices(api)
    member = world.listed(api)

    def claims_are_cut_off(handler):
        if handler.command != "PATCH" or "resourceclaims" not in handler.path:
            return False
        handler.close_connection = True  # nothing is answered, and nothing done
        return True

    api.faults.append(claims_are_cut_off)
    assert member.start(1, [device(0)])["status"] == "closed"
    told = member.wait_phase(1, "pending")
    assert told["parts"][0]["slice"] == device(0)
    member.kill()
    api.faults.clear()
    second = world.listed(api)
    assert second.replicas[1]["phase"] == "pending"
    assert second.start(1, [device(0)])["status"] == "ok"
    second.wait_phase(1, "running")
    assert len(api.pods()) == 1 and len(api.store.objects["resourceclaims"]) == 1


def test_a_device_that_is_tainted_takes_nothing_new(world):
    api = world.cluster(nodes=1, gpus=0)
    add_devices(api)
    member = world.listed(api)
    api.change("resourceslices", "s", lambda item: item["spec"]["devices"][0].update(
        taints=[{"key": "xid", "effect": "NoExecute"}]))
    member.wait(lambda: member.slices[device(0)]["health"] == "bad")
    assert member.slices[device(1)]["health"] == "ok"


def test_a_cluster_without_dynamic_allocation_is_followed(world):
    member = world.listed(world.cluster(resource_version=None))
    assert len(member.slices) == 4


# --- the server of these tests itself ---

def recorded(name):
    return json.loads((DATA / f"{name}.json").read_text())


@pytest.fixture
def api(world):
    return world.cluster(nodes=0)


def applied(api, manager, force=False, **spec):
    body = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": {"name": "c", **spec.pop("metadata", {})},
            "spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "k"}}]}}}
    query = {"fieldManager": manager, **({"force": "true"} if force else {})}
    return api.patch("resourceclaims", "llm", "c", query, "application/apply-patch+yaml", body)


@pytest.mark.parametrize("name", ["err_404", "err_409_exists", "err_422", "err_410_list"])
def test_the_double_fails_as_was_recorded(api, name):
    record = recorded(name)
    with pytest.raises(kube_store.Failure) as failure:
        if name == "err_422":
            api.create("pods", "llm", record["request"]["body"])
        elif name == "err_409_exists":
            api.create("pods", "free", record["request"]["body"])
            api.create("pods", "free", record["request"]["body"])
        elif name == "err_410_list":
            api.list("pods", "llm", {"resourceVersion": "10", "resourceVersionMatch": "Exact"})
        else:
            api.found("nodes", "", "zzz")
    assert failure.value.body == record["response"]


def test_the_double_minds_who_has_set_what(api):
    """As recorded of a field that two managers set (err_409_ssa)."""
    assert applied(api, "one", metadata={"labels": {"a": "1", "b": "1"}})[0] == 201
    with pytest.raises(kube_store.Failure) as failure:
        applied(api, "two", metadata={"labels": {"a": "2"}})
    assert (failure.value.code, failure.value.body["reason"]) == (409, "Conflict")
    assert failure.value.body["message"] == 'Apply failed with 1 conflict: conflict with "one": .metadata.labels.a'
    assert failure.value.body["details"]["causes"] == [{
        "reason": "FieldManagerConflict", "message": 'conflict with "one"', "field": ".metadata.labels.a"}]
    assert applied(api, "two", metadata={"labels": {"a": "1"}})[0] == 200  # the same value is no conflict
    code, item = applied(api, "two", force=True, metadata={"labels": {"a": "2"}})
    assert item["metadata"]["labels"] == {"a": "2", "b": "1"}
    code, item = applied(api, "one", metadata={"labels": {}})  # it lets go of b; a is another's now
    assert item["metadata"]["labels"] == {"a": "2"}
    with pytest.raises(kube_store.Failure) as failure:
        applied(api, "")
    assert failure.value.code == 400


def test_the_double_refuses_what_a_server_would(api):
    """Stale versions, fields of no such object, changes of what is fixed, pods with privileges."""
    pod = recorded("err_409_exists")["request"]["body"]
    created = api.create("pods", "free", pod)
    stale = {**created, "metadata": {**created["metadata"], "resourceVersion": "1"}}
    wrong = {**pod, "metadata": {"name": "x"}, "spec": {**pod["spec"], "restartPolice": "Never"}}
    duplicate = {**pod, "metadata": {"name": "y"}, "spec": {**pod["spec"], "containers": pod["spec"]["containers"] * 2}}
    moved = {**created, "spec": {**created["spec"], "restartPolicy": "Always"}}
    attempts = [(409, lambda: api.replace("pods", "free", "direct", stale)), (400, lambda: api.create("pods", "free", wrong)),
                (400, lambda: api.create("pods", "free", duplicate)), (422, lambda: api.replace("pods", "free", "direct", moved)),
                (403, lambda: api.create("pods", "llm", {**pod, "metadata": {"name": "z"}})),
                (409, lambda: api.delete("pods", "free", "direct", {}, {"preconditions": {"uid": "other"}}))]
    for code, attempt in attempts:
        with pytest.raises(kube_store.Failure) as failure:
            attempt()
        assert failure.value.code == code, failure.value.body


def test_the_double_pages_as_was_recorded(api):
    """A page is of the version that its list began with, until that is compacted."""
    for number in range(3):
        api.add_node(f"n{number}", {})
    first = api.list("nodes", None, {"limit": "2"})
    truth = recorded("nodes_page1")["response"]
    assert set(first["metadata"]) == set(truth["metadata"]) and first["metadata"]["remainingItemCount"] == 1
    api.add_node("n3", {})
    rest = api.list("nodes", None, {"limit": "2", "continue": first["metadata"]["continue"]})
    assert [item["metadata"]["name"] for item in rest["items"]] == ["n2"]
    assert rest["metadata"] == {"resourceVersion": first["metadata"]["resourceVersion"]}
    api.store.compact()
    with pytest.raises(kube_store.Failure) as failure:
        api.list("nodes", None, {"limit": "2", "continue": first["metadata"]["continue"]})
    assert (failure.value.code, failure.value.body["reason"]) == (410, "Expired")
