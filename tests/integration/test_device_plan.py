"""`penstock check` for accelerators: plans of models whose files have the right shapes and no content (holes take no disk)."""
import json
import re
import struct
import subprocess

import pytest

pytestmark = pytest.mark.api

BYTES = {"BF16": 2, "F8_E4M3": 1}


def llama(layers, width, heads, kv_heads, hidden, vocabulary, head=128):
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": width, "num_hidden_layers": layers,
              "num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": head, "intermediate_size": hidden,
              "vocab_size": vocabulary, "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
              "tie_word_embeddings": False, "hidden_act": "silu"}
    tensors = {"model.embed_tokens.weight": (vocabulary, width), "lm_head.weight": (vocabulary, width), "model.norm.weight": (width,)}
    for i in range(layers):
        at = f"model.layers.{i}."
        tensors |= {at + "input_layernorm.weight": (width,), at + "post_attention_layernorm.weight": (width,),
                    at + "self_attn.q_proj.weight": (heads * head, width), at + "self_attn.k_proj.weight": (kv_heads * head, width),
                    at + "self_attn.v_proj.weight": (kv_heads * head, width), at + "self_attn.o_proj.weight": (width, heads * head),
                    at + "mlp.gate_proj.weight": (hidden, width), at + "mlp.up_proj.weight": (hidden, width),
                    at + "mlp.down_proj.weight": (width, hidden)}
    return config, tensors


def mixture(layers, width, heads, kv_heads, experts, used, hidden, vocabulary, head=128):
    config, tensors = llama(layers, width, heads, kv_heads, hidden, vocabulary, head)
    config |= {"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "num_experts": experts, "num_experts_per_tok": used,
               "moe_intermediate_size": hidden, "norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": []}
    tensors = {name: shape for name, shape in tensors.items() if ".mlp." not in name}
    for i in range(layers):
        at = f"model.layers.{i}."
        tensors |= {at + "mlp.gate.weight": (experts, width), at + "self_attn.q_norm.weight": (head,), at + "self_attn.k_norm.weight": (head,)}
        for e in range(experts):
            tensors |= {f"{at}mlp.experts.{e}.gate_proj.weight": (hidden, width), f"{at}mlp.experts.{e}.up_proj.weight": (hidden, width),
                        f"{at}mlp.experts.{e}.down_proj.weight": (width, hidden)}
    return config, tensors


def write_folder(folder, config, tensors, dtype="BF16"):
    """One file a model; its content is a hole."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    header, at = {}, 0
    for name, shape in tensors.items():
        size = BYTES[dtype]
        for n in shape:
            size *= n
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + at)
    return at


MODELS = {"7b": llama(32, 4096, 32, 32, 11008, 32000), "70b": llama(80, 8192, 64, 8, 28672, 128256),
          "405b": llama(126, 16384, 128, 8, 53248, 128256), "671b": mixture(61, 7168, 128, 8, 256, 8, 2048, 129280)}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("shapes")
    return {name: (root / name, write_folder(root / name, *model)) for name, model in MODELS.items()}


@pytest.fixture
def check(tmp_path, penstock_binary):
    def run(folder, *flags, rows=""):
        config = tmp_path / "plan.yaml"
        config.write_text(f"models:\n  - name: large\n    path: {folder}\n    max_model_len: 8192\n{rows}")
        return subprocess.run([penstock_binary, "check", config, *flags], capture_output=True, text=True, timeout=120)

    return run


def number(pattern, text):
    found = re.search(pattern, text)
    assert found, text
    return float(found[1])


@pytest.mark.parametrize("model, device, tensor, pipeline", [("7b", "L40S", 1, 1), ("7b", "A100", 2, 1), ("70b", "H100", 4, 1), ("70b", "H200", 2, 1), (
    "70b", "B200", 2, 2), ("405b", "H200", 8, 1), ("405b", "H100", 8, 2), ("405b", "MI300X", 8, 1), ("671b", "H200", 8, 2)])
def test_a_layout_that_fits_is_planned_without_a_device(check, folders, model, device, tensor, pipeline):
    folder, size = folders[model]
    result = check(folder, "--device", device, "--tensor-parallel", str(tensor), "--pipeline-parallel", str(pipeline))
    assert result.returncode == 0, result.stderr
    ranks = tensor * pipeline
    assert f"{ranks} ranks (tensor {tensor} x pipeline {pipeline})" in result.stdout
    weights = number(r"weights ([\d.]+) GB", result.stdout) * 1e9
    assert size / ranks * 0.99 < weights < size / ranks * 1.1  # the fullest rank: stages and key heads do not always divide
    assert number(r"KV cache   (\d+) tokens", result.stdout) >= 8192
    first, every = number(r"2048 tokens ([\d.]+) ms", result.stdout), number(r"then one every ([\d.]+) ms", result.stdout)
    together = number(r"of that length one every ([\d.]+) ms", result.stdout)
    assert 0 < every <= together and first > every
    assert ("not run" in result.stdout) == (pipeline > 1)
    assert ("a roofline only" in result.stdout) == (device == "MI300X")


def test_a_layout_that_does_not_fit_is_refused_with_one_that_does(check, folders):
    result = check(folders["405b"][0], "--device", "H200", "--tensor-parallel", "4")
    assert result.returncode == 1
    assert "the smallest layout that fits is 8 tensor ranks x 1 stages" in result.stderr
    result = check(folders["70b"][0], "--device", "H200", "--tensor-parallel", "3")
    assert result.returncode == 1 and "3 tensor ranks do not divide 64 heads" in result.stderr
    result = check(folders["70b"][0], "--device", "TPU")
    assert result.returncode == 1 and "L40S, A100, H100, H200, B200, MI300X" in result.stderr


def test_the_devices_of_the_placement_are_planned_for(check, folders):
    result = check(folders["7b"][0], rows="    placement: {product: NVIDIA-H100-80GB-HBM3}\n    kv_host_memory: 8GiB\n")
    assert result.returncode == 0, result.stderr
    assert "device     H100, 80 GB: 1 ranks" in result.stdout
    assert "host       8.59 GB pinned below the cache: 16384 tokens" in result.stdout
