#!/usr/bin/env python3
"""Makes tests/unit/data/tokenizer_golden: small tokenizers in the shapes of well-known models, and the ids that the
Python package `tokenizers` gives for many scripts, edge cases and ill-formed bytes. The unit tests then need no Python.
"""

import json

import shapes

FOLDER = shapes.ROOT / "tests/unit/data/tokenizer_golden"


def main():
    # A small vocabulary keeps the files small; its merges still reach into every script.
    tokenizers = shapes.well_known(vocabulary=420)
    for name, tokenizer in tokenizers.items():
        config = {"bos_token": shapes.SPECIALS[0], "eos_token": shapes.SPECIALS[1]}
        shapes.save(tokenizer, FOLDER / name, config)
    texts = shapes.MANY_SCRIPTS + [text for text in shapes.EDGES if len(text) < 200]
    texts = [text.encode() for text in texts] + shapes.ILL_FORMED
    with open(FOLDER / "cases.jsonl", "w", encoding="utf-8") as out:
        for text in texts:
            decoded = text.decode("utf-8", "replace")
            ids = {name: tokenizer.encode(decoded, add_special_tokens=False).ids for name, tokenizer in tokenizers.items()}
            out.write(json.dumps({"hex": text.hex(), "text": decoded, "ids": ids}, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
