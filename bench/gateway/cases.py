"""What is measured of each gateway. A case is a function of (front, Site) that returns figures, or raises LoadFailed."""
import contextlib
import dataclasses
import pathlib
import subprocess
import time

import fronts
import load

RATE = 2000            # requests a second at which latency is compared
EVENTS = 128           # of a stream that goes as fast as it can
PACED_STREAMS, PACED_EVENTS, PACED_MS = 200, 100, 20
IDLE_CONNECTIONS, OPEN_STREAMS = 2000, 1000          # whose memory is measured
CROWD_IDLE, CROWD_STREAMS, CROWD_RATE = 10000, 2000, 200
PROBE_RATE, PROBE_CLIENTS, ATTACKERS = 100, 5, 4
HELD_EVENTS, HELD_MS = 600, 1000                     # streams that are only there
ATTACKS = ("rapid_reset", "reset_by_window", "reset_by_overflow", "reset_by_data", "reset_by_length", "reset_by_priority",
           "continuation_empty", "continuation_full", "header_bomb", "header_bomb_few", "table_flapping", "ping", "settings",
           "window_flapping", "unknown", "priority", "data_empty", "data_one", "data_padding", "window_update", "goaway", "uploads",
           "unread", "preface")


@dataclasses.dataclass(frozen=True)
class Site:
    """Where the load comes from, and how long each figure is measured."""
    core: int
    seconds: int
    upstream_port: int
    attack: pathlib.Path
    attack_seconds: int
    crowd_scale: float


def rate(over, connections, streams):
    def measure(front, site, is_slow):
        shape = (8, 1) if is_slow else (connections, streams)
        return load.closed_loop(front, site.core, over, *shape, site.seconds)
    return measure


def events(over, connections, streams):
    def measure(front, site, is_slow):
        shape = (4, 1) if is_slow else (connections, streams)
        return load.closed_loop(front, site.core, over, *shape, site.seconds, stream_events=EVENTS)
    return measure


def paced(over):
    """A round of streams with an event every 20 ms: what a token costs when tokens come one by one."""
    def measure(front, site, is_slow):
        count = 10 if is_slow else PACED_STREAMS
        connections = count if over == "h1" else max(count // 100, 1)
        return load.one_round(front, site.core, over, connections, count, PACED_EVENTS, PACED_MS)
    return measure


def latency(front, site, is_slow):
    if is_slow:
        raise load.LoadFailed("cannot")
    return load.fixed_rate(front, site.core, RATE, 20, site.seconds)


def held_bytes(front, count, held):
    """Memory that `count` things take while they are held."""
    before = fronts.resident_bytes(front.pids())
    with held():
        time.sleep(1)  # allocators and the kernel settle
        return (fronts.resident_bytes(front.pids()) - before) / count


def open_streams(front, site, count):
    """To be held: `count` streams, all of them open."""
    @contextlib.contextmanager
    def held():
        with load.body_of(True, HELD_EVENTS, HELD_MS) as body, load.OpenStreams(front, site.core, count, body):
            load.wait_for_upstream(site.upstream_port, count)
            yield
    return held


def memory_of_idle(front, site, is_slow):
    if is_slow:
        raise load.LoadFailed("not measured")
    return {"bytes": held_bytes(front, IDLE_CONNECTIONS, lambda: load.IdleConnections(front, site.core, IDLE_CONNECTIONS))}


def memory_of_streams(front, site, is_slow):
    if is_slow:
        raise load.LoadFailed("not measured")
    return {"bytes": held_bytes(front, OPEN_STREAMS, open_streams(front, site, OPEN_STREAMS))}


def crowd(front, site, is_slow):
    if is_slow:
        raise load.LoadFailed("not measured")
    idle, streams = int(CROWD_IDLE * site.crowd_scale), int(CROWD_STREAMS * site.crowd_scale)
    alone = load.fixed_rate(front, site.core, CROWD_RATE, 10, site.seconds)
    with load.IdleConnections(front, site.core, idle), open_streams(front, site, streams)():
        among = load.fixed_rate(front, site.core, CROWD_RATE, 10, site.seconds)
        resident = fronts.resident_bytes(front.pids())
    return {"alone_p50_us": alone["p50_us"], "alone_p99_us": alone["p99_us"], "crowd_p50_us": among["p50_us"],
            "crowd_p99_us": among["p99_us"], "crowd_mib": resident / 2**20, "idle": idle, "streams": streams}


def attack(mode):
    """A probe on connections of its own beside four attackers that come back whenever they are sent away."""
    def measure(front, site, is_slow):
        if is_slow or front.h2_port is None:
            raise load.LoadFailed("no HTTP/2")
        before = fronts.resident_bytes(front.pids())
        command = ["taskset", "-c", site.core, site.attack, mode, front.h2_port, site.attack_seconds, ATTACKERS]
        peak = before
        with load.Probe(front, site.core, PROBE_RATE, PROBE_CLIENTS, site.attack_seconds + 1) as probe:
            time.sleep(0.5)
            # They take what probe and upstream leave of their core: it is the gateway that is attacked.
            attackers = subprocess.Popen([str(part) for part in ["chrt", "--idle", "0", *command]], stdout=subprocess.DEVNULL,
                                         stderr=subprocess.DEVNULL)
            end = time.monotonic() + site.attack_seconds + 30
            while attackers.poll() is None and time.monotonic() < end:
                peak = max(peak, fronts.resident_bytes(front.pids()))
                time.sleep(0.1)
            attackers.kill()
            attackers.wait()
            figures = probe.figures()
        if not front.server.is_running():
            raise load.LoadFailed("the gateway ended")
        return {**figures, "grown_mib": (peak - before) / 2**20}
    return measure


@dataclasses.dataclass(frozen=True)
class Case:
    title: str
    measure: object  # of (front, site, is_slow)
    columns: tuple   # of (key, title, digits, whether more is better)
    group: str
    is_fresh: bool = False  # the gateway is started again before: no memory that an earlier case has freed


PER_REQUEST = (("per_second", "requests/s", 0, True), ("cpu_us", "CPU us a request", 1, False), ("core_share", "of its core", 2, None))
PER_EVENT = (("per_second", "events/s", 0, True), ("cpu_us", "CPU us an event", 2, False), ("core_share", "of its core", 2, None))
BYTES = (("bytes", "bytes each", 0, False),)
PROBE = (("p50_us", "probe p50, us", 0, False), ("p99_us", "probe p99, us", 0, False), ("grown_mib", "memory, MiB more", 1, None))

CASES = {
    "rate-h1": Case("Largest rate, HTTP/1.1, 64 connections", rate("h1", 64, 1), PER_REQUEST, "rate"),
    "rate-h2": Case("Largest rate, HTTP/2 in clear, 8 connections of 16 streams", rate("h2", 8, 16), PER_REQUEST, "rate"),
    "rate-tls": Case("Largest rate, HTTP/2 over TLS, 8 connections of 16 streams", rate("tls", 8, 16), PER_REQUEST, "rate"),
    "sse-h1": Case("Events as fast as they go, HTTP/1.1, 64 streams", events("h1", 64, 1), PER_EVENT, "sse"),
    "sse-h2": Case("Events as fast as they go, HTTP/2 in clear, 8 connections of 8 streams", events("h2", 8, 8), PER_EVENT, "sse"),
    "paced-h1": Case("200 streams with an event every 20 ms, HTTP/1.1", paced("h1"), PER_EVENT, "sse"),
    "paced-h2": Case("200 streams with an event every 20 ms, HTTP/2 in clear", paced("h2"), PER_EVENT, "sse"),
    "latency": Case("Latency at 2,000 requests a second, HTTP/1.1, 20 connections", latency,
                    (("p50_us", "p50, us", 0, False), ("p99_us", "p99, us", 0, False)), "latency"),
    "memory-idle": Case(f"Memory of {IDLE_CONNECTIONS} idle HTTP/2 connections over TLS", memory_of_idle, BYTES, "memory", is_fresh=True),
    "memory-stream": Case(f"Memory of {OPEN_STREAMS} open streams (HTTP/2 in clear where it is spoken, else HTTP/1.1)", memory_of_streams,
                          BYTES, "memory", is_fresh=True),
    "crowd": Case("New requests among 10,000 idle TLS connections and 2,000 open streams", crowd,
                  (("alone_p50_us", "p50 alone, us", 0, False), ("alone_p99_us", "p99 alone", 0, False),
                   ("crowd_p50_us", "p50 in the crowd", 0, False), ("crowd_p99_us", "p99 in the crowd", 0, False),
                   ("crowd_mib", "memory, MiB", 0, False)), "crowd", is_fresh=True),
    **{f"attack-{mode}": Case(f"Attack: {mode}", attack(mode), PROBE, "attack") for mode in ATTACKS},
}
