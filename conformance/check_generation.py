"""crux-rollout beside transformers: greedy decoding token for token, log-probabilities of sampled rollouts within 1e-4.

usage: check_generation.py BIN_DIR CHECKPOINT PROMPTS.jsonl WORK_DIR
"""
import glob, itertools, os, subprocess, sys
import pyarrow as pa
import torch
from transformers import AutoModelForCausalLM

binaries, checkpoint, prompts, work = sys.argv[1:5]
os.makedirs(work, exist_ok=True)
with open(work + "/prompts.jsonl", "w") as f: f.writelines(itertools.islice(open(prompts), 64))


def rollouts(name, *arguments):
    run = lambda command, *more: subprocess.run([f"{binaries}/{command}", "--quiet", *more], check=True, stdout=subprocess.DEVNULL)
    run("crux-rollout", "--checkpoint", checkpoint, "--prompts", work + "/prompts.jsonl", "--output", f"{work}/{name}", "--max-tokens", "72", *arguments)
    run("crux-ingest", "--input", f"{work}/{name}", "--output", f"{work}/{name}-ingest")
    return [r for path in sorted(glob.glob(f"{work}/{name}-ingest/rollouts-*.arrow")) for r in pa.ipc.open_file(path).read_all().to_pylist()]


model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
wrong = 0
for row in rollouts("greedy", "--group-size", "1", "--temperature", "0"):
    start = row["loss_mask"].index(True)
    ids = torch.tensor([row["token_ids"][:start]])
    with torch.no_grad(): out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=72, do_sample=False)
    wrong += out[0].tolist() != row["token_ids"]
worst = 0.0
for row in rollouts("sampled", "--group-size", "4", "--temperature", "0.8"):
    start = row["loss_mask"].index(True)
    ids = torch.tensor([row["token_ids"]])
    with torch.no_grad(): logits = model(input_ids=ids).logits[0].double() / 0.8
    expected = torch.log_softmax(logits, -1)[start - 1:-1].gather(1, ids[0, start:, None])[:, 0]
    worst = max(worst, (expected - torch.tensor(row["rollout_logprobs"][start:], dtype=torch.float64)).abs().max().item())
print(f"generation: {64 - wrong} of 64 greedy rollouts equal transformers'; log-probabilities of 256 sampled rollouts differ by at most {worst:.1e}")
sys.exit(wrong > 0 or worst > 1e-4)
