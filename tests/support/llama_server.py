"""llama.cpp's server, where it is there: a server elsewhere that is not ours."""
import contextlib
import os
import pathlib
import subprocess

import pytest

from support import servers

PATH = pathlib.Path(os.environ.get("PENSTOCK_TEST_LLAMA_SERVER") or
                    next(iter(sorted((pathlib.Path.home() / ".cache/penstock/peers").glob("llama.cpp-*/bin/llama-server"))), "/nowhere"))
needed = pytest.mark.skipif(not PATH.exists(), reason="there is no llama-server; PENSTOCK_TEST_LLAMA_SERVER names one")


@contextlib.contextmanager
def running(model_path, folder, api_key, *arguments):
    """The process and its URL; it may not answer yet."""
    port = servers.free_port()
    with open(folder / "llama.log", "wb") as log:
        process = subprocess.Popen([PATH, "-m", model_path, "--host", "127.0.0.1", "--port", str(port), "-c", "2048", "-np", "2",
                                    "--metrics", "--api-key", api_key, "--jinja", *arguments], stdout=log, stderr=log)
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(10)
