"""JSON Web Tokens of issuers that the config trusts, made by PyJWT, and what must not pass for one."""
import base64
import functools
import hashlib
import hmac
import http.server
import json
import threading
import time
import warnings

import httpx
import jwt
import openai
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

pytestmark = pytest.mark.edge

MESSAGES = [{"role": "user", "content": "Say a few words about rivers."}]
ISSUER, AUDIENCE = "https://issuer.example/", "penstock"
CONFIG = """
server:
  listen: 127.0.0.1:{port}
  admin_listen: 127.0.0.1:{admin_port}
auth:
  jwt:
    - issuer: """ + ISSUER + """
      audience: """ + AUDIENCE + """
      jwks: JWKS
      leeway: 10s
      refresh: 1s
      organisation_claim: org
      team_claim: team
      scopes_claim: scope
MORE
models:
  - name: smollm2
    path: {model}
    max_model_len: 1024
"""


@functools.cache
def private_key(name):
    if name.startswith("RS"):
        return rsa.generate_private_key(public_exponent=65537, key_size=1024 if name == "RS-weak" else 2048)
    return ec.generate_private_key(ec.SECP256R1()) if name.startswith("ES") else ed25519.Ed25519PrivateKey.generate()


def algorithm_of(name):
    return {"RS": "RS256", "ES": "ES256", "Ed": "EdDSA"}[name[:2]]


def key_set(*names):
    keys = []
    for name in names:
        public = private_key(name).public_key()
        kind = {"RS": jwt.algorithms.RSAAlgorithm, "ES": jwt.algorithms.ECAlgorithm, "Ed": jwt.algorithms.OKPAlgorithm}[name[:2]]
        keys.append({**json.loads(kind.to_jwk(public)), "kid": name, "use": "sig"})
    return {"keys": keys}


def claims(**changes):
    now = int(time.time())
    wanted = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": now + 600, "nbf": now - 60, "org": "acme", **changes}
    return {name: value for name, value in wanted.items() if value is not None}


def token(name="ES-1", headers=None, **changes):
    return jwt.encode(claims(**changes), private_key(name), algorithm_of(name), headers={"kid": name, **(headers or {})})


def ask(server, shown):
    return httpx.get(server.url + "/v1/models", headers={"authorization": f"Bearer {shown}"}, timeout=60)


@pytest.fixture(scope="module")
def server(module_servers, tmp_path_factory):
    path = tmp_path_factory.mktemp("jwks") / "keys.json"
    path.write_text(json.dumps(key_set("RS-1", "ES-1", "Ed-1", "RS-weak")))
    server = module_servers[0](CONFIG.replace("JWKS", str(path)).replace("MORE", ""))
    server.key_file = path
    return server


@pytest.mark.parametrize("name", ["RS-1", "ES-1", "Ed-1"])
def test_a_good_token_of_each_algorithm_opens_the_api(server, name):
    client = openai.OpenAI(base_url=server.url + "/v1", api_key=token(name), max_retries=0)
    assert client.chat.completions.create(model="smollm2", messages=MESSAGES, max_tokens=2).choices


@pytest.mark.parametrize("name", ["RS-1", "ES-1", "Ed-1"])
@pytest.mark.parametrize("changes, why", [
    ({"exp": int(time.time()) - 3600}, "expired"), ({"exp": None}, "no end"), ({"exp": "tomorrow"}, "no end"),
    ({"nbf": int(time.time()) + 3600}, "not good yet"), ({"aud": "other"}, "audience"), ({"aud": None}, "audience"),
    ({"iss": "https://other.example/"}, "issuer"), ({"sub": None}, "claim"), ({"sub": "two words"}, "claim"),
])
def test_a_token_with_wrong_claims_is_refused(server, name, changes, why):
    wanted = claims(**changes)
    shown = jwt.api_jws.encode(json.dumps(wanted).encode(), private_key(name), algorithm_of(name), headers={"kid": name})
    answer = ask(server, shown)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key" and why in answer.json()["error"]["message"]


def test_clocks_may_differ_by_the_leeway(server):
    assert ask(server, token(exp=int(time.time()) - 2)).status_code == 200
    assert ask(server, token(nbf=int(time.time()) + 8)).status_code == 200
    assert ask(server, token(aud=["other", AUDIENCE])).status_code == 200


def encoded(value):
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def forged(head, signature):
    """A token with good claims; `signature` makes one of the signed text."""
    text = f"{encoded(head)}.{encoded(claims())}"
    return f"{text}.{encoded(signature(text.encode()))}"


def public_pem(name):
    return private_key(name).public_key().public_bytes(serialization.Encoding.PEM,
                                                       serialization.PublicFormat.SubjectPublicKeyInfo)


def attacks():
    good = token("RS-1")
    head, body, signature = good.split(".")
    pem = public_pem("RS-1")
    raw = jwt.utils.base64url_decode(key_set("Ed-1")["keys"][0]["x"])
    secret = functools.partial(hmac.digest, digest="sha256")
    yield "none", forged({"alg": "none", "kid": "RS-1"}, lambda text: b"")
    yield "None", forged({"alg": "None"}, lambda text: b"")
    yield "no signature", f"{head}.{body}."
    yield "public key as secret", forged({"alg": "HS256", "kid": "RS-1"}, lambda text: secret(pem, text))
    yield "public numbers as secret", forged({"alg": "HS256", "kid": "Ed-1"}, lambda text: secret(raw, text))
    yield "own key in the head", jwt.encode(claims(), private_key("ES-own"), "ES256",
                                            headers={"jwk": key_set("ES-own")["keys"][0]})
    yield "own key under a known id", jwt.encode(claims(), private_key("ES-own"), "ES256", headers={"kid": "ES-1"})
    yield "key of another kind", jwt.encode(claims(), private_key("ES-1"), "ES256", headers={"kid": "RS-1"})
    yield "unknown key", token("ES-own")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield "weak key", token("RS-weak")
    yield "other digest", jwt.encode(claims(), private_key("RS-1"), "RS512", headers={"kid": "RS-1"})
    yield "other padding", jwt.encode(claims(), private_key("RS-1"), "PS256", headers={"kid": "RS-1"})
    yield "claims changed", f"{head}.{encoded(claims(sub='operator'))}.{signature}"
    yield "head changed", f"{encoded({'alg': 'RS256', 'kid': 'RS-1', 'x': 1})}.{body}.{signature}"
    yield "signature cut", good[:-4]
    yield "critical extension", token("ES-1", headers={"crit": ["b64"], "b64": False})
    yield "zeros as signature", forged({"alg": "ES256", "kid": "ES-1"}, lambda text: bytes(64))
    yield "signature in DER", forged({"alg": "ES256", "kid": "ES-1"},
                                     lambda text: private_key("ES-1").sign(text, ec.ECDSA(hashes.SHA256())))
    yield "issuer twice", forged_twice()
    yield "four parts", good + "." + signature
    yield "two parts", f"{head}.{body}"
    yield "padding", f"{head}=.{body}.{signature}"
    yield "no JSON", f"{encoded(b'alg')}.{body}.{signature}"
    yield "too long", token("ES-1", more="x" * 9000)
    yield "key id of another type", token_with_number_as_id()


def forged_twice():
    body = json.dumps(claims())[:-1] + f', "iss": "{ISSUER}"}}'
    return jwt.api_jws.encode(body.encode(), private_key("ES-1"), "ES256", headers={"kid": "ES-1"})


def token_with_number_as_id():
    text = f"{encoded({'alg': 'EdDSA', 'kid': 7})}.{encoded(claims())}"
    return f"{text}.{encoded(private_key('Ed-1').sign(text.encode()))}"


def test_no_forgery_gets_in(server):
    tried = 0
    for name, shown in attacks():
        answer = ask(server, shown)
        assert answer.status_code == 401, (name, answer.text)
        tried += 1
    assert tried == 25
    assert ask(server, token("RS-1")).status_code == 200


def test_claims_become_scopes(server):
    body = {"model": "smollm2", "prompt": "a", "max_tokens": 1}
    for scope, code in (("openid embeddings", 403), (["inference"], 200), ("openid", 403), (None, 200)):
        answer = httpx.post(server.url + "/v1/completions", json=body, timeout=60,
                            headers={"authorization": f"Bearer {token(scope=scope)}"})
        assert answer.status_code == code, (scope, answer.text)


def test_new_keys_in_the_file_are_noticed_and_a_broken_file_changes_nothing(server):
    assert ask(server, token("ES-2")).status_code == 401
    server.key_file.write_text("{")
    end = time.monotonic() + 60
    while "its keys stay as they were" not in server.log_text():
        assert time.monotonic() < end
        time.sleep(0.05)
    assert ask(server, token("ES-1")).status_code == 200
    server.key_file.write_text(json.dumps(key_set("RS-1", "ES-1", "Ed-1", "ES-2")))
    while ask(server, token("ES-2")).status_code != 200:
        assert time.monotonic() < end
        time.sleep(0.05)


class KeyServer(http.server.BaseHTTPRequestHandler):
    keys = b""

    def do_GET(self):
        self.send_response(200 if self.keys else 503)
        self.send_header("content-length", str(len(self.keys)))
        self.end_headers()
        self.wfile.write(self.keys)

    def log_message(self, *arguments):
        pass


def test_keys_come_from_a_url_and_outlive_it(start_gateway):
    KeyServer.keys = b""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), KeyServer) as keys:
        thread = threading.Thread(target=keys.serve_forever)
        thread.start()
        server = start_gateway(CONFIG.replace("JWKS", f"http://127.0.0.1:{keys.server_port}/jwks").replace("MORE", ""))
        early = ask(server, token())
        assert early.status_code == 503 and early.json()["error"]["code"] == "issuer_not_ready"
        KeyServer.keys = json.dumps(key_set("ES-1")).encode()
        end = time.monotonic() + 60
        while ask(server, token()).status_code != 200:
            assert time.monotonic() < end
            time.sleep(0.05)
        keys.shutdown()
        thread.join()
    while "cannot be fetched" not in server.log_text():
        assert time.monotonic() < end
        time.sleep(0.05)
    assert ask(server, token()).status_code == 200


def test_keys_and_tokens_stand_beside_each_other(server, start_gateway):
    key = "sk-operator-0123456789abcdef0123456789ab"
    more = f"  keys: [{{name: operator, sha256: {hashlib.sha256(key.encode()).hexdigest()}}}]\n"
    both = start_gateway(CONFIG.replace("JWKS", str(server.key_file)).replace("MORE\n", more))
    assert ask(both, key).status_code == 200 and ask(both, token()).status_code == 200
    assert ask(both, "x.y.z").status_code == 401 and ask(both, "xyz").status_code == 401


def test_a_config_without_the_key_file_does_not_start(start_gateway):
    server = start_gateway(CONFIG.replace("JWKS", "/nowhere/keys.json").replace("MORE", ""), wait=False)
    assert server.process.wait(60) != 0
    assert "/nowhere/keys.json" in server.log_text()
