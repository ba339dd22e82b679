"""GGUF's "llama" and "t5" kinds (SentencePiece by scores) against the sentencepiece library, on models trained here."""
import io
import json
import random
import struct

import pytest
import sentencepiece

from support import hostile_texts
from support.tool_process import ToolProcess

pytestmark = pytest.mark.parity

KINDS = {"llama": "bpe", "t5": "unigram"}


def lines():
    source = random.Random(5)
    parts = hostile_texts.ENGLISH + hostile_texts.OTHER
    for _ in range(2000):
        start = source.randrange(len(parts))
        yield " ".join(parts[start:start + source.randrange(20, 90)].split())


def trained(model_type):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines(), model_writer=model, model_type=model_type, vocab_size=800, byte_fallback=True,
        character_coverage=0.98, split_digits=True, allow_whitespace_only_pieces=True, remove_extra_whitespaces=False,
        normalization_rule_name="identity", max_sentence_length=100000, minloglevel=2, user_defined_symbols=["<tool>"])
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def attribute(model, i):
    if model.is_unknown(i):
        return 2
    if model.is_control(i):
        return 3
    if model.is_byte(i):
        return 6
    return 4 if model.id_to_piece(i) == "<tool>" else 1


@pytest.fixture(scope="module", params=KINDS)
def pair(request, tmp_path_factory):
    reference = trained(KINDS[request.param])
    count = reference.get_piece_size()
    path = tmp_path_factory.mktemp("sentencepiece") / "vocabulary.json"
    path.write_text(json.dumps({
        "kind": request.param, "tokens": [reference.id_to_piece(i) for i in range(count)],
        "scores": [reference.get_score(i) for i in range(count)], "attributes": [attribute(reference, i) for i in range(count)],
        "merges": [], "bos": 1, "eos": 2, "eot": -1, "unknown": 0, "add_bos": True, "add_space_prefix": True}))
    tool = ToolProcess("tokenize_tool", str(path))
    tool.process.stdout.readline()

    def encode(data):
        tool.send(struct.pack("=II", 1, len(data)), data)
        assert tool.read_u32() == 0
        ids = list(struct.unpack(f"={(count := tool.read_u32())}i", tool.read(4 * count)))
        decoded = tool.read_bytes()
        tool.read(8)
        return ids, decoded

    yield reference, encode
    tool.close()


def test_ids_are_the_librarys(pair):
    reference, encode = pair
    for text in hostile_texts.texts(3000, seed="sentencepiece"):
        if "\0" in text or "\u2581" in text:
            continue  # the library ends at NUL, and reads its own escape as a space
        assert encode(text.encode())[0] == [1, *reference.encode(text)], repr(text)


def test_text_comes_back(pair):
    for text in hostile_texts.texts(1000, seed="back"):
        if "\u2581" not in text:
            assert pair[1](text.encode())[1] == b"<s>" + text.encode()


def test_broken_utf8_comes_back_byte_by_byte(pair):
    for data in hostile_texts.broken_bytes(500, seed="broken"):
        assert pair[1](data)[1] == b"<s>" + data
