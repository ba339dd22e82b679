"""Hugging Face folders against the `tokenizers` library: one small tokenizer of each shape that published models have,
trained here on the hostile texts themselves, written as tokenizer.json, and asked for ids."""
import json
import random
import struct

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from support import hostile_texts
from support.tool_process import ToolProcess
from test_tokenizer import CASED, CL100K, DEEPSEEK3, ENDING

pytestmark = pytest.mark.parity

ADD_SPECIAL, TRUSTED, PAIR = 1, 2, 8
SPACE = "\u2581"


def lines():
    source = random.Random(11)
    # jansson holds no NUL in an object's names, so no vocabulary here has that character
    return ["".join(hostile_texts.fragment(source) for _ in range(6)).replace("\0", "") for _ in range(2500)]


def specials(**flags):
    return [AddedToken("<s>", special=True, normalized=False), AddedToken("</s>", special=True, normalized=False),
            AddedToken("<mask>", special=True, normalized=False, **flags)]


def trained(tokenizer, kind, source=None, **options):
    options = {"vocab_size": 2500, "show_progress": False, "special_tokens": ["<unk>", *specials()], **options}
    tokenizer.train_from_iterator(source or lines(), kind(**options))
    return tokenizer


def bert(lowercase=True):
    t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.decoder = decoders.WordPiece()
    trained(t, trainers.WordPieceTrainer, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    ids = {name: t.token_to_id(name) for name in ("[CLS]", "[SEP]")}
    t.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
                                                     special_tokens=list(ids.items()))
    return t


def llama():
    """Llama 2, Mistral: spaces escaped by the normalizer, bytes for what has no token."""
    t = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    t.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    t.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    byte_tokens = [f"<0x{b:02X}>" for b in range(256)]
    trained(t, trainers.BpeTrainer, special_tokens=["<unk>", *specials(), *byte_tokens], limit_alphabet=300)
    state = json.loads(t.to_str())
    for token in state["added_tokens"]:
        if token["content"] in byte_tokens:
            token["drop"] = True
    state["added_tokens"] = [token for token in state["added_tokens"] if not token.pop("drop", False)]
    t = Tokenizer.from_str(json.dumps(state))
    t.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B:1",
                                                     special_tokens=[("<s>", t.token_to_id("<s>"))])
    return t


def metaspace_pairs():
    t = Tokenizer(models.BPE(byte_fallback=False, fuse_unk=True, unk_token="<unk>"))
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    t.decoder = decoders.Metaspace(prepend_scheme="first")
    return trained(t, trainers.BpeTrainer, limit_alphabet=300)


def unigram(scheme="always"):
    """T5, XLM-RoBERTa."""
    t = Tokenizer(models.Unigram())
    t.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    t.decoder = decoders.Metaspace(prepend_scheme=scheme)
    text = hostile_texts.ENGLISH + hostile_texts.OTHER  # every character seen must fit into the vocabulary
    trained(t, trainers.UnigramTrainer, [text[at:at + 60] for at in range(0, len(text) - 60, 3)], unk_token="<unk>", vocab_size=900)
    end = t.token_to_id("</s>")
    t.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", end)])
    return t


def byte_level(*stages, normalizer=None, ignore_merges=False):
    t = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if normalizer is not None:
        t.normalizer = normalizer
    t.pre_tokenizer = pre_tokenizers.Sequence(list(stages))
    t.decoder = decoders.ByteLevel()
    trained(t, trainers.BpeTrainer, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=specials())
    return t


def split(pattern, behaviour="isolated", invert=False):
    return pre_tokenizers.Split(Regex(pattern), behaviour, invert)


def bytes_after(use_regex=False, prefix=False):
    return pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=use_regex)


def roberta():
    t = byte_level(bytes_after(True, True))
    t.add_special_tokens([AddedToken("<mask>", special=True, normalized=False, lstrip=True)])
    t.post_processor = processors.RobertaProcessing(("</s>", t.token_to_id("</s>")), ("<s>", t.token_to_id("<s>")))
    return t


def phi():
    t = llama()
    t.add_special_tokens([AddedToken("<|end|>", special=True, normalized=False, rstrip=True)])
    t.add_tokens([AddedToken("token", normalized=True, single_word=True), AddedToken("ÉTÉ", normalized=True)])
    return t


def sentence_words():
    t = Tokenizer(models.WordPiece(unk_token="<unk>"))
    t.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase(), normalizers.Strip()])
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits(False)])
    return trained(t, trainers.WordPieceTrainer)


def literal_split():
    t = byte_level(pre_tokenizers.Split(" ", "merged_with_previous"), pre_tokenizers.Split("\n", "contiguous"),
                   pre_tokenizers.Punctuation("merged_with_next"), bytes_after())
    return t


SHAPES = {
    "bert": bert,
    "bert cased": lambda: bert(False),
    "llama": llama,
    "phi": phi,
    "metaspace": metaspace_pairs,
    "unigram": unigram,
    "unigram first": lambda: unigram("first"),
    "gpt2": lambda: byte_level(bytes_after(True)),
    "roberta": roberta,
    "llama3": lambda: byte_level(split(CL100K % 3), bytes_after(), ignore_merges=True),
    "qwen2": lambda: byte_level(split((CL100K % 1).replace("{1,1}", "")), bytes_after(), normalizer=normalizers.NFC()),
    "o200k": lambda: byte_level(split(CASED % (ENDING, ENDING, "{1,3}")), bytes_after()),
    "tekken": lambda: byte_level(split(CASED % ("", "", "")), bytes_after(), ignore_merges=True),
    "deepseek3": lambda: byte_level(split(r"\p{N}{1,3}"), split("[一-龥぀-ゟ゠-ヿ]+"), split(DEEPSEEK3.replace('\\"', '"')), bytes_after()),
    "smollm": lambda: byte_level(pre_tokenizers.Digits(True), bytes_after(True)),
    "nfkd lower": lambda: byte_level(bytes_after(True), normalizer=normalizers.Sequence([normalizers.NFKD(), normalizers.Lowercase()])),
    "words": sentence_words,
    "literals": literal_split,
}


class Folder:
    """tokenize_tool with a folder."""

    def __init__(self, path):
        self.tool = ToolProcess("tokenize_tool", str(path))
        self.tool.process.stdout.readline()

    def ask(self, data, flags):
        self.tool.send(struct.pack("=II", flags, len(data)), data)
        assert self.tool.read_u32() == 0
        ids = list(struct.unpack(f"={(count := self.tool.read_u32())}i", self.tool.read(4 * count)))
        decoded = self.tool.read_bytes()
        self.tool.read(8)
        return ids, decoded


@pytest.fixture(scope="module", params=SHAPES)
def pair(request, tmp_path_factory):
    reference = SHAPES[request.param]()
    folder = tmp_path_factory.mktemp("tokenizer")
    reference.save(str(folder / "tokenizer.json"))
    ours = Folder(folder)
    yield reference, ours
    ours.tool.close()


def with_specials(texts, reference, seed):
    source = random.Random(seed)
    words = [t.content for t in reference.get_added_tokens_decoder().values() if t.content != "<unk>"]
    for text in texts:
        for _ in range(source.randrange(3)):
            at = source.randrange(len(text) + 1)
            text = text[:at] + source.choice(["", " ", "  "]) + source.choice(words) + source.choice(["", " ", "\n "]) + text[at:]
        yield text


def test_ids_are_the_librarys(pair):
    reference, ours = pair
    for text in with_specials(hostile_texts.texts(1500, seed="folder"), reference, "s"):
        assert ours.ask(text.encode(), ADD_SPECIAL | TRUSTED)[0] == reference.encode(text).ids, repr(text)


def test_ids_are_the_librarys_for_every_code_point(pair):
    reference, ours = pair
    for text in hostile_texts.all_code_points():
        if ours.ask(text.encode(), ADD_SPECIAL)[0] == reference.encode(text).ids:
            continue
        for i in range(0, len(text), 7):
            part = text[i:i + 7]
            assert ours.ask(part.encode(), ADD_SPECIAL)[0] == reference.encode(part).ids, ascii(part)
        pytest.fail(repr(text))


def test_pairs_are_the_librarys(pair):
    reference, ours = pair
    if reference.post_processor is None or len(reference.encode("a", "b").ids) <= len(reference.encode("a").ids):
        pytest.skip("says nothing about pairs")
    texts = [t.replace("\0", "") for t in hostile_texts.texts(400, seed="pairs")]
    for first, second in zip(texts, reversed(texts)):
        expected = reference.encode(first, second)
        *ids, second_start = ours.ask(f"{first}\0{second}".encode(), PAIR)[0]
        assert ids == expected.ids, (first, second)
        types = [0] * second_start + [1] * (len(ids) - second_start)
        assert types == expected.type_ids or "unigram" in str(reference.model).lower()


def test_broken_utf8_is_no_trouble(pair):
    for data in hostile_texts.broken_bytes(300, seed="folder"):
        pair[1].ask(data, ADD_SPECIAL)


def test_long_runs_take_linear_time(pair):
    reference, ours = pair
    for short, long in zip(hostile_texts.long_runs(20_000), hostile_texts.long_runs(400_000)):
        assert ours.ask(short.encode(), ADD_SPECIAL)[0] == reference.encode(short).ids, short[:4]
        ours.ask(long.encode(), ADD_SPECIAL)


def test_plain_words_come_back(pair):
    reference, ours = pair
    if reference.decoder is None:
        pytest.skip("says nothing about texts")
    ids, decoded = ours.ask(b"the quick brown fox", 0)
    assert decoded.decode() == reference.decode(ids)
