"""A LoRA adapter for the default model (SmolLM2-135M), in the form that PEFT saves. The numbers are a formula, so every machine
makes the same files. Run as a program: lora_folder.py FOLDER [SEED]."""
import array
import json
import pathlib
import struct
import sys

LAYERS, WIDTH, RANK = 30, 576, 2
MODULES = ("q_proj", "o_proj")
SCALE = 2.0  # alpha / rank
STRENGTH = 0.2  # of an entry: a dozen tokens are enough to tell the voices apart, and they are still text


def numbers(count, seed):
    """Between -1 and 1, by a linear congruence (Knuth's MMIX)."""
    state = seed
    values = array.array("f")
    for _ in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) & (1 << 64) - 1
        values.append((state >> 40) / (1 << 23) - 1)
    return values


def matrix(seed, rank, layer, module, letter):
    """A or B, row by row."""
    number = MODULES.index(module)
    values = numbers(rank * WIDTH, seed * 1000003 + layer * 101 + number * 11 + ord(letter))
    return array.array("f", (value * STRENGTH for value in values))


def write_lora(folder, seed=1, rank=RANK):
    """Changes q and o of every layer."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    header, data = {"__metadata__": {"format": "pt"}}, bytearray()
    for layer in range(LAYERS):
        for module in MODULES:
            for letter, shape in (("A", [rank, WIDTH]), ("B", [WIDTH, rank])):
                values = matrix(seed, rank, layer, module, letter)
                if sys.byteorder == "big":
                    values.byteswap()
                header[f"base_model.model.model.layers.{layer}.self_attn.{module}.lora_{letter}.weight"] = {
                    "dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + 4 * len(values)]}
                data += values.tobytes()
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    (folder / "adapter_config.json").write_text(json.dumps({
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": SCALE * rank, "bias": "none",
        "target_modules": sorted(MODULES)}, indent=1))
    return folder


if __name__ == "__main__":
    write_lora(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1)
