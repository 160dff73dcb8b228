"""Small tokenizers with the features of each family that Crux reads, trained by the tokenizers library, and variants of single steps: for
make_tokenizer_fixtures.py and check_tokenizers.py."""
import json, random
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

LETTERS = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
CAPITALS = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
REST = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
PATTERNS = {
    "qwen35": SHORT + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "glm4": SHORT + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "olmo2": SHORT + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "tekken": f"{LETTERS}|{CAPITALS}|" + r"\p{N}|" + REST,
    "o200k": f"{LETTERS}{SHORT}?|{CAPITALS}{SHORT}?|" + r"\p{N}{1,3}|" + REST,
}
BYTES = [f"<0x{i:02X}>" for i in range(256)]


def byte_level(pattern, corpus, size, normalizer=None, first=(), beginning=None, ignore_merges=False):
    steps = list(first) + [pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    tok = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if normalizer: tok.normalizer = normalizer
    tok.pre_tokenizer, tok.decoder = pre_tokenizers.Sequence(steps), decoders.ByteLevel()
    tok.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in ("<s>", "</s>", "[INST]", "<|im_end|>")])
    tok.add_tokens([AddedToken("<think>", normalized=False), AddedToken("tool", normalized=True, single_word=True)])
    if beginning:
        tok.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(
            single=f"{beginning} $A", special_tokens=[(beginning, tok.token_to_id(beginning))])])
    return tok


def characters(corpus, size, change, bytes=BYTES):
    """SentencePiece's kind: trained on words, used on whole texts."""
    tok = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tok.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tok.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=size + len(bytes), limit_alphabet=80, show_progress=False, special_tokens=["<unk>", "<s>", "</s>"] + bytes))
    file = json.loads(tok.to_str())
    file["added_tokens"] = [t for t in file["added_tokens"] if not t["content"].startswith("<0x")]
    change(file)
    return Tokenizer.from_str(json.dumps(file))


REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
BACK = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
FALLBACK, FUSE, STRIP = {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}


def template(file):
    return {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [file["model"]["vocab"]["<s>"]], "tokens": ["<s>"]}}}


def llama2(file):
    file["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, REPLACE]}
    file["pre_tokenizer"], file["post_processor"] = None, template(file)
    file["decoder"] = {"type": "Sequence", "decoders": [BACK, FALLBACK, FUSE, STRIP]}


def mistral(file):
    file["normalizer"], file["post_processor"] = None, template(file)
    file["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
    file["decoder"] = {"type": "Sequence", "decoders": [BACK, FALLBACK, FUSE, STRIP]}


def gemma(file):
    file["normalizer"] = REPLACE
    file["pre_tokenizer"] = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
    file["post_processor"], file["decoder"] = template(file), {"type": "Sequence", "decoders": [BACK, FALLBACK, FUSE]}


def phi3(file):
    llama2(file)
    first = max(file["model"]["vocab"].values()) + 1
    for i, content in enumerate(["<|user|>", "<|end|>", "<|assistant|>"]):
        file["added_tokens"].append(dict(id=first + i, content=content, single_word=False, lstrip=False, rstrip=True, normalized=False, special=True))


def kinds(corpus, size=420):
    """Name → tokenizer."""
    made = {name: byte_level(pattern, corpus, size, beginning="<s>" if name in ("tekken", "glm4") else None, ignore_merges=name in ("tekken", "o200k"),
                             normalizer=normalizers.NFC() if name == "qwen35" else None) for name, pattern in PATTERNS.items()}
    for change in (llama2, mistral, gemma, phi3): made[change.__name__] = characters(corpus, size - 200, change)
    return made


def variants(corpus, size=420):
    """(name, which model, what is changed in its file): each step with each of its options."""
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    sequence = lambda *steps: {"type": "Sequence", "pretokenizers": list(steps) + [level]}
    for behavior in ("Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"):
        for invert in (False, True):
            yield f"split {behavior} {invert}", "bytes", {"pre_tokenizer": sequence({"type": "Split", "pattern": {"String": "-"}, "behavior": behavior, "invert": invert})}
        yield f"split by regex {behavior}", "bytes", {"pre_tokenizer": sequence({"type": "Split", "pattern": {"Regex": r"[aeiou]{1,2}|\d"}, "behavior": behavior, "invert": False})}
        yield f"punctuation {behavior}", "bytes", {"pre_tokenizer": sequence({"type": "Punctuation", "behavior": behavior})}
    for each in (False, True): yield f"digits {each}", "bytes", {"pre_tokenizer": sequence({"type": "Digits", "individual_digits": each})}
    for prefix in (False, True):
        for regex in (False, True):
            yield f"byte level {prefix} {regex}", "bytes", {"pre_tokenizer": dict(level, add_prefix_space=prefix, use_regex=regex)}
    for form in ("NFC", "NFD", "NFKC", "NFKD"): yield form, "bytes", {"normalizer": {"type": form}, "pre_tokenizer": level}
    yield "replace regex", "bytes", {"normalizer": {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": "$1 "}, "pre_tokenizer": level}
    yield "replace, NFKC and prepend", "bytes", {"pre_tokenizer": level, "normalizer": {"type": "Sequence", "normalizers": [
        {"type": "NFKC"}, {"type": "Replace", "pattern": {"String": "a"}, "content": "bb"}, {"type": "Prepend", "prepend": "x"}]}}
    for scheme in ("always", "first", "never"):
        for split in (False, True):
            space = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split}
            yield f"metaspace {scheme} {split}", "characters", {"pre_tokenizer": space, "decoder": {k: v for k, v in space.items()}}
    yield "metaspace as it was", "characters", {"pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "add_prefix_space": False, "prepend_scheme": "never"}, "decoder": {"type": "Metaspace", "replacement": "▁", "add_prefix_space": True}}
    for fuse in (False, True):
        for fallback in (False, True):
            yield f"unknown {fuse} {fallback}", "characters", {"model": {"fuse_unk": fuse, "byte_fallback": fallback}, "decoder": {"type": "Sequence", "decoders": [FALLBACK, FUSE]}}
            # Some bytes alone have tokens: others are unknown, and wait behind bytes that follow.
            yield f"unknown {fuse} {fallback}, few bytes", "few", {"model": {"fuse_unk": fuse, "byte_fallback": fallback}, "decoder": {"type": "Sequence", "decoders": [FALLBACK, FUSE]}}
    yield "no unknown", "few", {"model": {"unk_token": None, "byte_fallback": False}}
    for start, stop in ((0, 0), (2, 1)):
        yield f"strip {start} {stop}", "characters", {"decoder": {"type": "Sequence", "decoders": [BACK, FUSE, dict(STRIP, start=start, stop=stop)]}}
    yield "no decoder", "characters", {"decoder": None}
    yield "ignore_merges", "characters", {"model": {"ignore_merges": True}, "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}}


def base_files(corpus, size=420):
    """The files that variants change."""
    plain = byte_level(r"\s+|\S+", corpus, size)
    bare = lambda file: file.update(normalizer=None, pre_tokenizer=None, post_processor=None, decoder=None)
    return {"bytes": json.loads(plain.to_str()), "characters": json.loads(characters(corpus, size - 200, bare).to_str()),
            "few": json.loads(characters(corpus, size - 200, bare, bytes=["<0xC3>", "<0xA9>", "<0x0A>"]).to_str())}


def changed(file, change):
    """A base file with a variant's change; keys of the model one by one."""
    file = json.loads(json.dumps(file))
    for key, value in change.items():
        if key == "model": file["model"].update(value)
        else: file[key] = value
    return file
