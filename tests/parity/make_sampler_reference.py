"""Writes tests/data/sampler_reference.txt: which tokens the warpers of transformers leave of rows of logits.

    python3 tests/parity/make_sampler_reference.py        (needs torch and transformers)

A line "row" has a number of logits and the logits; a line of a rule has the rule, its parameter, the temperature and for
each token of the row before whether it is left.
"""

import pathlib

import torch
import transformers
from transformers.generation import logits_process

OUT = pathlib.Path(__file__).resolve().parents[1] / "data" / "sampler_reference.txt"
CASES = [
    ("typical_p", logits_process.TypicalLogitsWarper, (0.05, 0.2, 0.5, 0.9, 0.99)),
    ("top_p", logits_process.TopPLogitsWarper, (0.05, 0.5, 0.9, 0.99)),
    ("min_p", logits_process.MinPLogitsWarper, (0.02, 0.1, 0.5)),
    ("top_k", logits_process.TopKLogitsWarper, (1, 5, 40)),
]


def main() -> None:
    torch.manual_seed(11)
    lines = [f"# transformers {transformers.__version__}, tests/parity/make_sampler_reference.py"]
    for spread in (0.5, 2.0, 5.0):
        row = (torch.randn(1, 80) * spread).float()
        lines.append("row 80 " + " ".join(f"{value:.9g}" for value in row[0].tolist()))
        for temperature in (0.6, 1.0, 1.7):
            # as the engine does it: times the inverse
            scaled = row * (1.0 / temperature)
            for rule, warper, parameters in CASES:
                for parameter in parameters:
                    kept = torch.isfinite(warper(parameter)(None, scaled.clone()))[0]
                    flags = "".join("1" if flag else "0" for flag in kept.tolist())
                    lines.append(f"{rule} {parameter} {temperature} {flags}")
    OUT.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
