"""What every server is asked to do. Each workload takes a running server and returns {label: report}.

A report is what serving_bench prints. One that could not be made is {"failed": reason}, one that was left out {"skipped":
reason}: the run goes on, and the tables say so.
"""
import dataclasses
import json
import pathlib
import subprocess
import zlib

import servers

PROMPT_WORDS = 100       # with the chat template 130 tokens
OUTPUT_TOKENS = 128
PREFIX_WORDS = 512       # of a shared system prompt
LONG_WORDS = 4000        # of the prompt that arrives beside decoding streams, 4,030 tokens
LONG_STREAMS = 8
LONG_OUTPUT_TOKENS = 1024  # of the streams beside it: more than any server gives while it prefills
INTERACTIVE_MS = 10      # "fluent": inter-token p99 below this
SATURATED_TTFT_MS = 5000  # half the requests waited longer than this: a higher rate only makes a longer queue


@dataclasses.dataclass(frozen=True)
class Plan:
    """How much of each workload is run."""
    load: pathlib.Path  # serving_bench
    streams: tuple = (1, 4, 8, 16, 32)
    requests_per_stream: int = 3
    sending_seconds: float = 10  # no new request after this; those under way are finished
    rates: tuple = (0.5, 1, 2, 4, 8)
    rate_seconds: float = 15
    run_seconds_max: float = 180  # a run that takes longer is ended and has failed


def seed_of(index, label):
    """The same for every peer, another in every round and for every run: a prompt is never seen twice by one server."""
    return zlib.crc32(f"round {index} {label}".encode())


class Runner:
    """serving_bench against one running server, in round `index`."""

    def __init__(self, plan, server, index):
        self.plan, self.server, self.index = plan, server, index

    def run(self, label, **options):
        arguments = {"url": f"127.0.0.1:{self.server.port}", "model": servers.SERVED_NAME, "name": self.server.peer.key,
                     "prompt-words": PROMPT_WORDS, "output-tokens": OUTPUT_TOKENS, "seed": seed_of(self.index, label)}
        arguments.update({key.replace("_", "-"): value for key, value in options.items()})
        command = [self.plan.load] + [part for key, value in arguments.items() for part in (f"--{key}", value)]
        try:
            done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False,
                                  timeout=self.plan.run_seconds_max)
        except subprocess.TimeoutExpired:
            return {"failed": f"more than {self.plan.run_seconds_max:g} s"}
        if done.returncode != 0:
            return {"failed": (done.stderr.strip().splitlines() or ["the load generator failed"])[-1][:200]}
        return json.loads(done.stdout)

    def closed(self, label, streams, **options):
        return self.run(label, **{"concurrency": streams, "requests": streams * self.plan.requests_per_stream,
                                  "duration": self.plan.sending_seconds, **options})


def run_closed(runner):
    """N streams, each asking again as soon as it is answered; every prompt its own."""
    return {str(streams): runner.closed(closed_label(streams), streams) for streams in runner.plan.streams}


def closed_label(streams):
    return f"closed {streams}"


def run_shared(runner):
    """16 streams whose requests share a system prompt. It has been seen once before the clock starts."""
    runner.closed("shared", 1, requests=1, shared_words=PREFIX_WORDS, prompt_words=4, output_tokens=4)
    return {"16": runner.closed("shared", 16, shared_words=PREFIX_WORDS)}


def run_prefix(runner):
    """One stream: a request whose prefix was seen beside one of the same length whose prefix is new."""
    few = {"shared_words": PREFIX_WORDS, "prompt_words": 16, "output_tokens": 4, "requests": 6, "duration": 0}
    runner.closed("prefix seen", 1, **{**few, "requests": 1, "prompt_words": 4})
    return {"new": runner.closed("prefix new", 1, groups=few["requests"], **few),
            "seen": runner.closed("prefix seen", 1, **few)}


def run_poisson(runner):
    """Requests arrive by chance, independent of the answers; latency counts from the arrival."""
    reports, saturated = {}, None
    for rate in runner.plan.rates:
        if saturated is not None:
            reports[f"{rate:g}"] = {"skipped": f"saturated at {saturated:g} a second"}
            continue
        report = reports[f"{rate:g}"] = runner.run(f"poisson {rate:g}", rate=rate, concurrency=1024, requests=10**6,
                                                   duration=runner.plan.rate_seconds)
        if "failed" in report or report["ttft_ms"]["p50"] > SATURATED_TTFT_MS:
            saturated = rate
    return reports


def run_interactive(runner, closed):
    """The highest number of streams, up to 32, at which inter-token p99 stays below 10 ms. Takes what the closed loop has
    measured already, then halves the interval: p99 is taken to rise with the streams."""
    gaps = {int(streams): report["inter_token_ms"]["p99"] for streams, report in closed.items() if "inter_token_ms" in report}

    def is_fluent(streams):
        if streams not in gaps:
            report = runner.closed(f"interactive {streams}", streams, requests=2 * streams)
            gaps[streams] = report["inter_token_ms"]["p99"] if "failed" not in report else float("inf")
        return gaps[streams] < INTERACTIVE_MS

    return {"highest": highest_that(is_fluent, sorted(s for s in {1, 32, *gaps} if s <= 32)), "p99_ms": gaps}


def highest_that(holds, points):
    """The largest whole number for which `holds` is true, between 0 and the last of `points`, asked first at `points`."""
    low, high = 0, points[-1] + 1
    for point in points:
        if not holds(point):
            high = point
            break
        low = point
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def run_long(runner):
    """One prompt of 4k tokens arrives beside 8 decoding streams."""
    return {str(LONG_STREAMS): runner.run("long", concurrency=LONG_STREAMS, long_words=LONG_WORDS,
                                           output_tokens=LONG_OUTPUT_TOKENS)}


def warm_up(runner):
    """Thread pools, allocators and compiled paths, at one and at several streams; not measured."""
    for streams in (1, 8):
        runner.run(f"warm-up {streams}", concurrency=streams, requests=streams, output_tokens=8)


# Those with a context of 1,024 and up to 32 streams; `long` needs another shape.
SHORT_WORKLOADS = {"closed": run_closed, "shared": run_shared, "prefix": run_prefix, "poisson": run_poisson}
NAMES = (*SHORT_WORKLOADS, "interactive", "long", "start", "engine")


def run_on(server, shape, names, plan, index):
    """The wanted workloads that a server of this shape can serve: {workload: {label: report}}."""
    runner = Runner(plan, server, index)
    results = {}
    warm_up(runner)
    if shape.streams >= servers.SHORT.streams:
        for name, run in SHORT_WORKLOADS.items():
            if name in names:
                results[name] = run(runner)
        if "interactive" in names:
            results["interactive"] = run_interactive(runner, results.get("closed", {}))
    if "long" in names and shape.context >= servers.LONG.context:
        results["long"] = run_long(runner)
    if "start" in names and shape.streams >= servers.SHORT.streams:
        results["start"] = {"start": {"ready_seconds": server.ready_seconds, "first_token_seconds": server.first_token_seconds,
                                      "peak_resident_mib": server.resident_mib()}}
    return results
