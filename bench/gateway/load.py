"""What is done to a gateway, and how it is measured: h2load for requests, tls_clients.py for idle connections."""
import contextlib
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

import fronts

HERE = pathlib.Path(__file__).parent


class LoadFailed(Exception):
    """One line that says what the load generator found."""


def h2load_command(front, place_core, over, connections, streams, body_file, *options):
    """`over`: h1, h2 (in clear) or tls (HTTP/2)."""
    port = {"h1": front.port, "h2": front.h2_port, "tls": front.tls_port}[over]
    if port is None:
        raise LoadFailed("no HTTP/2")
    scheme = "https" if over == "tls" else "http"
    return ["taskset", "-c", str(place_core), "h2load", *(["--h1"] if over == "h1" else []), "-c", str(connections), "-m", str(streams),
            "-t", "1", "-d", str(body_file), "-H", "content-type: application/json", "-H", f"authorization: Bearer {fronts.KEY}",
            *map(str, options), f"{scheme}://127.0.0.1:{port}/v1/chat/completions"]


@contextlib.contextmanager
def body_of(stream, events=0, pace_ms=0):
    with tempfile.NamedTemporaryFile("w", suffix=".json") as body:
        body.write(fronts.body_text(stream, events, pace_ms))
        body.flush()
        yield body.name


def run_h2load(command, seconds_max):
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds_max)
    except subprocess.TimeoutExpired as error:
        raise LoadFailed(f"more than {seconds_max:.0f} s") from error
    codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", done.stdout)
    finished = re.search(r"finished in ([0-9.]+)(ms|s|us)", done.stdout)
    if codes is None or finished is None:
        raise LoadFailed(f"h2load: {(done.stderr or done.stdout).strip()[-200:]}")
    good, others = int(codes[1]), sum(int(codes[i]) for i in (2, 3, 4))
    if good == 0 or others > 0.001 * good:
        raise LoadFailed(f"{good} good answers, {others} others")
    return good, float(finished[1]) * {"s": 1, "ms": 1e-3, "us": 1e-6}[finished[2]]


def closed_loop(front, core, over, connections, streams, seconds, stream_events=0):
    """Every stream asks again when it is answered: answers and CPU of the gateway in the time."""
    with body_of(stream_events > 0, stream_events) as body:
        options = h2load_command(front, core, over, connections, streams, body, "-D", seconds)
        pids = front.pids()
        before = fronts.cpu_seconds(pids)
        good, _ = run_h2load(options, seconds + 30)
        cpu = fronts.cpu_seconds(pids) - before
    units = good * max(stream_events, 1)
    return {"per_second": units / seconds, "cpu_us": cpu / units * 1e6, "core_share": cpu / seconds}


def one_round(front, core, over, connections, count, stream_events, pace_ms):
    """`count` streams at once, each with so many events: CPU of the gateway an event. The rate is the upstream's."""
    with body_of(True, stream_events, pace_ms) as body:
        streams = max(count // connections, 1)
        command = h2load_command(front, core, over, connections, streams, body, "-n", count)
        pids = front.pids()
        before = fronts.cpu_seconds(pids)
        good, seconds = run_h2load(command, stream_events * pace_ms / 1e3 + 30)
        cpu = fronts.cpu_seconds(pids) - before
    units = good * stream_events
    return {"per_second": units / seconds, "cpu_us": cpu / units * 1e6, "core_share": cpu / seconds}


def read_times(path):
    """h2load's log: start, status and microseconds of each request."""
    times = []
    for line in pathlib.Path(path).read_text().splitlines():
        fields = line.split("\t")
        if len(fields) == 3 and fields[1].startswith("2"):
            times.append(int(fields[2]))
    return sorted(times)


def percentile(ordered, share):
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def fixed_rate(front, core, rate, clients, seconds, over="h1"):
    """`clients` connections that together ask `rate` times a second, whether answered or not."""
    with body_of(False) as body, tempfile.TemporaryDirectory() as scratch:
        log = pathlib.Path(scratch) / "log"
        command = h2load_command(front, core, over, clients, 1 if over == "h1" else 100, body, "-D", seconds, "--rps",
                                 rate / clients, "--log-file", log)
        run_h2load(command, seconds + 30)
        times = read_times(log)
    if len(times) < 0.5 * rate * seconds:
        raise LoadFailed(f"only {len(times) / seconds:.0f} of {rate} a second")
    return {"p50_us": statistics.median(times), "p99_us": percentile(times, 0.99), "count": len(times)}


class Held:
    """Something that stays while other things are measured."""

    def __init__(self, command):
        self.process = subprocess.Popen([str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


class IdleConnections(Held):
    """`count` idle HTTP/2 connections over TLS."""

    def __init__(self, front, core, count):
        if front.tls_port is None:
            raise LoadFailed("no TLS")
        super().__init__(["taskset", "-c", str(core), sys.executable, HERE / "tls_clients.py", front.tls_port, count])
        line = self.process.stdout.readline().strip()
        if line != f"held {count}":
            self.__exit__()
            raise LoadFailed(f"{count} TLS connections: {line or 'ended'}")


class OpenStreams(Held):
    """`count` streams that get an event a second."""

    def __init__(self, front, core, count, body_file):
        over = "h1" if front.h2_port is None else "h2"
        connections, streams = (count, 1) if over == "h1" else (max(count // 100, 1), 100)
        super().__init__(h2load_command(front, core, over, connections, streams, body_file, "-n", count))


def wait_for_upstream(upstream_port, count, seconds=30):
    """Until the upstream has so many connections: every open stream is one of its own there."""
    end = time.monotonic() + seconds
    there = f":{upstream_port:04X}"
    while time.monotonic() < end:
        found = 0
        with open("/proc/net/tcp", encoding="ascii") as rows:
            for row in rows:
                fields = row.split()
                found += fields[1].endswith(there) and fields[3] == "01"
        if found >= count:
            return
        time.sleep(0.2)
    raise LoadFailed(f"only {found} of {count} streams were open after {seconds} s")


class Probe:
    """Requests at a fixed rate while something else happens."""

    def __init__(self, front, core, rate, clients, seconds):
        self.scratch = tempfile.TemporaryDirectory()
        self.log = pathlib.Path(self.scratch.name) / "log"
        body = pathlib.Path(self.scratch.name) / "body"
        body.write_text(fronts.body_text(False, 0))
        self.seconds = seconds
        self.process = subprocess.Popen([str(part) for part in h2load_command(
            front, core, "h1", clients, 1, body, "-D", seconds, "--rps", rate / clients, "--log-file", self.log)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.scratch.cleanup()

    def figures(self):
        try:
            self.process.wait(self.seconds + 10)
        except subprocess.TimeoutExpired as error:
            raise LoadFailed("the probe's requests were not answered") from error
        times = read_times(self.log)
        if not times:
            raise LoadFailed("no request of the probe was answered")
        return {"p50_us": statistics.median(times), "p99_us": percentile(times, 0.99), "answered": len(times)}
