"""Random texts through crux-rollout's tokenizer and the tokenizers library: ids must be the same.

usage: check_tokenizer.py BIN_DIR FIXTURES_DIR WORK_DIR
"""
import glob, json, os, random, subprocess, sys
import pyarrow as pa
import torch
from tokenizers import Tokenizer
from transformers import Qwen2Config, Qwen2ForCausalLM
sys.path.insert(0, os.path.dirname(__file__))
from make_tokenizer_fixtures import TEXTS, random_text

binaries, fixtures, work = sys.argv[1:4]
rng = random.Random(17)
texts = [t for t in TEXTS if t] + [t for t in (random_text(rng) for _ in range(2000)) if t]
failed = False
for name in ("qwen", "llama3", "gpt2"):
    folder = f"{work}/tokenizer-{name}"
    os.makedirs(folder, exist_ok=True)
    tok = Tokenizer.from_file(f"{fixtures}/tokenizers/{name}/tokenizer.json")
    config = Qwen2Config(vocab_size=tok.get_vocab_size() + 8, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
                         num_key_value_heads=1, max_position_embeddings=1024, eos_token_id=1, bos_token_id=None, pad_token_id=None)
    Qwen2ForCausalLM(config).save_pretrained(folder)
    tok.save(folder + "/tokenizer.json")
    with open(folder + "/prompts.jsonl", "w") as f:
        for i, text in enumerate(texts): f.write(json.dumps(dict(group_id=f"g{i:05d}", prompt=text)) + "\n")
    run = lambda command, *arguments: subprocess.run([f"{binaries}/{command}", "--quiet", *arguments], check=True, stdout=subprocess.DEVNULL)
    run("crux-rollout", "--checkpoint", folder, "--prompts", folder + "/prompts.jsonl", "--output", folder + "/rollout", "--group-size", "1", "--max-tokens", "3")
    run("crux-ingest", "--input", folder + "/rollout", "--output", folder + "/ingest")
    rows = [r for path in sorted(glob.glob(folder + "/ingest/rollouts-*.arrow")) for r in pa.ipc.open_file(path).read_all().to_pylist()]
    assert len(rows) == len(texts)
    wrong = 0
    for row, text in zip(rows, texts):
        start = row["loss_mask"].index(True)
        ids, rest = row["token_ids"][:start], row["token_ids"][start:]
        same = ids == tok.encode(text).ids and row["completion"] == tok.decode([t for t in rest if t < tok.get_vocab_size()], skip_special_tokens=True)
        if not same and wrong < 3: print("FAIL", name, repr(text), ids, tok.encode(text).ids, repr(row["completion"]))
        wrong += not same
    print(f"tokenizer {name}: {len(texts) - wrong} of {len(texts)} texts have the same ids, and their continuations the same text")
    failed |= wrong > 0
sys.exit(failed)
