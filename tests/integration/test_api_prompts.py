"""What completions ask about prompts: echo with log probabilities as lm-eval's local-completions sends it, prompt_logprobs,
suffix, truncation, batches; through the official client."""
import json
import pathlib

import openai
import pytest
from replica_client import MODEL, QUESTION, client_of, metric, post
from support.observe import wait_until
from support import gguf_patch
from support.gguf_vocabulary import vocabulary

DATA = pathlib.Path(__file__).resolve().parents[1] / "data"
PROMPT = "The capital of France is Paris, and the capital of Italy is"


def tokens_of(server, text):
    return post(server, "/tokenize", {"prompt": text, "add_special_tokens": False})[2]["tokens"]


def scored(server, prompt, **options):
    options = {"max_tokens": 1, "logprobs": 1, "temperature": 0, "seed": 1234, "echo": True, **options}
    return client_of(server).completions.create(model=MODEL, prompt=prompt, **options)


@pytest.mark.parametrize("max_tokens", [0, 1, 7])
def test_echo_scores_the_prompt_and_then_the_answer(replica, max_tokens):
    ids = tokens_of(replica, PROMPT)
    answer = scored(replica, PROMPT, max_tokens=max_tokens, extra_body={"ignore_eos": True})
    choice = answer.choices[0]
    lists = choice.logprobs
    assert choice.text.startswith(PROMPT) and choice.finish_reason == "length"
    assert answer.usage.prompt_tokens == len(ids) and answer.usage.completion_tokens == max_tokens
    assert len(lists.tokens) == len(lists.token_logprobs) == len(lists.top_logprobs) == len(ids) + max_tokens
    assert "".join(lists.tokens) == choice.text
    assert lists.token_logprobs[0] is None and lists.top_logprobs[0] is None
    assert all(value <= 0 for value in lists.token_logprobs[1:])
    for token, logprob, top in list(zip(lists.tokens, lists.token_logprobs, lists.top_logprobs))[1:]:
        assert top[token] == logprob and len(top) in (1, 2) and max(top.values()) >= logprob
    assert [choice.text[offset:offset + len(token)] for offset, token in zip(lists.text_offset, lists.tokens)] == lists.tokens


def test_a_prompts_scores_are_those_that_its_tokens_had_as_an_answer(replica):
    """The same numbers to the last digit, whether a token was generated or read, and whatever the prefix cache holds."""
    client = client_of(replica)
    ids = tokens_of(replica, PROMPT)
    said = client.completions.create(model=MODEL, prompt=ids, temperature=0, max_tokens=90, logprobs=2,
                                     extra_body={"ignore_eos": True, "return_token_ids": True}).choices[0]
    whole = ids + said.model_extra["token_ids"]
    for max_tokens in (0, 1):
        read = scored(replica, whole, logprobs=2, max_tokens=max_tokens).choices[0].logprobs
        assert read.token_logprobs[len(ids):len(whole)] == said.logprobs.token_logprobs
        assert read.top_logprobs[len(ids):len(whole)] == said.logprobs.top_logprobs


def test_perplexity_by_echo_is_that_of_transformers(replica):
    """The windows of the perplexity test, as lm-eval's loglikelihood_rolling would send them."""
    window = json.loads((DATA / "perplexity_reference.json").read_text())["windows"][0]
    ids = window["ids"][:600]
    lists = scored(replica, ids, max_tokens=0).choices[0].logprobs
    ours = lists.token_logprobs[1:]
    theirs = [-nll for nll in window["nll"][:len(ours)]]
    difference = sum(ours) / len(ours) - sum(theirs) / len(theirs)
    assert len(ours) == len(theirs) and abs(difference) < 0.02, difference  # int8 activations; tests/parity measures them


def test_lm_evals_requests_are_answered_as_it_reads_them(replica):
    """The bodies that lm-eval 0.4.13 sends (models/openai_completions.py, LocalCompletionsAPI): a batch of token lists, and
    the slices that its parser takes: context and continuation, is the continuation what the model would say?"""
    contexts = ["Paris is the capital of", "Two and two make"]
    continuations = [" France", " four"]
    pairs = [(tokens_of(replica, a), tokens_of(replica, b)) for a, b in zip(contexts, continuations)]
    body = {"model": MODEL, "prompt": [a + b for a, b in pairs], "temperature": 0, "max_tokens": 1, "logprobs": 1,
            "seed": 1234, "echo": True}
    status, headers, answer = post(replica, "/v1/completions", body)
    assert status == 200 and "x-ignored-params" not in headers
    for choice, (context, continuation) in zip(sorted(answer["choices"], key=lambda c: c["index"]), pairs):
        logprobs = choice["logprobs"]["token_logprobs"][len(context):-1]
        tops = choice["logprobs"]["top_logprobs"][len(context):-1]
        assert len(logprobs) == len(continuation) == len(tops)
        greedy = client_of(replica).completions.create(model=MODEL, prompt=context, temperature=0, logprobs=0,
                                                       max_tokens=len(continuation),
                                                       extra_body={"return_token_ids": True}).choices[0]
        is_greedy = all(logprob == max(top.values()) for logprob, top in zip(logprobs, tops))
        assert is_greedy == (greedy.model_extra["token_ids"] == continuation)
        if is_greedy:
            assert sum(logprobs) == pytest.approx(sum(greedy.logprobs.token_logprobs))
    generate = {"model": MODEL, "prompt": ["Question: 2+2?\nAnswer:"], "max_tokens": 8, "temperature": 0, "stop": ["\n\n"],
                "seed": 1234}
    assert post(replica, "/v1/completions", generate)[0] == 200


def test_many_scored_prompts_beside_streams_disturb_nobody(replica):
    client = client_of(replica)
    alone = client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=0, max_tokens=60).choices[0]
    stream = client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=0, max_tokens=60, stream=True)
    text = next(stream).choices[0].delta.content or ""
    prompts = [tokens_of(replica, PROMPT * times) for times in (1, 5, 12)]
    batch = scored(replica, prompts, max_tokens=0)
    text += "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert text == alone.message.content
    for prompt, choice in zip(prompts, batch.choices):
        single = scored(replica, prompt, max_tokens=0).choices[0]
        assert choice.logprobs == single.logprobs and len(choice.logprobs.tokens) == len(prompt)


def test_a_streamed_echo_carries_the_prompts_scores_first(replica):
    whole = scored(replica, PROMPT, max_tokens=4, extra_body={"ignore_eos": True}).choices[0]
    chunks = list(scored(replica, PROMPT, max_tokens=4, stream=True, extra_body={"ignore_eos": True}))
    lists = [chunk.choices[0].logprobs for chunk in chunks if chunk.choices and chunk.choices[0].logprobs]
    assert chunks[0].choices[0].text == PROMPT and len(lists[0].tokens) == len(tokens_of(replica, PROMPT))
    assert sum((piece.token_logprobs for piece in lists), []) == whole.logprobs.token_logprobs
    assert sum((piece.text_offset for piece in lists), []) == whole.logprobs.text_offset


def test_prompt_logprobs_have_vllms_shape(replica):
    ids = tokens_of(replica, PROMPT)
    client = client_of(replica)
    text = client.completions.create(model=MODEL, prompt=[ids, ids[:4]], max_tokens=2, extra_body={"prompt_logprobs": 3})
    for choice, prompt in zip(text.choices, (ids, ids[:4])):
        items = choice.model_extra["prompt_logprobs"]
        assert len(items) == len(prompt) and items[0] is None
        for token, item in zip(prompt[1:], items[1:]):
            own = item[str(token)]
            assert set(own) == {"logprob", "rank", "decoded_token"} and len(item) in (3, 4)
            ranks = sorted(entry["rank"] for entry in item.values())
            assert ranks[:3] == [1, 2, 3] and own["logprob"] <= 0
    chat = client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=2, extra_body={"prompt_logprobs": 0})
    items = chat.model_extra["prompt_logprobs"]
    assert len(items) == chat.usage.prompt_tokens and all(len(item) == 1 for item in items[1:])
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model=MODEL, prompt=PROMPT, stream=True, extra_body={"prompt_logprobs": 1})
    assert caught.value.param == "prompt_logprobs"


def test_log_probabilities_of_prompts_have_a_limit(start_replica):
    server = start_replica("models:\n  - name: smollm2\n    path: {model}\nlimits:\n  prompt_logprobs: 30\n")
    client, ids = client_of(server), tokens_of(server, PROMPT)
    assert 30 // 4 < len(ids) <= 30 // 2
    client.completions.create(model=MODEL, prompt=ids, max_tokens=0, echo=True, logprobs=1)
    for options in (dict(prompt=ids, logprobs=3), dict(prompt=[ids] * 3, logprobs=1)):
        with pytest.raises(openai.BadRequestError) as caught:
            client.completions.create(model=MODEL, max_tokens=0, echo=True, **options)
        assert caught.value.param == "logprobs" and "limit is 30" in caught.value.message


def test_a_suffix_needs_a_model_that_fills_in(replica):
    with pytest.raises(openai.BadRequestError) as caught:
        client_of(replica).completions.create(model=MODEL, prompt="def f(", suffix="return x", max_tokens=4)
    assert caught.value.param == "suffix" and "middle" in caught.value.message


def test_a_suffix_is_put_between_the_models_own_tokens(start_replica, model_path, tmp_path):
    """SmolLM2 with three of its unused control tokens named as those for filling in: the prompt is made of them."""
    names = {"pre": "<repo_name>", "suf": "<file_sep>", "mid": "<gh_stars>"}
    tokens = {text: number for number, text in enumerate(vocabulary(model_path)["tokens"]) if text in names.values()}
    gguf_patch.add_uint32(model_path, tmp_path / "infill.gguf",
                          {f"tokenizer.ggml.fim_{name}_token_id": tokens[text] for name, text in names.items()})
    server = start_replica(f"models:\n  - name: smollm2\n    path: {tmp_path}/infill.gguf\n    weight_cache: \"off\"\n")
    client = client_of(server)
    answer = client.completions.create(model=MODEL, prompt="def f(a):\n", suffix="\n    return b", max_tokens=4,
                                       extra_body={"return_token_ids": True, "add_special_tokens": False}).choices[0]
    before, after = tokens_of(server, "def f(a):\n"), tokens_of(server, "\n    return b")
    assert answer.model_extra["prompt_token_ids"] == [tokens["<repo_name>"], *before, tokens["<file_sep>"], *after,
                                                      tokens["<gh_stars>"]]
    assert "infill" in client.models.retrieve(MODEL).model_extra["capabilities"]


def test_truncated_prompts_keep_their_end(replica):
    client = client_of(replica)
    ids = tokens_of(replica, PROMPT)
    kept = client.completions.create(model=MODEL, prompt=ids, temperature=0, max_tokens=6, echo=True,
                                     extra_body={"truncate_prompt_tokens": 5})
    plain = client.completions.create(model=MODEL, prompt=ids[-5:], temperature=0, max_tokens=6, echo=True)
    assert kept.choices[0].text == plain.choices[0].text and kept.usage.prompt_tokens == 5
    long = client.completions.create(model=MODEL, prompt=ids * 2000, temperature=0, max_tokens=3,
                                     extra_body={"truncate_prompt_tokens": 40})
    assert long.usage.prompt_tokens == 40
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model=MODEL, prompt=ids * 2000, max_tokens=3)
    assert caught.value.code == "context_length_exceeded" and "maximum context length" in caught.value.message


def test_usage_tells_what_the_cache_gave_and_took(replica):
    client = client_of(replica)
    prompt = tokens_of(replica, "A prompt that nobody else has sent: " + "one two three " * 30)
    first = client.completions.create(model=MODEL, prompt=prompt, max_tokens=1).usage
    second = client.completions.create(model=MODEL, prompt=prompt, max_tokens=1).usage
    blocks = len(prompt) // 16 * 16
    found = (len(prompt) - 1) // 16 * 16
    assert first.prompt_tokens_details.cached_tokens == 0
    assert first.prompt_tokens_details.cache_write_tokens == blocks
    assert second.prompt_tokens_details.cached_tokens == found
    assert second.prompt_tokens_details.cache_write_tokens == 0


def test_the_last_usage_has_timings_that_add_up(replica):
    client = client_of(replica)
    options = dict(model=MODEL, messages=QUESTION, max_tokens=12, extra_body={"ignore_eos": True})
    usages = [client.chat.completions.create(**options).usage]
    chunks = list(client.chat.completions.create(**options, stream=True, stream_options={"include_usage": True}))
    usages.append(chunks[-1].usage)
    for usage in usages:
        timings = usage.model_extra["timings"]
        parts = [timings[name] for name in ("prepare_ms", "queue_ms", "prefill_ms", "decode_ms")]
        assert min(parts) >= 0 and timings["decode_ms"] > 0 and timings["prefill_ms"] > 0
        assert sum(parts) <= timings["total_ms"] + 0.01


def test_control_tokens_are_shown_on_request(replica):
    client = client_of(replica)
    start = post(replica, "/tokenize", {"prompt": "<|im_start|>"})[2]["tokens"]
    assert len(start) == 1
    options = dict(model=MODEL, prompt="x", max_tokens=3, logit_bias={str(start[0]): 100}, logprobs=0)
    shown = client.completions.create(**options, extra_body={"skip_special_tokens": False})
    hidden = client.completions.create(**options, extra_body={"return_tokens_as_token_ids": True})
    assert shown.choices[0].text == "<|im_start|>" * 3 and hidden.choices[0].text == ""
    assert shown.choices[0].logprobs.text_offset == [0, 12, 24] and hidden.choices[0].logprobs.text_offset == [0, 0, 0]
    assert hidden.choices[0].logprobs.tokens == [f"token_id:{start[0]}"] * 3


def test_only_allowed_tokens_come_and_bad_words_never_do(replica):
    client = client_of(replica)
    options = dict(model=MODEL, prompt="One two three four", max_tokens=24, temperature=0)
    ids = tokens_of(replica, " five six seven")
    some = client.completions.create(**options, extra_body={"allowed_token_ids": ids, "return_token_ids": True}).choices[0]
    assert set(some.model_extra["token_ids"]) <= set(ids) and len(some.model_extra["token_ids"]) == 24
    plain = client.completions.create(**options).choices[0].text
    word = plain.split()[0].strip(".,")
    without = client.completions.create(**options, extra_body={"bad_words": [word, "no such phrase here"]}).choices[0].text
    assert word in plain and f" {word}" not in without and not without.startswith(word)


def test_a_request_may_bring_its_template_only_where_the_operator_says_so(replica, start_replica):
    body = {"model": MODEL, "messages": QUESTION, "max_tokens": 1, "return_token_ids": True,
            "chat_template": "{% for m in messages %}<|im_start|>{{ m.content }}{% endfor %}"}
    status, _, answer = post(replica, "/v1/chat/completions", body)
    assert status == 400 and answer["error"]["param"] == "chat_template"
    own = start_replica("models:\n  - name: smollm2\n    path: {model}\n    trust_request_chat_template: true\n")
    status, _, answer = post(own, "/v1/chat/completions", body)
    wanted = post(own, "/tokenize", {"prompt": "<|im_start|>" + QUESTION[0]["content"], "add_special_tokens": False})[2]
    assert status == 200 and answer["prompt_token_ids"] == wanted["tokens"]
    status, _, answer = post(own, "/v1/chat/completions", {**body, "chat_template": "{% for %}"})
    assert status == 400 and answer["error"]["param"] == "chat_template"


def test_tiers_are_echoed_and_ordered(replica):
    client = client_of(replica)
    for asked, said in (("auto", "default"), ("flex", "flex"), ("priority", "priority")):
        answer = client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=1, service_tier=asked)
        assert answer.service_tier == said


def test_a_strict_request_is_told_all_that_is_not_honoured(replica):
    body = {"model": MODEL, "prompt": "x", "strict": True, "length_penalty": 2, "no_such_thing": 1, "temperature": 0.5}
    status, _, answer = post(replica, "/v1/completions", body)
    assert status == 400 and "'length_penalty'" in answer["error"]["message"] and "'no_such_thing'" in answer["error"]["message"]
    status, headers, _ = post(replica, "/v1/completions", {**body, "strict": False, "max_tokens": 1})
    assert status == 200 and headers["x-ignored-params"].split(",") == ["length_penalty", "no_such_thing"]


def test_a_stream_that_is_cut_off_still_tells_its_usage(start_replica):
    server = start_replica("server:\n  drain_timeout: 0s\nmodels:\n  - name: smollm2\n    path: {model}\n")
    stream = client_of(server).chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=2000, stream=True,
                                                       stream_options={"include_usage": True}, logprobs=True,
                                                       extra_body={"ignore_eos": True})
    tokens, usage = 0, None
    with pytest.raises(openai.APIError) as caught:
        for chunk in stream:
            tokens += bool(chunk.choices and chunk.choices[0].logprobs)
            usage = chunk.usage or usage
            if tokens == 5:
                server.process.terminate()
    assert caught.value.code == "shutting_down" and 5 <= tokens == usage.completion_tokens < 2000
    assert usage.model_extra["timings"]["decode_ms"] > 0


def test_a_cancelled_stream_is_counted_to_its_last_token(start_replica):
    """What a client that goes has cost is in the metrics: no less than it has read, and each prompt once."""
    server = start_replica()
    before = metric(server, "vllm:generation_tokens_total") or 0
    stream = client_of(server).chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=400, stream=True,
                                                       stream_options={"continuous_usage_stats": True},
                                                       extra_body={"ignore_eos": True})
    read = 0
    for chunk in stream:
        read = chunk.usage.completion_tokens
        if read >= 20:
            break
    stream.close()
    wait_until(lambda: metric(server, "vllm:num_requests_running") == 0)
    counted = (metric(server, "vllm:generation_tokens_total") or 0) - before
    assert read <= counted < 400
    assert metric(server, "vllm:request_success_total", finished_reason="abort") == 1
    assert metric(server, "vllm:prompt_tokens_total") == chunk.usage.prompt_tokens
