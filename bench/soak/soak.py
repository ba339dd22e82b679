#!/usr/bin/env python3
"""Mixed load on the whole server, and what its processes hold over time.

usage: soak.py [--minutes 30] [--growth-mib 8] [--out FILE.json] ...

Starts `penstock serve` (gateway and replica) with a cache small enough to be in use as a whole within the warm-up, sends
short and long prompts, shared prefixes, conversations, streams that are left in the middle and requests that must be
refused, and samples resident memory, open files and blocks in use. At first, before the load: what a cached token and a
running sequence take. Exit status 1 when a process grew by more than the limit between the first and the last third of
the time after the warm-up, when open files or blocks are left behind, or when an answer was not what it must be.
"""
import argparse
import datetime
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

import load
import watch

ROOT = pathlib.Path(__file__).resolve().parents[2]
HOME = pathlib.Path(os.environ.get("PENSTOCK_HOME") or
                    pathlib.Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "penstock")
MODEL = HOME / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
NAME = "soaked"
STREAMS_FEW, STREAMS_MANY = 8, 64  # the difference is what sequences take, without what the first ones bring along
FDS_LEFT_MAX = 4                   # beyond those of the idle server: probes come and go
SETTLE_S = 30                      # for the last answers, and for connections kept alive to reach their idle_timeout
CONFIG = """server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
limits:
  idle_timeout: 5s
models:
  - name: {name}
    path: {model}
    max_model_len: 2048
    max_num_seqs: {streams}
    kv_cache_memory: {cache_mib}MiB
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_ready(server, port, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise SystemExit(f"the server ended with {server.returncode}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.05)
    raise SystemExit(f"the server was not ready after {seconds} s")


class Soak:
    def __init__(self, args, server, port):
        self.args, self.port = args, port
        self.processes = watch.processes_of(server.pid)
        self.replica = next(p for p in self.processes if p.name == "replica")
        self.start = time.monotonic()
        self.samples = []

    def sample(self):
        metrics, cache = watch.replica_metrics(self.replica)
        # The share counts what running sequences hold; the rest of the cache keeps prefixes and is as resident.
        self.samples.append({
            "seconds": time.monotonic() - self.start, "cache_used": metrics["vllm:kv_cache_usage_perc"],
            "blocks_used": round(metrics["vllm:kv_cache_usage_perc"] * cache["num_gpu_blocks"]),
            "running": int(metrics["vllm:num_requests_running"]), "waiting": int(metrics["vllm:num_requests_waiting"]),
            "processes": {p.name: p.sample() for p in self.processes}})
        return self.samples[-1]

    def resident(self):
        return {p.name: p.sample()["rss_bytes"] for p in self.processes}

    def serving_bench(self, *options):
        command = [self.args.load, "--url", f"127.0.0.1:{self.port}", "--model", NAME, *options]
        subprocess.run([str(part) for part in command], check=True, capture_output=True)

    def measure_sizes(self):
        """Bytes of a cached token and of a running sequence, by how the processes grow."""
        _, cache = watch.replica_metrics(self.replica)
        tokens = cache["num_gpu_blocks"] * cache["block_size"]
        self.serving_bench("--concurrency", 1, "--requests", 1, "--prompt-words", 20, "--output-tokens", 2)
        before = self.resident()
        # Unique prompts, half as many tokens again as the cache has: every block has been written.
        self.serving_bench("--concurrency", 1, "--requests", tokens * 3 // 2 // 1200 + 1, "--prompt-words", 1200,
                           "--output-tokens", 1)
        full = self.resident()
        few, many = self.resident_with_streams(STREAMS_FEW), self.resident_with_streams(STREAMS_MANY)
        return {"cached_token_bytes": (full["replica"] - before["replica"]) / tokens, "cache_tokens": tokens,
                "sequence_bytes": {name: (many[name] - few[name]) / (STREAMS_MANY - STREAMS_FEW) for name in few}}

    def resident_with_streams(self, count):
        """Largest resident bytes while `count` requests are there, running or waiting for a slot."""
        run = threading.Thread(target=self.serving_bench, args=(
            "--concurrency", count, "--requests", count, "--prompt-words", 10, "--output-tokens", 64))
        run.start()
        largest = self.resident()
        while run.is_alive():
            now = self.sample()
            if now["running"] + now["waiting"] >= count * 3 // 4:
                largest = {name: max(largest[name], p["rss_bytes"]) for name, p in now["processes"].items()}
            time.sleep(0.05)
        run.join()
        return largest

    def show(self, now, traffic):
        if len(self.samples) % 12 != 0:
            return
        held = ", ".join(f"{name} {p['rss_bytes'] / 2**20:.1f} MiB {p['fds']} files"
                         for name, p in now["processes"].items())
        print(f"{now['seconds']:6.0f} s  {held}, {now['running']} running, {now['blocks_used']} blocks in use, "
              f"{traffic.counts['requests']} requests", file=sys.stderr, flush=True)

    def run_load(self):
        """Samples under load; returns the load and the second from which samples count."""
        traffic = load.Load(self.args.load, self.port, NAME)
        traffic.start()
        counted_from = time.monotonic() - self.start + self.args.warmup
        end = time.monotonic() + self.args.warmup + 60 * self.args.minutes
        try:
            while time.monotonic() < end:
                self.show(self.sample(), traffic)
                time.sleep(self.args.interval)
        finally:
            traffic.stop()
        return traffic, counted_from

    def settle(self, idle):
        """The last sample: when nothing runs and the connections have gone, or after SETTLE_S."""
        deadline = time.monotonic() + SETTLE_S
        while True:
            now = self.sample()
            files_left = max(now["processes"][p.name]["fds"] - idle["processes"][p.name]["fds"] for p in self.processes)
            if now["running"] + now["waiting"] + now["blocks_used"] == 0 and files_left <= FDS_LEFT_MAX:
                return now
            if time.monotonic() > deadline:
                return now
            time.sleep(0.5)


def judge(soak, idle, left, traffic, counted_from):
    """(trends by process, texts of what is wrong)"""
    counted = [s for s in soak.samples if counted_from <= s["seconds"] <= counted_from + 60 * soak.args.minutes]
    times = [s["seconds"] for s in counted]
    wrong = list(traffic.failures)
    trends = {}
    for process in soak.processes:
        name = process.name
        trends[name] = {field: watch.trend(times, [s["processes"][name][field] for s in counted])
                        for field in ("rss_bytes", "fds", "threads")}
        growth = trends[name]["rss_bytes"]["growth"] / 2**20
        if growth > soak.args.growth_mib:
            wrong.append(f"{name} grew by {growth:.1f} MiB, more than {soak.args.growth_mib}")
        extra = left["processes"][name]["fds"] - idle["processes"][name]["fds"]
        if extra > FDS_LEFT_MAX:
            wrong.append(f"{name} kept {extra} files open")
    if left["running"] + left["waiting"] + left["blocks_used"] != 0:
        wrong.append(f"{left['running']} requests and {left['blocks_used']} blocks were left behind")
    if traffic.counts["errors"] > 0:
        wrong.append(f"{traffic.counts['errors']} requests failed")
    return trends, wrong


def print_table(trends, sizes, counts):
    print("| process | resident, first third | last third | slope | files open, first and last third |")
    print("|---|---|---|---|---|")
    for name, fields in trends.items():
        memory, files = fields["rss_bytes"], fields["fds"]
        print(f"| {name} | {memory['first_third'] / 2**20:.1f} MiB | {memory['last_third'] / 2**20:.1f} MiB "
              f"| {memory['slope_per_s'] * 60 / 1024:+.1f} KiB a minute "
              f"| {files['first_third']:.0f}, {files['last_third']:.0f} |")
    sequence = ", ".join(f"{bytes_ / 1024:.0f} KiB in the {name}" for name, bytes_ in sizes["sequence_bytes"].items())
    print(f"\nA cached token takes {sizes['cached_token_bytes']:.0f} bytes, a running sequence {sequence}.")
    print(", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items()))


def run(args, server, port):
    wait_ready(server, port)
    soak = Soak(args, server, port)
    idle = soak.sample()
    sizes = soak.measure_sizes()
    traffic, counted_from = soak.run_load()
    left = soak.settle(idle)
    trends, wrong = judge(soak, idle, left, traffic, counted_from)
    print_table(trends, sizes, traffic.counts)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({
        "benchmark": "soak", "date": datetime.date.today().isoformat(), "minutes": args.minutes,
        "warmup_s": args.warmup, "growth_mib_max": args.growth_mib, "wrong": wrong, "trends": trends, "sizes": sizes,
        "counts": traffic.counts, "samples": soak.samples}, indent=1))
    watch.write_svg(args.out.with_suffix(".svg"), soak.samples, [p.name for p in soak.processes], counted_from)
    for text in wrong:
        print(f"wrong: {text}", file=sys.stderr)
    return 1 if wrong else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30, help="of load after the warm-up")
    parser.add_argument("--warmup", type=float, default=60, help="seconds of load that do not count")
    parser.add_argument("--interval", type=float, default=5, help="seconds between samples")
    parser.add_argument("--growth-mib", type=float, default=8, help="a process may grow by so much")
    parser.add_argument("--cache-mib", type=int, default=256)
    parser.add_argument("--model", type=pathlib.Path, default=MODEL)
    parser.add_argument("--penstock", type=pathlib.Path, default=ROOT / "build/release/penstock")
    parser.add_argument("--load", type=pathlib.Path, default=ROOT / "build/release/bench/serving/serving_bench")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "build/bench/soak.json")
    args = parser.parse_args()
    for needed in (args.model, args.penstock, args.load):
        if not needed.exists():
            raise SystemExit(f"{needed} is not there; run tools/serve once")
    port = free_port()
    with tempfile.TemporaryDirectory() as scratch:
        config, log = pathlib.Path(scratch) / "soak.yaml", pathlib.Path(scratch) / "server.log"
        config.write_text(CONFIG.format(port=port, admin_port=free_port(), name=NAME, model=args.model,
                                        streams=STREAMS_MANY, cache_mib=args.cache_mib))
        with open(log, "wb") as output:
            server = subprocess.Popen([str(args.penstock), "serve", str(config)], stdout=output, stderr=output,
                                      start_new_session=True)
        try:
            return run(args, server, port)
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(40)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()


if __name__ == "__main__":
    sys.exit(main())
