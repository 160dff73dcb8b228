"""Texts of all scripts through crux-rollout's tokenizer and through the tokenizers library: ids must be the same. Then tokenizers with every
combination of added-token flags, pre-tokenizers and normalizers, and what transformers makes of the files beside tokenizer.json.

usage: check_tokenizer.py BIN_DIR FIXTURES_DIR WORK_DIR
"""
import glob, json, os, random, subprocess, sys
import pyarrow as pa
import torch
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
sys.path.insert(0, os.path.dirname(__file__))
from make_tokenizer_fixtures import TEXTS, random_text
from tokenizer_variants import CONTENTS, varied_text, variants

binaries, fixtures, work = sys.argv[1:4]
rng = random.Random(17)
failed = False


def checkpoint(folder, vocabulary):
    """A tiny model, so that crux-rollout has something to sample from."""
    config = Qwen2Config(vocab_size=vocabulary, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
                         num_key_value_heads=1, max_position_embeddings=4096, eos_token_id=1, bos_token_id=None, pad_token_id=None)
    Qwen2ForCausalLM(config).save_pretrained(folder)


def rollouts(folder, texts, *flags):
    """(prompt ids, sampled ids, completion) of each text, in order."""
    with open(folder + "/prompts.jsonl", "w") as f:
        for i, text in enumerate(texts): f.write(json.dumps(dict(group_id=f"g{i:05d}", prompt=text)) + "\n")
    run = lambda command, *arguments: subprocess.run([f"{binaries}/{command}", "--quiet", "--overwrite", *arguments], check=True, stdout=subprocess.DEVNULL)
    run("crux-rollout", "--checkpoint", folder, "--prompts", folder + "/prompts.jsonl", "--output", folder + "-rollout", "--group-size", "1", "--max-tokens", "3", *flags)
    run("crux-ingest", "--input", folder + "-rollout", "--output", folder + "-ingest")
    rows = [r for path in sorted(glob.glob(folder + "-ingest/rollouts-*.arrow")) for r in pa.ipc.open_file(path).read_all().to_pylist()]
    assert len(rows) == len(texts)
    for row in rows:
        start = row["loss_mask"].index(True)
        yield row["token_ids"][:start], row["token_ids"][start:], row["completion"]


def compare(name, texts, found, expected):
    global failed
    wrong = [i for i, (a, b) in enumerate(zip(found, expected)) if a != b]
    for i in wrong[:3]: print("FAIL", name, ascii(texts[i]), found[i], expected[i])
    print(f"{'FAIL' if wrong else 'ok  '} tokenizer {name}: {len(texts) - len(wrong)} of {len(texts)} texts have the same ids")
    failed |= bool(wrong)


def library(tokenizer, text):
    """None where the library itself panics: white space that two added tokens claim."""
    try: return tokenizer.encode(text).ids
    except BaseException: return None


# The fixtures' tokenizers, and the text of what is sampled.
for name in ("qwen", "llama3", "gpt2"):
    folder = f"{work}/tokenizer-{name}"
    os.makedirs(folder, exist_ok=True)
    tok = Tokenizer.from_file(f"{fixtures}/tokenizers/{name}/tokenizer.json")
    known = [t.content for t in tok.get_added_tokens_decoder().values()]
    texts = [t for t in TEXTS if t] + [t for t in (random_text(rng) for _ in range(1000)) if t] + [varied_text(rng, known) for _ in range(2000)]
    checkpoint(folder, tok.get_vocab_size() + 8)
    tok.save(folder + "/tokenizer.json")
    found = list(rollouts(folder, texts, "--add-special-tokens", "always"))
    compare(name, texts, [ids for ids, _, _ in found], [tok.encode(t).ids for t in texts])
    ends = {1}
    spoken = [tok.decode([t for t in (rest[:-1] if rest[-1] in ends else rest) if t < tok.get_vocab_size()], skip_special_tokens=True) for _, rest, _ in found]
    compare(name + ", completions", texts, [text for _, _, text in found], spoken)

# Added tokens in every combination of flags, pre-tokenizers, normalizers.
for name, file, contents in variants(f"{fixtures}/tokenizers/qwen/tokenizer.json"):
    folder = f"{work}/tokenizer-variant"
    os.makedirs(folder, exist_ok=True)
    with open(folder + "/tokenizer.json", "w", encoding="utf8") as f: json.dump(file, f)
    tok = Tokenizer.from_file(folder + "/tokenizer.json")
    texts = [t for t in (varied_text(rng, contents) for _ in range(200)) if library(tok, t)]
    checkpoint(folder, tok.get_vocab_size() + 8)
    compare(name, texts, [ids for ids, _, _ in rollouts(folder, texts, "--add-special-tokens", "always")], [library(tok, t) for t in texts])

# Tokens that only the files beside tokenizer.json know, as transformers reads them. (Not by AutoTokenizer: beside the configuration of a
# Qwen2 it makes Qwen2's normalizer and pre-tokenizer, whatever tokenizer.json says.)
plain = dict(lstrip=False, rstrip=False, normalized=False, single_word=False, special=False)
base = f"{fixtures}/cases/B08-added-in-config"
first = len(json.load(open(base + "/tokenizer.json"))["model"]["vocab"])
files = {
    "added_tokens_decoder": {"tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "added_tokens_decoder": {str(first): dict(plain, content="<think>")}}},
    "added_tokens.json": {"tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast"}, "added_tokens.json": {"<think>": first}},
    "special_tokens_map.json": {"tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast"}, "special_tokens_map.json": {"eos_token": "<think>"}},
    "eos_token": {"tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<think>"}},
    "extra_special_tokens": {"tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "extra_special_tokens": ["<think>"]}},
}
for name, beside in files.items():
    folder = f"{work}/tokenizer-{name}"
    os.makedirs(folder, exist_ok=True)
    checkpoint(folder, first + 8)
    with open(base + "/tokenizer.json") as source, open(folder + "/tokenizer.json", "w") as target: target.write(source.read())
    for path, value in beside.items():
        with open(f"{folder}/{path}", "w") as f: json.dump(value, f)
    tok, texts = PreTrainedTokenizerFast.from_pretrained(folder), ["a<think>b"] + [varied_text(rng, ["<think>", "<think> ", "<thin"]) for _ in range(50)]
    compare(name, texts, [ids for ids, _, _ in rollouts(folder, texts, "--add-special-tokens", "always")], [tok(t).input_ids for t in texts])
sys.exit(failed)
