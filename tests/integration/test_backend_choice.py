"""What `backend: auto` is: on devices that are emulated, and without one. The driver's and the device's faults are the emulated
runtime's, told by PENSTOCK_FAKE_DEVICE."""
import ctypes
import pathlib

import pytest
from replica_client import MODEL, post
from support.observe import wait_until

CONFIG = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
models:
  - name: smollm2
    path: {model}
    max_model_len: 64
    kv_cache_memory: 16MiB
    weight_cache: off
    max_num_seqs: 2
    max_num_batched_tokens: 16
"""


@pytest.fixture(scope="module")
def library(penstock_binary):
    path = pathlib.Path(penstock_binary).parent / "libpenstock-cuda-emulated.so"
    if not path.exists():
        pytest.skip("the emulated device is not built")
    return path


@pytest.fixture
def start_on(start_replica, library):
    def start(device, rows="", **environment):
        environment |= {"PENSTOCK_CUDA_LIBRARY": str(library), "PENSTOCK_EMULATOR_CHECKS": "off", "PENSTOCK_FAKE_DEVICE": device}
        return start_replica(CONFIG + rows, environment=environment, wait=False)
    return start


def choice(server):
    """The line that tells it, or how the replica ended."""
    wait_until(lambda: "backend auto: " in server.log_text() or not server.is_running())
    return server.log_text()


def test_a_device_with_room_for_the_model_is_taken(start_on):
    server = start_on("devices=1,memory=3000000000")
    server.wait_until_ready()
    assert "backend auto: cuda on emulated device, 2.9 GB free of 3.0 GB" in choice(server)
    status, _, answer = post(server, "/v1/completions", {"model": MODEL, "prompt": "Hi", "temperature": 0, "max_tokens": 1})
    assert status == 200 and answer["usage"]["completion_tokens"] == 1


@pytest.mark.parametrize("device, rows, vendor, why", [
    ("devices=0", "", "", "there is no device 0: 0 in all"),
    ("driver=0", "", "", "the NVIDIA driver is missing: install it"),
    ("driver=11080", "", "", "the NVIDIA driver is too old: it knows CUDA 11.8, and this program was built with CUDA 12.8"),
    ("memory=1200000000", "", "", "GB and an accelerator has 1.1 for it"),
    ("devices=1,memory=3000000000", "    tensor_parallel: 3\n", "", "there are 3 ranks, and 1 devices are visible"),
    ("devices=1,memory=3000000000", "", "cpu", "the slice is one of cores"),
])
def test_without_a_usable_device_it_is_the_cpu_and_the_log_says_why(start_on, device, rows, vendor, why):
    text = choice(start_on(device, rows, PENSTOCK_SLICE_VENDOR=vendor))
    line = next(line for line in text.splitlines() if "backend auto: " in line)
    assert "the CPU (" in line and why in line


@pytest.mark.parametrize("vendor, why", [
    ("nvidia", "the slice is one of a GPU, which cannot be used: the NVIDIA driver is too old"),
    ("amd", "the slice is one of a device that there are no kernels for"),
])
def test_a_slice_of_a_device_never_becomes_the_cpu(start_on, vendor, why):
    server = start_on("driver=11080", PENSTOCK_SLICE_VENDOR=vendor)
    assert why in choice(server)
    wait_until(lambda: not server.is_running())
    assert "backend auto: " not in server.log_text()


def test_a_gateway_tells_its_replicas_whose_their_slices_are(gateway):
    wait_until(lambda: "backend auto: the CPU (" in gateway.log_text())
    assert "the slice is one of cores" in gateway.log_text()


def test_cuda_without_a_driver_says_what_is_missing(start_replica):
    try:
        ctypes.CDLL("libcuda.so.1")
        pytest.skip("this machine has an NVIDIA driver")
    except OSError:
        pass
    server = start_replica(CONFIG + "    backend: cuda\n", wait=False)
    wait_until(lambda: not server.is_running())
    assert "the NVIDIA driver is missing (libcuda.so.1" in server.log_text() and "nvidia-smi" in server.log_text()
