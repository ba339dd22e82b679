"""Two models that share all cores of this machine: whoever has nothing to do sleeps, and the other has them."""
from __future__ import annotations

import json
import os

from support.observe import wait_until

CONFIG = """
server:
  listen: 127.0.0.1:{{port}}
  admin_listen: 127.0.0.1:{{admin_port}}
upstream:
  ready_timeout: 5m
models:
{models}
"""
MODEL = """  - name: {name}
    path: {path}
    max_model_len: 512
    kv_cache_memory: 64MiB
    autoscale: {{max: 1, sleeping: 1, idle: 1s, down: 1s}}
    placement: {{cores: {cores}}}
"""
WAIT_SECONDS = 150  # the autoscaler forgets a request after a minute


def ask(server, model):
    body = {"model": model, "prompt": "Once upon a time", "max_tokens": 12, "temperature": 0}
    connection = server.connection(WAIT_SECONDS)
    connection.request("POST", "/v1/completions", json.dumps(body), {"content-type": "application/json"})
    answer = connection.getresponse()
    parsed = json.loads(answer.read())
    connection.close()
    assert answer.status == 200, parsed
    return parsed["choices"][0]["text"]


def replica_of(server, model):
    found = [replica for replica in server.replicas() if replica["model"] == model]
    return found[0] if found else {"state": None, "pid": None}


def test_a_model_that_sleeps_leaves_its_cores_to_another_and_wakes_as_it_was(start_gateway, model_path):
    models = "".join(MODEL.format(name=name, path=model_path, cores=os.cpu_count()) for name in ("first", "second"))
    server = start_gateway(CONFIG.format(models=models), wait=False)
    server.wait_until_ready()
    text = ask(server, "first")
    pid = replica_of(server, "first")["pid"]
    assert ask(server, "second") == text  # held until the cores are free
    assert (replica_of(server, "first")["state"], replica_of(server, "first")["pid"]) == ("asleep", pid)
    second = replica_of(server, "second")["pid"]
    assert ask(server, "first") == text  # held until the second sleeps
    assert (replica_of(server, "first")["pid"], replica_of(server, "first")["restarts"]) == (pid, 0)
    assert replica_of(server, "second")["state"] == "asleep" and replica_of(server, "second")["pid"] == second
    wait_until(lambda: replica_of(server, "first")["state"] == "asleep", WAIT_SECONDS)
    assert server.stop() == 0
