"""tools/gpu-check on the emulated device: the command that a machine with a GPU runs works, and what it compares is equal."""
import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.cuda


def gpu_check(*flags, **environment):
    return subprocess.run([sys.executable, ROOT / "tools/gpu-check", *flags], capture_output=True, text=True, timeout=280,
                          env=dict(os.environ, **environment))


@pytest.mark.timeout(300)
def test_the_steps_run_on_the_emulated_device_and_the_models_tokens_are_the_cpus(penstock_binary, model_path):
    result = gpu_check("--emulated", "--build", str(penstock_binary.parent), "--skip", "tests,sanitizers,speed", "--model", str(model_path))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "default: the tokens of 2 prompts are equal to the CPU backend's" in result.stdout
    assert "0 failed" in result.stdout


def test_kernels_are_known_by_their_sources(tmp_path, monkeypatch):
    sys.path.insert(0, str(ROOT / "bench/gpu"))
    import proof

    known = proof.hashes()
    assert "rows.cu" in known and all(len(value) == 64 for value in known.values())
    path = tmp_path / "proof.json"
    changed = dict(known, **{"rows.cu": "0" * 64})
    del changed["encoder.cu"]
    path.write_text(json.dumps({"kernels": changed, "device": "NVIDIA H200", "date": "2026-01-31"}))
    monkeypatch.setattr(proof, "PROOF", path)
    assert sorted(proof.changes()) == ["encoder.cu: has not run on a GPU yet", "rows.cu: has changed since it ran on NVIDIA H200 on 2026-01-31"]


def test_wrong_steps_are_refused():
    result = gpu_check("--skip", "everything")
    assert result.returncode == 2 and "--skip knows tests, sanitizers, models, speed" in result.stderr
