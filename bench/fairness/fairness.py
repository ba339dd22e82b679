#!/usr/bin/env python3
"""What a flood by one tenant costs another, and how evenly equal tenants in backlog are served.

One gateway with one replica. First a tenant alone asks one short question after the other (quiet); then the same while another
keeps 64 streams open (flood): its time to first token, and how long it waited for a slot, are compared. Then four equal tenants
keep 16 streams each, of different lengths, for a while: Jain's index of the tokens that they got.

  bench/fairness/fairness.py                 # about a minute and a half; JSON and a table into build/bench/fairness
  bench/fairness/fairness.py --quick
"""
import argparse
import hashlib
import http.client
import json
import os
import pathlib
import statistics
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests")]

from support import servers  # noqa: E402

KEYS = ["flood", "quiet", "a", "b", "c", "d"]
CONFIG = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
auth:
  keys:
""" + "".join(f"    - {{name: {key}, sha256: {hashlib.sha256(key.encode()).hexdigest()}}}\n" for key in KEYS) + """
models:
  - name: smollm2
    path: {model}
    max_model_len: 2048
    max_num_seqs: SEQUENCES
"""


def ask(server, key, prompt, max_tokens, stop=None, count=lambda: None):
    """(seconds to the first token, milliseconds in the queue) of a streaming request; `count` is called for each token."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    body = {"model": "smollm2", "prompt": prompt, "max_tokens": max_tokens, "stream": True, "ignore_eos": True}
    start, first = time.monotonic(), None
    connection.request("POST", "/v1/completions", json.dumps(body),
                       {"authorization": f"Bearer {key}", "content-type": "application/json"})
    answer = connection.getresponse()
    queued = int(answer.getheader("x-queue-wait-ms") or 0)
    for line in answer:
        if line.startswith(b"data: {"):
            first = first or time.monotonic() - start
            count()
        if stop is not None and stop.is_set():
            break
    connection.close()
    return first, queued


def flood(server, key, streams, max_tokens, stop, counts):
    """Keeps so many streams open until it is told to stop."""
    def count():
        counts[key] = counts.get(key, 0) + 1

    def run(index):
        turn = 0
        while not stop.is_set():
            turn += 1
            ask(server, key, f"Story {index} of {turn}:", max_tokens, stop, count)

    threads = [threading.Thread(target=run, args=(index,), daemon=True) for index in range(streams)]
    for thread in threads:
        thread.start()
    return threads


def questions(server, count, words):
    answers = []
    for number in range(count):
        answers.append(ask(server, "quiet", f"Question {number}. " + "river mill stone " * (words // 3), 8))
        time.sleep(0.05)
    times = sorted(answer[0] * 1e3 for answer in answers)
    return {"count": count, "ttft_p50_ms": round(statistics.median(times), 1),
            "ttft_p99_ms": round(times[min(len(times) - 1, int(len(times) * 0.99))], 1),
            "queued_max_ms": max(answer[1] for answer in answers)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--sequences", type=int, default=16, help="max_num_seqs")
    parser.add_argument("--words", type=int, default=60, help="of a question")
    parser.add_argument("--binary", type=pathlib.Path, default=ROOT / "build/release/penstock")
    parser.add_argument("--model", type=pathlib.Path, default=os.environ.get(
        "PENSTOCK_TEST_MODEL", pathlib.Path.home() / ".cache/penstock/models/SmolLM2-135M-Instruct.Q4_1.gguf"))
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "build/bench/fairness")
    options = parser.parse_args()
    count, seconds = (20, 6) if options.quick else (100, 20)
    options.out.mkdir(parents=True, exist_ok=True)
    result = {"sequences": options.sequences, "words": options.words}
    with tempfile.TemporaryDirectory() as folder:
        server = servers.start_gateway(options.binary, options.model, pathlib.Path(folder),
                                       CONFIG.replace("SEQUENCES", str(options.sequences)), (), None)
        try:
            server.wait_until_ready()
            questions(server, 5, options.words)
            result["quiet"] = questions(server, count, options.words)
            stop, counts = threading.Event(), {}
            threads = flood(server, "flood", 64, 128, stop, counts)
            time.sleep(2)
            result["flood"] = questions(server, count, options.words)
            stop.set()
            for thread in threads:
                thread.join(120)
            stop, counts = threading.Event(), {}
            threads = [thread for key, tokens in (("a", 32), ("b", 64), ("c", 128), ("d", 256))
                       for thread in flood(server, key, 16, tokens, stop, counts)]
            time.sleep(2)
            before = dict(counts)
            time.sleep(seconds)
            got = {key: counts[key] - before.get(key, 0) for key in counts}
            stop.set()
            for thread in threads:
                thread.join(120)
        finally:
            server.stop()
    values = list(got.values())
    result["backlog"] = {"tokens": got, "jain": round(sum(values) ** 2 / (len(values) * sum(v * v for v in values)), 4)}
    result["ttft_p99_ratio"] = round(result["flood"]["ttft_p99_ms"] / result["quiet"]["ttft_p99_ms"], 2)
    result["ttft_p50_ratio"] = round(result["flood"]["ttft_p50_ms"] / result["quiet"]["ttft_p50_ms"], 2)
    (options.out / "fairness.json").write_text(json.dumps(result, indent=1))
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
