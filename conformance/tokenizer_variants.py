"""Texts of all scripts and tokenizers in every combination of added-token flags, for check_tokenizer.py."""
import itertools, json, random, unicodedata

SCRIPTS = [
    (0x20, 0x7e), (0xa0, 0x24f), (0x250, 0x2af), (0x300, 0x36f), (0x370, 0x3ff), (0x400, 0x52f), (0x530, 0x58f), (0x591, 0x5f4), (0x600, 0x6ff),
    (0x700, 0x74a), (0x900, 0x97f), (0x980, 0x9fe), (0xa01, 0xa76), (0xa81, 0xaff), (0xb01, 0xb77), (0xb82, 0xbfa), (0xc00, 0xc7f), (0xc80, 0xcf2),
    (0xd00, 0xd7f), (0xe01, 0xe5b), (0xf00, 0xfda), (0x1000, 0x109f), (0x10a0, 0x10ff), (0x1100, 0x11ff), (0x1200, 0x137c), (0x13a0, 0x13fd),
    (0x1780, 0x17f9), (0x1800, 0x18aa), (0x1e00, 0x1fff), (0x2000, 0x206f), (0x2070, 0x20f0), (0x2100, 0x218b), (0x2200, 0x22ff), (0x2460, 0x24ff),
    (0x2600, 0x27bf), (0x3000, 0x30ff), (0x3100, 0x312f), (0x4e00, 0x4eff), (0xac00, 0xadff), (0xd7b0, 0xd7fb), (0xf900, 0xfa6d), (0xfb00, 0xfb4f),
    (0xfb50, 0xfbff), (0xfe00, 0xfe4f), (0xfeff, 0xfeff), (0xff01, 0xff9f), (0x10000, 0x1005d), (0x10330, 0x1034a), (0x10400, 0x1044f), (0x11000, 0x1104d),
    (0x11100, 0x11134), (0x1d15e, 0x1d164), (0x1d400, 0x1d4ff), (0x1f300, 0x1f64f), (0x1f900, 0x1f9ff), (0x20000, 0x200ff), (0x2f800, 0x2fa1d),
    (0xe0020, 0xe007f),
]
SPACES = ["\t", "\n", "\v", "\f", "\r", "\r\n", " ", "  ", "   ", "\x85", "\xa0", "\u1680", "\u2003", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000", "\u180e",
          "\u200b", "\ufeff", "\x1c", "\x1f"]
MARKS = ["\u0301", "\u0300", "\u0308", "\u0323", "\u0327", "\u0345", "\u0f71", "\u0f72", "\u3099", "\u05b0", "\u05bc", "\u064b", "\u0651", "\U0001d165", "\u20dd"]
EMOJI = ["😀", "👨‍👩‍👧", "🇩🇪", "👍🏽", "❤️", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "1️⃣"]
WORDS = ["the", "I'm", "we'LL", "x_1", "don't", "3.14", "1234567", "é", "e\u0301", "naïve", "\u212b", "ﬁ", "ſ", "가", "\u1100\u1161", "中文", "»", "…", "²", "½", "Ⅻ"]

# The library's tables are older than the Standard that Crux goes by (normalization some Unicode 10): characters that came later, and
# combine, decompose or are punctuation, it leaves alone. Python keeps one old table, which is old enough.
OLD = unicodedata.ucd_3_2_0


def known(character):
    plain = unicodedata.combining(character) == 0 and not unicodedata.decomposition(character) and unicodedata.category(character)[0] != "P"
    return plain or OLD.category(character) != "Cn"


def character(rng):
    low, high = rng.choice(SCRIPTS)
    return next((c for c in (chr(rng.randint(low, high)) for _ in range(20)) if unicodedata.category(c) not in ("Cn", "Cs") and known(c)), "a")


def varied_text(rng, tokens=()):
    """A text of up to 40 pieces; `tokens` are strewn in, with and without white space and letters beside them."""
    pieces = []
    for _ in range(rng.randint(1, 40)):
        kind = rng.random()
        if kind < 0.30: pieces.append("".join(character(rng) for _ in range(rng.randint(1, 5))))
        elif kind < 0.45: pieces.append(rng.choice(WORDS))
        elif kind < 0.60: pieces.append(rng.choice(SPACES) * rng.randint(1, 3))
        elif kind < 0.70: pieces.append("".join(rng.choice(MARKS) for _ in range(rng.randint(1, 4))))
        elif kind < 0.76: pieces.append(rng.choice(EMOJI))
        elif tokens: pieces.append(rng.choice(["", " ", "  ", "\n", "\u3000", "a", "é", "。", "²"]) + rng.choice(tokens) + rng.choice(["", " ", "\t ", "b", "_", "\u0301"]))
        else: pieces.append(rng.choice(WORDS))
    return "".join(pieces)


CONTENTS = ["<a>", "foo", "café", "<a>b", "  ", "é", "\u212b", "中", "_x", "<|im_end|>", "oo", "²"]


def flag_variants():
    """(name, change of a tokenizer.json, contents of its added tokens): every combination of the four flags, alone and mixed."""
    combinations = list(itertools.product([False, True], repeat=4))

    def added(tokens):
        def change(file):
            # As the library numbers them: tokens of the vocabulary keep their id, the others follow it.
            vocabulary, next_id, file["added_tokens"] = file["model"]["vocab"], len(file["model"]["vocab"]), []
            for i, (content, (normalized, left, right, word)) in enumerate(tokens):
                number = vocabulary.get(content, next_id)
                next_id += number == next_id
                file["added_tokens"].append(dict(
                    id=number, content=content, normalized=normalized, lstrip=left, rstrip=right, single_word=word, special=i % 2 == 0))
        return change
    for flags in combinations:
        yield "flags " + "".join("nlrw"[i] if on else "-" for i, on in enumerate(flags)), added([(c, flags) for c in CONTENTS]), CONTENTS
    rng = random.Random(5)
    for round in range(8):
        yield f"mixed flags {round}", added([(c, rng.choice(combinations)) for c in CONTENTS]), CONTENTS


def pre_tokenizer_variants():
    def change(*steps):
        def apply(file): file["pre_tokenizer"] = dict(type="Sequence", pretokenizers=list(steps))
        return apply
    byte_level = dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=False)
    for behavior in ("Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"):
        for invert in (False, True):
            split = dict(type="Split", pattern=dict(Regex=r"[\s\p{P}]"), behavior=behavior, invert=invert)
            yield f"split {behavior}{' inverted' if invert else ''}", change(split, byte_level)
        yield f"punctuation {behavior}", change(dict(type="Punctuation", behavior=behavior), byte_level)
    yield "string split", change(dict(type="Split", pattern=dict(String="."), behavior="MergedWithPrevious", invert=False), byte_level)
    yield "digits", change(dict(type="Digits", individual_digits=True), byte_level)
    yield "prefix space", change(dict(byte_level, add_prefix_space=True, use_regex=True))
    yield "prefix space behind a split", change(dict(type="Split", pattern=dict(Regex=r"\n"), behavior="Isolated", invert=False), dict(byte_level, add_prefix_space=True))


def normalizer_variants():
    for name in ("NFC", "NFD", "NFKC", "NFKD"):
        yield name, lambda file, name=name: file.update(normalizer=dict(type=name))
    yield "NFD then NFC", lambda file: file.update(normalizer=dict(type="Sequence", normalizers=[dict(type="NFD"), dict(type="NFC")]))


def variants(path):
    """(name, tokenizer.json as an object, contents of added tokens) of everything above, made of one file."""
    def made(name, change, contents=()):
        with open(path, encoding="utf8") as file: value = json.load(file)
        change(value)
        return name, value, list(contents)
    for name, change, contents in flag_variants(): yield made(name, change, contents)
    for name, change in [*pre_tokenizer_variants(), *normalizer_variants()]: yield made(name, change)
