"""The compile gate of the CUDA kernels, on what nvcc said of two small kernels: what it takes, and what it does not."""
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.cuda

PTXAS = """\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z4halfILj64EEvPKfPf' for '{arch}'
ptxas info    : Function properties for _Z4halfILj64EEvPKfPf
    {stack} bytes stack frame, {spilled} bytes spill stores, 0 bytes spill loads
ptxas info    : Used {registers} registers, used 1 barriers, {shared} bytes smem, 372 bytes cmem[0]
ptxas info    : Compile time = 22.175 ms
ptxas info    : Compiling entry function '_Z5wholePf' for '{arch}'
ptxas info    : Function properties for _Z5wholePf
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 20 registers, used 0 barriers
ptxas info    : Compile time = 2.1 ms
"""
PTX = """\
.version 9.0
.target sm_90a
.address_size 64
	// .globl	_Z5wholePf
.entry _Z5wholePf(
	.param .u64 .ptr .align 1 _Z5wholePf_param_0
)
{
	griddepcontrol.wait;
	ret;
}
.entry _Z4halfILj64EEvPKfPf(
	.param .u64 .ptr .align 1 _Z4halfILj64EEvPKfPf_param_0
)
.maxntid 128, 1, 1
.minnctapersm 4
{
	%s
	ld.global.L1::no_allocate.v4.u32 {%%r1, %%r2, %%r3, %%r4}, [%%rd1];
	%s
	ret;
}
"""
MMA = "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f1, %f2, %f3, %f4}, {%r1, %r2, %r3, %r4}, {%r5, %r6}, {%f1, %f2, %f3, %f4};"


class Build:
    """A build folder with one object's leavings, and a table."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder, self.table = folder, folder / "resources.txt"
        # The name of a kernel file that there is: others are taken for what an earlier build left.
        self.stem = folder / "cuda/rows/rows"
        self.stem.parent.mkdir(parents=True)
        self.write()

    def write(self, archs=("sm_80", "sm_90a", "sm_100"), mma=MMA, wait="griddepcontrol.wait;", **figures) -> None:
        figures = {"registers": 96, "stack": 0, "spilled": 0, "shared": 1024} | figures
        self.stem.with_suffix(".ptxas").write_text("".join(PTXAS.format(arch=arch, **figures) for arch in archs))
        self.stem.with_suffix(".ptx").write_text(PTX % (wait, mma))

    def gate(self, *options: str) -> tuple[int, str]:
        done = subprocess.run([sys.executable, ROOT / "tools/cuda-gate", "--no-build", "--table", self.table, *options, self.folder],
                              capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def build(tmp_path):
    made = Build(tmp_path)
    assert made.gate("--update") == (0, "2 kernels for 3 architectures, 0 with faults\n")
    return made


def test_what_the_table_says_passes_and_is_readable(build):
    assert build.gate()[0] == 0
    rows = [line.split() for line in build.table.read_text().splitlines() if not line.startswith("#")]
    assert rows[1] == ["rows", "half<64u>", "128", "4", "0", "96", "96", "96", "0", "1024", "ld.global.v4,mma.sync"]
    assert rows[2] == ["rows", "whole", "-", "-", "0", "20", "20", "20", "0", "0", "-"]


@pytest.mark.parametrize("figures, said", [
    ({"spilled": 8}, "spills registers on sm_90a: 8 bytes"),
    ({"registers": 105}, "105 registers on sm_80, the table says 96"),
    ({"stack": 16}, "16 bytes of stack, the table says 0"),
    ({"shared": 2048}, "2048 bytes of shared, the table says 1024"),
    ({"mma": ""}, "has no mma.sync any more"),
    ({"wait": ""}, "never calls k_wait_previous"),
    ({"archs": ("sm_80", "sm_90a")}, "was not compiled for sm_100"),
    ({"registers": 136}, "4 blocks of 128 threads are planned on a multiprocessor, 3 fit (sm_90a)"),
    ({"shared": 60000}, "4 blocks of 128 threads are planned on a multiprocessor, 3 fit (sm_90a)"),
    ({"shared": 180000}, "4 blocks of 128 threads are planned on a multiprocessor, 0 fit (sm_80)"),
])
def test_what_got_worse_fails_and_is_named(build, figures, said):
    build.write(**figures)
    code, text = build.gate()
    assert code == 1
    assert f"kernels/cuda/rows.cu: half<64u>: {said}\n" in text


def test_a_few_registers_more_pass(build):
    build.write(registers=104)
    assert build.gate()[0] == 0


def test_a_kernel_that_only_one_of_the_two_knows_fails(build):
    lines = build.table.read_text().splitlines(keepends=True)
    build.table.write_text("".join(line for line in lines if "whole" not in line) + lines[-1].replace("whole", "other"))
    code, text = build.gate()
    assert code == 1
    assert "whole: is not in the table" in text and "other: is not in the build" in text


def test_dynamic_memory_counts_and_an_update_keeps_it(build):
    lines = build.table.read_text().splitlines(keepends=True)
    build.table.write_text("".join(line.replace("4       0  ", "4       60000  ") if "half" in line else line for line in lines))
    code, text = build.gate()
    assert code == 1 and "planned on a multiprocessor, 3 fit (sm_100)" in text
    assert build.gate("--update")[0] == 1
    assert " 60000 " in build.table.read_text()


def test_a_build_without_kernels_says_so(tmp_path):
    done = subprocess.run([sys.executable, ROOT / "tools/cuda-gate", "--no-build", tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "PENSTOCK_CUDA" in done.stdout
