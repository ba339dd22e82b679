"""Processes of the program under test: start, wait until ready, stop, and what they logged."""
import contextlib
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import time
import urllib.request

READY_TIMEOUT_S = float(os.environ.get("PENSTOCK_READY_TIMEOUT_S", "120"))
STOP_TIMEOUT_S = 40  # the default drain limit is 30 s
LOG_TAIL_BYTES = 8000
JUST_ENDED_COUNT = 3

GATEWAY_CONFIG = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
  drain_timeout: 10s
models:
  - name: smollm2
    path: {model}
    max_model_len: 2048
"""

_running = []
_ended = []


def running_or_just_ended():
    return _ended[-JUST_ENDED_COUNT:] + _running


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Server:
    """One process. Its own process group, so that whatever it leaves behind can be ended too."""

    def __init__(self, name, command, log, host, port, socket_path=None, admin_port=None, environment=None):
        self.name = name
        self.log = pathlib.Path(log)
        self.host, self.port, self.socket = host, port, socket_path
        self.url = None if port is None else f"http://{host}:{port}"
        self.admin_url = None if admin_port is None else f"http://{host}:{admin_port}"
        with open(self.log, "wb") as output:
            self.process = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=output,
                                            stderr=subprocess.STDOUT, start_new_session=True,
                                            env={**os.environ, **(environment or {})})
        self.pid = self.process.pid
        _running.append(self)

    def connection(self, timeout=30):
        if self.socket is not None:
            return UnixConnection(self.socket, timeout)
        return http.client.HTTPConnection(self.host, self.port, timeout=timeout)

    def get(self, path, timeout=30):
        """(status, body) of a GET."""
        with contextlib.closing(self.connection(timeout)) as connection:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()

    def is_running(self):
        return self.process.poll() is None

    def wait_until_ready(self, timeout=READY_TIMEOUT_S):
        end = time.monotonic() + timeout
        last = "no answer yet"
        while time.monotonic() < end:
            if not self.is_running():
                raise RuntimeError(f"{self.name} ended with {self.process.returncode} before it was ready:\n{self.log_tail()}")
            try:
                status, body = self.get("/readyz", timeout=5)
                if status == 200 and not self._starting_replicas():
                    return self
                last = f"{status} {body[:200]!r}"
            except OSError as error:
                last = str(error)
            except http.client.HTTPException as error:
                last = repr(error)
            time.sleep(0.05)
        raise TimeoutError(f"{self.name} was not ready after {timeout:.0f} s (/readyz: {last}):\n{self.log_tail()}")

    def _starting_replicas(self):
        """Of a gateway, those that are not ready yet: /readyz waits for the first of each model only."""
        return [replica for replica in self.replicas() if replica["state"] == "starting"] if self.admin_url else []

    def replicas(self):
        """What a gateway's admin listener says of them."""
        with urllib.request.urlopen(self.admin_url + "/admin/replicas", timeout=30) as answer:
            return json.load(answer)["replicas"]

    def wait_for_replicas(self, restarts=0, timeout=READY_TIMEOUT_S):
        """Until every replica is ready, and has been started again so often in all. /readyz tells only of the first."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            replicas = self.replicas()
            if (all(replica["state"] == "ready" for replica in replicas) and
                    sum(replica["restarts"] for replica in replicas) >= restarts):
                return replicas
            time.sleep(0.05)
        raise TimeoutError(f"{self.name}: not all replicas are ready: {replicas}\n{self.log_tail()}")

    def stop(self, timeout=STOP_TIMEOUT_S):
        """SIGTERM, then SIGKILL. Returns the exit status."""
        if self.is_running():
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout)
        with contextlib.suppress(ProcessLookupError):  # the group: the process itself or replicas it left behind
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait(10)
        if self in _running:
            _running.remove(self)
            _ended.append(self)
            del _ended[:-JUST_ENDED_COUNT]
        return self.process.returncode

    def kill(self):
        self.process.kill()
        self.process.wait(10)

    def log_text(self):
        return self.log.read_text(errors="replace")

    def log_tail(self):
        return self.log_text()[-LOG_TAIL_BYTES:]


def _write_config(folder, name, text, model, port, admin_port):
    path = pathlib.Path(folder) / f"{name}.yaml"
    filled = text.replace("{model}", str(model)).replace("{port}", str(port)).replace("{admin_port}", str(admin_port))
    path.write_text(filled)
    return path


def _unique(folder, stem):
    number = len(list(pathlib.Path(folder).glob(f"{stem}-*.log")))
    return f"{stem}-{number}"


def start_gateway(binary, model, folder, config_text=None, arguments=(), environment=None):
    port, admin_port = free_port(), free_port()
    name = _unique(folder, "gateway")
    config = _write_config(folder, name, config_text or GATEWAY_CONFIG, model, port, admin_port)
    server = Server(name, [binary, "serve", config, *arguments], pathlib.Path(folder) / f"{name}.log", "127.0.0.1", port,
                    admin_port=admin_port, environment=environment)
    server.config = config
    return server


def start_replica(binary, model, folder, config_text=None, model_name="smollm2", unix_socket=False, arguments=(),
                  environment=None):
    port = None if unix_socket else free_port()
    name = _unique(folder, "replica")
    config = _write_config(folder, name, config_text or GATEWAY_CONFIG, model, free_port(), free_port())
    path = pathlib.Path(folder) / f"{name}.sock" if unix_socket else None
    address = f"unix:{path}" if unix_socket else f"127.0.0.1:{port}"
    server = Server(name, [binary, "replica", config, "--model", model_name, "--listen", address, *arguments],
                    pathlib.Path(folder) / f"{name}.log", "127.0.0.1", port, socket_path=path, environment=environment)
    server.config = config
    return server
