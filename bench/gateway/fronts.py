"""The gateways that are compared: how each is installed, configured and started before the one upstream.

Each gets one core. Whatever it can leave out is left out (access logs, retries, health checks beyond its defaults); Penstock alone has
keys, limits, fair queueing and metrics on.
"""
import dataclasses
import hashlib
import http.client
import os
import pathlib
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "bench" / "peers")]

import installers  # noqa: E402
from support import servers  # noqa: E402

KEY = "sk-bench-0123456789abcdef0123456789abcdef"
KEY_SHA256 = hashlib.sha256(KEY.encode()).hexdigest()
MODEL = "m"
CONNECTIONS = 20000
PIP = {"vllm-router": "0.1.17", "sglang-router": "0.3.2", "smg": "1.13.0", "litellm": "1.82.6"}
VENVS = {name: installers.PEERS / f"{name}-{version}" for name, version in PIP.items()}
START_SECONDS = 90


class FrontFailed(Exception):
    """One line that says why a gateway is absent."""


@dataclasses.dataclass
class Place:
    """Where a run happens."""
    folder: pathlib.Path
    penstock: pathlib.Path
    upstream_port: int
    core: int


@dataclasses.dataclass
class Front:
    """A gateway that runs. `port` speaks HTTP/1.1, `h2_port` HTTP/2 in clear, `tls_port` HTTP/2 over TLS; None: it does not."""
    server: servers.Server
    port: int
    h2_port: int = None
    tls_port: int = None

    def pids(self):
        return group_pids(self.server.pid)


def group_pids(group):
    """The processes of a group that run now."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.getpgid(int(entry.name)) == group:
                    found.append(int(entry.name))
            except ProcessLookupError:
                pass
    return found


def cpu_seconds(pids):
    """What all threads of the processes have used."""
    total = 0
    for pid in pids:
        for stat in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat"):
            try:
                total += int(stat.read_text().split()[0])
            except OSError:
                pass
    return total / 1e9


def resident_bytes(pids):
    """Memory of the processes; pages that they share count once."""
    total = 0
    for pid in pids:
        try:
            rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) << 10
    return total


def make_certificate(folder):
    """(certificate, key) for localhost; P-256, as gateways usually have."""
    certificate, key = folder / "server.pem", folder / "server.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                    "-subj", "/CN=localhost", "-keyout", key, "-out", certificate], check=True, capture_output=True)
    (folder / "both.pem").write_text(certificate.read_text() + key.read_text())
    return certificate, key


# --- installing ---

def need_program(name, package):
    if shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin") is None:
        raise FrontFailed(f"{name} is not installed (Debian: apt-get install --no-install-recommends {package})")


def install_pip(name, *extra):
    venv = VENVS[name]
    if not installers.is_installed(venv):
        installers.make_venv(venv)
        for arguments in extra or [(f"{name}=={PIP[name]}",)]:
            installers.pip_install(venv, *arguments)
        (venv / ".installed").touch()


def install_litellm():
    """First the one file that its pinned hash allows, then what its proxy needs beside it."""
    install_pip("litellm", ("--no-deps", "-r", ROOT / "tests/requirements-litellm.txt"), (f"litellm[proxy]=={PIP['litellm']}",))


# --- starting ---

def launch(place, name, command, port, environment=None):
    command = ["taskset", "-c", place.core, *command]
    return servers.Server(name, command, place.folder / f"{name}.log", "127.0.0.1", port, environment=environment)


def start_penstock(place):
    port, admin_port = servers.free_port(), servers.free_port()
    config = place.folder / "penstock.yaml"
    config.write_text(f"""
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
  loops: 1
  tls_certificate: {place.folder}/server.pem
  tls_key: {place.folder}/server.key
  drain_timeout: 0s
log:
  level: warn
auth:
  keys:
    - {{name: bench, sha256: {KEY_SHA256}, organisation: bench}}
tenants:
  limits:
    - {{per: key, requests_per_minute: 1000000000, tokens_per_minute: 1000000000000, concurrent_requests: 100000}}
    - {{per: organisation, tokens_per_day: 1000000000000}}
limits:
  connections: {CONNECTIONS}
  connections_per_address: {CONNECTIONS}
  accepts_per_second: 2000
  idle_timeout: 600s
models:
  - name: {MODEL}
    max_num_seqs: 4096
    max_num_batched_tokens: 4096
    upstream:
      url: http://127.0.0.1:{place.upstream_port}
""")
    server = launch(place, "penstock", [place.penstock, "serve", config], port)
    return Front(server, port, h2_port=port, tls_port=port)


def start_nginx(place):
    need_program("nginx", "nginx-light")
    port, h2_port, tls_port = (servers.free_port() for _ in range(3))
    scratch = place.folder / "nginx"
    scratch.mkdir(exist_ok=True)
    config = scratch / "nginx.conf"
    config.write_text(f"""
daemon off;
worker_processes 1;
worker_rlimit_nofile {CONNECTIONS};
pid {scratch}/pid;
error_log {scratch}/error.log error;
events {{ worker_connections {CONNECTIONS}; }}
http {{
    access_log off;
    client_body_temp_path {scratch}/body;
    proxy_temp_path {scratch}/proxy;
    fastcgi_temp_path {scratch}/fastcgi;
    uwsgi_temp_path {scratch}/uwsgi;
    scgi_temp_path {scratch}/scgi;
    keepalive_timeout 600s;
    keepalive_requests 100000000;
    upstream fast {{
        server 127.0.0.1:{place.upstream_port};
        keepalive 256;
        keepalive_requests 100000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        listen 127.0.0.1:{h2_port} http2 backlog=4096;
        listen 127.0.0.1:{tls_port} ssl http2 backlog=4096;
        ssl_certificate {place.folder}/server.pem;
        ssl_certificate_key {place.folder}/server.key;
        location / {{
            proxy_pass http://fast;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_read_timeout 600s;
        }}
    }}
}}
""")
    server = launch(place, "nginx", [shutil.which("nginx") or "/usr/sbin/nginx", "-c", config, "-p", scratch], port)
    return Front(server, port, h2_port=h2_port, tls_port=tls_port)


def start_haproxy(place):
    need_program("haproxy", "haproxy")
    port, h2_port, tls_port = (servers.free_port() for _ in range(3))
    config = place.folder / "haproxy.cfg"
    config.write_text(f"""
global
    nbthread 1
    no strict-limits  # it asks for two descriptors a connection, idle ones too
    maxconn {CONNECTIONS}
    ssl-server-verify none
defaults
    mode http
    timeout connect 5s
    timeout client 600s
    timeout server 600s
    timeout http-keep-alive 600s
    http-reuse always
    option http-no-delay
frontend front
    bind 127.0.0.1:{port} backlog 4096
    bind 127.0.0.1:{h2_port} proto h2 backlog 4096
    bind 127.0.0.1:{tls_port} ssl crt {place.folder}/both.pem alpn h2 backlog 4096
    default_backend fast
backend fast
    server one 127.0.0.1:{place.upstream_port} pool-max-conn -1 pool-purge-delay 600s
""")
    server = launch(place, "haproxy", [shutil.which("haproxy") or "/usr/sbin/haproxy", "-f", config, "-db"], port)
    return Front(server, port, h2_port=h2_port, tls_port=tls_port)


def start_vllm_router(place):
    port, metrics_port = servers.free_port(), servers.free_port()
    server = launch(place, "vllm-router", [
        VENVS["vllm-router"] / "bin/vllm-router", "--host", "127.0.0.1", "--port", port, "--policy", "round_robin", "--log-level",
        "error", "--prometheus-port", metrics_port, "--worker-urls", f"http://127.0.0.1:{place.upstream_port}"], port)
    return Front(server, port)


def start_sglang_router(place):
    port, metrics_port = servers.free_port(), servers.free_port()
    server = launch(place, "sglang-router", [
        VENVS["sglang-router"] / "bin/python", "-m", "sglang_router.launch_router", "--host", "127.0.0.1", "--port", port, "--policy",
        "round_robin", "--log-level", "error", "--prometheus-port", metrics_port, "--disable-retries", "--disable-circuit-breaker",
        "--worker-urls", f"http://127.0.0.1:{place.upstream_port}"], port)
    return Front(server, port)


def start_smg(place):
    port, metrics_port = servers.free_port(), servers.free_port()
    server = launch(place, "smg", [
        VENVS["smg"] / "bin/smg", "launch", "--host", "127.0.0.1", "--port", port, "--policy", "round_robin", "--log-level", "error",
        "--prometheus-port", metrics_port, "--disable-retries", "--disable-circuit-breaker", "--worker-urls",
        f"http://127.0.0.1:{place.upstream_port}"], port)
    return Front(server, port)


def start_litellm(place):
    port = servers.free_port()
    config = place.folder / "litellm.yaml"
    config.write_text(f"""
model_list:
  - model_name: {MODEL}
    litellm_params:
      model: openai/{MODEL}
      api_base: http://127.0.0.1:{place.upstream_port}/v1
      api_key: none
litellm_settings:
  num_retries: 0
  telemetry: false
general_settings:
  master_key: {KEY}
""")
    server = launch(place, "litellm", [VENVS["litellm"] / "bin/litellm", "--config", config, "--host", "127.0.0.1", "--port", port,
                                       "--num_workers", "1"], port, environment={"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"})
    return Front(server, port)


@dataclasses.dataclass(frozen=True)
class Kind:
    title: str
    start: object
    install: object = None
    is_slow: bool = False  # a Python process: fewer connections, and no fixed rate that it cannot reach


KINDS = {
    "penstock": Kind("Penstock", start_penstock),
    "nginx": Kind("nginx", start_nginx),
    "haproxy": Kind("HAProxy", start_haproxy),
    "vllm-router": Kind(f"vllm-router {PIP['vllm-router']}", start_vllm_router, lambda: install_pip("vllm-router")),
    "sglang-router": Kind(f"sglang-router {PIP['sglang-router']}", start_sglang_router, lambda: install_pip("sglang-router")),
    "smg": Kind(f"smg {PIP['smg']}", start_smg, lambda: install_pip("smg")),
    "litellm": Kind(f"LiteLLM proxy {PIP['litellm']}", start_litellm, install_litellm, is_slow=True),
}


def ask(port, stream=False):
    """One chat completion; (status, body)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", "/v1/chat/completions", body_text(stream, 3),
                           {"content-type": "application/json", "authorization": f"Bearer {KEY}"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def body_text(stream, events, pace_ms=0):
    """A request; the upstream reads its events' pace in the message, which every gateway passes on."""
    content = f"hello pace-{pace_ms}" if pace_ms > 0 else "hello there"
    extra = f',"stream":true,"max_tokens":{events}' if stream else ""
    return f'{{"model":"{MODEL}","messages":[{{"role":"user","content":"{content}"}}]{extra}}}'


def wait_until_ready(front):
    """Until it has given both kinds of answer, so that nothing is measured that does not work."""
    end, last = time.monotonic() + START_SECONDS, "no answer"
    while time.monotonic() < end:
        if not front.server.is_running():
            raise FrontFailed(f"it ended: {' | '.join(front.server.log_tail().strip().splitlines()[-2:])[-300:]}")
        try:
            status, body = ask(front.port)
            streamed_status, streamed = ask(front.port, stream=True) if status == 200 else (0, b"")
            if status == 200 and streamed_status == 200 and streamed.count(b"data: {") >= 3:
                return
            last = f"{status} {body[:150]!r}, {streamed_status} {streamed[:150]!r}"
        except (OSError, http.client.HTTPException) as error:
            last = repr(error)
        time.sleep(0.1)
    raise FrontFailed(f"not ready after {START_SECONDS} s: {last}")


def start(name, place):
    """Started and proven to work, or FrontFailed."""
    front = KINDS[name].start(place)
    try:
        wait_until_ready(front)
    except BaseException:
        front.server.stop()
        raise
    return front


def install(name):
    if KINDS[name].install is not None:
        try:
            KINDS[name].install()
        except installers.InstallFailed as error:
            raise FrontFailed(str(error)) from error
