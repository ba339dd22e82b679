"""Small random models of every family, written as a Hugging Face folder and as a GGUF file with the same numbers.

Standard library only: the test writes the files each time, and only transformers' answers to them are kept
(tests/data/families.json, made by make_family_reference.py from the same folders).

A weight is a whole number from -127 to 127 times a power of two, so that bf16, f16, f32 and Q8_0 hold it exactly; experts of
gpt-oss and the matrices of the fp8 model take those numbers only that MXFP4 and E4M3 hold.
"""
import dataclasses
import json
import math
import pathlib
import random
import struct

VOCABULARY, WIDTH, FFN, HEADS, KV_HEADS, HEAD = 96, 64, 96, 4, 2, 32
LENGTH, TRAINED, WINDOW = 96, 32, 12
POSITIONS = [1, 6, 11, 12, 20, 31, 32, 40, 63, 69, 70, 94]

E4M3_WHOLE = [k for k in range(-127, 128) if k == 0 or (abs(k) >> max(0, abs(k).bit_length() - 4)
                                                        << max(0, abs(k).bit_length() - 4)) == abs(k)]
MXFP4_DOUBLED = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12]


@dataclasses.dataclass
class Tensor:
    """offset + code * 2^exponent; codes are signed bytes, row-major."""
    shape: tuple
    codes: bytes
    exponent: int
    offset: float = 0.0

    def values(self):
        step = 2.0 ** self.exponent
        return [self.offset + (code - 256 if code > 127 else code) * step for code in self.codes]

    def rows(self):
        """Along the first dimension, as bytes."""
        size = len(self.codes) // self.shape[0]
        return [self.codes[i * size:(i + 1) * size] for i in range(self.shape[0])]

    def like(self, rows, shape=None, offset=None):
        rows = list(rows)
        return Tensor(shape or (len(rows), *self.shape[1:]), b"".join(rows), self.exponent,
                      self.offset if offset is None else offset)


def draw(generator, shape, exponent, allowed=None, offset=0.0):
    count = math.prod(shape)
    data = generator.randbytes(count)
    if allowed is not None:
        table = bytes(allowed[i % len(allowed)] & 255 for i in range(256))
        data = data.translate(table)
    else:
        data = data.replace(b"\x80", b"\x00")
    return Tensor(tuple(shape), data, exponent, offset)


# --- elements ---


def encode_bf16(value):
    bits = struct.unpack("<I", struct.pack("<f", value))[0]
    assert bits & 0xFFFF == 0, value
    return struct.pack("<H", bits >> 16)


def encode_f16(value):
    data = struct.pack("<e", value)
    assert struct.unpack("<e", data)[0] == value, value
    return data


def encode_f32(value):
    return struct.pack("<f", value)


def to_bytes(tensor, kind):
    encode = {"BF16": encode_bf16, "F16": encode_f16, "F32": encode_f32}[kind]
    cache = {}
    out = []
    step = 2.0 ** tensor.exponent
    for code in tensor.codes:
        if code not in cache:
            cache[code] = encode(tensor.offset + (code - 256 if code > 127 else code) * step)
        out.append(cache[code])
    return b"".join(out)


def to_q8_0(tensor):
    scale = encode_f16(2.0 ** tensor.exponent)
    assert tensor.offset == 0
    return b"".join(scale + tensor.codes[i:i + 32] for i in range(0, len(tensor.codes), 32))


def mxfp4_nibbles(tensor):
    index = {value & 255: i for i, value in reversed(list(enumerate(MXFP4_DOUBLED)))}
    return [index[code] for code in tensor.codes]


def to_mxfp4(tensor):
    """GGUF's: scale, then elements j and j + 16 in one byte."""
    scale = bytes([127 + tensor.exponent + 1])
    nibbles = mxfp4_nibbles(tensor)
    out = []
    for i in range(0, len(nibbles), 32):
        block = nibbles[i:i + 32]
        out.append(scale + bytes(block[j] | block[j + 16] << 4 for j in range(16)))
    return b"".join(out)


def to_e4m3(codes):
    """Whole numbers that E4M3 holds."""
    def encode(code):
        k = code - 256 if code > 127 else code
        if k == 0:
            return 0
        exponent = abs(k).bit_length() - 1
        return (0x80 if k < 0 else 0) | (exponent + 7) << 3 | ((abs(k) << 3 >> exponent) & 7)
    return codes.translate(bytes(encode(code) if (code - 256 if code > 127 else code) in E4M3_WHOLE else 0x7F
                                 for code in range(256)))


# --- families ---

PLAIN = {"rope_type": "default", "rope_theta": 10000.0}
COMMON = {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "intermediate_size": FFN, "num_hidden_layers": 2,
          "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": HEAD,
          "max_position_embeddings": LENGTH, "rms_norm_eps": 1e-5, "bos_token_id": None, "eos_token_id": None,
          "pad_token_id": None, "dtype": "bfloat16"}
GEMMA = {"hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": True}
SHORT = [round(1 + 0.02 * i, 3) for i in range(HEAD // 2)]
LONG = [round(1.5 + 0.2 * i, 3) for i in range(HEAD // 2)]


def config(model_type, architecture, **changes):
    return {**COMMON, "model_type": model_type, "architectures": [architecture], "rope_parameters": PLAIN, **changes}


# name: (config.json, GGUF's architecture, GGUF's further keys)
VARIANTS = {
    "llama": (config("llama", "LlamaForCausalLM", tie_word_embeddings=False, mlp_bias=True, attention_bias=True,
                     rope_parameters={"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
                                      "high_freq_factor": 4.0, "original_max_position_embeddings": TRAINED}), "llama", {}),
    "mistral": (config("mistral", "MistralForCausalLM", tie_word_embeddings=False, sliding_window=WINDOW), "llama",
                {"attention.sliding_window": WINDOW}),
    "fp8": (config("llama", "LlamaForCausalLM", tie_word_embeddings=True), None, {}),
    "qwen2": (config("qwen2", "Qwen2ForCausalLM", tie_word_embeddings=True), "qwen2", {}),
    "qwen2_window": (config("qwen2", "Qwen2ForCausalLM", tie_word_embeddings=False, use_sliding_window=True,
                            sliding_window=WINDOW, max_window_layers=1), None, {}),
    "qwen3": (config("qwen3", "Qwen3ForCausalLM", tie_word_embeddings=False,
                     rope_parameters={"rope_type": "yarn", "rope_theta": 10000.0, "factor": 3.0,
                                      "original_max_position_embeddings": TRAINED}), "qwen3",
              {"rope.scaling.type": "yarn", "rope.scaling.factor": 3.0, "rope.scaling.original_context_length": TRAINED}),
    "gemma": (config("gemma", "GemmaForCausalLM", **GEMMA), "gemma", {}),
    "gemma2": (config("gemma2", "Gemma2ForCausalLM", **GEMMA, sliding_window=WINDOW, query_pre_attn_scalar=24,
                      attn_logit_softcapping=5.0, final_logit_softcapping=4.0, num_hidden_layers=3), "gemma2",
               {"attention.sliding_window": WINDOW, "attn_logit_softcapping": 5.0, "final_logit_softcapping": 4.0,
                "attention.scale": 24 ** -0.5}),
    "gemma3": (config("gemma3_text", "Gemma3ForCausalLM", **GEMMA, sliding_window=WINDOW, query_pre_attn_scalar=HEAD,
                      num_hidden_layers=7, rope_parameters={
                          "full_attention": {"rope_type": "linear", "rope_theta": 1000000.0, "factor": 8.0},
                          "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}), "gemma3",
               {"attention.sliding_window": WINDOW, "rope.freq_base": 1000000.0, "rope.scaling.type": "linear",
                "rope.scaling.factor": 8.0}),
    "phi3": (config("phi3", "Phi3ForCausalLM", hidden_size=HEADS * HEAD, head_dim=None, tie_word_embeddings=False, sliding_window=WINDOW * 2,
                    original_max_position_embeddings=TRAINED,
                    rope_parameters={"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": SHORT,
                                     "long_factor": LONG, "original_max_position_embeddings": TRAINED,
                                     "partial_rotary_factor": 1.0}), "phi3",
             {"attention.sliding_window": WINDOW * 2, "rope.scaling.original_context_length": TRAINED,
              "rope.scaling.attn_factor": math.sqrt(1 + math.log(LENGTH / TRAINED) / math.log(TRAINED))}),
    "phi3_partial": (config("phi3", "Phi3ForCausalLM", hidden_size=HEADS * HEAD, head_dim=None, tie_word_embeddings=True, partial_rotary_factor=0.75,
                            rope_parameters={**PLAIN, "partial_rotary_factor": 0.75}), "phi3",
                     {"rope.dimension_count": HEAD * 3 // 4}),
    "mixtral": (config("mixtral", "MixtralForCausalLM", tie_word_embeddings=False, num_local_experts=5,
                       num_experts_per_tok=2), "llama", {"expert_count": 5, "expert_used_count": 2}),
    "qwen3moe": (config("qwen3_moe", "Qwen3MoeForCausalLM", tie_word_embeddings=False, num_experts=9,
                        num_experts_per_tok=3, moe_intermediate_size=32, norm_topk_prob=True, decoder_sparse_step=1,
                        mlp_only_layers=[]), "qwen3moe",
                 {"expert_count": 9, "expert_used_count": 3, "expert_feed_forward_length": 32}),
    "qwen3moe_shares": (config("qwen3_moe", "Qwen3MoeForCausalLM", tie_word_embeddings=False, num_experts=6,
                               num_experts_per_tok=2, moe_intermediate_size=32, norm_topk_prob=False, decoder_sparse_step=1,
                               mlp_only_layers=[]), None, {}),
    "gptoss": (config("gpt_oss", "GptOssForCausalLM", tie_word_embeddings=False, num_local_experts=6,
                      num_experts_per_tok=2, sliding_window=WINDOW, attention_bias=True,
                      layer_types=["sliding_attention", "full_attention"],
                      rope_parameters={"rope_type": "yarn", "rope_theta": 150000.0, "factor": 3.0, "beta_fast": 32.0,
                                       "beta_slow": 1.0, "truncate": False,
                                       "original_max_position_embeddings": TRAINED}), "gpt-oss",
               {"expert_count": 6, "expert_used_count": 2, "expert_feed_forward_length": FFN,
                "attention.sliding_window": WINDOW, "rope.freq_base": 150000.0, "rope.scaling.type": "yarn",
                "rope.scaling.factor": 3.0, "rope.scaling.original_context_length": TRAINED}),
}

# Whose hidden states are kept: a last norm of each kind, and experts.
HIDDEN = ["llama", "qwen3", "gemma2", "gemma3", "phi3", "mixtral"]

# Models run over (tokens, longest context); the first with all positions.
RUNS = {"phi3": [(LENGTH, LENGTH), (24, TRAINED)]}


def runs_of(name):
    return RUNS.get(name, [(LENGTH, LENGTH)])


def tokens():
    generator = random.Random(7)
    return [generator.randrange(VOCABULARY) for _ in range(LENGTH)]


# --- tensors, by their names in checkpoints ---

def layer_shapes(c):
    """(name behind the layer's prefix, shape, kind)"""
    kind = c["model_type"]
    q, kv, d, ffn = HEADS * HEAD, KV_HEADS * HEAD, c["hidden_size"], c["intermediate_size"]
    yield "input_layernorm.weight", (d,), "norm"
    yield "post_attention_layernorm.weight", (d,), "norm"
    if kind in ("gemma2", "gemma3_text"):
        yield "pre_feedforward_layernorm.weight", (d,), "norm"
        yield "post_feedforward_layernorm.weight", (d,), "norm"
    if kind == "phi3":
        yield "self_attn.qkv_proj.weight", (q + 2 * kv, d), "score"
    else:
        for part, rows in (("q", q), ("k", kv), ("v", kv)):
            yield f"self_attn.{part}_proj.weight", (rows, d), "value" if part == "v" else "score"
            if kind == "qwen2" or c.get("attention_bias"):
                yield f"self_attn.{part}_proj.bias", (rows,), "bias"
    yield "self_attn.o_proj.weight", (d, q), "out"
    if c.get("attention_bias"):
        yield "self_attn.o_proj.bias", (d,), "bias"
    if kind in ("qwen3", "qwen3_moe", "gemma3_text"):
        yield "self_attn.q_norm.weight", (HEAD,), "norm"
        yield "self_attn.k_norm.weight", (HEAD,), "norm"
    if kind == "gpt_oss":
        yield "self_attn.sinks", (HEADS,), "sink"
    yield from mlp_shapes(c, kind, d, ffn)


def mlp_shapes(c, kind, d, ffn):
    if kind == "mixtral":
        yield "block_sparse_moe.gate.weight", (c["num_local_experts"], d), "router"
        for e in range(c["num_local_experts"]):
            for part, shape in (("w1", (ffn, d)), ("w3", (ffn, d)), ("w2", (d, ffn))):
                yield f"block_sparse_moe.experts.{e}.{part}.weight", shape, "mlp"
    elif kind == "qwen3_moe":
        ffn = c["moe_intermediate_size"]
        yield "mlp.gate.weight", (c["num_experts"], d), "router"
        for e in range(c["num_experts"]):
            for part, shape in (("gate", (ffn, d)), ("up", (ffn, d)), ("down", (d, ffn))):
                yield f"mlp.experts.{e}.{part}_proj.weight", shape, "mlp"
    elif kind == "gpt_oss":
        n = c["num_local_experts"]
        yield "mlp.router.weight", (n, d), "router"
        yield "mlp.router.bias", (n,), "bias"
        yield "mlp.experts.gate_up_proj", (n, 2 * ffn, d), "mxfp4"  # rows first here; see stacked()
        yield "mlp.experts.gate_up_proj_bias", (n, 2 * ffn), "wide_bias"
        yield "mlp.experts.down_proj", (n, d, ffn), "mxfp4"
        yield "mlp.experts.down_proj_bias", (n, d), "bias"
    elif kind == "phi3":
        yield "mlp.gate_up_proj.weight", (2 * ffn, d), "mlp"
        yield "mlp.down_proj.weight", (d, ffn), "mlp"
    else:
        for part, shape in (("gate", (ffn, d)), ("up", (ffn, d)), ("down", (d, ffn))):
            yield f"mlp.{part}_proj.weight", shape, "mlp"
            if c.get("mlp_bias"):
                yield f"mlp.{part}_proj.bias", shape[:1], "bias"


def shapes(c):
    yield "model.embed_tokens.weight", (VOCABULARY, c["hidden_size"]), "embedding"
    yield "model.norm.weight", (c["hidden_size"],), "norm"
    if not c["tie_word_embeddings"]:
        yield "lm_head.weight", (VOCABULARY, c["hidden_size"]), "head"
    for layer in range(c["num_hidden_layers"]):
        for name, shape, kind in layer_shapes(c):
            yield f"model.layers.{layer}.{name}", shape, kind


# Codes are uniform in -127..127 (deviation 73): the exponents give scores and logits that spread over several nats.
EXPONENTS = {"embedding": -7, "head": -8, "score": -9, "value": -9, "out": -10, "mlp": -9, "router": -8, "bias": -9,
             "wide_bias": -5, "sink": -6, "norm": -10, "mxfp4": -5}


def make_tensors(name):
    c = VARIANTS[name][0]
    generator = random.Random(name)
    is_gemma = c["model_type"].startswith("gemma")
    out = {}
    for tensor_name, shape, kind in shapes(c):
        exponent, allowed, offset = EXPONENTS[kind], None, 0.0
        if kind == "norm":
            allowed, exponent, offset = range(-24, 25), -6, 0.0 if is_gemma else 1.0
        if kind == "embedding" and c["tie_word_embeddings"]:
            exponent -= 2  # else each token would foresee itself
        if kind == "mxfp4":
            allowed = MXFP4_DOUBLED
        if name == "fp8" and len(shape) == 2 and tensor_name != "model.embed_tokens.weight":
            allowed = E4M3_WHOLE
        out[tensor_name] = draw(generator, shape, exponent, allowed, offset)
    return out


# --- a Hugging Face folder ---

def write_safetensors(path, items):
    """items: name -> (type, shape, bytes)"""
    header, offset = {}, 0
    for name, (kind, shape, data) in items.items():
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in items.values()))


def stacked(tensor):
    """gpt-oss keeps [experts, columns, rows] in bf16."""
    n, rows, columns = tensor.shape
    codes = []
    for expert in tensor.rows():
        for c in range(columns):
            codes.append(expert[c::columns])
    return Tensor((n, columns, rows), b"".join(codes), tensor.exponent)


def mxfp4_items(name, tensor):
    n, rows, columns = tensor.shape
    nibbles = mxfp4_nibbles(tensor)
    blocks = bytes(nibbles[i] | nibbles[i + 1] << 4 for i in range(0, len(nibbles), 2))
    yield f"{name}_blocks", ("U8", (n, rows, columns // 32, 16), blocks)
    scale = bytes([127 + tensor.exponent + 1])
    yield f"{name}_scales", ("U8", (n, rows, columns // 32), scale * (n * rows * columns // 32))


FP8_BLOCK = (48, 32)


def fp8_items(name, tensor, index):
    """In turn: a scale a block, a row, a matrix. Scales that are no power of two would not fit bf16's copy of the model."""
    rows, columns = tensor.shape
    step = 2.0 ** tensor.exponent
    yield name, ("F8_E4M3", tensor.shape, to_e4m3(tensor.codes))
    if index % 3 == 0:
        shape = tuple(-(-n // b) for n, b in zip(tensor.shape, FP8_BLOCK))
        yield f"{name}_scale_inv", ("F32", shape, encode_f32(step) * math.prod(shape))
    elif index % 3 == 1:
        yield f"{name}_scale", ("BF16", (rows, 1), encode_bf16(step) * rows)
    else:
        yield f"{name}_scale", ("F32", (), encode_f32(step))


def folder_items(name, kind):
    for index, (tensor_name, tensor) in enumerate(make_tensors(name).items()):
        if len(tensor.shape) == 3 and kind == "mxfp4":
            yield from mxfp4_items(tensor_name, tensor)
        elif len(tensor.shape) == 3:
            yield tensor_name, (kind.upper(), stacked(tensor).shape, to_bytes(stacked(tensor), kind.upper()))
        elif kind == "fp8" and len(tensor.shape) == 2 and tensor_name != "model.embed_tokens.weight":
            yield from fp8_items(tensor_name, tensor, index)
        else:
            element = "BF16" if kind in ("fp8", "mxfp4") else kind.upper()
            yield tensor_name, (element, tensor.shape, to_bytes(tensor, element))


def write_folder(folder, name, kind="bf16", shards=1):
    """kind: bf16, f16, f32, fp8 or mxfp4."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True)
    c = dict(VARIANTS[name][0])
    if kind == "fp8":
        c["quantization_config"] = {"quant_method": "fp8", "weight_block_size": list(FP8_BLOCK)}
    if kind == "mxfp4":
        c["quantization_config"] = {"quant_method": "mxfp4"}
    c = {key: value for key, value in c.items() if key != "head_dim" or value is not None}
    (folder / "config.json").write_text(json.dumps(c, indent=1))
    items = dict(folder_items(name, kind))
    if shards == 1:
        write_safetensors(folder / "model.safetensors", items)
        return folder
    names, where = list(items), {}
    for i in range(shards):
        file = f"model-{i + 1:05}-of-{shards:05}.safetensors"
        part = names[i::shards]
        write_safetensors(folder / file, {key: items[key] for key in part})
        where.update({key: file for key in part})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return folder


# --- LoRA adapters, as PEFT writes them ---

# name: rank, alpha, rslora, only attention
ADAPTERS = {"one": (4, 8.0, False, False), "two": (9, 6.0, True, True)}
ADAPTED = ["llama", "gemma2", "phi3_partial", "qwen3moe"]


def adapter_modules(name, adapter):
    """(module, its outputs, its inputs)"""
    c = VARIANTS[name][0]
    attention_only = ADAPTERS[adapter][3] or c["model_type"] == "qwen3_moe"
    for tensor_name, shape, _ in shapes(c):
        module, _, ending = tensor_name.rpartition(".")
        is_part = ".self_attn." in module or (not attention_only and ".mlp." in module)
        if ending == "weight" and is_part and len(shape) == 2:
            yield module, *shape


def adapter_tensors(name, adapter):
    """name -> Tensor, under PEFT's names."""
    generator = random.Random(f"{name} {adapter}")
    rank = ADAPTERS[adapter][0]
    out = {}
    for module, outputs, inputs in adapter_modules(name, adapter):
        out[f"base_model.model.{module}.lora_A.weight"] = draw(generator, (rank, inputs), -11)
        out[f"base_model.model.{module}.lora_B.weight"] = draw(generator, (outputs, rank), -9)
    return out


def adapter_scale(adapter):
    rank, alpha, is_stabilised, _ = ADAPTERS[adapter]
    return alpha / (math.sqrt(rank) if is_stabilised else rank)


def write_adapter(folder, name, adapter):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True)
    rank, alpha, is_stabilised, _ = ADAPTERS[adapter]
    (folder / "adapter_config.json").write_text(json.dumps({
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": alpha, "lora_dropout": 0.0, "bias": "none",
        "use_rslora": is_stabilised, "use_dora": False, "fan_in_fan_out": False, "modules_to_save": None,
        "target_modules": sorted({module.rsplit(".", 1)[1] for module, _, _ in adapter_modules(name, adapter)})}))
    kind = "F32" if adapter == "one" else "BF16"
    write_safetensors(folder / "adapter_model.safetensors",
                      {key: (kind, t.shape, to_bytes(t, kind)) for key, t in adapter_tensors(name, adapter).items()})
    return folder


# --- a GGUF file ---

TYPES = {"F32": 0, "F16": 1, "Q8_0": 8, "BF16": 30, "MXFP4": 39}
LAYER_NAMES = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "self_attn.qkv_proj": "attn_qkv",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "post_attention_layernorm": "ffn_norm",
    "pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm", "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up", "mlp.gate_up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "mlp.gate": "ffn_gate_inp",
    "mlp.router": "ffn_gate_inp", "block_sparse_moe.gate": "ffn_gate_inp",
}
TOP_NAMES = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def permute(tensor, heads):
    """The halves of a rotated pair become neighbours, as convert_hf_to_gguf.py does for llama."""
    rows, size = tensor.rows(), tensor.shape[0] // heads
    order = [h * size + i % 2 * (size // 2) + i // 2 for h in range(heads) for i in range(size)]
    return tensor.like(rows[i] for i in order)


def gguf_name(name, kind):
    """None: stacked later."""
    if not name.startswith("model.layers."):
        stem, ending = name.rsplit(".", 1)
        return f"{TOP_NAMES[stem]}.{ending}"
    layer, rest = name.removeprefix("model.layers.").split(".", 1)
    if ".experts." in rest:
        return None
    if rest == "self_attn.sinks":
        return f"blk.{layer}.attn_sinks.weight"
    stem, ending = rest.rsplit(".", 1)
    if stem == "post_attention_layernorm" and kind in ("gemma2", "gemma3_text", "gpt_oss"):
        return f"blk.{layer}.post_attention_norm.{ending}"
    return f"blk.{layer}.{LAYER_NAMES[stem]}.{ending}"


def expert_stacks(c, tensors, layer):
    """(name, tensor) of the stacks of one layer."""
    prefix, kind = f"model.layers.{layer}.", c["model_type"]
    if kind == "gpt_oss":
        both, bias = tensors[prefix + "mlp.experts.gate_up_proj"], tensors[prefix + "mlp.experts.gate_up_proj_bias"]
        n, rows, columns = both.shape
        for i, part in enumerate(("gate", "up")):
            lines = [both.codes[k * columns:(k + 1) * columns] for k in range(i, n * rows, 2)]
            yield f"ffn_{part}_exps.weight", both.like(lines, (n, rows // 2, columns))
            yield f"ffn_{part}_exps.bias", bias.like((bias.codes[i::2],), (n, rows // 2))
        yield "ffn_down_exps.weight", tensors[prefix + "mlp.experts.down_proj"]
        yield "ffn_down_exps.bias", tensors[prefix + "mlp.experts.down_proj_bias"]
        return
    names = {"mixtral": ("block_sparse_moe.experts.", (("gate", "w1"), ("up", "w3"), ("down", "w2")), "num_local_experts"),
             "qwen3_moe": ("mlp.experts.", (("gate", "gate_proj"), ("up", "up_proj"), ("down", "down_proj")), "num_experts")}
    if kind not in names:
        return
    middle, parts, count = names[kind]
    for ours, theirs in parts:
        all_of = [tensors[f"{prefix}{middle}{e}.{theirs}.weight"] for e in range(c[count])]
        yield f"ffn_{ours}_exps.weight", all_of[0].like((t.codes for t in all_of), (c[count], *all_of[0].shape))


def gguf_tensors(name):
    c, architecture, _ = VARIANTS[name]
    tensors = make_tensors(name)
    for hf_name, tensor in tensors.items():
        ours = gguf_name(hf_name, c["model_type"])
        if ours is None:
            continue
        if architecture == "llama" and (".attn_q." in ours or ".attn_k." in ours):
            tensor = permute(tensor, HEADS if ".attn_q." in ours else KV_HEADS)
        if c["model_type"].startswith("gemma") and ours.endswith("norm.weight"):
            tensor = dataclasses.replace(tensor, offset=1.0)
        yield ours, tensor
    for layer in range(c["num_hidden_layers"]):
        for ours, tensor in expert_stacks(c, tensors, layer):
            yield f"blk.{layer}.{ours}", tensor


def llama3_divisors(rope):
    out = []
    for i in range(0, HEAD, 2):
        wavelength = 2 * math.pi * rope["rope_theta"] ** (i / HEAD)
        old = rope["original_max_position_embeddings"]
        smooth = (old / wavelength - rope["low_freq_factor"]) / (rope["high_freq_factor"] - rope["low_freq_factor"])
        smooth = min(1.0, max(0.0, smooth))
        out.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return out


def float_tensors(c):
    rope = c["rope_parameters"]
    if rope.get("rope_type") == "llama3":
        yield "rope_freqs.weight", llama3_divisors(rope)
    if rope.get("rope_type") == "longrope":
        yield "rope_factors_short.weight", rope["short_factor"]
        yield "rope_factors_long.weight", rope["long_factor"]


def put_text(text):
    return struct.pack("<Q", len(text)) + text.encode()


def put_key(key, value):
    if isinstance(value, str):
        return put_text(key) + struct.pack("<I", 8) + put_text(value)
    if isinstance(value, float):
        return put_text(key) + struct.pack("<If", 6, value)
    return put_text(key) + struct.pack("<II", 4, value)


def gguf_keys(name):
    c, architecture, more = VARIANTS[name]
    own = {"block_count": c["num_hidden_layers"], "context_length": LENGTH, "embedding_length": c["hidden_size"],
           "feed_forward_length": c["intermediate_size"], "attention.head_count": HEADS,
           "attention.head_count_kv": KV_HEADS, "attention.key_length": HEAD, "attention.value_length": HEAD,
           "attention.layer_norm_rms_epsilon": c["rms_norm_eps"], "rope.dimension_count": HEAD,
           "rope.freq_base": 10000.0, **more}
    return {"general.architecture": architecture, "general.name": f"small {name}",
            **{f"{architecture}.{key}": value for key, value in own.items()}}


def element_kind(kind, name, tensor):
    if len(tensor.shape) == 1 or "ffn_gate_inp" in name or name.endswith("bias"):
        return "F32"
    if len(tensor.shape) == 3 and kind == "mxfp4":
        return "MXFP4"
    return "BF16" if kind == "mxfp4" else kind.upper()


def write_gguf(path, name, kind="f16"):
    """kind: f32, f16, bf16, q8_0, or mxfp4 (experts, the rest bf16)."""
    encode = {"Q8_0": to_q8_0, "MXFP4": to_mxfp4}
    entries = []
    for tensor_name, tensor in gguf_tensors(name):
        element = element_kind(kind, tensor_name, tensor)
        data = encode[element](tensor) if element in encode else to_bytes(tensor, element)
        entries.append((tensor_name, tensor.shape, element, data))
    for tensor_name, values in float_tensors(VARIANTS[name][0]):
        entries.append((tensor_name, (len(values),), "F32", struct.pack(f"<{len(values)}f", *values)))
    keys = gguf_keys(name)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(entries), len(keys)) + b"".join(put_key(*item) for item in keys.items())
    data = b""
    for tensor_name, shape, element, content in entries:
        head += put_text(tensor_name) + struct.pack("<I", len(shape))
        head += b"".join(struct.pack("<Q", n) for n in reversed(shape))
        head += struct.pack("<IQ", TYPES[element], len(data))
        data += content + bytes(-len(content) % 32)
    pathlib.Path(path).write_bytes(head + bytes(-len(head) % 32) + data)
    return path
