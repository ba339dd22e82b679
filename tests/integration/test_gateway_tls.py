"""TLS at the gateway: the same port as cleartext, the official client, certificates that change under load."""
import signal
import ssl
import subprocess
import threading
import time

import httpx
import openai
import pytest

MESSAGES = [{"role": "user", "content": "Name three rivers."}]

CONFIG = """
server:
  listen: 127.0.0.1:{{port}}
  admin_listen: 127.0.0.1:{{admin_port}}
  tls_certificate: {folder}/certificate.pem
  tls_key: {folder}/key.pem
models:
  - name: smollm2
    path: {{model}}
    max_model_len: 512
"""


def make_certificate(folder, name):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1",
                    "-keyout", folder / "key.pem", "-out", folder / "certificate.pem"], check=True, capture_output=True)


@pytest.fixture
def tls_gateway(start_gateway, tmp_path):
    make_certificate(tmp_path, "first")
    server = start_gateway(CONFIG.format(folder=tmp_path))
    server.folder = tmp_path
    server.tls_url = server.url.replace("http://", "https://")
    return server


def served_name(server):
    """The common name of the certificate that a new connection gets."""
    host, port = server.url.removeprefix("http://").split(":")
    pem = ssl.get_server_certificate((host, int(port)))
    text = subprocess.run(["openssl", "x509", "-noout", "-subject"], input=pem, capture_output=True, text=True, check=True)
    return text.stdout.strip().rsplit(" ", 1)[-1].removeprefix("subject=CN=")


def curl(server, url, *arguments):
    command = ["curl", "-sS", "--max-time", "20", "--cacert", server.folder / "certificate.pem", "-o", "/dev/null", "-w",
               "%{http_code} %{http_version}", *arguments, url + "/readyz"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_both_protocols_with_and_without_tls_on_one_port(tls_gateway):
    assert curl(tls_gateway, tls_gateway.tls_url, "--http2") == "200 2"
    assert curl(tls_gateway, tls_gateway.tls_url, "--http1.1") == "200 1.1"
    assert curl(tls_gateway, tls_gateway.url, "--http2-prior-knowledge") == "200 2"
    assert curl(tls_gateway, tls_gateway.url, "--http1.1") == "200 1.1"


def test_the_official_client_streams_over_tls(tls_gateway):
    context = ssl.create_default_context(cafile=tls_gateway.folder / "certificate.pem")
    with httpx.Client(verify=context, http2=True) as transport:
        client = openai.OpenAI(base_url=tls_gateway.tls_url + "/v1", api_key="none", http_client=transport, max_retries=0)
        chunks = list(client.chat.completions.create(model="smollm2", messages=MESSAGES, max_tokens=12, stream=True))
    assert chunks[-1].choices[0].finish_reason in ("stop", "length")
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def test_old_tls_is_refused(tls_gateway):
    failed = subprocess.run(["curl", "-sS", "--max-time", "10", "-k", "--tls-max", "1.1", tls_gateway.tls_url + "/livez"],
                            capture_output=True)
    assert failed.returncode == 35  # handshake


def test_certificates_rotate_while_requests_run(tls_gateway):
    failures, done, stop = [], [], threading.Event()

    def ask():
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        while not stop.is_set():
            try:
                done.append(httpx.get(tls_gateway.tls_url + "/livez", verify=context, timeout=10).status_code)
            except httpx.HTTPError as error:
                failures.append(repr(error))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        assert served_name(tls_gateway) == "first"
        make_certificate(tls_gateway.folder, "second")
        tls_gateway.process.send_signal(signal.SIGHUP)
        end = time.monotonic() + 10
        while served_name(tls_gateway) != "second":
            assert time.monotonic() < end, tls_gateway.log_tail()
            time.sleep(0.05)
    finally:
        stop.set()
        thread.join()
    assert not failures and set(done) == {200}


def test_a_key_that_does_not_fit_leaves_the_old_pair(tls_gateway):
    other = tls_gateway.folder / "other"
    other.mkdir()
    make_certificate(other, "other")
    (tls_gateway.folder / "key.pem").write_bytes((other / "key.pem").read_bytes())
    tls_gateway.process.send_signal(signal.SIGHUP)
    end = time.monotonic() + 10
    while "reload" not in tls_gateway.log_text().lower():
        assert time.monotonic() < end, tls_gateway.log_tail()
        time.sleep(0.05)
    assert served_name(tls_gateway) == "first"
    assert curl(tls_gateway, tls_gateway.tls_url, "--http2") == "200 2"
