"""Fixtures for every suite: the binary, the model, and servers that run on free loopback ports.

tools/test sets PENSTOCK_BINARY and PENSTOCK_TEST_MODEL; without them the release build and the model that tools/serve
fetched are taken. Servers end with their fixture, by the process id that was started; what they logged is shown when a test
fails.
"""
import os
import pathlib

import pytest

from support import servers

ROOT = pathlib.Path(__file__).resolve().parents[1]
FAILURES = os.environ.get("PENSTOCK_FAILURES")
FOLDER_MARKERS = {"integration", "parity", "fault", "api", "edge", "pool", "cuda", "observe"}


def pytest_collection_modifyitems(items):
    """A test has the label of its folder."""
    tests = ROOT / "tests"
    for item in items:
        folder = pathlib.Path(item.fspath).relative_to(tests).parts[0]
        if folder in FOLDER_MARKERS:
            item.add_marker(getattr(pytest.mark, folder))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Adds the end of each running server's log to the report of a test that failed, and its name to the file PENSTOCK_FAILURES."""
    report = (yield).get_result()
    if report.failed:
        if FAILURES:
            with open(FAILURES, "a") as names:
                names.write(f"{item.config.rootpath}/{item.nodeid}\n")
        for server in servers.running_or_just_ended():
            report.sections.append((f"log of {server.name} (pid {server.pid})", server.log_tail()))


@pytest.fixture(scope="session")
def penstock_binary():
    path = pathlib.Path(os.environ.get("PENSTOCK_BINARY", ROOT / "build/release/penstock"))
    if not path.exists():
        pytest.fail(f"{path} is not built: run tools/test, or set PENSTOCK_BINARY")
    return path.resolve()


@pytest.fixture(scope="session")
def model_path():
    home = pathlib.Path(os.environ.get("PENSTOCK_HOME") or
                        pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "penstock")
    path = pathlib.Path(os.environ.get("PENSTOCK_TEST_MODEL", home / "models/SmolLM2-135M-Instruct.Q4_1.gguf"))
    if not path.exists():
        pytest.skip(f"{path} is not there: run tools/serve once, or set PENSTOCK_TEST_MODEL")
    return path.resolve()


def make_factories(binary, model, folder):
    """(start_gateway, start_replica, stop_all) that keep their files in `folder`."""
    started = []

    def start_gateway(config_text=None, arguments=(), environment=None, wait=True):
        """Runs `penstock serve`. The text may use {model}, {port} and {admin_port}; None: one model, default limits."""
        server = servers.start_gateway(binary, model, folder, config_text, arguments, environment)
        started.append(server)
        if wait:
            server.wait_until_ready()
        return server

    def start_replica(config_text=None, name="smollm2", unix_socket=False, arguments=(), environment=None, wait=True):
        """Runs `penstock replica` on a free port, or on a Unix socket (then .socket is its path)."""
        server = servers.start_replica(binary, model, folder, config_text, name, unix_socket, arguments, environment)
        started.append(server)
        if wait:
            server.wait_until_ready()
        return server

    def stop_all():
        for server in reversed(started):
            server.stop()

    return start_gateway, start_replica, stop_all


@pytest.fixture(scope="session")
def session_servers(penstock_binary, model_path, tmp_path_factory):
    factories = make_factories(penstock_binary, model_path, tmp_path_factory.mktemp("servers"))
    yield factories
    factories[2]()


@pytest.fixture(scope="module")
def module_servers(penstock_binary, model_path, tmp_path_factory):
    """The same three for one file's fixtures: each gateway's replicas take a gigabyte, and a session has dozens of files."""
    factories = make_factories(penstock_binary, model_path, tmp_path_factory.mktemp("servers"))
    yield factories
    factories[2]()


@pytest.fixture(scope="session")
def gateway(session_servers):
    """One gateway with the model smollm2 for the whole session: .url, .admin_url, .process, .pid."""
    return session_servers[0]()


@pytest.fixture(scope="session")
def replica(session_servers):
    """One replica with the model smollm2 for the whole session: .url, .process, .pid, .socket (None)."""
    return session_servers[1]()


@pytest.fixture
def own_servers(penstock_binary, model_path, tmp_path):
    factories = make_factories(penstock_binary, model_path, tmp_path)
    yield factories
    factories[2]()


@pytest.fixture
def start_gateway(own_servers):
    """start_gateway(config_text=None, ...): a gateway of this test's own; ends with the test."""
    return own_servers[0]


@pytest.fixture
def start_replica(own_servers):
    """start_replica(config_text=None, ...): a replica of this test's own; ends with the test."""
    return own_servers[1]
