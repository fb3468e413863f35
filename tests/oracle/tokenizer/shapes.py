"""What the tokenizer tests share: tokenizers in the shapes of well-known models, rebuilt small on our own
corpus, texts in many scripts, and hostile texts."""

import json
import pathlib
import random
import struct
import subprocess

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

ROOT = pathlib.Path(__file__).resolve().parents[3]
SPECIALS = ["<|begin_of_text|>", "<|end_of_text|>"]

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
          r"\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
LLAMA4 = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
          r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
          r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK = [r"\p{N}{1,3}", r"[一-龥぀-ゟ゠-ヿ]+",
            r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"
            r" ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"]

MANY_SCRIPTS = [
    "The river is wide here, and nobody has ever built a bridge across it.",
    "Der Fluß ist hier breit, und die Brücke über ihn wäre schön.",
    "Le fleuve est large ici, et l'été personne ne le traverse à la nage.",
    "El río es ancho aquí; ¿quién construyó el puente de piedra?",
    "Rzeka jest tu szeroka, a łódź stoi przy brzegu.", "Řeka je tu široká a člun leží na břehu.",
    "Nehir burada geniştir, İstanbul'dan gelen ırmak gibi.", "Dòng sông ở đây rộng và chiếc thuyền nằm bên bờ.",
    "Река здесь широкая, и лодка лежит на берегу.", "Річка тут широка, ґанок і їжак біля неї.",
    "Ο ποταμός είναι πλατύς εδώ και η βάρκα είναι στην όχθη.", "Գետն այստեղ լայն է, և նավակը ափին է։",
    "მდინარე აქ განიერია და ნავი ნაპირზეა.", "הנהר רחב כאן, והסירה על הגדה.", "النهر واسع هنا، والقارب على الضفة ١٢٣٤٥.",
    "رودخانه اینجا پهن است و قایق در ساحل می‌ماند ۶۷۸.", "नदी यहाँ चौड़ी है और नाव किनारे पर है १२३।", "নদী এখানে চওড়া এবং নৌকা তীরে।",
    "ஆறு இங்கே அகலமானது, படகு கரையில் உள்ளது.", "నది ఇక్కడ వెడల్పుగా ఉంది, పడవ ఒడ్డున ఉంది.",
    "നദി ഇവിടെ വീതിയുള്ളതാണ്, വള്ളം കരയിലാണ്.", "แม่น้ำที่นี่กว้างและเรืออยู่ริมฝั่ง ๑๒๓", "ແມ່ນ້ຳຢູ່ນີ້ກວ້າງ.", "ទន្លេនៅទីនេះធំទូលាយ។",
    "မြစ်က ဒီမှာကျယ်တယ်။", "ཆུ་བོ་འདིར་ཡངས་པོ་ཡོད།", "ወንዙ እዚህ ሰፊ ነው።", "河在这里很宽，船停在岸边。一共有３２只。", "河在這裡很寬，船停在岸邊。",
    "川はここで広く、ボートは岸にあります。カタカナも。", "강은 여기서 넓고 배는 물가에 있다.",
    "ᠭᠣᠣᠯ ᠡᠨᠳᠡ ᠥᠷᠭᠡᠨ᠃", "ꦏꦭꦶ ꦲꦶꦁ ꦏꦺꦴ", "ᏥᏳ ᎠᎹᏱ ᎡᏙᎭ", "𐌰𐍈𐌰 𐌹𐍃𐍄 𐌱𐍂𐌰𐌹𐌳𐌰", "𝒯𝒽ℯ 𝓇𝒾𝓋ℯ𝓇 ½ ² Ⅻ ㈱ №",
]

EDGES = [
    "", " ", "  ", "a", "\n", "\r\n", " \n", "\n ", "a\r\nb\r\n\r\nc\rd", "  indented\n    more\n\ttab\t\ttabs\n",
    "trailing   ", "   leading", "a  b   c    d", " " * 300 + "x", "\n" * 200, "\t \n \t\r\n x", "a" * 2000, "ab" * 700,
    "don't I'll we've you're he'd I'm it's DON'T I'LL WE'VE 'S 'T", "'ſ 'ſt I\u2019ll 'Kelvin \u212a 'LL\u0130", "''s '''",
    "1 12 123 1234 12345 1234567890 3.14159 1,000,000 0x1F 10% 2²", "١٢٣٤٥ १२३४५ ๑๒๓๔๕ １２３４５ ⅷⅨ ¼½¾ ௧௨",
    "e\u0301 é \u1ea5 a\u0302\u0301 a\u0301\u0302 q\u0307\u0323 \u0344 \u212b \u2126 \uac00 \u1100\u1161\u11a8",
    "\u0301lone mark", "a\u0300\u0301\u0302\u0303\u0304b", "\u200b\u200c\u200d\u2060\ufeff", "zero\u200bwidth\u200djoin\u200cer",
    "\u00a0\u1680\u2000\u2003\u2028\u2029\u202f\u205f\u3000\u0085x", "a\u180eb \u180e\u180e x", "\u0000\u0001\u001f\u007f\u0080\u009f",
    "😀😃😄 👍🏽 👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪🇫🇷 ❤️ ☎︎ 1️⃣", "a😀b 😀c😀😀", "<|end_of_text|>", "a<|end_of_text|>b", "<|end_of_text|", "<|end_of_text|>|>",
    "  <|begin_of_text|>  <|end_of_text|><|end_of_text|>\n", "<<||end_of_text|>>", "http://example.org/a?b=c&d=%20#e", "f(x)[0] -> {y: *p++};",
    "snake_case camelCase SCREAMING_CASE kebab-case", "!!! ... ??? ---\n===\n", "“quotes” ‘single’ «guillemets» „low“", "\\n \\t \\\\ \"",
    "ÀÉÎÕÜ ß ẞ ǅ ŉ ﬁ ﬀ İ ı", "\ufffd \ufffe \uffff \U0010ffff", "\U0001f468\u200d", "日本語123テキスト, 混ぜる abc中文def", "Ｆｕｌｌｗｉｄｔｈ　ｔｅｘｔ",
]

ILL_FORMED = [b"\xff", b"a\x80b", b"\xc3", b"\xc3(", b"\xe2\x82", b"\xe2\x82(", b"\xf0\x9f\x98", b"\xf0\x9f\x98a", b"\xc0\xaf", b"\xed\xa0\x80",
              b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xe0\x80\x80", b"ok \xf0\x9f\x98\x80 \xf0\x9f\x98 ok", b"\x80" * 40, b"\xfe\xfe\xff\xff"]


def corpus(name="corpus"):
    lines = [line for path in sorted((ROOT / "assets" / name).glob("*.jsonl"))
             for line in path.read_text(encoding="utf-8").splitlines()]
    return [json.loads(line)["text"] for line in lines]


def build(patterns, *, nfc=False, ignore_merges=False, vocabulary=1200, template=False):
    """Byte-level BPE trained on our corpus and on the many scripts, in Hugging Face's form."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if nfc:
        tokenizer.normalizer = normalizers.NFC()
    if patterns:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Split(Regex(pattern), behavior="isolated") for pattern in patterns]
            + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(corpus()[::4] + MANY_SCRIPTS * 6, trainers.BpeTrainer(
        vocab_size=vocabulary, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in SPECIALS])
    if template:
        bos = SPECIALS[0]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))])
    return tokenizer


def well_known(vocabulary=1200):
    """Name to tokenizer."""
    return {"llama3": build([LLAMA3], ignore_merges=True, template=True, vocabulary=vocabulary),
            "qwen2": build([QWEN2], nfc=True, vocabulary=vocabulary),
            "deepseek": build(DEEPSEEK, vocabulary=vocabulary),
            "llama4": build([LLAMA4], vocabulary=vocabulary),
            "gpt2": build([], vocabulary=vocabulary)}


def save(tokenizer, folder, config=None):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False,
                                                      separators=(",", ":")) + "\n", encoding="utf-8")
    if config is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


def hostile_lines(count, seed):
    """Texts as bytes: random code points of several densities, mutated real lines, random bytes."""
    dice = random.Random(seed)
    real = corpus() + MANY_SCRIPTS * 20 + EDGES
    ranges = [(0x20, 0x7f), (0x9, 0x100), (0x9, 0x3100), (0x300, 0x370), (0x2000, 0x2070), (0x1f300, 0x1faff), (0xac00, 0xd7a4),
              (0x4e00, 0x9fff), (0x1, 0x110000)]

    def character():
        code = dice.randrange(*dice.choice(ranges))
        return chr(code if not 0xd800 <= code < 0xe000 else 0xfffd)

    def line():
        kind = dice.random()
        if kind < 0.5:
            return "".join(character() for _ in range(dice.randrange(1, 40))).encode()
        if kind < 0.8:
            start = list(dice.choice(real)[:200])
            for _ in range(dice.randrange(1, 8)):
                start.insert(dice.randrange(len(start) + 1), dice.choice([character(), " ", "\n", "\r\n", "'", "<|end_of_text|>"]))
            return "".join(start).encode()
        if kind < 0.9:
            return dice.randbytes(dice.randrange(1, 60))
        text = bytearray(dice.choice(real)[:100].encode() or b"x")
        text[dice.randrange(len(text))] = dice.randrange(256)
        return bytes(text)

    return [line() for _ in range(count)]


class Answer:
    """What tokenize_tool says about a folder and texts (bytes)."""

    def __init__(self, tool, folder, texts):
        done = subprocess.run([tool, folder], input=b"".join(struct.pack("<I", len(text)) + text for text in texts),
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=600)
        self.returncode, self.stderr = done.returncode, done.stderr.decode()
        if done.returncode == 0:
            self._values, self._at = memoryview(done.stdout).cast("i").tolist(), 1
            self.vocab_size, self.prefix, self.suffix = self._values[0], self._take(), self._take()
            self.ids = [self._take() for _ in texts]
            self.seconds = float(self.stderr.split()[-1])

    def _take(self):
        count = self._values[self._at]
        self._at += 1 + count
        return self._values[self._at - count:self._at]
