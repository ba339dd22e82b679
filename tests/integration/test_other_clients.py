"""Clients and tools whose requirements do not go with those of the official clients (tests/requirements-clients.txt): each runs
in an environment of its own, .venv-clients, does what people use it for, and is judged here."""
import json
import os
import pathlib
import statistics
import subprocess

import jsonschema
import pytest
import tokenizers
from replica_client import MODEL, client_of
from support.gguf_vocabulary import vocabulary

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
DATA = HERE.parent / "data"
ENVIRONMENT = ROOT / ".venv-clients"
TIME_LIMIT_S = 240  # a start of the heaviest takes 5 s of an idle core; CI's are not idle

# Nothing is asked of a hub or of the network; few processes; and what one run has compiled the next one need not.
TOOLS_SETTINGS = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True",
                  "TOKENIZERS_PARALLELISM": "false", "GUIDELLM__MAX_WORKER_PROCESSES": "2", "PYTHONDONTWRITEBYTECODE": ""}

SERVER_WITH_EMBEDDINGS = f"""
server:
  listen: 127.0.0.1:{{port}}
  admin_listen: 127.0.0.1:{{admin_port}}
models:
  - name: smollm2
    path: {{model}}
    max_model_len: 2048
  - name: embed
    path: {DATA}/tiny_encoders/bert_mean
"""

TOWN = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 20}, "is_capital": {"type": "boolean"},
                                         "continent": {"enum": ["Africa", "Asia", "Europe"]}},
        "required": ["name", "continent", "is_capital"], "additionalProperties": False}
TRIP = {"type": "object", "properties": {"town": {"type": "string", "maxLength": 12}, "days": {"enum": [1, 2, 3]}},
        "required": ["town", "days"], "additionalProperties": False}


def run_tool(command, folder, **settings):
    """Runs it to its end; what it said is shown when it fails."""
    if not command[0].exists():
        pytest.skip(f"{command[0]} is not there: tools/test makes it")
    environment = {**os.environ, **TOOLS_SETTINGS, "HF_HOME": str(folder), **settings}
    done = subprocess.run([str(part) for part in command], env=environment, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=TIME_LIMIT_S)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"


def run_client(script, server, folder, *arguments):
    """What the script in clients/ wrote."""
    out = folder / "out.json"
    run_tool([ENVIRONMENT / "bin/python", HERE / "clients" / script, server.url, out, *arguments], folder)
    return json.loads(out.read_text())


# --- instructor ---

def test_instructor_extracts_types_whole_streamed_and_in_lists(gateway, tmp_path):
    modes = run_client("instructor_client.py", gateway, tmp_path)
    assert set(modes) == {"tools", "json_schema"}
    for got in modes.values():
        for town in (got["town"], got["again"]["town"], *got["together"], *got["several"], got["partials"][-1]):
            jsonschema.validate(town, TOWN)
        assert got["finish_reason"] in ("stop", "tool_calls") and got["usage"] > 0
        assert len(got["partials"]) > 2 and got["partials"][0]["is_capital"] is None and got["several"]
        asked, asked_again = got["again"]["messages"]
        assert asked_again > asked, "the refused answer and the reason for it are sent along"


# --- litellm ---

@pytest.fixture(scope="module")
def litellm_heard(module_servers, tmp_path_factory):
    server = module_servers[0](SERVER_WITH_EMBEDDINGS)
    heard = run_client("litellm_client.py", server, tmp_path_factory.mktemp("litellm"))
    yield server, heard
    server.stop()


def test_litellm_completes_whole_and_streamed(litellm_heard):
    _, heard = litellm_heard
    chat = heard["chat"]
    assert "Paris" in chat["whole"] and chat["finish_reason"] == "stop"
    assert "".join(chat["pieces"]) == chat["whole"] == chat["later"] and len(chat["pieces"]) > 3
    assert chat["stream_usages"] == [chat["usage"]]
    assert all(heard["texts"]) and len(heard["texts"]) == 2 and heard["response"] and heard["message"]


def test_litellm_calls_tools_and_fills_schemas(litellm_heard):
    _, heard = litellm_heard
    tools = heard["tools"]
    assert tools["name"] == "weather" and tools["streamed_arguments"] == tools["arguments"] and tools["answer"]
    jsonschema.validate(json.loads(tools["arguments"]), TRIP)
    jsonschema.validate(json.loads(heard["shaped"]), TRIP)


def test_litellm_embeds(litellm_heard):
    server, heard = litellm_heard
    direct = client_of(server).embeddings.create(model="embed", input=["a town", "a river"], encoding_format="float")
    assert heard["vectors"] == [item.embedding for item in direct.data]


def test_litellm_knows_what_refusals_mean(litellm_heard):
    _, heard = litellm_heard
    assert heard["errors"] == ["NotFoundError", "ContextWindowExceededError", "BadRequestError"]


# --- lm-eval ---

@pytest.fixture(scope="module")
def lm_eval_heard(gateway, tmp_path_factory):
    return run_client("lm_eval_client.py", gateway, tmp_path_factory.mktemp("lm_eval"), DATA / "lm_eval")


def test_lm_evals_local_completions_scores_ends_as_transformers_does(lm_eval_heard):
    """Bounds: weights are the same, activations have 8 bits here; that moves a rare token (1 in 10,000) by up to 0.6 and the
    mean of the 44 ends by 0.12. Every item's best end leads by 0.5 or more."""
    reference = json.loads((DATA / "lm_eval/reference.json").read_text())["items"]
    heard = lm_eval_heard["facts"]
    differences = []
    for item, resps, expected in zip(heard["items"], heard["heard"], reference, strict=True):
        assert item["start"] == expected["start"]
        ends = [(float(logprob), greedy in (True, "True")) for ((logprob, greedy),) in resps]
        differences += [abs(ours - theirs) for (ours, _), theirs in zip(ends, expected["logprobs"], strict=True)]
        for (_, is_greedy), theirs, count in zip(ends, expected["logprobs"], expected["tokens"], strict=True):
            assert is_greedy or theirs < -0.6 or count > 1, "more than half of the probability is the likeliest"
        best = max(range(len(ends)), key=lambda index: ends[index][0])
        assert best == max(range(len(ends)), key=lambda index: expected["logprobs"][index]), item["start"]
    assert statistics.mean(differences) < 0.3 and max(differences) < 1.2, differences
    right = [max(range(4), key=lambda index: one["logprobs"][index]) == item["right"]
             for one, item in zip(reference, heard["items"])]
    assert heard["scores"]["acc,none"] == pytest.approx(sum(right) / len(right)) and 0 < sum(right) < len(right)


def test_lm_eval_hears_the_same_one_by_one_and_in_batches(lm_eval_heard):
    assert lm_eval_heard["facts_in_batches"]["heard"] == lm_eval_heard["facts"]["heard"]


def test_lm_evals_local_chat_completions_reads_the_servers_answers(gateway, lm_eval_heard):
    heard = lm_eval_heard["capitals"]
    client, named = client_of(gateway), 0
    for item, ((text,),) in zip(heard["items"], heard["heard"], strict=True):
        direct = client.chat.completions.create(
            model=MODEL, temperature=0, max_tokens=24, stop=["\n"],
            messages=[{"role": "user", "content": f"What is the capital of {item['country']}?"}])
        assert text == direct.choices[0].message.content
        named += f"capital of {item['country']} is {item['capital']}" in text
    assert heard["scores"]["exact_match,town"] == pytest.approx(named / len(heard["items"])) and named > 0


# --- tools that make load ---

PROMPTS = [f"Tell me a short story about the number {number}." for number in range(1, 41)]
OUTPUT_TOKENS = 16


def write_lines(path, items):
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return path


def test_guidellm_measures_a_gateway(gateway, tmp_path):
    prompts = write_lines(tmp_path / "prompts.jsonl",
                          [{"prompt": text, "output_tokens_count": OUTPUT_TOKENS} for text in PROMPTS])
    run_tool([ENVIRONMENT / "bin/guidellm", "benchmark", "run", "--target", gateway.url, "--data", prompts,
              "--rate-type", "concurrent", "--rate", "1,4", "--max-requests", 12, "--output-path", tmp_path / "report.json",
              "--disable-progress", "--disable-console-outputs"], tmp_path)
    benchmarks = json.loads((tmp_path / "report.json").read_text())["benchmarks"]
    assert len(benchmarks) == 2
    for measured in benchmarks:
        assert measured["request_totals"] == {"successful": 12, "errored": 0, "incomplete": 0, "total": 12}
        for request in measured["requests"]["successful"]:
            assert request["output_tokens"] == OUTPUT_TOKENS and request["prompt_tokens"] > 8
            assert request["start_time"] < request["first_token_time"] <= request["last_token_time"]
        assert measured["metrics"]["output_tokens_per_second"]["successful"]["mean"] > 0


@pytest.mark.slow
def test_aiperf_measures_a_gateway(gateway, model_path, tmp_path):
    """Not in tools/test: its 140 packages are 860 MB. CONTRIBUTING.md tells how to make .venv-aiperf."""
    aiperf = ROOT / ".venv-aiperf/bin/aiperf"
    if not aiperf.exists():
        pytest.skip(f"{aiperf} is not there: CONTRIBUTING.md, Tests")
    prompts = write_lines(tmp_path / "prompts.jsonl", [{"text": text, "output_length": OUTPUT_TOKENS} for text in PROMPTS])
    hugging_face_tokenizer(model_path, tmp_path / "tokenizer")
    run_tool([aiperf, "profile", "--model", MODEL, "--url", gateway.url, "--endpoint-type", "chat", "--streaming",
              "--use-server-token-count", "--tokenizer", tmp_path / "tokenizer", "--input-file", prompts,
              "--custom-dataset-type", "single_turn", "--request-count", 12, "--concurrency", 4,
              "--extra-inputs", "ignore_eos:true", "--output-artifact-dir", tmp_path / "artifacts", "--ui", "none"], tmp_path,
             HF_HUB_OFFLINE="")  # or it takes no tokenizer from a folder
    report = json.loads((tmp_path / "artifacts/profile_export_aiperf.json").read_text())
    assert report["request_count"]["avg"] == 12 and report["output_sequence_length"]["avg"] == OUTPUT_TOKENS
    assert report["time_to_first_token"]["min"] > 0 and "error_request_count" not in report


def hugging_face_tokenizer(model_path, folder):
    """The model's vocabulary as transformers loads one from a folder; aiperf counts the prompts' tokens with it."""
    words = vocabulary(model_path)
    merges = [tuple(merge.split(" ", 1)) for merge in words["merges"]]
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE({text: i for i, text in enumerate(words["tokens"])}, merges))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
