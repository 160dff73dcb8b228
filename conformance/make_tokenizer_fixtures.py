"""Small BPE tokenizers with the pre-tokenizers of Qwen, Llama 3 and GPT-2 and those of tokenizer_kinds.py, made by the tokenizers
library, and what it makes of odd texts.

usage: make_tokenizer_fixtures.py OUT_DIR [CORPUS_FILE ...]
"""
import json, os, random, sys
sys.path.insert(0, os.path.dirname(__file__))
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

TEXTS = [
    "", " ", "Hello, world!", "  two  spaces ", "I'LL don't we'Ve x'S", "line\nline\r\n\r\n  indented\n\n\n", "tab\tand\u000bvertical\u0085next\u00a0nbsp\u3000wide",
    "12345678901 3.14159 1,000,000 ½ Ⅻ", "naïve café — “quotes” …", "e\u0301 and \u00e9, Å and A\u030a", "你好，世界。こんにちは 안녕하세요", "עברית العربية हिन्दी ไทย", "🙂👩‍👩‍👧‍👦🇩🇪 flags",
    "\\frac{1}{2} \\boxed{42} $x^2$", "def f(x):\n    return x**2  # comment\n", "<think>\nSo 27+45=72. </think>\n\n#### 99\n", "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n",
    "<|endoftext|><|endoftext|>", "a<|im_end|", "ſtraße ﬁne ǅ", "\u0000\u0001\u007f\u0080", "x" * 300, "!?!?!?...---===", "       \n      x", "don’t", "'sS'tT", "end with space ",
]

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|begin_of_text|>"]


def train(pre, normalizer, corpus):
    tok = Tokenizer(models.BPE(unk_token=None))
    if normalizer: tok.normalizer = normalizer
    tok.pre_tokenizer = pre
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=900, special_tokens=[], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    tok.add_tokens([AddedToken(t, special=False, normalized=False) for t in ("<think>", "</think>")])
    return tok


def split(regex):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(regex), "isolated", invert=False), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def make(corpus):
    qwen = train(split(QWEN), normalizers.NFC(), corpus)
    llama = train(split(LLAMA3), None, corpus)
    llama.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=True),
        processors.TemplateProcessing(single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A <|begin_of_text|> $B",
                                      special_tokens=[("<|begin_of_text|>", llama.token_to_id("<|begin_of_text|>"))])])
    state = json.loads(llama.to_str())
    state["model"]["ignore_merges"] = True
    gpt2 = train(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True), None, corpus)
    return dict(qwen=qwen, llama3=Tokenizer.from_str(json.dumps(state)), gpt2=gpt2)


def random_text(rng):
    pools = ["abcdefghijklmnopqrstuvwxyz", "ABC XYZ  ", "0123456789", " \n\t\r", ".,;:!?'\"()[]{}<>|/\\@#$%^&*-_=+~`", "éüßñøåçœ", "中文字符测试", "🙂🚀👍", "абвгдежз", "\u0301\u0308\u200d\u00a0"]
    return "".join(rng.choice(rng.choice(pools)) for _ in range(rng.randint(0, 60)))


def cases(tok, texts):
    out = []
    for text in texts:
        ids = tok.encode(text).ids
        out.append(dict(text=text, ids=ids, plain=tok.encode(text, add_special_tokens=False).ids, decoded=tok.decode(ids, skip_special_tokens=True),
                        decoded_all=tok.decode(ids, skip_special_tokens=False)))
    return out


def main():
    out, files = sys.argv[1], sys.argv[2:]
    corpus = [open(f, encoding="utf8").read() for f in files] + TEXTS
    rng = random.Random(5)
    texts = TEXTS + [random_text(rng) for _ in range(100)]
    for name, tok in make(corpus).items():
        os.makedirs(f"{out}/{name}", exist_ok=True)
        json.dump(json.loads(tok.to_str()), open(f"{out}/{name}/tokenizer.json", "w"), ensure_ascii=False)
        json.dump(cases(tok, texts), open(f"{out}/{name}/cases.json", "w"))
    more(out, corpus, random.Random(7))


ODD = ["the--final-countdown", "--a-", "-", "a</s>b", " </s> b", "é中文🙂 the\n", "  two  spaces", "▁a ▁▁b", "a\u00a0b", "½ ﬁ Ⅻ e\u0301", "<0x41>é",
       "[INST] tool tools <think>x", "<|user|>\n hi<|end|> ", "\u4e2d\u00e9\u4e2d\n", "x" * 120 + " " + "the " * 40, "I'LL we'Ve ſ 'ſ 123456", "$1,000.50 + 3 = …"]


def more(out, corpus, rng):
    """The other kinds, and variants of single steps with the files that they change."""
    from tokenizer_kinds import base_files, changed, kinds, variants
    texts = ODD + TEXTS + [random_text(rng) for _ in range(30)]
    for name, tok in kinds(corpus).items():
        os.makedirs(f"{out}/{name}", exist_ok=True)
        json.dump(json.loads(tok.to_str()), open(f"{out}/{name}/tokenizer.json", "w"), ensure_ascii=False, separators=(",", ":"))
        json.dump(cases(tok, texts), open(f"{out}/{name}/cases.json", "w"), ensure_ascii=False, separators=(",", ":"))
    files, few = base_files(corpus), ODD + TEXTS[2:6]
    made = [dict(name=name, file=file, change=change, cases=cases(Tokenizer.from_str(json.dumps(changed(files[file], change))), few))
            for name, file, change in variants(corpus)]
    json.dump(dict(files=files, variants=made), open(f"{out}/variants.json", "w"), ensure_ascii=False, separators=(",", ":"))


if __name__ == "__main__": main()
