#!/usr/bin/env python3
"""Makes the corpus that the repository ships, and its tokenizer: assets/corpus, assets/corpus_validation and
assets/tokenizer. Deterministic: the same files every time, which --check proves. Needs tokenizers==0.23.3.

The text is our own: templates with chance inside (scripts/corpus), so that a small model has names, numbers,
rules and connections to learn. Training and validation documents come from different seeds.
"""

import argparse
import json
import pathlib
import sys

from corpus import dialogues, explanations, notes, stories, world
from corpus.dice import Dice

ROOT = pathlib.Path(__file__).resolve().parents[1]
DOCUMENTS = {"corpus/stories.jsonl": 480, "corpus/knowledge.jsonl": 560, "corpus_validation/mixed.jsonl": 130}
VOCABULARY = 2000  # entries in all; the debug model has room for 2048
SPECIALS = ["<|begin_of_text|>", "<|end_of_text|>"]
# Llama-3's: contractions, words with one leading sign, up to three digits, signs, line ends, spaces.
PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
           r"\s*[\r\n]+|\s+(?!\S)|\s+")

STORIES = [stories.lost_thing, stories.journey, stories.fable, stories.working_day, stories.letter, stories.diary,
           dialogues.plan, dialogues.shop, dialogues.the_way, dialogues.riddle]
KNOWLEDGE = [explanations.explanation, explanations.explanation,
             lambda dice: explanations.lesson(dice, *world.two_people(dice)), explanations.summary,
             notes.word_problem, notes.sums, notes.sequence, notes.shopping_list, notes.recipe, notes.weather_diary,
             notes.animal_card, notes.comparison, notes.timetable, notes.sorting]


def documents(name, count):
    """Different texts of 100 to 1500 characters, the kinds in turn."""
    kinds = {"stories": STORIES, "knowledge": KNOWLEDGE, "mixed": STORIES + KNOWLEDGE}[pathlib.Path(name).stem]
    texts = {}
    attempt = 0
    while len(texts) < count:
        text = kinds[attempt % len(kinds)](Dice(f"{name} {attempt}"))
        if 100 <= len(text) <= 1500:
            texts[text] = None
        attempt += 1
    return list(texts)


def train_tokenizer(texts):
    """Byte-level BPE in the shape of Llama-3's tokenizer.json; the special tokens come last, as there."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(SPECIALS), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False))
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in SPECIALS])
    bos, bos_id = SPECIALS[0], tokenizer.token_to_id(SPECIALS[0])
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, bos_id)])])
    return tokenizer


def tokenizer_files(texts):
    tokenizer = train_tokenizer(texts)
    # One merge and one vocabulary entry in a line would make the file three times as long.
    content = json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, indent=None, separators=(",", ":"))
    decoder = {str(tokenizer.token_to_id(token)): {
        "content": token, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False,
        "special": True} for token in SPECIALS}
    config = {"added_tokens_decoder": decoder, "bos_token": SPECIALS[0], "clean_up_tokenization_spaces": False,
              "eos_token": SPECIALS[1], "model_max_length": 131072, "tokenizer_class": "PreTrainedTokenizerFast"}
    return {"tokenizer/tokenizer.json": content + "\n",
            "tokenizer/tokenizer_config.json": json.dumps(config, indent=2) + "\n"}


def make():
    """Path under assets to content."""
    texts = {name: documents(name, count) for name, count in DOCUMENTS.items()}
    training = {text for name, found in texts.items() if name.startswith("corpus/") for text in found}
    texts["corpus_validation/mixed.jsonl"] = [text for text in texts["corpus_validation/mixed.jsonl"]
                                              if text not in training]
    files = {name: "".join(json.dumps({"text": text}) + "\n" for text in found) for name, found in texts.items()}
    return files | tokenizer_files([text for name in texts if name.startswith("corpus/") for text in texts[name]])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "assets", help="folder to write to")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file differs")
    arguments = parser.parse_args()
    differing = []
    for name, content in make().items():
        path = arguments.out / name
        if arguments.check:
            if not path.exists() or path.read_text(encoding="utf-8") != content:
                differing.append(name)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        print(f"{path}: {len(content.encode())} bytes")
    for name in differing:
        print(f"{arguments.out / name} differs from what this script makes", file=sys.stderr)
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
