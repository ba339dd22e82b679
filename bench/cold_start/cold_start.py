#!/usr/bin/env python3
"""How long nobody is served: from nothing to a first token, and from sleep to one, ours and the peers' in the same run.

Rows of a start: a request that waits in the gateway while there is no replica; `penstock replica`, llama-server and vLLM's CPU build
from the start of the process. Weights are in the page cache, and ours have been laid out once before (weight_cache). Rows of a
wake: a replica by /wake_up, from both levels of /sleep, to its answer and to the first token of a request sent then; llama-server
when a request finds it asleep (--sleep-idle-seconds). vLLM's CPU build has no sleep mode: it is for CUDA, ROCm and XPU.
Rounds go through all rows in turn (A B C, A B C), each with processes of its own.

  bench/cold_start/cold_start.py                      # five rounds of all rows; JSON and tables into build/bench/cold_start
  bench/cold_start/cold_start.py --only gateway,wake-1 --rounds 10
"""
import argparse
import contextlib
import http.client
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "bench" / "peers")]

import installers  # noqa: E402
import servers as peers  # noqa: E402
from support import servers  # noqa: E402

SHAPE = peers.Shape(streams=8, context=2048)
IDLE_SECONDS = 1  # llama-server's shortest
BODY = json.dumps({"model": peers.SERVED_NAME, "messages": [{"role": "user", "content": "What is a river?"}], "max_tokens": 2,
                   "temperature": 0, "stream": True})
MODEL = f"""
models:
  - name: {peers.SERVED_NAME}
    path: {{model}}
    max_num_seqs: {SHAPE.streams}
    max_model_len: {SHAPE.context}
    kv_cache_memory: 1GiB
    threads: THREADS
"""
GATEWAY = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
""" + MODEL + "    autoscale: {max: 1, min: 0}\n"


def first_token(connection):
    """Seconds from sending the request to the first piece of text."""
    with contextlib.closing(connection):
        start = time.monotonic()
        connection.request("POST", "/v1/chat/completions", BODY, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        for line in answer:
            if line.startswith(b"data: {") and any(choice["delta"].get("content")
                                                   for choice in json.loads(line[6:]).get("choices", [])):
                seconds = time.monotonic() - start
                answer.read()
                return seconds
        raise peers.ServerFailed(f"no first token: status {answer.status}")


def post(server, path):
    with contextlib.closing(server.connection(120)) as connection:
        connection.request("POST", path)
        answer = connection.getresponse()
        if answer.status != 200:
            raise peers.ServerFailed(f"{path}: {answer.status} {answer.read()[:200]!r}")
        answer.read()


def text_of(args, text):
    return text.replace("THREADS", str(args.threads))


def measure_gateway(args, scratch):
    server = servers.start_gateway(args.penstock, args.model, scratch, text_of(args, GATEWAY))
    try:
        server.wait_until_ready()  # of a model that may have no replica
        return {"first token": first_token(server.connection(120))}
    finally:
        server.stop()


def measure_start(key):
    def measure(args, scratch):
        peer = next(peer for peer in peers.SERVERS if peer.key == key)
        settings = peers.Settings(args.model, args.penstock, args.threads, scratch)
        with peers.RunningServer(peer, settings, SHAPE) as server:
            return {"ready": server.ready_seconds, "first token": server.first_token_seconds}
    return measure


def measure_wake(level):
    def measure(args, scratch):
        server = servers.start_replica(args.penstock, args.model, scratch, text_of(args, MODEL), peers.SERVED_NAME, True)
        try:
            server.wait_until_ready()
            first_token(server.connection())
            end = time.monotonic() + 10
            while True:  # until it has let go of that request
                try:
                    post(server, f"/sleep?level={level}")
                    break
                except peers.ServerFailed:
                    if time.monotonic() > end:
                        raise
                    time.sleep(0.01)
            start = time.monotonic()
            post(server, "/wake_up")
            ready = time.monotonic() - start
            return {"ready": ready, "first token": ready + first_token(server.connection())}
        finally:
            server.stop()
    return measure


def measure_llama_wake(args, scratch):
    plain = next(peer for peer in peers.SERVERS if peer.key == "llama-fa")

    def command(settings, shape, port):
        return [*plain.command(settings, shape, port), "--sleep-idle-seconds", IDLE_SECONDS]

    sleeper = peers.Peer("llama-sleep", "llama-server", command, is_sized_beforehand=True)
    settings = peers.Settings(args.model, args.penstock, args.threads, scratch)
    with peers.RunningServer(sleeper, settings, SHAPE) as server:
        time.sleep(IDLE_SECONDS + 1)  # it looks at its clock now and then
        if "sleeping" not in server.last_words():
            raise peers.ServerFailed(f"it did not fall asleep: {server.last_words()}")
        return {"first token": first_token(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60))}


ROWS = {
    "gateway": ("start", "penstock, gateway with no replica: a held request", measure_gateway),
    "penstock": ("start", "penstock replica", measure_start("penstock")),
    "llama-fa": ("start", "llama-server, flash attention", measure_start("llama-fa")),
    "vllm": ("start", "vLLM CPU, bfloat16", measure_start("vllm")),
    "wake-1": ("wake", "penstock replica, level 1 (weights in memory)", measure_wake(1)),
    "wake-2": ("wake", "penstock replica, level 2 (weights in a file)", measure_wake(2)),
    "llama-wake": ("wake", "llama-server, --sleep-idle-seconds", measure_llama_wake),
}


def run_row(args, key):
    with tempfile.TemporaryDirectory() as folder:
        try:
            return ROWS[key][2](args, pathlib.Path(folder))
        except (peers.ServerFailed, OSError, RuntimeError, TimeoutError, ValueError) as error:
            return {"failed": str(error)}


def cell(values):
    return f"{statistics.median(values) * 1e3:,.0f} ({min(values) * 1e3:,.0f} to {max(values) * 1e3:,.0f})" if values else "-"


def table(report, kind):
    lines = [f"| {kind} | ready, ms | first token, ms | rounds |", "|---|---|---|---|"]
    for key, results in report.items():
        if ROWS[key][0] != kind:
            continue
        good = [result for result in results if "failed" not in result]
        failed = next((result["failed"] for result in results if "failed" in result), None)
        values = [[result[name] for result in good if name in result] for name in ("ready", "first token")]
        note = f"{len(good)}" if failed is None else f"{len(good)} of {len(results)}: {failed[-120:]}"
        lines.append(f"| {ROWS[key][1]} | {cell(values[0])} | {cell(values[1])} | {note} |")
    return "\n".join(lines)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, default=installers.HOME / "models/SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--penstock", type=pathlib.Path, default=ROOT / "build/release/penstock")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", help="rows, by comma: " + ", ".join(ROWS))
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "build/bench/cold_start")
    args = parser.parse_args()
    args.rows = args.only.split(",") if args.only else list(ROWS)
    if unknown := [key for key in args.rows if key not in ROWS]:
        parser.error(f"no such row: {', '.join(unknown)}")
    return args


def install(args):
    """What is not there and cannot be had is a row that fails with the reason."""
    for key, step in (("llama-fa", installers.install_llama_cpp), ("vllm", lambda: installers.install_safetensors(args.model))):
        if key in args.rows:
            try:
                step()
            except installers.InstallFailed as error:
                print(f"{key}: {error}", file=sys.stderr)


def main():
    args = parse_arguments()
    install(args)
    args.out.mkdir(parents=True, exist_ok=True)
    report = {key: [] for key in args.rows}
    for number in range(args.rounds):
        for key in args.rows:
            report[key].append(run_row(args, key))
            print(f"round {number + 1}, {key}: {report[key][-1]}", file=sys.stderr, flush=True)
            (args.out / "cold_start.json").write_text(json.dumps({"load": os.getloadavg(), "rows": report}, indent=1))
    text = "\n\n".join(table(report, kind) for kind in ("start", "wake"))
    (args.out / "cold_start.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
