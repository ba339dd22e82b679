"""Programs of the build that tests talk to over pipes."""
import os
import pathlib
import struct
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]


def find_program(name):
    """The newest build of a program; PENSTOCK_BUILD_DIR names one build."""
    if "PENSTOCK_BUILD_DIR" in os.environ:
        candidates = [pathlib.Path(os.environ["PENSTOCK_BUILD_DIR"]) / name]
    else:
        candidates = list(ROOT.glob(f"build/*/{name}"))
    candidates = [path for path in candidates if path.exists()]
    if not candidates:
        raise FileNotFoundError(f"{name} is not built (PENSTOCK_BUILD_DIR names the build directory)")
    return max(candidates, key=lambda path: path.stat().st_mtime)


class ToolProcess:
    """A program that answers binary requests; ends with the object."""

    def __init__(self, name, *arguments):
        self.process = subprocess.Popen([find_program(name), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def send(self, *parts):
        self.process.stdin.write(b"".join(parts))
        self.process.stdin.flush()

    def read(self, count):
        data = self.process.stdout.read(count)
        if len(data) != count:
            raise EOFError(f"the tool ended with {self.process.wait()}")
        return data

    def read_u32(self):
        return struct.unpack("=I", self.read(4))[0]

    def read_bytes(self):
        return self.read(self.read_u32())

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()
