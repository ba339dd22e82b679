"""Clients in the background that ask all the time, and keep account of what went wrong."""
import contextlib
import http.client
import ssl
import subprocess
import threading
import time

TIMEOUT_S = 120  # of one answer; a busy machine is slow, and slow is not wrong


class Load:
    """Runs client functions, each in its own thread, until the end of the `with` block. A client gets this object; it calls
    `is_over` between requests, `count` after each good one and `fail` after each other."""

    def __init__(self, *clients):
        self.over, self.lock = threading.Event(), threading.Lock()
        self.failures, self.counts = [], {}
        self.threads = [threading.Thread(target=self._run, args=(client,)) for client in clients]

    def _run(self, client):
        try:
            client(self)
        except Exception as error:  # pylint: disable=broad-except  (whatever it is, the test must hear of it)
            self.fail(f"{client}: {error!r}")

    def is_over(self):
        return self.over.is_set()

    def count(self, what):
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    def fail(self, text):
        with self.lock:
            self.failures.append(f"{time.monotonic():.3f} {text}")

    def wait_for(self, count, seconds=TIMEOUT_S):
        """Until each kind of request that has been seen has been answered `count` times more, and none has failed."""
        with self.lock:
            goal = {what: before + count for what, before in self.counts.items()}
        end = time.monotonic() + seconds
        while not all(self.counts[what] >= number for what, number in goal.items()):
            assert not self.failures, self.failures
            assert time.monotonic() < end, (self.counts, goal)
            time.sleep(0.02)

    def begin(self, kinds):
        """Until so many kinds of requests have been answered."""
        end = time.monotonic() + TIMEOUT_S
        while len(self.counts) < kinds:
            assert not self.failures, self.failures
            assert time.monotonic() < end, self.counts
            time.sleep(0.02)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *error):
        self.over.set()
        for thread in self.threads:
            thread.join()


class KeptConnection:
    """Requests over HTTP/1.1 one after the other on a kept connection; a new one when an answer says so. Nothing is ever tried
    again, but for connecting: with `may_be_refused` a port that is closed ends the client."""

    def __init__(self, name, host, port, requests, tls=None, may_be_refused=False):
        self.name, self.host, self.port, self.requests = name, host, port, requests
        self.tls, self.may_be_refused = tls, may_be_refused

    def __str__(self):
        return self.name

    def connect(self):
        if self.tls is None:
            connection = http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT_S)
        else:
            connection = http.client.HTTPSConnection(self.host, self.port, timeout=TIMEOUT_S, context=self.tls)
        connection.connect()
        connection.auto_open = 0
        return connection

    def __call__(self, load):
        connection = None
        try:
            while not load.is_over():
                for method, path, body, is_good in self.requests:
                    if connection is None:
                        try:
                            connection = self.connect()
                        except ConnectionRefusedError:
                            if self.may_be_refused:
                                return
                            raise
                    connection.request(method, path, body, {"content-type": "application/json"} if body else {})
                    answer = connection.getresponse()
                    is_last = answer.getheader("connection") == "close"
                    text = answer.read()
                    if answer.status != 200 or not is_good(text):
                        load.fail(f"{self.name} {path}: {answer.status} {text[-400:]!r}")
                    else:
                        load.count(f"{self.name} {path}")
                    if is_last or connection.sock is None:
                        connection.close()
                        connection = None
        finally:
            if connection is not None:
                connection.close()


class Curl:
    """Batches of requests over one HTTP/2 connection each, by a client that understands GOAWAY."""

    def __init__(self, name, url, body=None, arguments=(), batch=20, ending=b""):
        self.name, self.body, self.batch, self.ending = name, body, batch, ending
        self.command = ["curl", "-sS", "-N", "--max-time", str(TIMEOUT_S), *arguments]
        one = ["-w", "\\n%{http_code} %{http_version}\\n", url]
        if body is not None:
            one += ["-H", "content-type: application/json", "--data-binary", body]
        for number in range(batch):
            self.command += (["--next", "-sS", "-N", *arguments] if number else []) + one

    def __str__(self):
        return self.name

    def __call__(self, load):
        while not load.is_over():
            done = subprocess.run(self.command, capture_output=True, check=False)
            good = done.stdout.count(b"\n200 2\n")
            for _ in range(good):
                load.count(self.name)
            if done.returncode != 0 or good != self.batch or done.stdout.count(self.ending) < self.batch:
                load.fail(f"{self.name}: curl ended with {done.returncode}, {good} of {self.batch} answers: "
                          f"{done.stderr[-400:]!r} {done.stdout[-400:]!r}")


def any_certificate():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@contextlib.contextmanager
def running(*clients):
    """Load that has begun: every client has had an answer. No failure at the end."""
    load = Load(*clients)
    with load:
        load.begin(len({kind for client in clients for kind in kinds_of(client)}))
        yield load
    assert not load.failures, load.failures[:5]


def kinds_of(client):
    if isinstance(client, KeptConnection):
        return {f"{client.name} {path}" for _, path, _, _ in client.requests}
    return {client.name}
