#!/usr/bin/env python3
"""Writes tests/data/smollm2_reference.json: what the model file says according to an engine that is not ours.

    python make_reference.py MODEL.gguf OUT.json        (needs torch, transformers, tokenizers, jinja2, gguf)

The engine is transformers in float32 on the file's weights, dequantised exactly; the prompt ids come from the `tokenizers`
library. For every prompt: greedy output (up to 48 tokens), for every output position the five best tokens with their
log-probabilities, and for every prompt position the log-probability of the token that follows. All log-probabilities are
teacher-forced: one pass over prompt and output, no cache. See parity_test.c for what is compared and how closely.
"""

import datetime
import hashlib
import json
import sys

import jinja2
import tokenizers
import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from gguf_llama import fields_of, load_checked, load_state
from reference_prompts import PROMPTS

OUTPUT_TOKENS = 48
TOP = 5
DIGITS = 5  # decimals kept; the tightest tolerance compared against is 1e-3
CONTROL = 3  # GGUF token type


def build_tokenizer(fields):
    """Byte-level BPE with pre-tokenizer "smollm": each digit alone, then GPT-2's pattern."""
    if fields["tokenizer.ggml.pre"] != "smollm":
        raise SystemExit("this script knows the pre-tokenizer smollm only")
    tokens = fields["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ", 1)) for merge in fields["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocab={text: i for i, text in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    control = [text for text, kind in zip(tokens, fields["tokenizer.ggml.token_type"]) if kind == CONTROL]
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in control])
    return tokenizer


def build_model(path, fields):
    value = lambda name: fields["llama." + name]
    config = transformers.LlamaConfig(
        vocab_size=len(fields["tokenizer.ggml.tokens"]), hidden_size=value("embedding_length"),
        intermediate_size=value("feed_forward_length"), num_hidden_layers=value("block_count"),
        num_attention_heads=value("attention.head_count"), num_key_value_heads=value("attention.head_count_kv"),
        max_position_embeddings=value("context_length"), rms_norm_eps=value("attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_type": "default", "rope_theta": value("rope.freq_base")},
        tie_word_embeddings=True, attn_implementation="eager", dtype=torch.float32)
    state = load_state(path, value("block_count"), value("attention.head_count"), value("attention.head_count_kv"))
    return load_checked(transformers.LlamaForCausalLM(config).float(), state)


@torch.no_grad()
def complete_greedily(model, prompt_ids, end_id):
    cache, inputs, output = None, torch.tensor([prompt_ids]), []
    while len(output) < OUTPUT_TOKENS and (not output or output[-1] != end_id):
        result = model(inputs, past_key_values=cache, use_cache=True)
        cache = result.past_key_values
        output.append(int(result.logits[0, -1].argmax()))
        inputs = torch.tensor([[output[-1]]])
    return output


@torch.no_grad()
def teacher_force(model, prompt_ids, output_ids):
    ids = prompt_ids + output_ids
    logprobs = torch.log_softmax(model(torch.tensor([ids]), use_cache=False).logits[0].double(), dim=-1)
    following = [round(float(logprobs[i, ids[i + 1]]), DIGITS) for i in range(len(prompt_ids) - 1)]
    top = []
    for i in range(len(prompt_ids) - 1, len(ids) - 1):
        values, tokens = logprobs[i].topk(TOP)
        top.append([[int(token), round(float(v), DIGITS)] for token, v in zip(tokens, values)])
    return following, top


def make_item(model, tokenizer, template, end_id, name, prompt):
    text = prompt if isinstance(prompt, str) else template.render(messages=prompt, add_generation_prompt=True)
    prompt_ids = tokenizer.encode(text, add_special_tokens=False).ids
    output_ids = complete_greedily(model, prompt_ids, end_id)
    following, top = teacher_force(model, prompt_ids, output_ids)
    forced = [candidates[0][0] for candidates in top]
    if forced != output_ids:
        raise SystemExit(f"{name}: greedy with a cache and teacher-forced without one differ")
    print(f"{name}: {len(prompt_ids)} + {len(output_ids)}: {tokenizer.decode(output_ids)[:70]!r}", flush=True)
    return {"name": name, "text": text, "prompt_ids": prompt_ids, "output_ids": output_ids,
            "prompt_logprobs": following, "top": top}


def write_compact(path, document):
    """One line an item, so that a difference names the prompt."""
    items = document.pop("items")
    head = json.dumps(document, indent=1, ensure_ascii=False)[:-2]
    lines = ",\n".join(json.dumps(item, ensure_ascii=False, separators=(",", ":")) for item in items)
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.write(f'{head},\n "items": [\n{lines}\n]}}\n')


def main():
    path, out = sys.argv[1:3]
    torch.set_num_threads(2)
    fields = fields_of(path)
    tokenizer, model = build_tokenizer(fields), build_model(path, fields)
    template = jinja2.Environment(keep_trailing_newline=True).from_string(fields["tokenizer.chat_template"])
    end_id = fields["tokenizer.ggml.eos_token_id"]
    with open(path, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    items = [make_item(model, tokenizer, template, end_id, name, prompt) for name, prompt in PROMPTS]
    write_compact(out, {
        "model": path.rsplit("/", 1)[-1], "model_sha256": digest,
        "engine": f"transformers {transformers.__version__}, torch {torch.__version__}, eager attention",
        "tokenizer": f"tokenizers {tokenizers.__version__}, GPT-2 pattern after single digits",
        "dtype": "float32 weights (dequantised exactly) and activations, float64 log-softmax",
        "date": datetime.date.today().isoformat(),
        "decoding": f"greedy, up to {OUTPUT_TOKENS} tokens, end token {end_id} included in the output",
        "items": items,
    })


if __name__ == "__main__":
    main()
