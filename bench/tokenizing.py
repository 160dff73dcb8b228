"""Tokenizing beside the tokenizers library, one thread each, line by line: seconds, MB/s, and whether Crux is at least as fast.

usage: tokenizing.py BIN_DIR
"""
import glob, json, os, subprocess, sys, tempfile, time
os.environ.update(TOKENIZERS_PARALLELISM="false", RAYON_NUM_THREADS="1")
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
root = os.path.dirname(os.path.abspath(__file__)) + "/.."
sys.path.insert(0, root + "/conformance")
from make_tokenizer_fixtures import QWEN
from tokenizer_kinds import PATTERNS, characters, llama2

SIZE, TURNS = 24_000, 5
files = sorted(glob.glob(root + "/docs/*.md")) + sorted(glob.glob(os.path.dirname(transformers.__file__) + "/models/*/modeling_*.py"))[:100]
texts = [open(f, encoding="utf8").read() for f in files]


def byte_level(pattern, normalizer=None):
    tok = Tokenizer(models.BPE())
    if normalizer: tok.normalizer = normalizer
    tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=SIZE, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    return tok


def library(tok, lines):
    best = float("inf")
    for _ in range(TURNS):
        start = time.perf_counter()
        count = sum(len(tok.encode(line).ids) for line in lines)
        best = min(best, time.perf_counter() - start)
    return best, count


slower = False
with tempfile.TemporaryDirectory() as work:
    text = "\n".join(texts)[:4_000_000]
    with open(work + "/text", "w", encoding="utf8", newline="") as f: f.write(text)
    for name, tok in (("qwen", byte_level(QWEN, normalizers.NFC())), ("o200k", byte_level(PATTERNS["o200k"])), ("llama2", characters(texts, SIZE, llama2))):
        tok.save(work + "/tokenizer.json")
        tok = Tokenizer.from_file(work + "/tokenizer.json")
        own = json.loads(subprocess.run([f"{sys.argv[1]}/crux-probe", "tokens", work + "/tokenizer.json", "--measure", work + "/text", "--turns", str(TURNS)],
                                        check=True, capture_output=True, text=True).stdout)
        seconds, count = library(tok, text.split("\n"))
        assert own["tokens"] == count, (name, own["tokens"], count)
        factor, size = seconds / own["seconds"], own["bytes"] / 1e6
        print(f"tokenizing {name}: {size / own['seconds']:.1f} MB/s, the library {size / seconds:.1f} MB/s: {factor:.2f} times as fast")
        slower |= factor < 1
sys.exit(slower)
