"""A gateway that hands over to a new process, is loaded again, or gets new certificates, all under load: nobody is refused, cut or
kept waiting for nothing."""
import hashlib
import json
import os
import pathlib
import shutil
import signal
import socket
import sqlite3
import ssl
import stat
import subprocess
import threading
import time

import httpx
import openai
import pytest

from support import load, servers

CONFIG = """
server:
  listen: 127.0.0.1:{{port}}
  admin_listen: 127.0.0.1:{{admin_port}}
  loops: 2
  drain_timeout: 60s
  drain_idle_timeout: 30s
  tls_certificate: {folder}/certificate.pem
  tls_key: {folder}/key.pem
models:
  - name: smollm2
    path: {{model}}
    max_model_len: 1024
    replicas: 2
    threads: 1
"""
CHAT = {"model": "smollm2", "messages": [{"role": "user", "content": "Count."}], "max_tokens": 4, "ignore_eos": True}
KEY = "sk-payer-0123456789abcdef0123456789abcdef"
WAIT_S = 120


def make_certificate(folder, name):
    """The pair is complete before it takes its place, as renewals do it."""
    fresh = folder / f"fresh-{name}"
    fresh.mkdir()
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1",
                    "-keyout", fresh / "key.pem", "-out", fresh / "certificate.pem"], check=True, capture_output=True)
    for file in ("key.pem", "certificate.pem"):
        os.replace(fresh / file, folder / file)


def served_name(server):
    pem = ssl.get_server_certificate((server.host, server.port), timeout=WAIT_S)
    text = subprocess.run(["openssl", "x509", "-noout", "-subject"], input=pem, capture_output=True, text=True, check=True)
    return text.stdout.strip().rsplit(" ", 1)[-1].removeprefix("subject=CN=")


def wait_until(condition, server, what):
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, f"{what}\n{server.log_tail()}"
        time.sleep(0.05)


class Official:
    """The official client, which is told not to try anything again."""

    def __init__(self, name, url, stream):
        self.name, self.url, self.stream = name, url, stream

    def __str__(self):
        return self.name

    def __call__(self, running):
        with openai.OpenAI(base_url=self.url + "/v1", api_key="none", max_retries=0, timeout=load.TIMEOUT_S) as client:
            while not running.is_over():
                try:
                    if self.stream:
                        chunks = list(client.chat.completions.create(
                            model="smollm2", messages=CHAT["messages"], max_tokens=24, stream=True,
                            extra_body={"ignore_eos": True}))
                        is_good = chunks[-1].choices[0].finish_reason == "length"
                    else:
                        answer = client.chat.completions.create(model="smollm2", messages=CHAT["messages"], max_tokens=4,
                                                                extra_body={"ignore_eos": True})
                        is_good = answer.choices[0].finish_reason == "length"
                except openai.OpenAIError as error:
                    running.fail(f"{self.name}: {error!r} {error.__cause__!r}")
                    continue
                if is_good:
                    running.count(self.name)
                else:
                    running.fail(f"{self.name}: not whole")


def all_clients(server):
    """Official clients, kept connections with and without TLS, HTTP/2; streams and whole answers."""
    def is_chat(text):
        return json.loads(text)["choices"][0]["finish_reason"] == "length"

    def is_stream(text):
        return text.endswith(b"data: [DONE]\n\n") and b'"error"' not in text

    chat, stream = json.dumps(CHAT), json.dumps({**CHAT, "stream": True})
    models = ("GET", "/v1/models", None, lambda text: b"smollm2" in text)
    mixed = [models, ("POST", "/v1/chat/completions", chat, is_chat), models,
             ("POST", "/v1/chat/completions", stream, is_stream)]
    tls_url = server.url.replace("http://", "https://")
    return [
        Official("official", server.url, False),
        Official("official stream", server.url, True),
        load.KeptConnection("kept", server.host, server.port, mixed),
        load.KeptConnection("kept tls", server.host, server.port, mixed, tls=load.any_certificate()),
        load.KeptConnection("light", server.host, server.port, [models]),
        load.Curl("h2 stream", tls_url + "/v1/chat/completions", stream, ["--http2", "-k"], batch=6,
                  ending=b"data: [DONE]"),
        load.Curl("h2", tls_url + "/v1/chat/completions", chat, ["--http2", "-k"], batch=6,
                  ending=b'"finish_reason":"length"'),
        load.Curl("h2 light", tls_url + "/v1/models", None, ["--http2", "-k"], batch=40, ending=b"smollm2"),
    ]


@pytest.fixture
def copied_binary(penstock_binary, tmp_path):
    """A program file of the test's own, which it may replace as a package would."""
    path = tmp_path / "bin" / "penstock"
    path.parent.mkdir()
    shutil.copy(penstock_binary, path)
    return path


@pytest.fixture
def start(copied_binary, model_path, tmp_path, request):
    """start(config=CONFIG, environment=None): a gateway from that file. All that it leaves ends with the test."""
    make_certificate(tmp_path, "first")

    def start_one(config=CONFIG, environment=None):
        server = servers.start_gateway(copied_binary, model_path, tmp_path, config.format(folder=tmp_path), (), environment)
        request.addfinalizer(server.stop)
        server.wait_until_ready()
        server.folder, server.binary = tmp_path, copied_binary
        return server

    return start_one


def replace_binary(server, text=None):
    """A new file under the old name; the old one's process keeps its own. Another process writes it: what this one has open for
    writing, a client that is being started beside it has too, for a moment, and no such file can be run."""
    fresh, source = server.binary.with_suffix(".new"), server.binary
    if text is not None:
        source = server.binary.with_suffix(".text")
        source.write_text(text)
        source.chmod(source.stat().st_mode | stat.S_IXUSR)
    subprocess.run(["cp", source, fresh], check=True)
    os.replace(fresh, server.binary)


def gateway_pids(server):
    """Of processes that serve: the pid that has taken over last is the end of the list."""
    return [int(line.split(" pid ")[1].split(" has taken over")[0]) for line in server.log_text().splitlines()
            if "has taken over" in line and " pid " in line]


def upgrade(server, process, count=1):
    """Until the new process has the place; its pid."""
    os.kill(process, signal.SIGUSR2)
    wait_until(lambda: len(gateway_pids(server)) >= count, server, "nobody has taken over")
    return gateway_pids(server)[-1]


def metric(server, series):
    for line in httpx.get(server.admin_url + "/metrics", timeout=WAIT_S).text.splitlines():
        if line.rpartition(" ")[0] == series:
            return float(line.rpartition(" ")[2])
    raise KeyError(series)


def is_gone(pid):
    """No such process, or one that only waits to be collected."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_an_upgrade_loses_nothing(start):
    server = start()
    replicas = {replica["pid"] for replica in server.replicas()}
    with load.running(*all_clients(server)) as running:
        running.wait_for(2)
        replace_binary(server)
        first = upgrade(server, server.pid)
        running.wait_for(3)
        assert {replica["pid"] for replica in server.replicas()} == replicas  # they go on, caches and all
        second = upgrade(server, server.pid, 2)  # the process that was started passes the signal on
        running.wait_for(3)
        wait_until(lambda: is_gone(first), server, "the process between has not ended")
        assert {replica["pid"] for replica in server.replicas()} == replicas
        assert metric(server, 'penstock_upgrades_total{result="success"}') == 1
        running.wait_for(2)
    assert server.is_running() and not is_gone(second)
    assert server.stop() == 0
    assert all(is_gone(pid) for pid in replicas | {first, second})


BROKEN = {
    "no program": ("this is no program", "before it was ready"),
    "ends at once": ("#!/bin/sh\nexit 3\n", "ended with code 3 before it was ready"),
    "never ready": ("#!/bin/sh\nexec sleep 1000\n", "was not ready in time"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_program_changes_nothing(start, how):
    text, log = BROKEN[how]
    server = start(CONFIG.replace("drain_timeout", "upgrade_timeout: 3s\n  drain_timeout", 1))
    replicas = [replica["pid"] for replica in server.replicas()]
    with load.running(*all_clients(server)) as running:
        replace_binary(server, text)
        os.kill(server.pid, signal.SIGUSR2)
        wait_until(lambda: "this one goes on" in server.log_text(), server, "the upgrade has not failed")
        running.wait_for(2)
    assert log in server.log_text()
    assert metric(server, 'penstock_upgrades_total{result="failure"}') == 1
    assert [replica["pid"] for replica in server.replicas()] == replicas
    assert not gateway_pids(server)


def test_a_broken_config_changes_nothing_and_a_mended_one_is_taken(start):
    """Other settings for replicas are taken by an upgrade too, with replicas of its own beside the old ones."""
    server = start()
    replicas = {replica["pid"] for replica in server.replicas()}
    good = server.config.read_text()
    with load.running(*all_clients(server)) as running:
        server.config.write_text(good.replace("max_model_len: 1024", "max_model_len: much"))
        os.kill(server.pid, signal.SIGUSR2)
        wait_until(lambda: "this one goes on" in server.log_text(), server, "the upgrade has not failed")
        running.wait_for(2)
        assert {replica["pid"] for replica in server.replicas()} == replicas
        server.config.write_text(good.replace("max_model_len: 1024", "max_model_len: 2048"))
        upgrade(server, server.pid)
        running.wait_for(3)
        fresh = {replica["pid"] for replica in server.replicas()}
        assert len(fresh) == 2 and not fresh & replicas
        wait_until(lambda: all(is_gone(pid) for pid in replicas), server, "the old replicas have not ended")
        running.wait_for(2)
    assert httpx.get(server.url + "/v1/models").json()["data"][0]["max_model_len"] == 2048
    assert server.stop() == 0


def test_an_adopted_replica_that_dies_is_started_again(start):
    server = start()
    upgrade(server, server.pid)
    victim = server.replicas()[0]["pid"]
    with load.running(load.KeptConnection("light", server.host, server.port, [("GET", "/v1/models", None, bool)])):
        os.kill(victim, signal.SIGKILL)
        replicas = server.wait_for_replicas(restarts=1)
    assert victim not in {replica["pid"] for replica in replicas}
    assert httpx.post(server.url + "/v1/chat/completions", json=CHAT, timeout=WAIT_S).status_code == 200


def test_replicas_end_with_the_last_gateway_that_holds_them(start):
    server = start()
    replicas = [replica["pid"] for replica in server.replicas()]
    successor = upgrade(server, server.pid)
    wait_until(lambda: "stays for pid" in server.log_text(), server, "the old gateway has not drained")
    os.kill(successor, signal.SIGKILL)
    wait_until(lambda: all(is_gone(pid) for pid in replicas), server, "replicas without a gateway")
    assert server.process.wait(WAIT_S) == 128 + signal.SIGKILL


STATE = """
state:
  database: {folder}/state.db
tenants:
  budgets:
    - {{per: key, period: month, amount: 1000}}
"""
PRICE = "    price: {{input: 2, output: 6}}\n"


class Paying:
    """Asks, and adds up what it should cost."""

    def __init__(self, name, server):
        self.name, self.server, self.nano, self.count = name, server, 0, 0

    def __str__(self):
        return self.name

    def __call__(self, running):
        with openai.OpenAI(base_url=self.server.url + "/v1", api_key=KEY, max_retries=0, timeout=load.TIMEOUT_S) as client:
            while not running.is_over():
                usage = client.chat.completions.create(model="smollm2", messages=CHAT["messages"], max_tokens=4).usage
                self.nano += usage.prompt_tokens * 2000 + usage.completion_tokens * 6000
                self.count += 1
                running.count(self.name)


def test_money_and_ledger_count_through_an_upgrade(start, tmp_path):
    key = hashlib.sha256(KEY.encode()).hexdigest()
    server = start(CONFIG + PRICE + STATE + f"auth:\n  keys:\n    - {{{{name: payer, organisation: acme, sha256: {key}}}}}\n")
    clients = [Paying(f"payer {i}", server) for i in range(3)]
    with load.running(*clients) as running:
        running.wait_for(2)
        for count in (1, 2):
            upgrade(server, server.pid, count)
            running.wait_for(3)
            wait_until(lambda: server.log_text().count("stays for pid") or count == 1, server, "the first has not drained")
    assert server.stop() == 0
    with sqlite3.connect(tmp_path / "state.db") as database:
        rows = database.execute("SELECT nano FROM spent").fetchall()
        answered = database.execute("SELECT count(*) FROM requests WHERE status = 200").fetchone()[0]
    assert [row[0] for row in rows] == [sum(client.nano for client in clients)]
    assert answered == sum(client.count for client in clients)


def test_reloads_lose_nothing(start):
    server = start()
    with load.running(*all_clients(server)) as running:
        for limit in range(1, 6):
            server.config.write_text(server.config.read_text().replace("drain_timeout: 6", f"drain_timeout: {limit}6", 1))
            before = server.log_text().count("reload: done")
            server.process.send_signal(signal.SIGHUP)
            wait_until(lambda: server.log_text().count("reload: done") > before, server, "no reload")
            running.wait_for(1)


def test_new_certificates_lose_nothing_and_bad_ones_change_nothing(start):
    """Nobody tells the gateway: it sees that the files have changed."""
    server = start()
    with load.running(*all_clients(server)) as running:
        make_certificate(server.folder, "second")
        wait_until(lambda: served_name(server) == "second", server, "the new certificate is not used")
        running.wait_for(2)
        key = (server.folder / "key.pem").read_text()
        (server.folder / "key.pem").write_text(key.replace("A", "B"))
        wait_until(lambda: "are not good" in server.log_text(), server, "the bad key has not been seen")
        assert served_name(server) == "second"
        running.wait_for(2)
        make_certificate(server.folder, "third")
        wait_until(lambda: served_name(server) == "third", server, "the mended certificate is not used")
        running.wait_for(1)


def test_a_drain_loses_nothing(start):
    """Every request on a connection that the gateway took is answered; then clients find the port closed."""
    server = start()
    chat = json.dumps({**CHAT, "stream": True, "max_tokens": 40})
    requests = [("GET", "/v1/models", None, lambda text: b"smollm2" in text),
                ("POST", "/v1/chat/completions", chat, lambda text: text.endswith(b"data: [DONE]\n\n"))]
    clients = [load.KeptConnection(f"kept {i}", server.host, server.port, requests, may_be_refused=True,
                                   tls=load.any_certificate() if i % 2 else None) for i in range(6)]
    with load.running(*clients) as running:
        server.process.send_signal(signal.SIGTERM)
        for thread in running.threads:
            thread.join(load.TIMEOUT_S)
            assert not thread.is_alive()
    assert server.process.wait(WAIT_S) == 0


def test_readiness_goes_before_the_door_closes(start):
    server = start(CONFIG.replace("drain_timeout", "drain_delay: 60s\n  drain_timeout", 1))
    server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: server.get("/readyz")[0] == 503, server, "still ready")
    assert httpx.post(server.url + "/v1/chat/completions", json=CHAT, timeout=WAIT_S).status_code == 200
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(WAIT_S) == 0


class Manager(threading.Thread):
    """What a service manager hears."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.messages = []
        self.start()

    def run(self):
        while text := self.socket.recv(4096):
            self.messages.append(text.decode())


def test_a_service_manager_hears_of_everything(start, tmp_path):
    manager = Manager(tmp_path / "notify")
    server = start(environment={"NOTIFY_SOCKET": str(tmp_path / "notify")})
    wait_until(lambda: "READY=1" in manager.messages, server, "not ready")
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: manager.messages[-1] == "READY=1" and
               any(text.startswith("RELOADING=1\nMONOTONIC_USEC=") for text in manager.messages), server, "not reloaded")
    successor = upgrade(server, server.pid)
    wait_until(lambda: f"MAINPID={successor}" in manager.messages, server, "no new main process")
    assert server.process.wait(WAIT_S) == 0  # the manager knows whom to watch: nobody stays
    assert httpx.post(server.url + "/v1/chat/completions", json=CHAT, timeout=WAIT_S).status_code == 200
    os.kill(successor, signal.SIGTERM)
    wait_until(lambda: is_gone(successor), server, "the successor has not ended")
    assert "STOPPING=1" in manager.messages
