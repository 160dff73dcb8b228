"""Dumps as other programs write them, by their own writers, through crux-ingest: TRL's GRPOTrainer logs completions, PyTorch saves what
slime saves, NumPy and raw bytes say where a mixture's tokens were routed as vLLM and SGLang say it.

    check_dialects.py BIN_DIR WORK_DIR
"""
import base64
import collections
import io
import json
import pathlib
import subprocess
import sys
import unittest.mock

import numpy
import pyarrow.ipc as ipc
import torch
from transformers import Trainer
from trl import GRPOTrainer

from shards import rows as frames

ROOT = pathlib.Path(__file__).parent.parent
binaries, work = sys.argv[1], pathlib.Path(sys.argv[2])
POLICY = ROOT / "fixtures/policy"
failed = []


def check(what, good, found=""):
    print(f"{'ok  ' if good else 'FAIL'} {what}{'' if good else f': {found}'}")
    if not good:
        failed.append(what)


def ingest(name, *inputs, more=()):
    """Rows and counts of a run."""
    output = work / name
    done = subprocess.run(
        [f"{binaries}/crux-ingest", "--quiet", "--input", *map(str, inputs), "--output", str(output), *more], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{name}: {done.stderr}")
    rows = [row for path in sorted(output.glob("rollouts-*.arrow")) for row in ipc.open_file(path).read_all().to_pylist()]
    return rows, json.loads((output / "manifest.json").read_text())["counts"]


def script(name, *arguments):
    done = subprocess.run([sys.executable, str(ROOT / "examples" / name), *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{name}: {done.stderr}")
    return done.stdout


def trl_completions():
    """Two optimizer steps over one generation, logged by TRL itself: the second file has the rows of the first again."""
    trainer = object.__new__(GRPOTrainer)
    trainer.model = collections.namedtuple("Model", "training")(True)
    trainer._metrics = {"train": {}, "eval": {}}
    trainer.accelerator = collections.namedtuple("Accelerator", "is_main_process")(True)
    trainer.log_completions, trainer.num_completions_to_print = True, 0
    trainer.args = collections.namedtuple("Arguments", "report_to output_dir")([], str(work / "trl"))
    prompts = ["Q: 2+2=?\nA: "] * 2 + ["Q: 1+1=?\nA: "] * 2
    trainer._logs = dict(
        prompt=prompts, completion=["4", "4", "2", "5."], rewards={"accuracy": [1.0, 1.0, 1.0, 0.0], "format": [0.5, 0.25, 0.0, 1.0]},
        advantages=[0.25, 0.25, 0.5, -0.5], extra={"task": ["sums"] * 4}, images=[])
    (work / "trl/completions").mkdir(parents=True)
    with unittest.mock.patch.object(Trainer, "log"), unittest.mock.patch("trl.trainer.grpo_trainer.print_prompt_completions_sample"):
        for step in (3, 4):
            trainer.state = collections.namedtuple("State", "global_step")(step)
            trainer.log({})
    paths = []
    for parquet in sorted((work / "trl/completions").glob("*.parquet")):
        paths.append(parquet.with_suffix(".jsonl"))
        paths[-1].write_text(script("parquet_to_jsonl.py", parquet))
    rows, counts = ingest("trl-ingest", *paths, more=["--tokenizer", str(POLICY), "--reward-columns", "accuracy,format:0.5"])
    check("TRL's completions: rewards", [row["given_reward"] for row in rows] == [1.25, 1.125, 1.0, 0.5], rows)
    check("TRL's completions: groups", len({row["group_id"] for row in rows}) == 2 and rows[0]["group_id"] == rows[1]["group_id"])
    check("TRL's completions: advantages", [row["advantages"][-1] for row in rows] == [0.25, 0.25, 0.5, -0.5])
    check("TRL's completions: a step's rows again", counts.get("rejected_repeated_row") == 4, counts)
    refused = subprocess.run(
        [f"{binaries}/crux-ingest", "--input", str(work / "trl/completions/completions_00003.parquet"), "--output", str(work / "no")],
        capture_output=True, text=True)
    check("Parquet is told what converts it", refused.returncode == 3 and "parquet_to_jsonl.py" in refused.stderr, refused.stderr)


def slime():
    """A file as slime saves it."""
    routed = torch.stack([torch.stack([torch.randperm(300)[:2] for _ in range(3)]) for _ in range(5)]).int()
    sample = dict(
        group_index=0, index=7, rollout_id=12, prompt="Q: 2+2=?\nA: ", tokens=[17, 16, 5, 20, 3, 0], response="4 2", response_length=4,
        label="4", reward={"score": 1.0, "format": 0.5}, loss_mask=[1, 0, 1, 1], rollout_log_probs=[-0.25, 0.0, -0.5, -0.125],
        rollout_top_p_token_ids=torch.tensor([5, 6, 20, 3, 0, 13]), rollout_top_p_token_offsets=torch.tensor([0, 2, 3, 4, 6]),
        rollout_routed_experts=routed, teacher_log_probs=torch.tensor([-1.0, 0.0, -2.0, -3.0]), weight_versions=["3", "4"],
        status="completed", remove_sample=False, metadata={"task": "sums"}, train_metadata=None, session_id=None)
    samples = [
        sample, dict(sample, index=8, loss_mask=None, status="truncated", reward={"score": 0.0, "format": 1.0}, rollout_top_p_token_ids=None),
        dict(sample, index=9, status="aborted"), dict(sample, index=10, remove_sample=True), dict(sample, index=11, loss_mask=[1])]
    torch.save(dict(rollout_id=12, samples=samples), work / "12.pt")
    script("convert_slime.py", work / "12.pt", "--output", work / "slime.rollouts.zst", "--temperature", 0.5, "--reward-key", "score",
           "--logprobs-kind", "support")
    rows, counts = ingest("slime-ingest", work / "slime.rollouts.zst")
    check("slime: those that it took out, gave up or spoilt are left out", [row["rollout_id"] for row in rows] == ["12-7", "12-8"], counts)
    first, second = rows
    check("slime: tokens and masks", first["token_ids"] == sample["tokens"] and first["loss_mask"] == [False, False, True, False, True, True]
          and second["loss_mask"] == [False] * 2 + [True] * 4, rows)
    check("slime: log-probabilities", first["rollout_logprobs"] == [0, 0, -0.25, 0, -0.5, -0.125], first["rollout_logprobs"])
    check("slime: what top-p left", first["support_token_ids"] == [5, 6, 3, 0, 13] and first["support_offsets"] == [0, 2, 3, 5], first)
    check("slime: metadata", first["given_reward"] == 1 and first["finish_reason"] == "stop" and second["finish_reason"] == "length"
          and first["policy_version"] == "4" and first["group_id"] == "12-0" and first["temperature"] == 0.5
          and first["reference_answer"] == "4" and json.loads(first["extras"])["rollout"] == "12", rows)
    check("slime: routed experts", first["routed_experts_shape"] == [5, 3, 2, 0] and first["routed_experts"] == routed.flatten().tolist(), first["routed_experts_shape"])
    stored = next(frames(str(work / "slime.rollouts.zst")))[1]["routed_experts"]
    check("slime: routed experts are those that were saved", stored.dtype == torch.uint16 and (stored.int() == routed).all().item())


def routed_experts():
    """Three layers, two of 60 experts for each token: a sequence of four tokens, three of which were fed."""
    chosen = numpy.array([[[1, 2], [3, 4], [5, 6]], [[7, 8], [9, 10], [11, 12]], [[13, 14], [15, 59], [17, 18]]])
    lines = []
    for number, kind in enumerate(["uint8", "uint16", "int32"]):
        file = io.BytesIO()
        numpy.save(file, chosen.astype(kind))
        lines.append({"custom_id": f"vllm-{kind}", "prompt_token_ids": [17, 16], "choices": [
            {"index": 0, "text": "4", "token_ids": [5, 0], "finish_reason": "stop", "routed_experts": base64.b64encode(file.getvalue()).decode()}]})
    raw = base64.b64encode(chosen.astype("<i4").tobytes()).decode()
    lines.append({"text": "4", "input_ids": [17, 16], "output_ids": [5, 0], "meta_info": {
        "id": "sglang", "finish_reason": {"type": "stop"}, "routed_experts": raw}})
    (work / "experts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows, counts = ingest("experts-ingest", work / "experts.jsonl", more=["--routed-experts", "3x2"])
    check("routed experts of vLLM and SGLang: shapes", [row["routed_experts_shape"] for row in rows] == [[3, 3, 2, 0]] * 4, rows)
    check("routed experts of vLLM and SGLang: numbers", all(row["routed_experts"] == chosen.flatten().tolist() for row in rows), rows)


work.mkdir(parents=True, exist_ok=True)
trl_completions()
slime()
routed_experts()
sys.exit(bool(failed))
