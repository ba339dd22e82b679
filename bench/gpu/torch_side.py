"""The part of tools/gpu-check that runs in a Python with torch and transformers: random and trained models, the device's own limits, and the
same work done by transformers. Each command prints one JSON document; run as `python3 torch_side.py COMMAND ...`."""
import argparse
import json
import pathlib
import time

import torch

# Shapes of published models; weights are random, so that no download is needed.
SHAPES = {
    "8b": dict(hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8, head_dim=128, vocab_size=128256),
    "1b": dict(hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=32, num_key_value_heads=8, head_dim=64, vocab_size=128256),
    "tiny": dict(hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=64, vocab_size=512),
}
# Small models that learn in seconds to repeat what they have read: what they say next is certain, so that rounding cannot change a token.
TRAINED = {
    "llama": ("LlamaConfig", {}),
    "qwen3": ("Qwen3Config", {}),
    "qwen3_moe": ("Qwen3MoeConfig", dict(num_experts=8, num_experts_per_tok=2, moe_intermediate_size=128, norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[])),
}
PERIOD = 8


def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def write_tokenizer(folder: pathlib.Path, vocabulary: int) -> None:
    """Bytes, and names for the rest: these models read token ids."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {letter: i for i, letter in enumerate(letters)}
    words |= {f"<w{i}>": i for i in range(len(letters), vocabulary)}
    tokenizer = Tokenizer(models.BPE(vocab=words, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))


def save(model, folder: pathlib.Path, vocabulary: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder, safe_serialization=True)
    write_tokenizer(folder, vocabulary)


def make_random(shape: str, folder: pathlib.Path) -> dict:
    import transformers

    config = transformers.LlamaConfig(**SHAPES[shape], max_position_embeddings=16384, rope_theta=500000.0, tie_word_embeddings=False)
    torch.manual_seed(1)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device()):
        model = transformers.LlamaForCausalLM(config)
    save(model, folder, config.vocab_size)
    return {"shape": shape, "parameters": sum(p.numel() for p in model.parameters())}


def repeated_batch(count: int, length: int, vocabulary: int) -> torch.Tensor:
    """Rows that say PERIOD random tokens again and again."""
    rows = torch.randint(0, vocabulary, (count, PERIOD), device=device())
    return rows.repeat(1, length // PERIOD)


def make_trained(family: str, folder: pathlib.Path, steps: int) -> dict:
    import transformers

    name, extra = TRAINED[family]
    config = getattr(transformers, name)(**(SHAPES["tiny"] | extra), max_position_embeddings=1024, tie_word_embeddings=False)
    torch.manual_seed(1)
    model = getattr(transformers, name.replace("Config", "ForCausalLM"))(config).to(device())
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    loss = torch.zeros(())
    for _ in range(steps):
        rows = repeated_batch(64, 4 * PERIOD, config.vocab_size)
        labels = rows.clone()
        labels[:, :PERIOD] = -100  # nobody can know those
        loss = model(input_ids=rows, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    save(model.to(torch.bfloat16), folder, config.vocab_size)
    return {"family": family, "loss": loss.item()}


def best_seconds(run, repeat: int = 10) -> float:
    for _ in range(3):
        run()
    best = float("inf")
    for _ in range(repeat):
        synchronize()
        begin = time.perf_counter()
        run()
        synchronize()
        best = min(best, time.perf_counter() - begin)
    return best


def limits(size: int, copy_mib: int) -> dict:
    """What the device does at best: a copy's bytes (read and written), and a product of random numbers."""
    source = torch.randn(copy_mib << 18, device=device())
    target = torch.empty_like(source)
    copy = 2 * source.nbytes / best_seconds(lambda: target.copy_(source))
    a, b = (torch.randn(size, size, device=device(), dtype=torch.bfloat16) for _ in range(2))
    product = 2 * size**3 / best_seconds(lambda: torch.matmul(a, b))
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {"device": name, "torch": torch.__version__, "copy_bytes_per_s": copy, "bf16_ops_per_s": product}


def attention(batch: int, context: int, heads: int, kv_heads: int, head: int) -> dict:
    """One decode step's attention by torch, keys and values in one piece."""
    query = torch.randn(batch, heads, 1, head, device=device(), dtype=torch.bfloat16)
    key, value = (torch.randn(batch, kv_heads, context, head, device=device(), dtype=torch.bfloat16) for _ in range(2))
    run = lambda: torch.nn.functional.scaled_dot_product_attention(query, key, value, enable_gqa=True)
    seconds = best_seconds(run, 30)
    return {"batch": batch, "context": context, "us": seconds * 1e6, "bytes_per_s": (key.nbytes + value.nbytes) / seconds}


def speed(folder: pathlib.Path, batches: list[int], prompt: int, output: int) -> dict:
    """Prefill and greedy decoding by transformers, with a static cache, and its continuous batching where it has one."""
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, attn_implementation="sdpa").to(device())
    vocabulary = model.config.vocab_size
    rows = []
    for batch in batches:
        ids = torch.randint(0, vocabulary, (batch, prompt), device=device())

        def generate(count: int) -> float:
            synchronize()
            begin = time.perf_counter()
            model.generate(ids, attention_mask=torch.ones_like(ids), min_new_tokens=count, max_new_tokens=count, do_sample=False, pad_token_id=0)
            synchronize()
            return time.perf_counter() - begin

        generate(2)
        first, all_tokens = generate(1), generate(output)
        row = {"batch": batch, "first_token_ms": first * 1e3, "inter_token_ms": (all_tokens - first) / max(output - 1, 1) * 1e3,
               "tokens_per_s": batch * (output - 1) / max(all_tokens - first, 1e-9)}
        if hasattr(model, "generate_batch") and torch.cuda.is_available():
            config = transformers.GenerationConfig(max_new_tokens=output, do_sample=False, eos_token_id=-1, pad_token_id=0)
            synchronize()
            begin = time.perf_counter()
            outputs = model.generate_batch(inputs=[r.tolist() for r in ids], generation_config=config)
            synchronize()
            made = sum(len(o.generated_tokens) for o in outputs.values())
            row["continuous_tokens_per_s"] = made / (time.perf_counter() - begin)
        rows.append(row)
    return {"transformers": transformers.__version__, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("random")
    command.add_argument("shape", choices=SHAPES)
    command.add_argument("folder", type=pathlib.Path)
    command = commands.add_parser("trained")
    command.add_argument("family", choices=TRAINED)
    command.add_argument("folder", type=pathlib.Path)
    command.add_argument("--steps", type=int, default=1500)
    command = commands.add_parser("limits")
    command.add_argument("--size", type=int, default=8192)
    command.add_argument("--copy-mib", type=int, default=4096)
    command = commands.add_parser("attention")
    for name in ("batch", "context", "heads", "kv-heads", "head"):
        command.add_argument("--" + name, type=int, required=True)
    command = commands.add_parser("speed")
    command.add_argument("folder", type=pathlib.Path)
    command.add_argument("--batches", type=lambda text: [int(n) for n in text.split(",")], required=True)
    command.add_argument("--prompt", type=int, required=True)
    command.add_argument("--output", type=int, required=True)
    a = parser.parse_args()
    if a.command == "random":
        result = make_random(a.shape, a.folder)
    elif a.command == "trained":
        result = make_trained(a.family, a.folder, a.steps)
    elif a.command == "limits":
        result = limits(a.size, a.copy_mib)
    elif a.command == "attention":
        result = attention(a.batch, a.context, a.heads, a.kv_heads, a.head)
    else:
        result = speed(a.folder, a.batches, a.prompt, a.output)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
