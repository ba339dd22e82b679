#!/usr/bin/env python3
"""The routing policies side by side: the same conversations and shared prefixes over four local replicas.

Each policy has a gateway of its own with four replicas of its own, all started at once; vllm-router (PyPI), if it installs, stands
before four more. Then the policies take turns, round by round: each does the same work of the round, whose prompts nobody has seen
before, while all others are idle. So drift of the machine hits all alike. Two loads run at once: conversations that carry their
answers, and groups of requests with a long beginning in common. The caches together hold about half of what a round touches.

  bench/routing/routing.py                    # three rounds; JSON and a table into build/bench/routing
  bench/routing/routing.py --quick            # one short round
"""
import argparse
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "bench" / "peers")]

import installers  # noqa: E402
from support import servers  # noqa: E402

REPLICAS = 4
POLICIES = ["predicted_ttft", "least_load", "round_robin", "consistent_hash"]
ROUTER = "vllm-router"
ROUTER_VERSION = "0.1.17"
ROUTER_VENV = installers.PEERS / f"vllm-router-{ROUTER_VERSION}"
NAME = "smollm2"

MODEL = """
models:
  - name: smollm2
    path: {model}
    replicas: REPLICAS
    threads: 1
    max_model_len: 2048
    max_num_seqs: 16
    kv_cache_memory: CACHE
"""
CONFIG = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
routing:
  policy: POLICY
""" + MODEL

# serving_bench's options; the requests of a round are `requests`.
LOADS = {
    "turns": {"requests": 48, "options": ["--concurrency", 6, "--turns", 6, "--prompt-words", 60, "--output-tokens", 24]},
    "shared": {"requests": 48, "options": ["--concurrency", 4, "--shared-words", 350, "--groups", 12, "--prompt-words", 30,
                                           "--output-tokens", 16]},
}


def install_router():
    if installers.is_installed(ROUTER_VENV):
        return
    installers.make_venv(ROUTER_VENV)
    installers.pip_install(ROUTER_VENV, f"vllm-router=={ROUTER_VERSION}")
    (ROUTER_VENV / ".installed").touch()


def start_policy(args, scratch, policy):
    text = CONFIG.replace("POLICY", policy).replace("REPLICAS", str(REPLICAS)).replace("CACHE", args.cache)
    server = servers.start_gateway(args.penstock, args.model, scratch, text)
    server.wait_until_ready()
    server.wait_for_replicas()
    return [server]


def start_router(args, scratch):
    """Four replicas on TCP, and the router before them with its own choice by prefix."""
    text = MODEL.replace("REPLICAS", "1").replace("CACHE", args.cache)
    replicas = [servers.start_replica(args.penstock, args.model, scratch, text, NAME) for _ in range(REPLICAS)]
    for replica in replicas:
        replica.wait_until_ready()
    port, metrics_port = servers.free_port(), servers.free_port()
    command = [ROUTER_VENV / "bin/vllm-router", "--host", "127.0.0.1", "--port", port, "--policy", "cache_aware", "--log-level", "error",
               "--prometheus-port", metrics_port, "--worker-urls", *(replica.url for replica in replicas)]
    router = servers.Server(ROUTER, command, scratch / "router.log", "127.0.0.1", port)
    try:
        wait_for_router(router)
    except Exception:
        stop([router, *replicas])
        raise
    return [router, *replicas]


def wait_for_router(router):
    """It has no /readyz: a model list is asked for."""
    for _ in range(300):
        if not router.is_running():
            raise installers.InstallFailed(f"it ended: {router.log_tail()[-300:]}")
        with contextlib.suppress(OSError):
            if router.get("/v1/models", timeout=2)[0] == 200:
                return
        time.sleep(0.2)
    raise installers.InstallFailed("it was not ready after a minute")


def stop(processes):
    for process in processes:
        process.stop()


def run_round(args, server, seed, scale):
    """Both loads at once; {load: report}."""
    running = {}
    for load, row in LOADS.items():
        command = [args.serving_bench, "--url", f"127.0.0.1:{server.port}", "--model", NAME, "--name", load, "--seed", seed,
                   "--requests", max(int(row["requests"] * scale), 8), *row["options"]]
        running[load] = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    reports = {}
    for load, process in running.items():
        output, errors = process.communicate(timeout=600)
        if process.returncode != 0 or not output:
            raise RuntimeError(f"{load}: {errors.strip()[-300:]}")
        reports[load] = json.loads(output)
    return reports


def figures(rounds):
    """Medians over the rounds, with the smallest and largest."""
    def spread(values):
        return {"median": statistics.median(values), "min": min(values), "max": max(values)}

    out = {}
    for load in LOADS:
        reports = [each[load] for each in rounds]
        out[load] = {
            "hit_rate": spread([report["cached_tokens"] / max(report["prompt_tokens"], 1) for report in reports]),
            "ttft_p50_ms": spread([report["ttft_ms"]["p50"] for report in reports]),
            "ttft_p95_ms": spread([report["ttft_ms"]["p95"] for report in reports]),
            "seconds": spread([report["seconds"] for report in reports]),
            "errors": sum(report["errors"] for report in reports),
        }
    return out


def table(results):
    lines = ["| policy | load | hit rate | TTFT p50, ms | TTFT p95, ms | time, s | errors |", "|---|---|---|---|---|---|---|"]
    for policy, loads in results.items():
        for load, row in loads.items():
            def cell(key, digits):
                value = row[key]
                return f"{value['median']:.{digits}f} ({value['min']:.{digits}f} to {value['max']:.{digits}f})"
            lines.append(f"| `{policy}` | {load} | {cell('hit_rate', 2)} | {cell('ttft_p50_ms', 0)} | {cell('ttft_p95_ms', 0)} | "
                         f"{cell('seconds', 1)} | {row['errors']} |")
    return "\n".join(lines) + "\n"


def arguments():
    home = installers.HOME
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=pathlib.Path, default=home / "models/SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--penstock", type=pathlib.Path, default=ROOT / "build/release/penstock")
    parser.add_argument("--serving-bench", type=pathlib.Path, default=ROOT / "build/release/bench/serving/serving_bench")
    parser.add_argument("--cache", default="48MiB", help="KV cache of a replica")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1, help="of the requests of a round")
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--only", default=",".join([*POLICIES, ROUTER]))
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "build/bench/routing")
    args = parser.parse_args()
    return args


def main():
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    wanted = args.only.split(",")
    rounds, scale = (1, 0.25) if args.quick else (args.rounds, args.scale)
    started, reports, left_out = {}, {}, {}
    with tempfile.TemporaryDirectory() as scratch_name:
        scratch = pathlib.Path(scratch_name)
        try:
            for policy in wanted:
                try:
                    if policy == ROUTER:
                        install_router()
                        started[policy] = start_router(args, scratch)
                    else:
                        started[policy] = start_policy(args, scratch, policy)
                except (installers.InstallFailed, OSError) as error:
                    left_out[policy] = str(error)
                    print(f"{policy} is left out: {error}", file=sys.stderr)
            for number in range(rounds):
                turns = list(started)
                for policy in turns[number % len(turns):] + turns[:number % len(turns)]:  # nobody is always the first
                    report = run_round(args, started[policy][0], 1000 + number, scale)
                    reports.setdefault(policy, []).append(report)
                    print(f"round {number + 1} {policy}: " + ", ".join(
                        f"{load} hit {row['cached_tokens'] / max(row['prompt_tokens'], 1):.2f} ttft p50 {row['ttft_ms']['p50']:.0f} ms"
                        for load, row in report.items()), file=sys.stderr)
        finally:
            for processes in started.values():
                stop(processes)
    results = {policy: figures(each) for policy, each in reports.items()}
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    document = {"commit": commit, "cores": os.cpu_count(), "replicas": REPLICAS, "cache": args.cache, "loads": LOADS, "scale": scale,
                "left_out": left_out, "results": results, "reports": reports}
    (args.out / "routing.json").write_text(json.dumps(document, indent=1) + "\n")
    (args.out / "routing.md").write_text(table(results))
    print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
