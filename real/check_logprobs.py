#!/usr/bin/env python3
"""An engine's log-probabilities of its own tokens against those of crux-score --checkpoint; PyTorch in float64 judges.

    .venv-real/bin/python real/check_logprobs.py INGEST_DIR SCORE_DIR CHECKPOINT

All three are the same softmax of the same weights. Crux and the engine may differ by 1e-4. Where some token differs by
more, the rollouts that differ most are computed in float64: Crux must lie within 1e-4 of that, so that the rest is the
engine's. By more than 1e-3 no float32 kernels differ: then they are not the same policy.
"""
import glob, os, sys

import numpy as np
import pyarrow.ipc as ipc

LIMIT, SAME_POLICY, JUDGED = 1e-4, 1e-3, 4


def rows(folder, table):
    for path in sorted(glob.glob(f"{folder}/{table}-*.arrow")): yield from ipc.open_file(path).read_all().to_pylist()


def in_float64(checkpoint, rollouts):
    """Log-probabilities of every sampled token."""
    os.environ.update(HF_HUB_OFFLINE="1", TQDM_DISABLE="1", TRANSFORMERS_VERBOSITY="error")
    import torch
    from transformers import AutoModelForCausalLM
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float64)
    for rollout in rollouts:
        ids = torch.tensor(rollout["token_ids"])
        with torch.no_grad(): logprobs = torch.log_softmax(model(ids[None]).logits[0, :-1], -1)
        chosen = logprobs.gather(1, ids[1:, None])[:, 0].numpy()
        yield chosen[np.array(rollout["loss_mask"])[1:]]


def main(ingest, score, checkpoint):
    scores = {row["rollout_id"]: row["old_logprobs"] for row in rows(score, "scores")}
    found = []
    for rollout in rows(ingest, "rollouts"):
        mask = np.array(rollout["loss_mask"])
        pair = rollout["rollout_logprobs"], scores[rollout["rollout_id"]]
        engine, crux = (np.array(values)[mask] for values in pair)
        found.append((np.abs(engine - crux).max(), rollout, engine, crux))
    if not found: sys.exit(f"FAIL: {ingest}: found no rollouts")
    found.sort(key=lambda one: -one[0])
    differences = np.concatenate([np.abs(engine - crux) for _, _, engine, crux in found])
    worst = differences.max()
    print(
        f"log-probabilities of {len(differences)} tokens: engine and crux-score --checkpoint differ by "
        f"{differences.mean():.1e} on average, {worst:.1e} at most, "
        f"{(differences > LIMIT).sum()} by more than {LIMIT:.0e}")
    if worst > SAME_POLICY: sys.exit(f"FAIL: more than {SAME_POLICY:.0e}")
    if worst <= LIMIT: return
    judged = [one for one in found[:JUDGED] if one[0] > LIMIT]
    truths = list(in_float64(checkpoint, [rollout for _, rollout, _, _ in judged]))
    engine_error, crux_error = (
        max(np.abs(one[place] - truth).max() for one, truth in zip(judged, truths)) for place in (2, 3))
    print(
        f"the {len(judged)} rollouts that differ most, in float64: the engine is off by {engine_error:.1e}, "
        f"Crux by {crux_error:.1e}")
    if crux_error > LIMIT: sys.exit(f"FAIL: Crux is off by more than {LIMIT:.0e}")


if __name__ == "__main__": main(*sys.argv[1:])
