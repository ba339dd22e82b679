"""Starts tests/support/http_echo.c (built as http_echo) on a free port."""
import contextlib
import os
import pathlib
import resource
import time

from support import servers

ROOT = pathlib.Path(__file__).resolve().parents[2]


def program(name):
    """A program of the build under test: beside the binary, or in PENSTOCK_BUILD."""
    folder = os.environ.get("PENSTOCK_BUILD") or pathlib.Path(os.environ.get("PENSTOCK_BINARY", ROOT / "build/release/penstock")).parent
    path = pathlib.Path(folder) / name
    if not path.exists():
        raise FileNotFoundError(f"{path} is not built: run tools/test, or set PENSTOCK_BUILD")
    return str(path.resolve())


class EchoServer(servers.Server):
    def __init__(self, folder, arguments, descriptor_limit=None):
        self.port_number = servers.free_port()
        command = [program("http_echo"), "-l", f"127.0.0.1:{self.port_number}", *arguments]
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        if descriptor_limit is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptor_limit, before[1]))
        try:
            super().__init__("http_echo", command, pathlib.Path(folder) / "http_echo.log", "127.0.0.1", self.port_number)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        self.is_sanitized = b"__asan_init" in pathlib.Path(program("http_echo")).read_bytes()

    def wait(self):
        end = time.monotonic() + 20
        while "ready" not in self.log_text():
            if not self.is_running() or time.monotonic() > end:
                raise RuntimeError(f"http_echo did not start: {self.log_text()}")
            time.sleep(0.01)
        self.first_memory_bytes = self.memory_bytes()
        return self

    def memory_bytes(self):
        fields = pathlib.Path(f"/proc/{self.pid}/statm").read_text().split()
        return int(fields[1]) * resource.getpagesize()

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def metric(self, series):
        _, body = self.get("/metrics")
        for line in body.decode().splitlines():
            name, _, value = line.rpartition(" ")
            if name == series:
                return float(value)
        raise KeyError(series)


@contextlib.contextmanager
def start(folder, *arguments, descriptor_limit=None):
    server = EchoServer(folder, arguments, descriptor_limit)
    try:
        yield server.wait()
    finally:
        status = server.stop()
    assert status == 0, f"ended with {status}: {server.log_text()[-4000:]}"
