"""Samplers beside temperature, top-p, top-k and min-p: the fields reach them, and do what they are for."""
import pytest
from replica_client import MODEL, QUESTION, metric, post

GREEDY = {"model": MODEL, "prompt": "one two three one two three one two three one two", "temperature": 0, "max_tokens": 24}


def complete(server, **fields):
    status, headers, answer = post(server, "/v1/completions", {**GREEDY, **fields})
    assert status == 200 and "x-ignored-params" not in headers, answer
    return answer["choices"][0]


def test_every_sampler_is_honoured(replica):
    for fields in ({"typical_p": 0.7}, {"top_n_sigma": 1.0}, {"top_a": 0.2}, {"xtc_probability": 1, "xtc_threshold": 0.05},
                   {"mirostat": 2, "mirostat_tau": 3, "mirostat_eta": 0.2}):
        first = complete(replica, temperature=1.5, seed=7, **fields)["text"]
        assert first == complete(replica, temperature=1.5, seed=7, **fields)["text"]
        assert first != complete(replica, temperature=1.5, seed=7)["text"], fields


@pytest.mark.parametrize("fields", [{"top_n_sigma": 1e-6}, {"mirostat": 2, "mirostat_tau": 0, "mirostat_eta": 0}])
def test_a_filter_that_leaves_one_token_is_greedy(replica, fields):
    assert complete(replica, temperature=2, seed=3, **fields)["text"] == complete(replica)["text"]


def test_dry_leaves_a_repetition_that_the_model_goes_on_with(replica):
    plain = complete(replica)["text"]
    assert "three one two three" in plain
    assert "three one two three" not in complete(replica, dry_multiplier=4, dry_base=2,
                                                        dry_allowed_length=3, dry_penalty_last_n=64)["text"]
    # each of its words holds a breaker
    assert complete(replica, dry_multiplier=4, dry_sequence_breakers=["e", "o"])["text"] == plain


def test_an_output_that_repeats_itself_ends_with_the_reason(replica):
    guard = {"repetition_detection": {"max_pattern_size": 8, "min_count": 4}}
    before = metric(replica, "vllm:request_success_total", finished_reason="repetition")
    choice = complete(replica, max_tokens=200, **guard)
    assert choice["finish_reason"] == "repetition" and choice["stop_reason"] == "repetition_detected"
    assert len(choice["text"].split()) < 60
    assert metric(replica, "vllm:request_success_total", finished_reason="repetition") == before + 1
    body = {"model": MODEL, "messages": QUESTION, "temperature": 0, "max_tokens": 60, "logit_bias": {"28": 100}, **guard}
    status, _, answer = post(replica, "/v1/chat/completions", body)
    assert status == 200 and answer["choices"][0]["finish_reason"] == "repetition"
    assert answer["usage"]["completion_tokens"] == 4
    status, _, answer = post(replica, "/v1/messages", body)
    assert status == 200 and answer["stop_reason"] == "max_tokens" and answer["usage"]["output_tokens"] == 4
    status, _, answer = post(replica, "/v1/responses", {"model": MODEL, "input": "Hi.", "temperature": 0,
                                                        "logit_bias": {"28": 100}, **guard})
    assert status == 200 and answer["status"] == "incomplete"


def test_what_cannot_be_asked_is_refused(replica):
    for fields, param in (({"mirostat": 1}, "mirostat"), ({"typical_p": 2}, "typical_p"),
                          ({"dry_sequence_breakers": [""]}, "dry_sequence_breakers[0]"),
                          ({"repetition_detection": {"max_pattern_size": 4, "min_count": 1}}, "repetition_detection.min_count")):
        status, _, answer = post(replica, "/v1/completions", {**GREEDY, **fields})
        assert status == 400 and answer["error"]["param"] == param
