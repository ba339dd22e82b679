"""Folders that are no model we can run: each mistake is named by its key or tensor, and nothing is loaded."""
import json
import struct
import subprocess

import pytest

import family_models as fm
from support.tool_process import find_program

pytestmark = pytest.mark.parity

LAYER = "model.layers.1."


def change_config(**changes):
    def change(folder):
        path = folder / "config.json"
        config = {**json.loads(path.read_text()), **changes}
        path.write_text(json.dumps({key: value for key, value in config.items() if value != "absent"}))
    return change


def change_tensors(edit):
    """`edit` gets the dictionary of the safetensors items."""
    def change(folder):
        path = folder / "model.safetensors"
        data = path.read_bytes()
        size = struct.unpack_from("<Q", data)[0]
        header = json.loads(data[8:8 + size])
        header.pop("__metadata__")
        items = {name: (entry["dtype"], entry["shape"], data[8 + size + entry["data_offsets"][0]:8 + size + entry["data_offsets"][1]])
                 for name, entry in header.items()}
        edit(items)
        fm.write_safetensors(path, items)
    return change


def drop(name):
    return change_tensors(lambda items: items.pop(name))


def put(name, kind, shape, data):
    return change_tensors(lambda items: items.update({name: (kind, shape, data)}))


def retype(name, kind, width):
    def edit(items):
        _, shape, data = items[name]
        items[name] = (kind, shape, bytes(len(data) // 2 * width))
    return change_tensors(edit)


def unlink(name):
    return lambda folder: (folder / name).unlink()


ROPE = fm.VARIANTS["llama"][0]["rope_parameters"]
ROWS = [
    ("llama", change_config(model_type="mamba"), "architecture 'mamba' is not supported (these are: llama, mistral"),
    ("llama", change_config(model_type="absent"), "the key model_type is missing"),
    ("llama", change_config(hidden_size="absent"), "hidden_size is missing"),
    ("llama", change_config(hidden_size="wide"), "hidden_size is missing or not a whole number"),
    ("llama", change_config(num_hidden_layers=1025), "num_hidden_layers is 1025; 1 to 1024"),
    ("llama", change_config(num_hidden_layers=3), "blk.2.attn_norm.weight is missing"),
    ("llama", change_config(num_hidden_layers=1), "blk.1."),
    ("llama", change_config(rms_norm_eps="absent"), "the key rms_norm_eps is missing"),
    ("llama", change_config(hidden_act="relu"), "hidden_act 'relu' is not supported"),
    ("llama", change_config(rope_parameters={**ROPE, "rope_type": "dynamic"}), "rope_type 'dynamic' is not supported"),
    ("llama", change_config(rope_parameters={**ROPE, "factor": -1}), "rope_parameters.factor must be a number above 0"),
    ("llama", change_config(rope_parameters={**ROPE, "low_freq_factor": 5}), "high_freq_factor must be above"),
    ("llama", change_config(quantization_config={"quant_method": "gptq"}), 'quant_method "gptq" is not supported'),
    ("llama", change_config(head_dim=31), "a head width of 31"),
    ("llama", drop("lm_head.weight"), "lm_head.weight is missing (tie_word_embeddings is false)"),
    ("llama", drop(LAYER + "mlp.up_proj.weight"), "blk.1.ffn_up.weight is missing"),
    ("llama", drop(LAYER + "self_attn.k_proj.bias"), "blk.1.attn_k.bias is missing"),
    ("llama", put(LAYER + "self_attn.extra.weight", "BF16", [2], bytes(4)),
     "model.layers.1.self_attn.extra.weight belongs to a feature that is not supported"),
    ("llama", retype(LAYER + "mlp.up_proj.weight", "I32", 4), "layers.1.mlp.up_proj.weight (I32) is of a type that is not"),
    ("llama", retype(LAYER + "mlp.up_proj.weight", "F8_E4M3", 1), "blk.1.ffn_up.weight has no scales"),
    ("fp8", put(LAYER + "mlp.up_proj.weight_scale", "F32", [5], bytes(20)), "a shape that does not fit the tensor"),
    ("fp8", put(LAYER + "input_layernorm.weight_scale", "F32", [1], bytes(4)), "not of 8-bit floats"),
    ("llama", unlink("model.safetensors"), "model.safetensors"),
    ("llama", unlink("config.json"), "config.json"),
    ("phi3", change_config(rope_parameters={**fm.VARIANTS["phi3"][0]["rope_parameters"], "long_factor": None}),
     "longrope needs the lists short_factor and long_factor"),
    ("phi3", change_config(rope_parameters={**fm.VARIANTS["phi3"][0]["rope_parameters"], "long_factor": [1.0]}),
     "rope_factors_long.weight has the shape [1, 1, 1, 1]"),
    ("qwen3moe", change_config(num_experts_per_tok=10), "10 of 9 experts"),
    ("qwen3moe", change_config(mlp_only_layers=[0]), "mlp_only_layers"),
    ("qwen3moe", drop(LAYER + "mlp.experts.8.up_proj.weight"), "blk.1.ffn_up.8.weight is missing"),
    ("gemma3", change_config(layer_types=["full_attention"]), "layer_types must name each of the 7 layers"),
    ("gemma3", change_config(layer_types=["chunked_attention"] * 7), "layer_types[0] 'chunked_attention'"),
    ("gptoss", drop(LAYER + "self_attn.sinks"), "blk.1.attn_sinks.weight is missing"),
    ("gptoss", change_config(swiglu_limit=9.0), "swiglu_limit"),
]


@pytest.mark.parametrize("index", range(len(ROWS)))
def test_what_is_wrong_with_a_folder_is_named(index, tmp_path):
    name, change, expected = ROWS[index]
    folder = fm.write_folder(tmp_path / "model", name, "fp8" if name == "fp8" else "bf16")
    change(folder)
    result = subprocess.run([find_program("logits_tool"), folder, "reference", "32", "8", "8"],
                            input=struct.pack("=Ii", 1, 1), capture_output=True, timeout=60)
    assert result.returncode == 1, result.stderr.decode()
    assert expected in result.stderr.decode()
    assert result.stdout == b""


def change_adapter(**changes):
    def change(folder):
        path = folder / "adapter_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return change


def change_adapter_tensors(edit):
    def change(folder):
        (folder / "adapter_model.safetensors").rename(folder / "model.safetensors")
        change_tensors(edit)(folder)
        (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    return change


Q_A = "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight"
ADAPTER_ROWS = [
    ("llama", change_adapter(peft_type="IA3"), "peft_type 'IA3' is not supported"),
    ("llama", change_adapter(use_dora=True), "use_dora is not supported"),
    ("llama", change_adapter(bias="all"), "bias is not supported"),
    ("llama", change_adapter(modules_to_save=["lm_head"]), "modules_to_save is not supported"),
    ("llama", change_adapter(lora_alpha=0), "lora_alpha must be a number above 0"),
    ("llama", unlink("adapter_config.json"), "adapter_config.json"),
    ("llama", unlink("adapter_model.safetensors"), "adapter_model.safetensors"),
    ("llama", change_adapter_tensors(lambda items: items.pop(Q_A)), "self_attn.q_proj.lora_B.weight has no partner"),
    ("llama", change_adapter_tensors(lambda items: items.update({Q_A: ("F32", [4, 63], bytes(4 * 63 * 4))})),
     "q_proj.lora_A.weight has a type or shape that does not fit"),
    ("llama", change_adapter_tensors(lambda items: items.update({Q_A: ("I32", [4, 64], bytes(4 * 64 * 4))})),
     "q_proj.lora_A.weight has a type or shape that does not fit"),
    ("llama", change_adapter_tensors(lambda items: items.update({"base_model.model.lm_head.lora_A.weight": ("F32", [1], bytes(4))})),
     "lm_head.lora_A.weight changes nothing that an adapter can change"),
    ("phi3_partial", change_adapter_tensors(lambda items: items.update({Q_A: ("F32", [4, 128], bytes(4 * 128 * 4))})),
     "q_proj.lora_A.weight changes nothing that an adapter can change"),
]


@pytest.mark.parametrize("index", range(len(ADAPTER_ROWS)))
def test_what_is_wrong_with_an_adapter_is_named(index, tmp_path):
    name, change, expected = ADAPTER_ROWS[index]
    folder = fm.write_folder(tmp_path / "model", name)
    adapter = fm.write_adapter(tmp_path / "adapter", name, "one")
    change(adapter)
    result = subprocess.run([find_program("logits_tool"), folder, "reference", "32", "8", "8", adapter],
                            input=struct.pack("=Ii", 1, 1), capture_output=True, timeout=60)
    assert result.returncode == 1, result.stderr.decode()
    assert expected in result.stderr.decode()
