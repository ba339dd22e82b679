#!/usr/bin/env python3
"""What a flood by one tenant costs another, and how evenly equal tenants in backlog are served.

One gateway with one replica. Flood: a tenant alone asks one short question after the other (quiet), then the same while another
tenant keeps 64 streams open (flood), in turns: the time to its first token is compared. Backlog: four equal tenants keep 16
streams each, whose answers are 32, 64, 128 and 256 tokens long: Jain's index of the tokens that they got, over windows of
several lengths.

  bench/fairness/fairness.py                     # about three minutes; JSON and a table into build/bench/fairness
  bench/fairness/fairness.py --case flood --repeats 1
"""
import argparse
import hashlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import clients

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests")]

from support import servers  # noqa: E402

BACKLOG = {"a": 32, "b": 64, "c": 128, "d": 256}
KEYS = ["flood", "quiet", *BACKLOG]
WINDOWS_S = (2, 6, 20)
WARM_S = 2
PAUSE_S = 0.05
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


class Clients:
    """A process of clients.py. In a session of its own, as the server is: the kernel shares the cores among sessions."""

    def __init__(self, mode, port, what):
        self.process = subprocess.Popen([sys.executable, clients.__file__, mode, str(port), json.dumps(what)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)

    def end(self):
        output, _ = self.process.communicate("", timeout=120)
        if self.process.returncode != 0:
            raise RuntimeError(f"the clients ended with {self.process.returncode}")
        return json.loads(output)


def wait_until_empty(server):
    """Streams whose clients are gone have ended."""
    while any(replica["outstanding"] for replica in server.replicas()):
        time.sleep(0.05)


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def questions(server, first, options):
    what = ["quiet", first, options.questions, options.words, 8, PAUSE_S]
    answers = Clients("questions", server.port, what).end()
    times = [answer[0] * 1e3 for answer in answers]
    return {"p50_ms": statistics.median(times), "p99_ms": percentile(times, 0.99), "max_ms": max(times),
            "queued_max_ms": max(answer[1] for answer in answers)}


def flood(server, options):
    rounds = []
    for turn in range(options.repeats):
        first = 100000 + 2 * turn * options.questions
        quiet = questions(server, first, options)
        backlog = Clients("backlog", server.port, [["flood", 64, options.flood_words, options.flood_tokens]])
        time.sleep(WARM_S)
        rounds.append({"quiet": quiet, "flood": questions(server, first + options.questions, options)})
        rounds[-1]["flood_tokens_per_s"] = rate(backlog.end()["tokens"]["flood"])
        wait_until_empty(server)
    for row in rounds:
        row["p50_ratio"] = row["flood"]["p50_ms"] / row["quiet"]["p50_ms"]
        row["p99_ratio"] = row["flood"]["p99_ms"] / row["quiet"]["p99_ms"]
    return rounds


def rate(counts):
    kept = counts[int(WARM_S / clients.WINDOW_S):]
    return sum(kept) / (len(kept) * clients.WINDOW_S)


def jain(values):
    return sum(values) ** 2 / (len(values) * sum(value * value for value in values)) if any(values) else 0.0


def jain_windows(tokens, window_s):
    size = int(window_s / clients.WINDOW_S)
    start, end = int(WARM_S / clients.WINDOW_S), min(len(counts) for counts in tokens.values())
    return [jain([sum(counts[at:at + size]) for counts in tokens.values()]) for at in range(start, end - size + 1, size)]


def backlog(server, options):
    rounds = []
    for _ in range(options.repeats):
        running = Clients("backlog", server.port, [[key, 16, 4, tokens] for key, tokens in BACKLOG.items()])
        time.sleep(WARM_S + max(WINDOWS_S) + 2 * clients.WINDOW_S)
        tokens = running.end()["tokens"]
        wait_until_empty(server)
        row = {"tokens": {key: sum(counts) for key, counts in tokens.items()},
               "tokens_per_s": sum(rate(counts) for counts in tokens.values())}
        for window in WINDOWS_S:
            indexes = jain_windows(tokens, window)
            row[f"jain_{window}s"], row[f"jain_{window}s_least"] = statistics.median(indexes), min(indexes)
        rounds.append(row)
    return rounds


def spread(rounds, *path):
    """Median of the rounds, with the least and the most."""
    values = []
    for row in rounds:
        for name in path:
            row = row[name]
        values.append(row)
    return f"{statistics.median(values):.3g} ({min(values):.3g}-{max(values):.3g})"


def table(result):
    lines = []
    if "flood" in result:
        lines += ["| first token | quiet | flood | ratio |", "|---|---|---|---|"]
        lines += [f"| {name}, ms | {spread(result['flood'], 'quiet', name + '_ms')} | "
                  f"{spread(result['flood'], 'flood', name + '_ms')} | {spread(result['flood'], name + '_ratio')} |"
                  for name in ("p50", "p99")]
        lines.append(f"\nThe flood got {spread(result['flood'], 'flood_tokens_per_s')} tokens/s.\n")
    if "backlog" in result:
        lines += ["| window | Jain's index, median | least |", "|---|---|---|"]
        lines += [f"| {window} s | {spread(result['backlog'], f'jain_{window}s')} | "
                  f"{spread(result['backlog'], f'jain_{window}s_least')} |" for window in WINDOWS_S]
        lines.append(f"\nAll together {spread(result['backlog'], 'tokens_per_s')} tokens/s.\n")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=["flood", "backlog"], action="append")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--words", type=int, default=60, help="of a question")
    parser.add_argument("--flood-words", type=int, default=4)
    parser.add_argument("--flood-tokens", type=int, default=128)
    parser.add_argument("--sequences", type=int, default=16, help="max_num_seqs")
    parser.add_argument("--binary", type=pathlib.Path, default=ROOT / "build/release/penstock")
    parser.add_argument("--model", type=pathlib.Path, default=os.environ.get(
        "PENSTOCK_TEST_MODEL", pathlib.Path.home() / ".cache/penstock/models/SmolLM2-135M-Instruct.Q4_1.gguf"))
    parser.add_argument("--config", default="", help="YAML that is added")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "build/bench/fairness")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    result = {"options": {name: str(value) for name, value in vars(options).items()}}
    with tempfile.TemporaryDirectory() as folder:
        config = CONFIG.replace("SEQUENCES", str(options.sequences)) + options.config.replace("\\n", "\n")
        server = servers.start_gateway(options.binary, options.model, pathlib.Path(folder), config, (), None)
        try:
            server.wait_until_ready()
            clients.Question(server.port).ask("quiet", clients.words(1, options.words), 8)
            for name, case in (("flood", flood), ("backlog", backlog)):
                if options.case is None or name in options.case:
                    result[name] = case(server, options)
        finally:
            server.stop()
    text = table(result)
    (options.out / "fairness.json").write_text(json.dumps(result, indent=1))
    (options.out / "fairness.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
