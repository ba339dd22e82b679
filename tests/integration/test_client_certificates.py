"""Clients that are known by their TLS certificates."""
import datetime
import hashlib
import ssl

import httpx
import openai
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

pytestmark = pytest.mark.edge

KEY = "sk-operator-0123456789abcdef0123456789ab"
CONFIG = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
  tls_certificate: FOLDER/server.pem
  tls_key: FOLDER/server.key
  tls_client_ca: FOLDER/authority.pem
MORE
auth:
  keys: [{name: operator, sha256: """ + hashlib.sha256(KEY.encode()).hexdigest() + """}]
tenants:
  limits:
    - {organisation: Acme_Works, team: red, key: "spiffe://acme/ann", tokens_per_day: 500}
models:
  - name: smollm2
    path: {model}
    max_model_len: 1024
"""
NOW = datetime.datetime.now(datetime.timezone.utc)


class Authority:
    """Makes certificates, each with its key, in a folder."""

    def __init__(self, folder, name):
        self.folder, self.name = folder, name
        self.key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self.sign(subject, subject, self.key.public_key(),
                                     [(x509.BasicConstraints(ca=True, path_length=None), True)], 100)
        (folder / f"{name}.pem").write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def sign(self, subject, issuer, key, extensions, days):
        builder = x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number(),
                                          NOW - datetime.timedelta(days=200), NOW + datetime.timedelta(days=days))
        for extension, is_critical in extensions:
            builder = builder.add_extension(extension, is_critical)
        return builder.sign(self.key, hashes.SHA256())

    def issue(self, file, attributes, names=(), days=10, usage=x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH):
        key = ec.generate_private_key(ec.SECP256R1())
        extensions = [(x509.ExtendedKeyUsage([usage]), False)]
        if names:
            extensions.append((x509.SubjectAlternativeName(list(names)), False))
        subject = x509.Name([x509.NameAttribute(kind, text) for kind, text in attributes])
        certificate = self.sign(subject, self.certificate.subject, key.public_key(), extensions, days)
        (self.folder / f"{file}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (self.folder / f"{file}.key").write_bytes(key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


ANN = [(NameOID.COMMON_NAME, "ann"), (NameOID.ORGANIZATION_NAME, "Acme Works"), (NameOID.ORGANIZATIONAL_UNIT_NAME, "red")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    authority, other = Authority(folder, "authority"), Authority(folder, "other")
    authority.issue("server", [(NameOID.COMMON_NAME, "localhost")], [x509.DNSName("localhost")],
                    usage=x509.oid.ExtendedKeyUsageOID.SERVER_AUTH)
    authority.issue("ann", ANN, [x509.DNSName("ann.acme"), x509.UniformResourceIdentifier("spiffe://acme/ann")])
    authority.issue("plain", [(NameOID.COMMON_NAME, "plain")])
    authority.issue("nameless", [(NameOID.ORGANIZATION_NAME, "Acme Works")])
    authority.issue("expired", ANN, days=-1)
    authority.issue("for-servers", ANN, usage=x509.oid.ExtendedKeyUsageOID.SERVER_AUTH)
    other.issue("stranger", ANN)
    return folder


@pytest.fixture(scope="module")
def server(module_servers, folder):
    return module_servers[0](CONFIG.replace("FOLDER", str(folder)).replace("MORE", ""))


def context_of(folder, name):
    context = ssl.create_default_context(cafile=folder / "authority.pem")
    if name is not None:
        context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return context


def tls_url(server):
    return server.url.replace("http://127.0.0.1", "https://localhost")


def get(server, folder, name, headers=None, http2=False):
    with httpx.Client(verify=context_of(folder, name), http2=http2, timeout=60) as client:
        return client.get(tls_url(server) + "/v1/models", headers=headers or {})


@pytest.mark.parametrize("name", ["ann", "plain"])
@pytest.mark.parametrize("http2", [False, True])
def test_a_certificate_is_enough(server, folder, name, http2):
    answer = get(server, folder, name, http2=http2)
    assert answer.status_code == 200 and answer.http_version == ("HTTP/2" if http2 else "HTTP/1.1")


def test_the_official_client_is_known_by_its_organisation_team_and_name(server, folder):
    with httpx.Client(verify=context_of(folder, "ann"), timeout=60) as transport:
        client = openai.OpenAI(base_url=tls_url(server) + "/v1", api_key="none", http_client=transport, max_retries=0)
        raw = client.completions.with_raw_response.create(model="smollm2", prompt="a", max_tokens=2,
                                                          extra_headers={"Authorization": openai.Omit()})
    assert raw.headers["x-ratelimit-limit-tokens"] == "500"
    assert raw.parse().choices


def test_who_shows_neither_is_refused(server, folder):
    assert get(server, folder, None).status_code == 401
    assert get(server, folder, "nameless").status_code == 401
    assert httpx.get(server.url + "/v1/models").status_code == 401


def test_a_key_counts_before_the_certificate(server, folder):
    assert get(server, folder, None, {"authorization": f"Bearer {KEY}"}).status_code == 200
    assert get(server, folder, "ann", {"authorization": f"Bearer {KEY}"}).status_code == 200
    assert get(server, folder, "ann", {"authorization": "Bearer wrong"}).status_code == 401
    assert get(server, folder, "ann", {"x-api-key": "wrong"}).status_code == 401


@pytest.mark.parametrize("name", ["stranger", "expired", "for-servers"])
def test_a_certificate_that_is_not_good_ends_the_connection(server, folder, name):
    with pytest.raises(httpx.TransportError):
        get(server, folder, name)
    with pytest.raises(httpx.TransportError):
        get(server, folder, name, {"authorization": f"Bearer {KEY}"})


def test_each_connection_has_its_own(server, folder):
    with httpx.Client(verify=context_of(folder, "ann"), timeout=60) as one, \
            httpx.Client(verify=context_of(folder, None), timeout=60) as other:
        for _ in range(3):
            assert one.get(tls_url(server) + "/v1/models").status_code == 200
            assert other.get(tls_url(server) + "/v1/models").status_code == 401


def test_it_can_be_required(start_gateway, folder):
    server = start_gateway(CONFIG.replace("FOLDER", str(folder)).replace("MORE", "  tls_client_required: true"))
    with pytest.raises(httpx.TransportError):
        get(server, folder, None, {"authorization": f"Bearer {KEY}"})
    assert get(server, folder, "ann").status_code == 200
