"""Every family through both kinds of files, on the oracle and on every path this CPU can run, against transformers.

The models are those of family_models.py, written here; the expected log-probabilities are tests/data/families.json
(make_family_reference.py), hidden states tests/data/family_hidden.json. Sequences are three times longer than the context that scaled models were "trained" with, and
longer than windows. Read in chunks and then token by token, a model must say what it says when it reads all at once: on CPU
paths to the last bit.

Tolerances (nats). With float matrices what is left is f16 rounding of keys and values, and f32 sums: the weights are made
large so that features matter, which enlarges it. Q8_0 files run with 8-bit activations on the fast paths, with sums over 64
to 128 terms only; they are here to show that no path leaves a feature out. In a mixture such rounding may choose another
expert for a token, which is why only the median is compared there.
"""
import json
import math
import struct
import subprocess

import pytest

import family_models as fm
from support.tool_process import ROOT, find_program

pytestmark = pytest.mark.parity

BACKENDS = ["reference", "avx2", "avx-vnni", "avx512-vnni", "amx"]
FLOAT_MEDIAN, FLOAT_LARGEST = 0.002, 0.05
CODE_MEDIAN, CODE_LARGEST = 0.1, 1.0

FOLDER_KINDS = {"llama": ["bf16", "f16", "f32"], "fp8": ["fp8"], "gptoss": ["bf16", "mxfp4"]}
GGUF_KINDS = {"llama": ["f32", "f16", "bf16", "q8_0"], "gptoss": ["bf16", "mxfp4", "q8_0"]}
ITEMS = json.loads((ROOT / "tests/data/families.json").read_text())["items"]
HIDDEN = json.loads((ROOT / "tests/data/family_hidden.json").read_text())["items"]
# Cosine to transformers' vector: what keys and values in f16 and f32 sums leave.
COSINE_MIN = 0.99999


def cases():
    for name in fm.VARIANTS:
        for kind in FOLDER_KINDS.get(name, ["bf16"]):
            yield name, "folder", kind
        if fm.VARIANTS[name][1] is not None:
            for kind in GGUF_KINDS.get(name, ["f16", "q8_0"]):
                yield name, "gguf", kind


def run(model, backend, context, ids, chunk, decode_from, adapters=(), options=()):
    command = [find_program("logits_tool"), *options, model, backend, str(context), str(chunk), str(decode_from), *adapters]
    result = subprocess.run(command, input=struct.pack(f"=I{len(ids)}i", len(ids), *ids), capture_output=True, timeout=120)
    if result.returncode == 77:
        pytest.skip(f"this CPU has no {backend}")
    assert result.returncode == 0, result.stderr.decode()
    return result.stdout


def write(folder, name, files, kind):
    if files == "folder":
        return fm.write_folder(folder / name, name, kind, shards=3 if name == "qwen3" else 1)
    return fm.write_gguf(folder / f"{name}.gguf", name, kind)


def differences(item, logprobs):
    out = []
    for position, theirs in zip(item["positions"], item["logprobs"]):
        ours = struct.unpack_from(f"={fm.VOCABULARY}f", logprobs, position * fm.VOCABULARY * 4)
        out += [abs(a - b) for a, b in zip(ours, theirs)]
    return sorted(out)


@pytest.mark.parametrize("name,files,kind", list(cases()))
def test_family_agrees_with_transformers(name, files, kind, tmp_path):
    model = write(tmp_path, name, files, kind)
    ids = fm.tokens()
    checked = 0
    for backend in BACKENDS:
        is_coded = backend != "reference" and kind in ("q8_0", "mxfp4")
        median_max, largest_max = (CODE_MEDIAN, CODE_LARGEST) if is_coded else (FLOAT_MEDIAN, FLOAT_LARGEST)
        if is_coded and fm.VARIANTS[name][0]["model_type"] in ("mixtral", "qwen3_moe", "gpt_oss"):
            largest_max = 20.0
        for item in (item for item in ITEMS if item["name"] == name and item["adapter"] is None):
            sequence = ids[:item["length"]]
            try:
                whole = run(model, backend, item["context"], sequence, fm.LENGTH, fm.LENGTH)
            except pytest.skip.Exception:
                continue
            pieces = run(model, backend, item["context"], sequence, 13, 70)
            assert pieces == whole, f"{backend}: cut into other steps the answers differ"
            values = differences(item, whole)
            median, largest = values[len(values) // 2], values[-1]
            print(f"{name} {files} {kind} on {backend}: median {median:.5f}, largest {largest:.5f}")
            assert median <= median_max and largest <= largest_max, f"{backend}: median {median}, largest {largest}"
            checked += 1
    assert checked >= 1


@pytest.mark.parametrize("name", [name for name in fm.VARIANTS if name != "fp8"])  # its factors are of 48 rows: no whole heads
def test_ranks_agree_with_transformers(name, tmp_path):
    """Two ranks on the CPU's own kernels; four, of which two hold each key head, on the oracle. Experts go whole to one rank."""
    kind = FOLDER_KINDS.get(name, ["bf16"])[0]
    model = write(tmp_path, name, "folder", kind)
    item = max((item for item in ITEMS if item["name"] == name and item["adapter"] is None), key=lambda item: item["length"])
    ids = fm.tokens()[:item["length"]]
    for backend, ranks in (("auto", 2), ("reference", 4)):
        options = ["--ranks", str(ranks)]
        whole = run(model, backend, item["context"], ids, fm.LENGTH, fm.LENGTH, options=options)
        assert run(model, backend, item["context"], ids, 13, 70, options=options) == whole
        values = differences(item, whole)
        median, largest = values[len(values) // 2], values[-1]
        print(f"{name} on {ranks} ranks of {backend}: median {median:.5f}, largest {largest:.5f}")
        assert median <= FLOAT_MEDIAN and largest <= FLOAT_LARGEST, f"{backend}: median {median}, largest {largest}"


@pytest.mark.parametrize("files", ["folder", "gguf"])
@pytest.mark.parametrize("name", fm.ADAPTED)
def test_adapters_agree_with_merged_weights_and_keep_to_their_rows(name, files, tmp_path):
    model = write(tmp_path, name, files, "bf16" if files == "folder" else "f16")
    folders = {adapter: fm.write_adapter(tmp_path / adapter, name, adapter) for adapter in fm.ADAPTERS}
    batch = ["two", None, "one", "two"]
    for backend in BACKENDS:
        arguments = [folders.get(adapter, "-") for adapter in batch]
        try:
            mixed = run(model, backend, fm.LENGTH, fm.tokens(), 13, 70, arguments)
        except pytest.skip.Exception:
            continue
        size = len(mixed) // len(batch)
        for index, adapter in enumerate(batch):
            own = mixed[index * size:(index + 1) * size]
            alone = run(model, backend, fm.LENGTH, fm.tokens(), 96, 96, [arguments[index]])
            assert own == alone, f"{backend}: {adapter} in a mixed batch differs from {adapter} alone"
            item = next(i for i in ITEMS if i["name"] == name and i["adapter"] == adapter and i["length"] == fm.LENGTH)
            values = differences(item, own)
            median, largest = values[len(values) // 2], values[-1]
            print(f"{name} {files} {adapter} on {backend}: median {median:.5f}, largest {largest:.5f}")
            assert median <= FLOAT_MEDIAN and largest <= FLOAT_LARGEST
        assert mixed[:size] != mixed[size:2 * size] != mixed[2 * size:3 * size]


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


@pytest.mark.parametrize("item", HIDDEN, ids=[item["name"] for item in HIDDEN])
def test_hidden_states_pool_to_those_of_transformers(item, tmp_path):
    """What embeddings are made of: the state of the last position, and the mean of all; in any pieces the same bits."""
    model = write(tmp_path, item["name"], "folder", "bf16")
    checked = 0
    for backend in BACKENDS:
        try:
            whole = run(model, backend, fm.LENGTH, fm.tokens(), fm.LENGTH, fm.LENGTH, options=["--hidden"])
        except pytest.skip.Exception:
            continue
        assert run(model, backend, fm.LENGTH, fm.tokens(), 13, 70, options=["--hidden"]) == whole
        numbers = struct.unpack(f"={len(whole) // 8}d", whole)
        width = len(item["last"])
        rows = [numbers[at:at + width] for at in range(0, len(numbers), width)]
        assert len(rows) == fm.LENGTH - 1
        mean = [sum(column) / len(rows) for column in zip(*rows)]
        for name, ours in (("last", rows[-1]), ("mean", mean)):
            likeness = cosine(ours, item[name])
            size = math.sqrt(sum(x * x for x in ours) / sum(x * x for x in item[name]))
            print(f"{item['name']} {name} on {backend}: cosine {likeness:.6f}, size {size:.5f}")
            assert likeness >= COSINE_MIN and abs(size - 1) < 0.01
        checked += 1
    assert checked >= 1
