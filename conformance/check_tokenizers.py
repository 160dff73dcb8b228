"""Each kind of tokenizer that Crux reads beside the tokenizers library: 2,000 varied texts and 1,000 random byte strings of each (bytes that
are no UTF-8 as U+FFFD), there and back, and ids at random back to text; then each step with each of its options.

usage: check_tokenizers.py BIN_DIR WORK_DIR [TEXTS]
"""
import glob, json, os, random, subprocess, sys
from tokenizers import Tokenizer
sys.path.insert(0, os.path.dirname(__file__))
from make_tokenizer_fixtures import ODD, TEXTS, make, random_text
from tokenizer_kinds import base_files, changed, kinds, variants
from tokenizer_variants import varied_text

binaries, work = sys.argv[1:3]
count = int(sys.argv[3]) if len(sys.argv) > 3 else 2000
rng = random.Random(29)
failed = False
corpus = [open(f, encoding="utf8").read() for f in sorted(glob.glob(os.path.dirname(__file__) + "/../docs/*.md"))[:12]] + TEXTS


def probe(path, lines):
    run = subprocess.run([f"{binaries}/crux-probe", "tokens", path], input="\n".join(json.dumps(l) for l in lines) + "\n", capture_output=True, text=True)
    if run.returncode: raise SystemExit(f"crux-probe tokens {path}: {run.stderr}")
    answers = [json.loads(line) for line in run.stdout.split("\n")[:-1]]
    assert len(answers) == len(lines)
    return answers


def known_difference(tok, ids):
    """The library sends added tokens through the ByteLevel decoder, so that one with letters beyond ASCII comes out as U+FFFD."""
    added = {i: t.content for i, t in tok.get_added_tokens_decoder().items()}
    return any(not added[i].isascii() for i in ids if i in added)


def check(name, file, texts, rows):
    global failed
    path = f"{work}/tokenizer.json"
    with open(path, "w", encoding="utf8") as f: json.dump(file, f)
    tok = Tokenizer.from_file(path)
    wrong = []
    for text, found in zip(texts, probe(path, [dict(text=t) for t in texts])):
        if found["ids"] != tok.encode(text).ids or found["plain"] != tok.encode(text, add_special_tokens=False).ids: wrong.append(("ids", text, found["ids"], tok.encode(text).ids))
    back = [tok.encode(t).ids for t in texts] + rows
    for ids, found in zip(back, probe(path, [dict(ids=ids) for ids in back])):
        expected = tok.decode(ids), tok.decode(ids, skip_special_tokens=False)
        if (found["text"], found["all"]) != expected and not known_difference(tok, ids): wrong.append(("text", ids, found["all"], expected[1]))
    for kind, given, found, expected in wrong[:3]: print("FAIL", name, kind, ascii(given)[:300], ascii(found)[:300], ascii(expected)[:300])
    print(f"{'FAIL' if wrong else 'ok  '} tokenizer {name}: {len(texts) + len(back) - len(wrong)} of {len(texts) + len(back)} texts and lists of ids are the same")
    failed |= bool(wrong)


def byte_string():
    return bytes(rng.randrange(256) for _ in range(rng.randint(1, 40))).decode("utf8", errors="replace")


os.makedirs(work, exist_ok=True)
for name, tok in {**make(corpus), **kinds(corpus)}.items():
    known = [t.content for t in tok.get_added_tokens_decoder().values()]
    texts = ODD + [varied_text(rng, known) if i % 2 else random_text(rng) for i in range(count)] + [byte_string() for _ in range(count // 2)]
    rows = [[rng.randrange(tok.get_vocab_size()) for _ in range(rng.randint(1, 20))] for _ in range(count // 4)]
    check(name, json.loads(tok.to_str()), texts, rows)
files = base_files(corpus)
for name, file, change in variants(corpus):
    texts = ODD + [varied_text(rng, ["<s>", "--", "-"]) for _ in range(count // 10)] + [byte_string() for _ in range(count // 20)]
    size = len(files[file]["model"]["vocab"])
    check(name, changed(files[file], change), texts, [[rng.randrange(size) for _ in range(rng.randint(1, 12))] for _ in range(count // 20)])
sys.exit(failed)
