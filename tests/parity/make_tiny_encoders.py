"""Writes tests/data/tiny_encoders: small random encoders made by transformers from its own config classes, and what transformers
and sentence-transformers compute of some texts with them, in float32.

    make_tiny_encoders.py     (needs transformers, tokenizers, sentence-transformers, torch)
"""
import json
import pathlib
import random
import shutil
import sys

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import hostile_texts

TARGET = pathlib.Path(__file__).resolve().parents[1] / "data" / "tiny_encoders"
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
         "max_position_embeddings": 96}
TEXTS = ["a", "the gate of the river", "Water, power; and 12 turbines!", "naïve café 日本 😀", "one two three " * 5]


def lines():
    source = random.Random(3)
    text = hostile_texts.ENGLISH + " the water of the river turns a wheel in the house by the gate "
    return [text[at:at + 40] for at in (source.randrange(len(text)) for _ in range(500))]


def bert_tokenizer():
    t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer()
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.decoder = decoders.WordPiece()
    t.train_from_iterator(lines(), trainers.WordPieceTrainer(
        vocab_size=200, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"], show_progress=False))
    t.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
                                                     special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return t


def roberta_tokenizer():
    t = Tokenizer(models.Unigram())
    t.normalizer = normalizers.NFKC()
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    t.decoder = decoders.Metaspace()
    t.train_from_iterator(lines(), trainers.UnigramTrainer(
        vocab_size=200, special_tokens=["<s>", "<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False))
    t.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return t


def randomise(model):
    """Weights that make every part of the model count."""
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            is_norm = "LayerNorm" in name and name.endswith("weight")
            tensor.normal_(mean=1.0 if is_norm else 0.0, std=0.2)
    return model.eval()


def save(name, model, tokenizer, pooling=None, dtype=torch.float32):
    folder = TARGET / name
    shutil.rmtree(folder, ignore_errors=True)
    model.to(dtype).save_pretrained(folder)
    model.float()
    tokenizer.save(str(folder / "tokenizer.json"))
    if pooling:
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 32, f"pooling_mode_{pooling}": True}))
        module = "sentence_transformers.models."
        (folder / "modules.json").write_text(json.dumps([
            {"idx": 0, "name": "0", "path": "", "type": module + "Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": module + "Pooling"},
            {"idx": 2, "name": "2", "path": "2_Normalize", "type": module + "Normalize"}]))


def vectors(model, tokenizer, pool):
    found = []
    for text in TEXTS:
        ids = torch.tensor([tokenizer.encode(text).ids])
        states = model(ids)[0][0]
        found.append(torch.nn.functional.normalize(pool(states), dim=0).tolist())
    return found


def scores(model, tokenizer):
    found = []
    for second in TEXTS:
        encoded = tokenizer.encode("the river", second)
        logits = model(torch.tensor([encoded.ids]), token_type_ids=torch.tensor([encoded.type_ids])).logits[0]
        found.append(torch.sigmoid(logits).tolist() if len(logits) == 1 else logits.tolist())
    return found


def main():
    torch.manual_seed(1)
    reference = {"made_with": f"transformers {transformers.__version__}, torch {torch.__version__}, float32", "texts": TEXTS}
    with torch.no_grad():
        words, pieces = bert_tokenizer(), roberta_tokenizer()
        config = transformers.BertConfig(vocab_size=words.get_vocab_size(), **SIZES)
        model = randomise(transformers.BertModel(config, add_pooling_layer=False))
        save("bert_mean", model, words, "mean_tokens")
        reference["bert_mean"] = vectors(model, words, lambda x: x.mean(0))
        config = transformers.XLMRobertaConfig(vocab_size=pieces.get_vocab_size(), type_vocab_size=1, pad_token_id=1,
                                               hidden_act="gelu_new", **SIZES)
        model = randomise(transformers.XLMRobertaModel(config, add_pooling_layer=False)).to(torch.bfloat16).float()
        save("roberta_cls", model, pieces, "cls_token", torch.bfloat16)
        reference["roberta_cls"] = vectors(model, pieces, lambda x: x[0])
        config = transformers.BertConfig(vocab_size=words.get_vocab_size(), num_labels=1, **SIZES)
        model = randomise(transformers.BertForSequenceClassification(config))
        save("bert_cross", model, words)
        reference["bert_cross"] = scores(model, words)
        config = transformers.RobertaConfig(vocab_size=pieces.get_vocab_size(), type_vocab_size=1, pad_token_id=1, num_labels=3, **SIZES)
        model = randomise(transformers.RobertaForSequenceClassification(config))
        save("roberta_classes", model, pieces)
        reference["roberta_classes"] = scores(model, pieces)
    (TARGET / "reference.json").write_text(json.dumps(reference) + "\n")


if __name__ == "__main__":
    main()
