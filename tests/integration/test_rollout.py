"""Other settings of a model take the place of those that run: replicas are replaced under load, and come back when they are worse."""
import contextlib
import json
import os
import pathlib
import shutil
import signal
import threading
import time

import httpx
import pytest

from support.load import Load
from support.observe import metric_of

CONFIG = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
  drain_timeout: 60s
supervise: {backoff_first: 50ms, backoff_max: 200ms, heartbeat_timeout: 60s, stall_timeout: 60s}
upstream: {ready_timeout: 120s}
records: {audit_log: AUDIT}
models:
  - name: smollm2
    path: {model}
    max_model_len: 1024
    max_num_seqs: 16
    kv_cache_memory: 64MiB
    autoscale: {first_token: 1s, inter_token: 0s}
    rollout: {watch_time: 100ms, ROLLOUT}
"""
TIMEOUT_S = 150
MESSAGES = [{"role": "user", "content": "Tell me a long story about a river and a mill."}]


def config_text(tmp_path, rollout="kind: rolling"):
    return CONFIG.replace("AUDIT", str(tmp_path / "audit.log")).replace("ROLLOUT", rollout)


def wait_until(condition, server, seconds=TIMEOUT_S):
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, (rollout_of(server), server.replicas(), server.log_tail())
        time.sleep(0.05)


def rollout_of(server):
    (row,) = httpx.get(server.admin_url + "/admin/rollouts", timeout=30).json()["rollouts"]
    return row


def in_force(server, key):
    return httpx.get(server.admin_url + "/admin/config", timeout=30).json()["models"][0][key]


def change(server, old, new):
    text = server.config.read_text()
    assert old in text
    server.config.write_text(text.replace(old, new))
    reload(server)


def reload(server):
    reloads = server.log_text().count("reload: done")
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: server.log_text().count("reload: done") > reloads, server)


def versions(server, state="ready"):
    return [replica["version"] for replica in server.replicas() if replica["state"] == state]


def asker(server, stream, max_tokens):
    """Asks one request after the other; each must be answered whole."""
    def run(load):
        body = {"model": "smollm2", "messages": MESSAGES, "max_tokens": max_tokens, "stream": stream, "ignore_eos": True}
        with httpx.Client(timeout=TIMEOUT_S) as client:
            while not load.is_over():
                answer = client.post(server.url + "/v1/chat/completions", json=body)
                if answer.status_code != 200:
                    load.fail(f"{answer.status_code} {answer.text[:200]}")
                elif stream and (not answer.text.rstrip().endswith("data: [DONE]") or '"error"' in answer.text):
                    load.fail(f"broken off: {answer.text[-200:]}")
                else:
                    load.count("streams" if stream else "answers")
    return run


@contextlib.contextmanager
def load_on(server):
    with Load(asker(server, True, 24), asker(server, True, 8), asker(server, False, 8)) as load:
        load.begin(2)
        yield load
        load.wait_for(3)
    assert not load.failures, load.failures


def audit_actions(tmp_path):
    return [json.loads(line)["action"] for line in (tmp_path / "audit.log").read_text().splitlines()]


def test_a_changed_setting_replaces_the_replica_and_no_request_fails(start_gateway, tmp_path):
    server = start_gateway(config_text(tmp_path))
    assert versions(server) == [1]
    before = {replica["pid"] for replica in server.replicas() if replica["pid"]}
    with load_on(server) as load:
        change(server, "max_num_seqs: 16", "max_num_seqs: 12")
        assert in_force(server, "max_num_seqs") == 16 or rollout_of(server)["version"] == 2
        wait_until(lambda: rollout_of(server)["version"] == 2, server)
        load.wait_for(3)
        wait_until(lambda: in_force(server, "max_num_seqs") == 12, server)
        wait_until(lambda: [r["state"] for r in server.replicas() if r["state"] != "stopped"] == ["ready"], server)
    assert versions(server) == [2]
    assert before.isdisjoint(replica["pid"] for replica in server.replicas())
    assert rollout_of(server)["last_result"] == "done"
    assert metric_of(server, "penstock_rollouts_total", model="smollm2", result="done") == 1
    wait_until(lambda: "rollout.done" in audit_actions(tmp_path), server)


def test_a_version_that_cannot_start_is_given_up_and_no_request_fails(start_gateway, tmp_path, model_path):
    server = start_gateway(config_text(tmp_path))
    before = {replica["pid"] for replica in server.replicas()}
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(pathlib.Path(model_path).read_bytes()[:200_000])
    with load_on(server) as load:
        change(server, f"path: {model_path}", f"path: {broken}")
        wait_until(lambda: rollout_of(server)["last_result"] == "starts_failed", server)
        wait_until(lambda: rollout_of(server)["phase"] == "steady", server)
        load.wait_for(3)
    row = rollout_of(server)
    assert row["version"] == 1 and row["last_version"] == 2
    assert "ended 3 times before they were ready" in row["message"]
    assert in_force(server, "path") == str(model_path)
    assert versions(server) == [1]
    assert before == {replica["pid"] for replica in server.replicas()}  # the old one has gone on all the time
    assert metric_of(server, "penstock_rollouts_total", model="smollm2", result="starts_failed") == 1
    wait_until(lambda: "rollout.given_up" in audit_actions(tmp_path), server)
    # The file is mended where it stands: the next reload tries it anew.
    shutil.copyfile(model_path, broken)
    reload(server)
    wait_until(lambda: rollout_of(server)["last_result"] == "done", server)
    wait_until(lambda: in_force(server, "path") == str(broken), server)
    assert rollout_of(server)["version"] == 3


class Pauses(threading.Thread):
    """Stops the new version's process for longer than the latency target, again and again."""

    def __init__(self, server):
        super().__init__()
        self.server, self.over = server, threading.Event()

    def run(self):
        while not self.over.is_set():
            for replica in self.server.replicas():
                if replica["version"] != 2 or replica["state"] != "ready":
                    continue
                with contextlib.suppress(ProcessLookupError):
                    os.kill(replica["pid"], signal.SIGSTOP)
                    self.over.wait(2)
                    os.kill(replica["pid"], signal.SIGCONT)
            self.over.wait(0.1)


def test_a_canary_that_is_slow_is_given_up_and_no_request_fails(start_gateway, tmp_path):
    server = start_gateway(config_text(tmp_path, "kind: canary, canary_share: 0.5, canary_time: 1h, canary_time_max: 2h, "
                                                 "requests_min: 6"))
    pauses = Pauses(server)
    with load_on(server) as load:
        load.wait_for(8)
        change(server, "max_num_seqs: 16", "max_num_seqs: 12")
        wait_until(lambda: sorted(versions(server)) == [1, 2], server)
        assert rollout_of(server)["phase"] == "trying"
        assert rollout_of(server)["new_share"] == pytest.approx(0.5)
        pauses.start()
        try:
            wait_until(lambda: rollout_of(server)["last_result"] == "slow", server)
        finally:
            pauses.over.set()
            pauses.join()
        wait_until(lambda: rollout_of(server)["phase"] == "steady", server)
    assert rollout_of(server)["version"] == 1
    assert "streams missed their latency target" in rollout_of(server)["message"]
    assert in_force(server, "max_num_seqs") == 16
    wait_until(lambda: versions(server) == [1] and not versions(server, "draining"), server)


def test_a_change_back_takes_a_canary_back(start_gateway, tmp_path):
    server = start_gateway(config_text(tmp_path, "kind: canary, canary_time: 1h, canary_time_max: 2h"))
    with load_on(server) as load:
        change(server, "max_num_seqs: 16", "max_num_seqs: 12")
        wait_until(lambda: sorted(versions(server)) == [1, 2], server)
        load.wait_for(3)
        change(server, "max_num_seqs: 12", "max_num_seqs: 16")
        wait_until(lambda: rollout_of(server)["last_result"] == "taken_back", server)
        wait_until(lambda: rollout_of(server)["phase"] == "steady", server)
        # A third one on the way to the second: the first is what holds until then.
        change(server, "max_num_seqs: 16", "max_num_seqs: 11")
        wait_until(lambda: sorted(versions(server)) == [1, 3], server)
        change(server, "kind: canary", "kind: rolling")
        change(server, "max_num_seqs: 11", "max_num_seqs: 10")
        wait_until(lambda: rollout_of(server)["version"] == 4, server)
    assert metric_of(server, "penstock_rollouts_total", model="smollm2", result="superseded") == 1
    wait_until(lambda: in_force(server, "max_num_seqs") == 10, server)
