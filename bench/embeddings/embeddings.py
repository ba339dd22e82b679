#!/usr/bin/env python3
"""Texts and tokens a second of embeddings: a Penstock replica over HTTP beside transformers in process, on the same cores and texts.

    python bench/embeddings/embeddings.py --encoder FOLDER --decoder FILE.gguf      (needs torch, transformers, gguf)

The peer does what sentence-transformers does: texts sorted by length, 32 at a time, padded; mean of the tokens (encoder) or
the last token's state (decoder), length 1. It runs in float32 and in bfloat16, and is given its token ids: tokenizing is not
in its time, while Penstock's has HTTP, JSON and tokenizing in it. Rounds are interleaved; medians are printed as JSON."""
import argparse
import concurrent.futures
import ctypes
import json
import pathlib
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

import torch
import transformers

ROOT = pathlib.Path(__file__).resolve().parents[2]
BATCH = 32
CLIENTS = 4
PORT = 18731


def make_texts(count):
    """Pieces of prose of 4 to 120 words, most of them short."""
    words = (ROOT / "tests/data/perplexity_text.txt").read_text().split()
    draw = random.Random(1)
    lengths = [min(120, 4 + int(draw.expovariate(1 / 30))) for _ in range(count)]
    return [" ".join(words[start:start + length]) for length in lengths
            for start in [draw.randrange(len(words) - length)]]


def post(path, body):
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}{path}", json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as answer:
        return json.load(answer)


def end_with_parent():
    """The kernel ends the replica when this program is ended."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


class Penstock:
    name = "penstock"

    def __init__(self, model, threads):
        config = pathlib.Path(tempfile.mkdtemp()) / "config.yaml"
        config.write_text(f"models:\n  - name: m\n    path: {model}\n    threads: {threads}\n    max_model_len: 256\n"
                          "    max_num_seqs: 64\n    max_num_batched_tokens: 2048\n")
        self.process = subprocess.Popen([ROOT / "build/release/penstock", "replica", config, "--listen", f"127.0.0.1:{PORT}"],
                                        stderr=subprocess.DEVNULL, preexec_fn=end_with_parent)
        while self.process.poll() is None:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{PORT}/readyz", timeout=5)
                return
            except OSError:
                time.sleep(0.1)
        raise SystemExit(f"the replica ended; see: penstock replica {config} --listen 127.0.0.1:{PORT}")

    def run(self, texts):
        batches = [texts[i:i + BATCH] for i in range(0, len(texts), BATCH)]
        with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
            answers = pool.map(lambda batch: post("/v1/embeddings", {"model": "m", "input": batch, "encoding_format": "base64"}),
                               batches)
            return sum(answer["usage"]["prompt_tokens"] for answer in answers)

    def close(self):
        self.process.terminate()
        self.process.wait()


class Transformers:
    def __init__(self, model, pool, ids, dtype):
        self.name, self.pool, self.ids = f"transformers {str(dtype).removeprefix('torch.')}", pool, ids
        self.model = model.to(dtype).eval()

    @torch.inference_mode()
    def run(self, texts):
        ids = sorted((self.ids[text] for text in texts), key=len, reverse=True)
        for start in range(0, len(ids), BATCH):
            part = ids[start:start + BATCH]
            width = len(part[0])
            tokens = torch.tensor([row + [0] * (width - len(row)) for row in part])
            mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in part])
            states = self.model(input_ids=tokens, attention_mask=mask).last_hidden_state
            if self.pool == "mean":
                pooled = (states * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
            else:
                pooled = states[torch.arange(len(part)), mask.sum(1) - 1]
            torch.nn.functional.normalize(pooled.float(), dim=1)
        return sum(map(len, ids))


def tokenize(texts):
    return {text: post("/tokenize", {"model": "m", "prompt": text})["tokens"][:256] for text in texts}


def decoder_of(path):
    path = pathlib.Path(path)
    return transformers.AutoModel.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)


def measure(kind, path, texts, options):
    penstock = Penstock(path, options.threads)
    try:
        ids = tokenize(texts)
        load, pool = (transformers.AutoModel.from_pretrained, "mean") if kind == "encoder" else (decoder_of, "last")
        engines = [penstock, *(Transformers(load(path), pool, ids, dtype) for dtype in (torch.float32, torch.bfloat16))]
        seconds, tokens = {engine.name: [] for engine in engines}, {}
        for engine in engines:
            engine.run(texts[:BATCH * 2])
        for _ in range(options.rounds):
            for engine in engines:
                begin = time.monotonic()
                tokens[engine.name] = engine.run(texts)
                seconds[engine.name].append(time.monotonic() - begin)
    finally:
        penstock.close()
    return {name: {"texts_per_s": round(len(texts) / statistics.median(times), 1),
                   "tokens_per_s": round(tokens[name] / statistics.median(times)),
                   "seconds": [round(t, 3) for t in times]} for name, times in seconds.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", help="folder of an encoder, such as all-MiniLM-L6-v2")
    parser.add_argument("--decoder", help="GGUF file of a model that generates")
    parser.add_argument("--texts", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    texts = make_texts(options.texts)
    found = {kind: measure(kind, path, texts, options)
             for kind, path in (("encoder", options.encoder), ("decoder", options.decoder)) if path}
    json.dump({"texts": len(texts), "threads": options.threads, "torch": torch.__version__,
               "transformers": transformers.__version__, "models": found}, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
