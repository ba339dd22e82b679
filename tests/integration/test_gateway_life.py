"""Start, reload, drain and end of the gateway; the command line."""
import hashlib
import json
import os
import pathlib
import signal
import subprocess
import threading
import time

import httpx
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
MESSAGES = [{"role": "user", "content": "Tell me a long story about a river and a mill."}]
OLD_KEY, NEW_KEY = "sk-old-0123456789abcdef", "sk-new-0123456789abcdef"

CONFIG = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
  drain_timeout: 20s
log:
  level: info
auth:
  keys:
    - {name: team, sha256: HASH}
models:
  - name: smollm2
    path: {model}
    max_model_len: 1024
"""


def config_with(key):
    return CONFIG.replace("HASH", hashlib.sha256(key.encode()).hexdigest())


def chat(server, key, max_tokens=2, stream=False):
    body = {"model": "smollm2", "messages": MESSAGES, "max_tokens": max_tokens, "stream": stream, "ignore_eos": True}
    return httpx.post(server.url + "/v1/chat/completions", json=body, headers={"x-api-key": key}, timeout=60)


def wait_for_log(server, text, seconds=10):
    end = time.monotonic() + seconds
    while text not in server.log_text():
        assert time.monotonic() < end, f"no '{text}' in the log:\n{server.log_tail()}"
        time.sleep(0.02)


class Stream(threading.Thread):
    """A long stream in the background; `begun` is set at its first event."""

    def __init__(self, server, key, max_tokens):
        super().__init__()
        self.server, self.key, self.max_tokens = server, key, max_tokens
        self.begun, self.lines, self.error = threading.Event(), [], None
        self.start()

    def run(self):
        body = {"model": "smollm2", "messages": MESSAGES, "max_tokens": self.max_tokens, "stream": True, "ignore_eos": True}
        try:
            with httpx.stream("POST", self.server.url + "/v1/chat/completions", json=body, timeout=60,
                              headers={"x-api-key": self.key}) as answer:
                for line in answer.iter_lines():
                    self.lines.append(line)
                    self.begun.set()
        except httpx.HTTPError as error:
            self.error = error
        self.begun.set()


def test_sigterm_lets_streams_finish(start_gateway):
    server = start_gateway(config_with(OLD_KEY))
    streams = [Stream(server, OLD_KEY, 120) for _ in range(4)]
    for stream in streams:
        assert stream.begun.wait(30)
    server.process.send_signal(signal.SIGTERM)
    for stream in streams:
        stream.join(40)
        assert stream.error is None
        assert [line for line in stream.lines if line][-1] == "data: [DONE]"
        assert not any('"error"' in line for line in stream.lines)
    assert server.process.wait(20) == 0


def test_the_drain_limit_ends_streams_with_an_error_event(start_gateway):
    server = start_gateway(config_with(OLD_KEY).replace("20s", "300ms"))
    stream = Stream(server, OLD_KEY, 900)
    assert stream.begun.wait(30)
    server.process.send_signal(signal.SIGTERM)
    stream.join(20)
    assert server.process.wait(20) == 0
    assert stream.error is None
    last = [line for line in stream.lines if line][-1]
    assert json.loads(last[len("data: "):])["error"]["type"] == "server_error"


def test_a_second_signal_ends_at_once(start_gateway):
    server = start_gateway(config_with(OLD_KEY))
    stream = Stream(server, OLD_KEY, 900)
    assert stream.begun.wait(30)
    server.process.send_signal(signal.SIGTERM)
    wait_for_log(server, "draining")
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(10) == 0  # the drain limit is 20 s
    stream.join(20)


def test_nothing_is_left_behind(start_gateway, tmp_path):
    folder = tmp_path / "runtime"
    folder.mkdir(mode=0o700)
    server = start_gateway(config_with(OLD_KEY), environment={"XDG_RUNTIME_DIR": str(folder)})
    private = list(folder.iterdir())
    assert len(private) == 1 and private[0].stat().st_mode & 0o777 == 0o700
    pids = [r["pid"] for r in httpx.get(server.admin_url + "/admin/replicas").json()["replicas"]]
    assert server.stop() == 0
    assert list(folder.iterdir()) == []
    assert not any(pathlib.Path(f"/proc/{pid}").exists() for pid in pids)


def test_sighup_takes_new_keys_without_cutting_anything(start_gateway):
    server = start_gateway(config_with(OLD_KEY))
    stream = Stream(server, OLD_KEY, 120)
    assert stream.begun.wait(30)
    text = server.config.read_text().replace(hashlib.sha256(OLD_KEY.encode()).hexdigest(),
                                             hashlib.sha256(NEW_KEY.encode()).hexdigest()).replace("level: info", "level: debug")
    server.config.write_text(text)
    server.process.send_signal(signal.SIGHUP)
    wait_for_log(server, "reload: done")
    assert chat(server, OLD_KEY).status_code == 401
    assert chat(server, NEW_KEY).status_code == 200
    assert "log.level changes" in server.log_text()
    assert "auth.keys[0].sha256 changes" in server.log_text()
    stream.join(60)
    assert stream.error is None and [line for line in stream.lines if line][-1] == "data: [DONE]"


def test_reloading_often_changes_nothing_for_clients(start_gateway):
    server = start_gateway(config_with(OLD_KEY))
    for _ in range(20):
        server.process.send_signal(signal.SIGHUP)
        assert chat(server, OLD_KEY, 1).status_code == 200
    wait_for_log(server, "reload: done")
    assert "reload refused" not in server.log_text()


@pytest.mark.parametrize("before, after, log", [
    ("drain_timeout: 20s", "drain_timeout: 20", "drain_timeout"),
    ("auth:", "auht:", "did you mean"),
    ("max_model_len: 1024", "replicas: 2", "models[0].replicas has changed, which needs a restart"),
    ("name: smollm2", "name: other", "models[0].name has changed, which needs a restart"),
    ("models:", "models: [", "reload"),
])
def test_a_bad_reload_changes_nothing(start_gateway, before, after, log):
    server = start_gateway(config_with(OLD_KEY))
    server.config.write_text(server.config.read_text().replace(before, after))
    server.process.send_signal(signal.SIGHUP)
    wait_for_log(server, "reload refused")
    assert log in server.log_text()
    assert chat(server, OLD_KEY).status_code == 200
    pid = httpx.get(server.admin_url + "/admin/replicas").json()["replicas"][0]["pid"]
    os.kill(pid, signal.SIGKILL)  # a replica that starts now must not read the broken file
    assert chat(server, OLD_KEY).status_code == 200
    assert 'penstock_config_reloads_total{result="failure"} 1' in httpx.get(server.admin_url + "/metrics").text


def run(binary, *arguments, **options):
    return subprocess.run([binary, *map(str, arguments)], capture_output=True, text=True, timeout=60, **options)


def test_an_address_in_use_is_told(penstock_binary, gateway):
    result = run(penstock_binary, "serve", gateway.config, "--admin-port", 0)
    assert result.returncode == 1
    assert "in use" in result.stderr


# A piece of a good config, what it is broken into, and what the message must have.
BROKEN = [
    ("server:", "sever:", 'did you mean "server"'),
    ("listen: 127.0.0.1:8080", "listn: 127.0.0.1:8080", 'did you mean "listen"'),
    ("127.0.0.1:8080", "127.0.0.1", "like 127.0.0.1:8080"),
    ("127.0.0.1:8080", "localhost:8080", "no numeric address"),
    ("127.0.0.1:8080", "127.0.0.1:99999", "0 to 65535"),
    ("127.0.0.1:8080", "127.0.0.1:8081", "choose another port"),
    ("drain_timeout: 30s", "drain_timeout: 30", "drain_timeout"),
    ("drain_timeout: 30s", "drain_timeout: 2h", "drain_timeout"),
    ("drain_timeout: 30s", "tls_certificate: x.pem", "set both or neither"),
    ("level: info", "level: verbose", "error, warn, info"),
    ("level: info", "level: info\nlog: {}", "twice"),
    ("name: small", "nme: small", 'did you mean "name"'),
    ("name: small", "name: a model", "letters, digits"),
    ("aliases: [tiny]", "aliases: [small]", "already taken"),
    ("aliases: [tiny]", "aliases: {tiny: 1}", "a list expected"),
    ("replicas: 1", "replicas: 0", "between 1 and 64"),
    ("replicas: 1", "replicas: one", "replicas"),
    ("backend: auto", "backend: avx512-vnnl", "did you mean 'avx512-vnni'"),
    ("max_num_batched_tokens: 128", "max_num_batched_tokens: 32", "at least max_num_seqs"),
    ("kv_cache_memory: 64MiB", "kv_cache_memory: 64 megs", "kv_cache_memory"),
    ("path: MODEL", "path: nowhere.gguf", "tools/serve fetches"),
    ("path: MODEL", "path: .", "is no model; give a GGUF file or a Hugging Face folder"),
    ("sha256: HASH", "sha256: my-secret-key", "penstock hash-key"),
    ("retries: 2", "retries: -1", "between 0 and 10"),
    ("models:", "models: &anchor", "anchors are not supported"),
    ("enable_prefix_caching: true", "enable_prefix_caching: maybe", "true"),
]
GOOD = """server:
  listen: 127.0.0.1:8080
  drain_timeout: 30s
log:
  level: info
auth:
  keys:
    - {name: a, sha256: HASH}
upstream:
  retries: 2
models:
  - name: small
    path: MODEL
    aliases: [tiny]
    replicas: 1
    backend: auto
    max_model_len: 1024
    max_num_seqs: 64
    max_num_batched_tokens: 128
    kv_cache_memory: 64MiB
    enable_prefix_caching: true
"""


def write_config(folder, model, before=None, after=None):
    text = GOOD if before is None else GOOD.replace(before, after, 1)
    assert before is None or text != GOOD
    path = folder / "config.yaml"
    path.write_text(text.replace("MODEL", str(model)).replace("HASH", "a" * 64))
    return path


def test_check_prints_a_memory_plan(penstock_binary, model_path, tmp_path):
    result = run(penstock_binary, "check", write_config(tmp_path, model_path))
    assert result.returncode == 0, result.stderr
    for text in ("weights", "KV cache", "blocks of 16 tokens", "threads", "is good"):
        assert text in result.stdout


@pytest.mark.parametrize("before, after, text", BROKEN)
def test_check_tells_what_is_wrong_and_where(penstock_binary, model_path, tmp_path, before, after, text):
    path = write_config(tmp_path, model_path, before, after)
    result = run(penstock_binary, "check", path)
    assert result.returncode == 1
    assert text in result.stderr
    assert f"{path}:" in result.stderr and ": error: " in result.stderr
    place = result.stderr.split(f"{path}:", 1)[1].split(":")
    assert place[0].isdigit() and place[1].isdigit()
    assert "my-secret-key" not in result.stderr


def test_check_tells_a_cache_that_cannot_hold_one_sequence(penstock_binary, model_path, tmp_path):
    path = write_config(tmp_path, model_path, "kv_cache_memory: 64MiB", "kv_cache_memory: 1MiB")
    result = run(penstock_binary, "check", path)
    assert result.returncode == 1
    assert "cannot hold one sequence" in result.stderr


def test_check_tells_a_file_that_is_no_model(penstock_binary, tmp_path):
    (tmp_path / "no.gguf").write_text("not a model")
    result = run(penstock_binary, "check", write_config(tmp_path, tmp_path / "no.gguf"))
    assert result.returncode == 1
    assert "no.gguf" in result.stderr


def test_the_reference_config_is_up_to_date(penstock_binary):
    result = run(penstock_binary, "reference-config")
    assert result.returncode == 0
    assert result.stdout == (ROOT / "configs/reference.yaml").read_text(), \
        "run: penstock reference-config > configs/reference.yaml"


def test_the_quickstart_is_right(penstock_binary, model_path):
    result = run(penstock_binary, "check", ROOT / "configs/quickstart.yaml", "--model-path", model_path)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("arguments, text", [
    (["sevre"], "did you mean 'serve'"), (["banana"], "penstock help"), (["serve"], "which config"),
    (["serve", "a.yaml", "b.yaml"], "one argument too many"), (["serve", "a.yaml", "--prot", "1"], "did you mean '--port'"),
    (["serve", "a.yaml", "--port"], "needs a value"), (["serve", "a.yaml", "--port", "x"], "must be a number"),
    (["serve", "a.yaml", "--port=70000"], "must be a number from 0 to 65535"), (["check"], "which config"),
    (["replica", "a.yaml"], "usage"), (["replica", "a.yaml", "--listen", "x"], "--listen"), (["help", "sevre"], "serve"),
])
def test_a_wrong_command_line_is_told(penstock_binary, arguments, text):
    result = run(penstock_binary, *arguments)
    assert result.returncode == 2
    assert text in result.stderr


def test_a_config_that_is_not_there_is_told(penstock_binary):
    result = run(penstock_binary, "serve", "nowhere.yaml")
    assert result.returncode == 1
    assert "No such file" in result.stderr


def test_help_and_version(penstock_binary):
    for arguments in (["help"], ["--help"], [], ["help", "serve"], ["serve", "--help"]):
        result = run(penstock_binary, *arguments)
        assert result.returncode == 0 and "serve CONFIG" in result.stdout
    assert run(penstock_binary, "version").stdout.startswith("penstock ")


def test_hash_key_gives_what_the_config_wants(penstock_binary):
    key = "0123456789abcdef-a-key"
    result = run(penstock_binary, "hash-key", input=key + "\n")
    assert result.stdout == hashlib.sha256(key.encode()).hexdigest() + "\n"
    assert run(penstock_binary, "hash-key", input="short\n").returncode == 1
    assert run(penstock_binary, "hash-key", input="x" * 513).returncode == 1


def first_answer(server, path):
    """Asked again and again from before the listener is there."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            return server.get(path, timeout=5)[0]
        except OSError:
            assert server.is_running(), server.log_tail()
    raise TimeoutError(f"{path} was never answered")


def test_whoever_asks_before_all_parts_are_there_is_answered(start_gateway):
    for path, expected in (("/livez", (200,)), ("/readyz", (200, 503)), ("/metrics", (404,))):
        server = start_gateway(config_with(OLD_KEY), wait=False)
        assert first_answer(server, path) in expected
        server.wait_until_ready()
        server.stop()
