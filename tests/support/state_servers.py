"""Private PostgreSQL and Redis servers on Unix sockets in a folder of their own, which end with the tests."""
import contextlib
import glob
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import tempfile

from support.observe import wait_until

WAIT_S = 60
PASSWORD = "a password: with 'quotes' %20"


def program(name):
    """Its path; Debian keeps those of PostgreSQL's servers out of PATH."""
    found = shutil.which(name) or next(iter(sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), reverse=True)), None)
    assert found, f"{name} is not installed: run tools/test"
    return found


class _Process:
    """A server that can be stopped, killed and started again on the same files."""

    def __init__(self, prefix):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))  # short: a socket's path has 107 bytes
        self.process = None
        self.password_file = self.folder / "password"
        self.password_file.write_text(PASSWORD + "\n")

    def start(self):
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                                            start_new_session=True)
        wait_until(self.is_ready, what=f"{self.command()[-1]} is ready: {(self.folder / 'log').read_text()[-2000:]}")
        return self

    def stop(self, how=signal.SIGINT):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(WAIT_S)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(WAIT_S)

    def close(self):
        self.stop()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)


class Postgres(_Process):
    """The server refuses to run as root: then it is the user postgres."""

    def __init__(self):
        super().__init__("penstock-pg-")
        self.prefix = []
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            self.prefix = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            os.chown(self.password_file, user.pw_uid, user.pw_gid)
        self.data = self.folder / "data"
        subprocess.run([*self.prefix, program("initdb"), "-D", self.data, "-U", "penstock", "-E", "UTF8", "--locale=C.UTF-8",
                        "--auth=scram-sha-256", f"--pwfile={self.password_file}", "--no-sync"], check=True, cwd=self.folder,
                       capture_output=True, timeout=WAIT_S)
        self.uri = f"postgresql://penstock@/postgres?host={self.folder}"

    def command(self):
        return [*self.prefix, program("postgres"), "-D", self.data, "-c", "listen_addresses=", "-k", self.folder,
                "-c", "fsync=off"]

    def is_ready(self):
        assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
        return subprocess.run([program("psql"), self.uri, "-c", ""], env=self.environment(), capture_output=True).returncode == 0

    def environment(self):
        return {**os.environ, "PGPASSWORD": PASSWORD}

    def rows(self, sql):
        """What a query answers, a list of texts a row."""
        result = subprocess.run([program("psql"), self.uri, "-XAtq", "-F", "\t", "-c", sql], env=self.environment(),
                                capture_output=True, text=True, timeout=WAIT_S)
        assert result.returncode == 0, result.stderr
        return [line.split("\t") for line in result.stdout.splitlines()]

    def number(self, sql):
        return int(self.rows(sql)[0][0] or 0)


class Redis(_Process):
    def __init__(self):
        super().__init__("penstock-redis-")
        self.socket = self.folder / "socket"
        self.address = f"unix:{self.socket}"

    def command(self):
        return [program("redis-server"), "--port", "0", "--unixsocket", self.socket, "--save", "", "--appendonly", "no",
                "--dir", self.folder, "--requirepass", PASSWORD]

    def ask(self, *words):
        return subprocess.run([program("redis-cli"), "-s", self.socket, *words], capture_output=True, text=True,
                              env={**os.environ, "REDISCLI_AUTH": PASSWORD}, timeout=WAIT_S).stdout.strip()

    def is_ready(self):
        assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
        return self.ask("PING") == "PONG"
