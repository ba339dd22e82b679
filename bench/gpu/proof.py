"""What ran on a GPU, and when: bench/gpu-proof.json holds the hash of each kernel's source as it was then, so that a machine without a
GPU can say which kernels have changed since."""
import hashlib
import json
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROOF = ROOT / "bench/gpu-proof.json"
KERNELS = ROOT / "kernels/cuda"


def kernel_files() -> list[pathlib.Path]:
    return sorted(KERNELS.rglob("*.cu"))


def own_includes(path: pathlib.Path) -> list[pathlib.Path]:
    """The headers of kernels/cuda that a file includes, theirs included."""
    found: list[pathlib.Path] = []
    todo = [path]
    while todo:
        for line in todo.pop().read_text().splitlines():
            if not line.startswith('#include "'):
                continue
            name = line.split('"')[1]
            for header in sorted(KERNELS.rglob(pathlib.Path(name).name)):
                if header not in found and "emulator" not in header.parts:
                    found.append(header)
                    todo.append(header)
    return sorted(found)


def source_hash(path: pathlib.Path) -> str:
    """Of a kernel's source and the headers it is made of."""
    digest = hashlib.sha256()
    for file in [path, *own_includes(path)]:
        digest.update(file.relative_to(ROOT).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def hashes() -> dict[str, str]:
    return {path.relative_to(KERNELS).as_posix(): source_hash(path) for path in kernel_files()}


def changes() -> list[str]:
    """A line for each kernel that a GPU has not run as it is now."""
    if not PROOF.exists():
        return [f"{name}: has not run on a GPU yet" for name in hashes()]
    proof = json.loads(PROOF.read_text())
    known = proof["kernels"]
    lines = []
    for name, value in hashes().items():
        if name not in known:
            lines.append(f"{name}: has not run on a GPU yet")
        elif known[name] != value:
            lines.append(f"{name}: has changed since it ran on {proof['device']} on {proof['date']}")
    return lines
