"""Greedy continuations by transformers' generate, for the fixture policy and every family checkpoint.

usage: make_generation_fixture.py FIXTURES_DIR   (writes generation.json there)
"""
import json, os, sys
import torch

from checkpoints import load

root = sys.argv[1]
out = {}
for name in ["policy"] + sorted("families/" + f for f in os.listdir(root + "/families")):
    model = load(f"{root}/{name}", dtype=torch.float32).eval()
    if name == "policy":
        prompts = [[17, 16, 19, 3, 8, 11, 5, 6, 11, 3, 8, 12, 15, 20, 18, 16, 19], [17, 16, 19, 2, 11, 3, 11, 6, 1, 11, 7, 12, 15, 20, 18, 16, 19]]
    else:
        reference = json.load(open(f"{root}/{name}/reference.json"))
        prompts = [s["token_ids"][:k] for s in reference["sequences"][:2] for k in (3, 7)]
    rows = []
    for p in prompts:
        with torch.no_grad():
            ids = torch.tensor([p])
            g = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False, eos_token_id=None, pad_token_id=0)
        rows.append(dict(prompt=p, tokens=g[0, len(p):].tolist()))
    out[name] = rows
json.dump(out, open(root + "/generation.json", "w"))
