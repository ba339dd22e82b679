"""A gateway whose replicas are pods of a Kubernetes cluster: an API server double whose kubelet runs them as processes."""
import json

import httpx
import pytest

from support.kube_world import KubeWorld
from support.observe import wait_until

CONFIG = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
  drain_timeout: 10s
supervise: {backoff_first: 50ms}
pool:
  listen: 127.0.0.1:0
  members:
    - name: cluster
      kind: kubernetes
      program: PROGRAM
      kubernetes: KUBERNETES
models:
  - name: smollm2
    path: {model}
    max_model_len: 512
    threads: 1
    replicas: REPLICAS
    weight_cache: "off"
"""
WAIT_SECONDS = 120


@pytest.fixture
def cluster(tmp_path):
    with KubeWorld(tmp_path) as world:
        api = world.cluster(nodes=0)
        for number in range(2):
            api.add_node(f"n{number}", {"cpu": "4", "memory": "16Gi"}, {"topology.kubernetes.io/zone": f"z{number}"})
        api.write_kubeconfig(tmp_path / "kubeconfig")
        yield api


@pytest.fixture
def start(start_gateway, penstock_binary, cluster, tmp_path):
    made = []

    def begin(replicas=1):
        settings = {"kubeconfig": str(tmp_path / "kubeconfig"), "image": "penstock", "cpu_slices": "true", "heartbeat": "500ms"}
        text = CONFIG.replace("PROGRAM", str(penstock_binary)).replace("KUBERNETES", json.dumps(settings).replace('"true"', "true"))
        made.append(start_gateway(text.replace("REPLICAS", str(replicas))))
        return made[-1]

    yield begin
    for gateway in made:  # while their cluster is there
        gateway.stop()


def complete(gateway):
    body = {"model": "smollm2", "prompt": "The capital of France is", "max_tokens": 8, "temperature": 0}
    answer = httpx.post(gateway.url + "/v1/completions", json=body, timeout=WAIT_SECONDS)
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["text"]


def names(cluster):
    return {pod["metadata"]["name"] for pod in cluster.pods()}


def ready(gateway):
    return [replica for replica in gateway.replicas() if replica["state"] == "ready"]


def test_replicas_are_pods_that_answer_and_go_with_the_gateway(start, cluster):
    gateway = start(replicas=2)
    gateway.wait_for_replicas()
    assert complete(gateway)
    assert len(cluster.pods()) == 2
    for pod in cluster.pods():
        assert pod["status"]["phase"] == "Running" and pod["spec"]["containers"][0]["command"][1:] == ["replica", "--join"]
    gateway.stop()
    cluster.wait(lambda: not cluster.store.objects["pods"], WAIT_SECONDS)


def test_a_pod_that_dies_is_replaced(start, cluster):
    gateway = start()
    before = names(cluster)
    uid = cluster.pods()[0]["metadata"]["uid"]
    cluster.cluster.processes[uid].kill()
    wait_until(lambda: names(cluster) and not names(cluster) & before, WAIT_SECONDS)
    wait_until(lambda: ready(gateway), WAIT_SECONDS)
    assert complete(gateway) and len(cluster.pods()) == 1


def test_while_the_cluster_is_away_its_replicas_answer(start, cluster):
    gateway = start()
    before = names(cluster)
    cluster.stop()
    for _ in range(3):
        assert complete(gateway)
    assert len(ready(gateway)) == 1
    cluster.start()
    count = len(cluster.requests)
    cluster.wait(lambda: any(path.startswith("/api/v1/namespaces/llm/pods") for _, path in cluster.requests[count:]), WAIT_SECONDS)
    assert complete(gateway) and names(cluster) == before


def test_what_a_dead_gateway_has_left_is_ended_by_the_next(start, cluster):
    first = start()
    before = names(cluster)
    first.kill()
    second = start()
    wait_until(lambda: not names(cluster) & before, WAIT_SECONDS)
    wait_until(lambda: ready(second), WAIT_SECONDS)
    assert complete(second) and len(cluster.pods()) == 1
