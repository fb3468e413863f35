"""Token ids against the Python packages `tokenizers` and `tiktoken`, on many scripts and hostile texts."""

import base64
import itertools
import json
import os
import pathlib
import subprocess
import sys
import unicodedata

import pytest
import tiktoken
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers

sys.path.insert(0, str(pathlib.Path(__file__).parent / "tokenizer"))
import shapes  # noqa: E402

BUILD = pathlib.Path(os.environ.get("TITAN_BUILD", shapes.ROOT / "build"))
TOOL = BUILD / "tests/tokenize_tool"


def answer(folder, texts):
    found = shapes.Answer(TOOL, folder, texts)
    assert found.returncode == 0, found.stderr
    return found


@pytest.fixture(scope="session")
def newer():
    """The code points that the C++ side's Unicode tables do not know; only they may give other ids."""
    version, *lines = subprocess.run([TOOL, "--newer"], stdout=subprocess.PIPE, check=True,
                                     text=True).stdout.splitlines()
    ranges = [tuple(int(number, 16) for number in line.split()) for line in lines]
    print(f"Unicode {version} in the regular expressions")
    return frozenset(itertools.chain.from_iterable(range(first, last + 1) for first, last in ranges))


@pytest.fixture(scope="session")
def trained():
    return shapes.well_known()


def compare(tokenizer, folder, texts, newer, expected=None):
    """Every text must give the same ids, save those with code points that are too new; counts those."""
    decoded = [text.decode("utf-8", "replace") for text in texts]
    found = answer(folder, texts).ids
    expected = expected or (lambda text: tokenizer.encode(text, add_special_tokens=False).ids)
    excused = 0
    for text, ids in zip(decoded, found):
        if (wanted := expected(text)) == ids:
            continue
        # The package's own table of normal forms has another age than ours and Python's.
        normalizer = getattr(tokenizer, "normalizer", None)
        other_form = normalizer is not None and normalizer.normalize_str(text) != unicodedata.normalize("NFC", text)
        assert other_form or not newer.isdisjoint(map(ord, text)), f"{text!r}: {ids} instead of {wanted}"
        excused += 1
    return excused


ORDINARY = [text.encode() for text in shapes.corpus() + shapes.corpus("corpus_validation") + shapes.MANY_SCRIPTS
            + shapes.EDGES]


@pytest.mark.parametrize("shape", ["llama3", "qwen2", "deepseek", "llama4", "gpt2"])
def test_well_known_shapes(shape, trained, newer, tmp_path, record_property):
    tokenizer = trained[shape]
    shapes.save(tokenizer, tmp_path)
    assert compare(tokenizer, tmp_path, ORDINARY + shapes.ILL_FORMED, newer) == 0
    hostile = shapes.hostile_lines(20_000, seed=shape)
    excused = compare(tokenizer, tmp_path, hostile, newer)
    print(f"{shape}: {excused} of {len(hostile)} hostile lines differ, all by code points that are too new")
    record_property("excused", excused)
    assert excused < len(hostile) / 50


def test_shipped_tokenizer(newer):
    folder = shapes.ROOT / "assets/tokenizer"
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert compare(tokenizer, folder, ORDINARY, newer) == 0
    found = answer(folder, [b""])
    bos, eos = (tokenizer.token_to_id(token) for token in shapes.SPECIALS)
    assert (found.vocab_size, found.prefix, found.suffix) == (tokenizer.get_vocab_size(), [bos], [eos])


def test_assets_are_what_the_script_makes():
    subprocess.run([sys.executable, shapes.ROOT / "scripts/make_corpus.py", "--check"], check=True, timeout=300)


BEHAVIORS = ["removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"]


@pytest.mark.parametrize("behavior", BEHAVIORS)
@pytest.mark.parametrize("invert", [False, True])
@pytest.mark.parametrize("regex,pattern", [
    (True, r"\p{N}"), (True, r"\s+|[aeiou]"), (True, r"(?=[A-Z])|x"), (True, r"\p{Greek}+|\p{Han}"),
    (True, "[^\\s]\u00e9?."), (False, " "), (False, "th"), (False, "a.b|c")])
def test_split_behaviors(behavior, invert, regex, pattern, trained, newer, tmp_path):
    tokenizer = Tokenizer.from_str(trained["gpt2"].to_str())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern) if regex else pattern, behavior, invert),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    shapes.save(tokenizer, tmp_path)
    texts = ORDINARY[::10] + [text.encode() for text in shapes.EDGES] + shapes.hostile_lines(500, seed=1)
    compare(tokenizer, tmp_path, texts, newer)


@pytest.mark.parametrize("parts", [
    [pre_tokenizers.Digits(individual_digits=True)], [pre_tokenizers.Digits(individual_digits=False)],
    [pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.Split(" ", "merged_with_next")])]])
@pytest.mark.parametrize("prefix_space", [False, True])
@pytest.mark.parametrize("use_regex", [False, True])
def test_digits_and_byte_level_options(parts, prefix_space, use_regex, trained, newer, tmp_path):
    tokenizer = Tokenizer.from_str(trained["gpt2"].to_str())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        parts + [pre_tokenizers.ByteLevel(add_prefix_space=prefix_space, use_regex=use_regex)])
    shapes.save(tokenizer, tmp_path)
    compare(tokenizer, tmp_path, ORDINARY[::5] + shapes.hostile_lines(1000, seed=2), newer)


@pytest.mark.parametrize("flag", ["single_word", "lstrip", "rstrip", "normalized"])
@pytest.mark.parametrize("normalizer", ["qwen2", "llama3"])
def test_added_tokens(flag, normalizer, trained, newer, tmp_path):
    tokenizer = Tokenizer.from_str(trained[normalizer].to_str())
    contents = ["<tool>", "<tool_call>", "river", "the river", "e\u0301", "\u00fc", "  ", "ab", "b a", "ẹ\u0301x"]
    tokenizer.add_tokens([AddedToken(content, **{"normalized": False, flag: True}) for content in contents])
    shapes.save(tokenizer, tmp_path)
    texts = ["<tool_call><tool>  <tool_ <tool>\n\t<tool>river rivers the river theriver _river river_ é e\u0301 u\u0308 ü",
             "ab ab b abb a  b ab\u00a0\u3000<tool>\u2003x", "e\u0301e\u0301 \u1eb9\u0301x e\u0323\u0301x"]
    texts = [text.encode() for text in texts + shapes.EDGES] + ORDINARY[::20]
    assert compare(tokenizer, tmp_path, texts, newer) == 0


def test_ids_of_added_tokens_follow_the_package(trained, newer, tmp_path):
    tokenizer = trained["llama3"]
    content = json.loads(tokenizer.to_str())
    for number, content_id in enumerate([5000, 77, 3000]):
        content["added_tokens"].append({**content["added_tokens"][0], "id": content_id, "content": f"<new{number}>"})
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    assert compare(Tokenizer.from_file(str(tmp_path / "tokenizer.json")), tmp_path,
                   [b"<new0><new1> <new2><new1><|end_of_text|>"], newer) == 0


def expected_frame(tokenizer, bos, eos):
    """What torchtitan puts around a document: each known token, unless the tokenizer adds it by itself."""
    template = tokenizer.encode("x").ids
    at = template.index(tokenizer.encode("x", add_special_tokens=False).ids[0])
    prefix, suffix = template[:at], template[at + 1:]
    bos, eos = (tokenizer.token_to_id(token) if token else None for token in (bos, eos))
    if bos is not None and bos not in prefix + suffix:
        prefix = [bos] + prefix
    if eos is not None and eos not in prefix + suffix and eos != bos:
        suffix = suffix + [eos]
    return prefix, suffix


@pytest.mark.parametrize("bos", [None, "<|begin_of_text|>", "<unknown>", "<|end_of_text|>"])
@pytest.mark.parametrize("shape", ["llama3", "qwen2"])
def test_document_frame(shape, bos, trained, newer, tmp_path):
    tokenizer = Tokenizer.from_str(trained[shape].to_str())
    config = {"bos_token": {"content": bos, "lstrip": False} if bos == "<unknown>" else bos, "eos_token": "<|end_of_text|>",
              "pad_token": "<pad>", "added_tokens_decoder": {"9999": {"content": "<extra>", "normalized": False}}}
    shapes.save(tokenizer, tmp_path, config)
    tokenizer.add_special_tokens([token for token in [bos, "<|end_of_text|>", "<pad>", "<extra>"] if token])
    found = answer(tmp_path, [b""])
    assert (found.prefix, found.suffix) == expected_frame(tokenizer, bos, "<|end_of_text|>")
    assert found.vocab_size == 1 + max(tokenizer.get_vocab(True).values())
    assert compare(tokenizer, tmp_path, [b"a<pad>b <extra><unknown> <|end_of_text|>"], newer) == 0


def test_vocabulary_and_merges(trained, newer, tmp_path):
    tokenizer = trained["gpt2"]
    tokenizer.model.save(str(tmp_path))
    bare = Tokenizer(models.BPE.from_file(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt")))
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    assert compare(bare, tmp_path, ORDINARY, newer) == 0


def test_bytes_without_a_token_are_dropped(trained, newer, tmp_path):
    """As torchtitan's own test tokenizer, whose vocabulary has no token for the space."""
    content = json.loads(trained["gpt2"].to_str())
    vocabulary = {token: id for token, id in content["model"]["vocab"].items() if "Ġ" not in token}
    merges = [merge for merge in content["model"]["merges"] if "Ġ" not in "".join(merge)]
    content["model"].update(vocab=vocabulary, merges=merges)
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    assert compare(Tokenizer.from_file(str(tmp_path / "tokenizer.json")), tmp_path, ORDINARY[::5], newer) == 0
    assert "dropped from every text" in answer(tmp_path, [b"a b"]).stderr


def test_tiktoken(newer, tmp_path):
    source = json.loads((shapes.ROOT / "assets/tokenizer/tokenizer.json").read_text())["model"]["vocab"]
    alphabet = {character: bytes([byte]) for byte, character in byte_alphabet().items()}
    ranks = {b"".join(map(alphabet.get, token)): rank for token, rank in source.items()}
    (tmp_path / "tokenizer.model").write_text(
        "".join(f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in ranks.items()))
    specials = {"<|begin_of_text|>": len(ranks), "<|end_of_text|>": len(ranks) + 1}
    encoding = tiktoken.Encoding("shipped", pat_str=shapes.LLAMA3, mergeable_ranks=ranks, special_tokens=specials)
    texts = ORDINARY + shapes.hostile_lines(5000, seed=3)
    compare(None, tmp_path, texts, newer, lambda text: encoding.encode(text, allowed_special="all"))
    found = answer(tmp_path, [b""])
    assert (found.vocab_size, found.prefix, found.suffix) == (len(ranks) + 256, [len(ranks)], [len(ranks) + 1])


def byte_alphabet():
    """GPT-2's character of each byte."""
    printable = [*range(0x21, 0x7f), *range(0xa1, 0xad), *range(0xae, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + at) for at, byte in enumerate(others)}


def test_unreadable_folder_exits_2(tmp_path):
    found = shapes.Answer(TOOL, tmp_path, [])
    assert found.returncode == 2 and "tokenizer.json" in found.stderr and str(tmp_path) in found.stderr


@pytest.mark.parametrize("pattern", [r"\s", r"\S", r"\d", r"[^\s\p{L}\p{N}]", r"\p{M}|\p{Pc}", r"\p{Han}", r"\p{Greek}",
                                     r"(?i:s)", r"(?i:k)", ".", r"\p{^L}", r"\P{Lu}", r"[\u0041-\u00ff]"])
def test_character_classes_on_every_code_point(pattern, trained, newer, tmp_path):
    """Each code point between two letters, which it is cut from or not."""
    tokenizer = Tokenizer.from_str(trained["gpt2"].to_str())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), "removed"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    shapes.save(tokenizer, tmp_path)
    known = [chr(code) for code in range(0x110000) if code not in newer and not 0xd800 <= code < 0xe000]
    texts = ["".join(known[at:at + 16]).encode() for at in range(0, 0x5000, 16)] + [
        "".join(known[at:at + 256]).encode() for at in range(0x5000, len(known), 256)]
    assert compare(tokenizer, tmp_path, texts, newer) == 0
