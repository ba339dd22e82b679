#!/usr/bin/env python3
"""Penstock and llama.cpp beside transformers in float32, on the same file: how far are their log-probabilities off?

usage: accuracy.py [--model FILE] [--penstock-scores FILE] [--prompts-only]

Two questions, both teacher-forced, with the answers of float32 in tests/data:
- smollm2_reference.json: 40 prompts and greedy outputs. Of every output position the five likeliest tokens, and whether the
  first choice is float32's; where it is not, how sure float32 was (the margin between its first and second).
- perplexity_reference.json: 24 windows of 1024 tokens of prose; every token's log-probability, and the perplexity.
An engine answers through a small program of its own (penstock_scores, llama_scores; see scores.h). llama_scores is compiled
here against the llama.cpp that bench/peers/peers.py --install built.
Prints a table in Markdown. Nothing is timed.
"""
import argparse
import json
import math
import pathlib
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench" / "peers"))

from installers import HOME, LLAMA_BIN, LLAMA_INCLUDE  # noqa: E402  (the path above)


def load(name):
    return json.loads((ROOT / "tests" / "data" / name).read_text(encoding="utf-8"))


def prompt_questions():
    """For each item: ids, where the output begins, and the wanted ids after each position."""
    for item in load("smollm2_reference.json")["items"]:
        prompt, output = item["prompt_ids"], item["output_ids"]
        wanted = [[] for _ in prompt[1:]] + [[token for token, _ in top] for top in item["top"]]
        yield prompt + output, len(prompt), wanted


def window_questions():
    for window in load("perplexity_reference.json")["windows"]:
        ids = window["ids"]
        yield ids, len(ids), [[following] for following in ids[1:]]


def ask(program, model, questions):
    """One list a sequence of (first choice, [log-probability, ...]) a position."""
    questions = list(questions)
    lines = []
    for ids, decode_from, wanted in questions:
        lines.append(f"{len(ids)} {decode_from}")
        lines += [" ".join(map(str, [token, *after])) for token, after in zip(ids, [*wanted, []])]
    answer = subprocess.run([program, model], input="\n".join(lines) + "\n", stdout=subprocess.PIPE, text=True, check=True)
    rows = [line.split() for line in answer.stdout.splitlines()]
    if len(rows) != sum(len(ids) - 1 for ids, _, _ in questions):
        raise SystemExit(f"{program} answered {len(rows)} positions")
    parsed = iter([(int(row[0]), [float(value) for value in row[1:]]) for row in rows])
    return [[next(parsed) for _ in ids[1:]] for ids, _, _ in questions]


def share(values, part):
    return sorted(values)[int((len(values) - 1) * part)]


def spread_of(values):
    return f"{statistics.median(values):.3f} / {share(values, 0.99):.2f} / {max(values):.2f}"


def judge_prompts(answers):
    """Cells of the table: differences of the likely tokens, first choices kept, widest margin lost."""
    differences, kept, lost = [], 0, [0.0]
    for item, positions in zip(load("smollm2_reference.json")["items"], answers):
        for (first, ours), top in zip(positions[len(item["prompt_ids"]) - 1:], item["top"], strict=True):
            differences += [abs(a - b) for a, (_, b) in zip(ours, top, strict=True)]
            if first == top[0][0]:
                kept += 1
            else:
                lost.append(top[0][1] - top[1][1])
    count = len(differences) // 5
    return [spread_of(differences), f"{count - kept} of {count} ({100 * (count - kept) / count:.1f} %)", f"{max(lost):.2f}"]


def judge_windows(answers):
    ours = [-value for positions in answers for _, (value,) in positions]
    theirs = [value for window in load("perplexity_reference.json")["windows"] for value in window["nll"]]
    differences = [abs(a - b) for a, b in zip(ours, theirs, strict=True)]
    change = math.expm1(statistics.fmean(ours) - statistics.fmean(theirs))
    return [spread_of(differences), f"{math.exp(statistics.fmean(ours)):.3f} ({100 * change:+.2f} %)"]


def build_llama_scores(program):
    here, parity = ROOT / "bench/accuracy", ROOT / "tests/parity"
    subprocess.run(["cc", "-std=gnu17", "-O2", "-Wall", "-Wextra", "-o", program, here / "llama_scores.c", here / "scores.c",
                    parity / "log_softmax.c", f"-I{here}", f"-I{parity}", f"-I{LLAMA_INCLUDE}", LLAMA_BIN / "libllama.so",
                    f"-Wl,-rpath,{LLAMA_BIN}", f"-Wl,-rpath-link,{LLAMA_BIN}", "-lm"], check=True)
    return program


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, default=HOME / "models/SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--penstock-scores", type=pathlib.Path, default=ROOT / "build/release/penstock_scores")
    parser.add_argument("--prompts-only", action="store_true", help="leave the windows out (llama.cpp needs minutes for them)")
    args = parser.parse_args()
    for needed in (args.model, args.penstock_scores, LLAMA_BIN / "libllama.so", LLAMA_INCLUDE / "llama.h"):
        if not needed.exists():
            raise SystemExit(f"{needed} is not there: tools/serve fetches the model, a release build makes penstock_scores, "
                             "bench/peers/peers.py --install builds llama.cpp")
    with tempfile.TemporaryDirectory() as name:
        programs = {"Penstock": args.penstock_scores,
                    "llama.cpp": build_llama_scores(pathlib.Path(name) / "llama_scores")}
        print("| engine | likely tokens of 40 outputs: median / p99 / largest | first choices lost | widest margin lost "
              "| tokens of prose: median / p99 / largest | perplexity |\n|---|---|---|---|---|---|", flush=True)
        for engine, program in programs.items():
            cells = judge_prompts(ask(program, args.model, prompt_questions()))
            cells += ["", ""] if args.prompts_only else judge_windows(ask(program, args.model, window_questions()))
            print(f"| {engine} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
