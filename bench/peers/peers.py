#!/usr/bin/env python3
"""Penstock beside its peers: same model file, same prompts, same threads, interleaved in one run.

usage: peers.py [--install] [--rounds N] [--streams 1,16] [--requests-per-stream N] [--threads N] [--out FILE]

A round starts each server in turn (A B C, then A B C again), so that a machine that drifts drifts for all of them.
Servers: penstock (replica role, no gateway before it), and llama-server twice: flash attention on and off, since which is
faster depends on the batch. `--install` builds llama.cpp natively from the source package of llama-cpp-python.
The table says medians over rounds, the spread (min to max), and the ratio of penstock to the better peer.
"""
import argparse
import datetime
import json
import os
import pathlib
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
HOME = pathlib.Path(os.environ.get("PENSTOCK_HOME") or
                    pathlib.Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "penstock")
LLAMA_CPP_PYTHON = "0.3.36"
LLAMA_SERVER = HOME / "peers" / f"llama.cpp-{LLAMA_CPP_PYTHON}" / "bin" / "llama-server"
MODEL = HOME / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
SERVED_NAME = "smollm2-135m-instruct"


def install_llama_cpp():
    """Builds llama-server for this CPU from the pinned source package."""
    if LLAMA_SERVER.exists():
        return
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:",
                        f"llama-cpp-python=={LLAMA_CPP_PYTHON}", "-d", scratch], check=True)
        archive = next(pathlib.Path(scratch).glob("*.tar.gz"))
        with tarfile.open(archive) as tar:
            tar.extractall(scratch, filter="data")
        source = next(pathlib.Path(scratch).glob("llama_cpp_python-*/vendor/llama.cpp"))
        build = pathlib.Path(scratch) / "build"
        flags = ["-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON", "-DLLAMA_BUILD_SERVER=ON", "-DLLAMA_BUILD_UI=OFF",
                 "-DLLAMA_CURL=OFF", "-DLLAMA_OPENSSL=OFF", "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF"]
        if "amx_tile" in pathlib.Path("/proc/cpuinfo").read_text():
            # gcc 12 moves stores behind _tile_loadconfig and the result faults; gcc 13 does not.
            flags += ["-DCMAKE_C_FLAGS=-mno-amx-tile", "-DCMAKE_CXX_FLAGS=-mno-amx-tile"]
        subprocess.run(["cmake", "-S", source, "-B", build, "-G", "Ninja", *flags], check=True)
        subprocess.run(["ninja", "-C", build, "llama-server"], check=True)
        LLAMA_SERVER.parent.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(build / "bin", LLAMA_SERVER.parent, dirs_exist_ok=True, symlinks=True)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def penstock_command(args, port, scratch, streams):
    config = scratch / "penstock.yaml"
    config.write_text(f"""models:
  - name: {SERVED_NAME}
    path: {args.model}
    threads: {args.threads}
    max_num_seqs: {max(streams)}
    max_model_len: 1024
    kv_cache_memory: {max(streams) * 1024 * 23040 * 2}
""")
    return [args.penstock, "replica", config, "--model", SERVED_NAME, "--listen", f"127.0.0.1:{port}"]


def llama_command(args, port, streams, flash_attention):
    slots = max(streams)
    return [args.llama_server, "-m", args.model, "--host", "127.0.0.1", "--port", port, "-t", args.threads, "-np", slots,
            "-c", slots * 1024, "-fa", flash_attention, "--no-webui"]


def wait_ready(url, process, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"{url}: the server ended with {process.returncode}")
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.05)
    raise SystemExit(f"{url}: not ready after {seconds} s")


def measure(args, name, command, port, streams, seed):
    """Starts one server, runs the load at every stream count, ends it. Returns {streams: report}."""
    log = tempfile.TemporaryFile()
    process = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log, start_new_session=True)
    reports = {}
    try:
        wait_ready(f"http://127.0.0.1:{port}", process)
        for count in streams:
            base = [args.load, "--url", f"127.0.0.1:{port}", "--model", SERVED_NAME, "--name", name,
                    "--prompt-words", args.prompt_words, "--output-tokens", args.output_tokens,
                    "--concurrency", count]
            subprocess.run([str(x) for x in base + ["--requests", count, "--output-tokens", 8, "--seed", 99]],
                           check=True, capture_output=True)
            done = subprocess.run([str(x) for x in base + ["--requests", count * args.requests_per_stream, "--seed", seed]],
                                  check=True, capture_output=True, text=True)
            reports[count] = json.loads(done.stdout)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return reports


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def summarise(rounds, streams):
    summary = {}
    for count in streams:
        row = summary[str(count)] = {}
        for name in rounds[0]:
            reports = [r[name][count] for r in rounds]
            row[name] = {
                "output_tokens_per_second": spread([r["output_tokens_per_second"] for r in reports]),
                "ttft_p50_ms": spread([r["ttft_ms"]["p50"] for r in reports]),
                "ttft_p99_ms": spread([r["ttft_ms"]["p99"] for r in reports]),
                "inter_token_p50_ms": spread([r["inter_token_ms"]["p50"] for r in reports]),
                "inter_token_p99_ms": spread([r["inter_token_ms"]["p99"] for r in reports]),
            }
        peers = [n for n in row if n != "penstock"]
        ratios = [r["penstock"][count]["output_tokens_per_second"] /
                  max(r[p][count]["output_tokens_per_second"] for p in peers) for r in rounds]
        row["ratio_to_better_peer"] = spread(ratios)
    return summary


def print_table(summary):
    print("| streams | server | output tok/s (min..max) | TTFT p50/p99 ms | inter-token p50/p99 ms |")
    print("|---|---|---|---|---|")
    for count, row in summary.items():
        for name, cell in row.items():
            if name == "ratio_to_better_peer":
                continue
            speed = cell["output_tokens_per_second"]
            print(f"| {count} | {name} | {speed['median']:.0f} ({speed['min']:.0f}..{speed['max']:.0f}) "
                  f"| {cell['ttft_p50_ms']['median']:.0f}/{cell['ttft_p99_ms']['median']:.0f} "
                  f"| {cell['inter_token_p50_ms']['median']:.1f}/{cell['inter_token_p99_ms']['median']:.1f} |")
        ratio = row["ratio_to_better_peer"]
        print(f"| {count} | **ratio to the better peer** | **{ratio['median']:.2f}** "
              f"({ratio['min']:.2f}..{ratio['max']:.2f}) | | |")


def machine():
    info = pathlib.Path("/proc/cpuinfo").read_text()
    model = next((l.split(":", 1)[1].strip() for l in info.splitlines() if l.startswith("model name")), "unknown")
    flags = next((l for l in info.splitlines() if l.startswith("flags")), "")
    features = [f for f in ("avx2", "avx_vnni", "avx512_vnni", "amx_int8") if f in flags.split()]
    return {"cpu": model, "features": features, "cores": os.cpu_count(), "kernel": platform.release()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--install", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--streams", default="1,16")
    parser.add_argument("--requests-per-stream", type=int, default=3)
    parser.add_argument("--prompt-words", type=int, default=100)
    parser.add_argument("--output-tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--model", type=pathlib.Path, default=MODEL)
    parser.add_argument("--penstock", type=pathlib.Path, default=ROOT / "build/release/penstock")
    parser.add_argument("--load", type=pathlib.Path, default=ROOT / "build/release/bench/serving/serving_bench")
    parser.add_argument("--llama-server", type=pathlib.Path, default=LLAMA_SERVER)
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "build/bench/peers.json")
    args = parser.parse_args()
    if args.install:
        install_llama_cpp()
    for needed in (args.model, args.penstock, args.load, args.llama_server):
        if not needed.exists():
            raise SystemExit(f"{needed} is not there; run tools/serve once, and this with --install")
    streams = [int(s) for s in args.streams.split(",")]
    rounds = []
    with tempfile.TemporaryDirectory() as scratch:
        for index in range(args.rounds):
            result = {}
            for name in ("penstock", "llama-server fa=on", "llama-server fa=off"):
                port = free_port()
                command = (penstock_command(args, port, pathlib.Path(scratch), streams) if name == "penstock"
                           else llama_command(args, port, streams, name.rsplit("=", 1)[1]))
                result[name] = measure(args, name, command, port, streams, seed=index + 1)
                for count in streams:
                    print(f"round {index + 1} {name}: {count} streams, "
                          f"{result[name][count]['output_tokens_per_second']:.1f} tok/s", file=sys.stderr, flush=True)
            rounds.append(result)
    summary = summarise(rounds, streams)
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({
        "date": datetime.date.today().isoformat(), "commit": commit, "machine": machine(), "threads": args.threads,
        "prompt_words": args.prompt_words, "output_tokens": args.output_tokens, "summary": summary,
        "rounds": rounds}, indent=1))
    print_table(summary)


if __name__ == "__main__":
    main()
