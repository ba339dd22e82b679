"""How the Kubernetes member finds its API server and says who it is: contexts, certificates, tokens, plugins, rules."""
import json
import pathlib
import re

import pytest

from support.kube_world import GPU_LABELS, KubeWorld, gpu

ROLES = pathlib.Path(__file__).resolve().parents[2] / "packaging/kubernetes/member-roles.yaml"
EXEC = "client.authentication.k8s.io/v1"


@pytest.fixture
def world(tmp_path):
    with KubeWorld(tmp_path) as made:
        yield made


def write_plugin(world, text):
    path = world.folder / "plugin"
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return str(path)


def test_a_client_certificate_is_shown(world):
    api = world.cluster(tokens=())
    certificate, key = api.issue("gateway", "/O=penstock/CN=gateway")
    member = world.listed(api, users={"a": {"client-certificate": str(certificate), "client-key": str(key)}})
    assert member.start(1, [gpu(0)])["status"] == "ok"
    member.wait_phase(1, "running")


def test_without_a_certificate_it_is_told_that_it_is_unknown(world):
    api = world.cluster(tokens=())
    member = world.member(api, users={"a": {}})
    assert "401 Unauthorized" in member.wait_follow_end("denied")
    assert member.start(1, [gpu(0)])["status"] == "denied"


def test_a_server_of_another_authority_is_not_spoken_to(world):
    api, other = world.cluster(), world.cluster()
    api.port, port = other.port, api.port  # the kubeconfig has the one's authority and the other's address
    member = world.member(api)
    api.port = port
    assert "certificate" in member.wait_follow_end("denied")
    assert other.requests == []


def test_a_server_that_has_another_name_is_checked_by_it(world):
    api = world.cluster(server_name="kube.internal")
    member = world.listed(api, cluster={"tls-server-name": "kube.internal"})
    assert member.start(1, [gpu(0)])["status"] == "ok"
    member.wait_phase(1, "running")
    wrong = world.member(api)
    assert "127.0.0.1" in wrong.wait_follow_end("denied")


def test_a_token_file_that_rotates_is_read_again(world):
    api = world.cluster()
    token = world.folder / "token"
    token.write_text("secret\n")
    member = world.listed(api, users={"a": {"tokenFile": str(token)}})
    assert member.start(1, [gpu(0)])["status"] == "ok"
    api.wait(lambda: len(api.bookmarks) == 6)
    api.tokens = {"second"}
    token.write_text("second\n")
    api.store.cut_watches()
    api.add_node("n9", {"nvidia.com/gpu": "1"}, GPU_LABELS)
    member.wait(lambda: "n9/nvidia.com/gpu#0" in member.slices)
    assert member.stop(1)["status"] == "ok"
    assert member.count("list_begin") == 1


def test_a_refused_token_of_a_plugin_is_fetched_anew(world):
    api = world.cluster()
    token, count = world.folder / "token", world.folder / "count"
    token.write_text("secret")
    plugin = write_plugin(world, 'echo >>"$COUNT"\nprintf \'{"apiVersion":"' + EXEC +
                          '","kind":"ExecCredential","status":{"token":"%s"}}\' "$(cat "$TOKEN")"\n')
    user = {"exec": {"apiVersion": EXEC, "command": plugin, "interactiveMode": "Never", "env": [
        {"name": "TOKEN", "value": str(token)}, {"name": "COUNT", "value": str(count)}]}}
    member = world.listed(api, users={"a": user})
    assert member.start(1, [gpu(0)])["status"] == "ok"
    assert len(count.read_text()) == 2  # one of the watcher and one of the worker
    api.wait(lambda: len(api.bookmarks) == 6)
    api.tokens = {"second"}
    token.write_text("second")
    api.store.cut_watches()
    api.add_node("n9", {"nvidia.com/gpu": "1"}, GPU_LABELS)
    member.wait(lambda: "n9/nvidia.com/gpu#0" in member.slices)
    assert len(count.read_text()) == 3  # six watches were refused, it was asked once
    assert member.stop(1)["status"] == "ok"
    api.tokens = {"third"}
    api.store.cut_watches()
    member.wait_follow_end("denied")
    assert len(member.slices) == 5


def test_a_plugin_gives_a_certificate_and_is_told_of_the_cluster(world):
    api = world.cluster(tokens=())
    certificate, key = api.issue("gateway", "/O=penstock/CN=gateway")
    answer, info = world.folder / "answer", world.folder / "info"
    answer.write_text(json.dumps({"apiVersion": EXEC, "kind": "ExecCredential", "status": {
        "clientCertificateData": certificate.read_text(), "clientKeyData": key.read_text(),
        "expirationTimestamp": "2999-01-01T00:00:00Z"}}))
    plugin = write_plugin(world, f'printf %s "$KUBERNETES_EXEC_INFO" >"$2"\ncat "$1"\n')
    user = {"exec": {"apiVersion": EXEC, "command": plugin, "args": [str(answer), str(info)], "provideClusterInfo": True}}
    extension = [{"name": "client.authentication.k8s.io/exec", "extension": {"audience": "penstock"}}]
    member = world.listed(api, users={"a": user}, cluster={"extensions": extension})
    assert member.start(1, [gpu(0)])["status"] == "ok"
    told = json.loads(info.read_text())
    assert told["kind"] == "ExecCredential" and told["apiVersion"] == EXEC and told["spec"]["interactive"] is False
    cluster = api.kubeconfig_cluster()
    assert told["spec"]["cluster"] == {"server": cluster["server"], "config": {"audience": "penstock"},
                                       "certificate-authority-data": cluster["certificate-authority-data"]}


@pytest.mark.parametrize(("text", "words"), [
    ("exit 3\n", "ended with an error"), ("echo no\n", "no ExecCredential"), ("echo '{}'\n", "neither a token nor a certificate"),
    ('printf \'{"status":{"token":"a\\\\nx: y"}}\'\n', "control characters")])
def test_a_plugin_that_gives_nothing_is_said_so(world, text, words):
    api = world.cluster()
    user = {"exec": {"apiVersion": EXEC, "command": write_plugin(world, text)}}
    member = world.member(api, users={"a": user})
    assert words in member.wait_follow_end("denied")
    assert api.requests == []


def test_a_plugin_that_hangs_does_not_hold_up_the_end(world):
    api = world.cluster()
    begun = world.folder / "begun"
    user = {"exec": {"apiVersion": EXEC, "command": write_plugin(world, f"touch {begun}\nsleep 1000\n")}}
    member = world.member(api, users={"a": user})
    api.wait(begun.exists)
    member.close()
    assert member.follow_ends("ok")  # it has stopped when it was asked to


def test_a_missing_rule_is_named(world):
    api = world.cluster()
    api.denied.add(("create", "pods"))
    member = world.member(api)
    assert 'verb "create" of resource "pods"' in member.wait_follow_end("denied")
    api.denied.clear()
    member.wait_listed()


def test_a_rule_that_is_taken_away_is_told_and_nothing_is_lost(world):
    api = world.cluster()
    member = world.listed(api)
    api.denied.add(("watch", "nodes"))
    api.store.cut_watches()
    assert 'cannot watch resource "nodes"' in member.wait_follow_end("denied")
    assert len(member.slices) == 4
    api.denied = {("create", "pods")}
    answer = member.start(1, [gpu(0)])
    assert answer["status"] == "denied" and 'cannot create resource "pods"' in answer["note"]


def test_the_roles_that_ship_are_enough(world):
    """And none of them is idle."""
    rules = []
    for part in ROLES.read_text().split("\n---\n"):
        found = re.findall(r"apiGroups: (.*)\n *resources: (.*)\n *verbs: (.*)", part)
        words = [[re.findall(r"[\w.]+", text) or [""] for text in rule] for rule in found]
        rules += [("kind: ClusterRole\n" in part, *rule) for rule in words]
    assert len(rules) == 4
    api = world.cluster()
    api.rules = rules
    member = world.listed(api)
    assert member.start(1, [gpu(0), gpu(1)])["status"] == "ok"
    member.wait_phase(1, "running")
    assert member.stop(1)["status"] == "ok"
    member.wait_phase(1, "ended")
    member.close()
    for at, (is_whole, groups, resources, verbs) in enumerate(rules):
        api.rules = rules[:at] + [(is_whole, groups, resources, verbs[:-1])] + rules[at + 1:]
        member = world.member(api)
        assert f'verb "{verbs[-1]}" of resource "{resources[0]}"' in member.wait_follow_end("denied")
        member.close()
