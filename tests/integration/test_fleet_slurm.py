"""A gateway over two real Slurm clusters of different regions and prices."""
from __future__ import annotations

import http.client
import itertools
import json
import pathlib
from collections.abc import Callable, Iterator

import pytest

from support.load import Load
from support.observe import wait_until
from support.servers import Server
from support.slurm_cluster import SlurmCluster, cpu_nodes, missing

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

CONFIG = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
  drain_timeout: 10s
pool:
  listen: 127.0.0.1:0
  members:
    - {name: alpha, kind: slurm, region: eu-de, labels: [eu], silence: 1s, lost_after: 5s, program: PROGRAM, slurm: ALPHA}
    - {name: beta, kind: slurm, region: us-east, labels: [us], silence: 1s, lost_after: 5s, program: PROGRAM, slurm: BETA}
models:
"""
MODEL = "  - {{name: {name}, path: {path}, max_model_len: 512, threads: 1, replicas: {replicas}, placement: {placement}}}\n"
WAIT_SECONDS = 240
numbers = itertools.count()
Pair = tuple[SlurmCluster, SlurmCluster]


@pytest.fixture(scope="module")
def clusters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("clusters")
    with SlurmCluster(folder / "a", cpu_nodes("a", 2), "alpha") as alpha, SlurmCluster(folder / "b", cpu_nodes("b", 2), "beta") as beta:
        yield alpha, beta


@pytest.fixture
def start(start_gateway: Callable[..., Server], clusters: Pair, penstock_binary: pathlib.Path, model_path: pathlib.Path) -> Callable[..., Server]:
    for cluster in clusters:
        cluster.reset()

    def begin(*models: tuple[str, int, str]) -> Server:
        text = CONFIG.replace("PROGRAM", str(penstock_binary))
        for word, cluster, price in (("ALPHA", clusters[0], 0.01), ("BETA", clusters[1], 0.02)):
            text = text.replace(word, json.dumps({**cluster.settings(), "core_price": price, "poll": "200ms", "list": "500ms"}))
        text += "".join(MODEL.format(name=name, path=model_path, replicas=replicas, placement=placement) for name, replicas, placement in models)
        return start_gateway(text, wait=False)

    return begin


def states(gateway: Server, model: str) -> list[str]:
    assert gateway.is_running(), gateway.log_text()
    try:
        return [replica["state"] for replica in gateway.replicas() if replica["model"] == model]
    except OSError:
        return []  # it does not listen yet


def wait_ready(gateway: Server, model: str, count: int = 1) -> None:
    wait_until(lambda: states(gateway, model).count("ready") == count, WAIT_SECONDS)


def running(cluster: SlurmCluster) -> int:
    return sum(job.state == "RUNNING" for job in cluster.live_jobs())


def post(gateway: Server, **fields: object) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    """Each asks something else: one with which two replicas were lost is not sent to a third."""
    connection = gateway.connection(WAIT_SECONDS)
    body = {"model": "smollm2", "prompt": f"Tale {next(numbers)}: once upon a time", "temperature": 0, "ignore_eos": True, **fields}
    connection.request("POST", "/v1/completions", json.dumps(body), {"content-type": "application/json"})
    return connection, connection.getresponse()


def ask(gateway: Server) -> Callable[[Load], None]:
    """Answers that come as a whole: nothing of them has been sent before, so none may be lost."""

    def client(load: Load) -> None:
        while not load.is_over():
            connection, answer = post(gateway, max_tokens=16)
            text = answer.read()
            connection.close()
            if answer.status == 200:
                load.count("whole")
            else:
                load.fail(f"{answer.status} {text!r}")

    return client


def listen(gateway: Server) -> Callable[[Load], None]:
    """Streams: each begins, and ends as one does."""

    def client(load: Load) -> None:
        while not load.is_over():
            connection, answer = post(gateway, max_tokens=60, stream=True)
            events = [line[6:] for line in answer.read().decode().splitlines() if line.startswith("data: ")]
            connection.close()
            if answer.status == 200 and events and (events[-1] == "[DONE]" or "error" in json.loads(events[-1])):
                load.count("streamed")
            else:
                load.fail(f"{answer.status} {events}")

    return client


def test_what_ran_on_a_cluster_that_dies_runs_on_another(start: Callable[..., Server], clusters: Pair) -> None:
    alpha, beta = clusters
    beta.kill("slurmrestd")
    gateway = start(("smollm2", 2, "{policy: cheapest, cores: 1}"))
    wait_ready(gateway, "smollm2", 2)
    assert (running(alpha), running(beta)) == (2, 0)
    beta.rest_start()
    with Load(ask(gateway), ask(gateway), listen(gateway)) as load:
        load.begin(2)
        load.wait_for(2)
        alpha.kill_all()
        wait_until(lambda: running(beta) == 2, WAIT_SECONDS)
        wait_ready(gateway, "smollm2", 2)
        load.wait_for(3)
    assert not load.failures, load.failures[:5]
    alpha.start()
    wait_until(lambda: not alpha.live_jobs(), WAIT_SECONDS)  # what its queue still had is nobody's
    assert running(beta) == 2


def test_a_model_is_only_where_its_labels_and_its_price_let_it_be(start: Callable[..., Server], clusters: Pair) -> None:
    alpha, beta = clusters
    gateway = start(("smollm2", 1, "{price_max: 0.015, cores: 1}"), ("resident", 1, "{labels: [us], cores: 1}"),
                    ("frugal", 1, "{price_max: 0.005, cores: 1}"))  # fmt: skip
    wait_ready(gateway, "smollm2")
    wait_ready(gateway, "resident")
    assert (running(alpha), running(beta)) == (1, 1)
    beta.kill_all()
    wait_until(lambda: states(gateway, "resident") == ["placing"], WAIT_SECONDS)
    wait_until(lambda: states(gateway, "frugal") == ["placing"] and states(gateway, "smollm2") == ["ready"], WAIT_SECONDS)
    assert len(alpha.live_jobs()) == 1
    beta.start()
    wait_ready(gateway, "resident")
    wait_until(lambda: running(beta) == 1, WAIT_SECONDS)  # jobs that its old state brought back have ended
    assert len(alpha.live_jobs()) == 1
