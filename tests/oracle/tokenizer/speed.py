#!/usr/bin/env python3
"""Speed beside the Python package `tokenizers`, one thread each: speed.py [FOLDER FILE]

Without arguments: the well-known shapes, on English text from the corpus writers and on text in many scripts.
With arguments: your tokenizer's folder on your text file. Each document is encoded once; the package runs its
three ways to encode and the fastest counts. All in processor time, so that a busy machine does no harm. TITAN_BUILD names the build folder.
"""

import os
import pathlib
import random
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"

from tokenizers import Tokenizer  # noqa: E402

import shapes  # noqa: E402

sys.path.insert(0, str(shapes.ROOT / "scripts"))
import make_corpus  # noqa: E402
from corpus.dice import Dice  # noqa: E402

TOOL = pathlib.Path(os.environ.get("TITAN_BUILD", shapes.ROOT / "build")) / "tests/tokenize_tool"


def english(megabytes):
    kinds = make_corpus.STORIES + make_corpus.KNOWLEDGE
    texts, size = [], 0
    while size < megabytes * 1e6:
        texts.append(kinds[len(texts) % len(kinds)](Dice(f"speed {len(texts)}")))
        size += len(texts[-1].encode())
    return texts


def many_scripts(megabytes):
    """Paragraphs of words that are cut and joined anew, so that few of them repeat."""
    dice, texts, size = random.Random(1), [], 0
    words = [word for line in shapes.MANY_SCRIPTS for word in line.split()]
    while size < megabytes * 1e6:
        parts = (dice.choice(words) for _ in range(2 * 150))
        texts.append(" ".join(one[:dice.randrange(1, 9)] + two[dice.randrange(3):] for one, two in zip(parts, parts)))
        size += len(texts[-1].encode())
    return texts


def seconds(action):
    start = time.process_time()
    action()
    return time.process_time() - start


def compare(name, folder, texts):
    package = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ways = {"encode": lambda: [package.encode(text) for text in texts],
            "encode_batch": lambda: package.encode_batch(texts),
            "encode_batch_fast": lambda: package.encode_batch_fast(texts)}
    best, way = min((seconds(run), way) for way, run in ways.items())
    encoded = [text.encode() for text in texts]
    ours = shapes.Answer(TOOL, folder, encoded).seconds
    size = sum(map(len, encoded)) / 1e6
    print(f"{name:28} {size:5.1f} MB   ours {size / ours:6.1f} MB/s   tokenizers {size / best:6.1f} MB/s ({way})"
          f"   ratio {best / ours:5.1f}", flush=True)


def main():
    if len(sys.argv) == 3:
        documents = pathlib.Path(sys.argv[2]).read_text(encoding="utf-8", errors="replace")
        compare(sys.argv[1], pathlib.Path(sys.argv[1]),
                [documents[at:at + 4000] for at in range(0, len(documents), 4000)])
        return
    sources = {"English": english(4), "many scripts": many_scripts(4)}
    with tempfile.TemporaryDirectory() as scratch:
        folders = {"shipped": shapes.ROOT / "assets/tokenizer"}
        for shape, tokenizer in shapes.well_known().items():
            folders[shape] = pathlib.Path(scratch) / shape
            shapes.save(tokenizer, folders[shape])
        for name, folder in folders.items():
            for source, texts in sources.items():
                compare(f"{name}, {source}", folder, texts)


if __name__ == "__main__":
    main()
