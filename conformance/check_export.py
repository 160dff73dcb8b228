"""Holds crux-plan export against crux-update: the loss and the gradient norm of each step of an exported plan, by TRL's own
trainer, verl's own actor losses, the formulas of NeMo-RL's and Tinker's losses, and PyTorch; and the ten lines of Python of
docs/handover.md against the step that a delta is of.

    check_export.py BIN_DIR WORK_DIR

Limits: gradient norms and losses within 1e-4 of their size (two float32 passes that sum in other orders; advantages with
weights in them are rounded once more); a loss near 0, where its terms cancel, within 1e-6.
"""
import json
import os
import re
import subprocess
import sys

import pyarrow.ipc as ipc
import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

sys.path.insert(0, "examples")
import plan_batches  # noqa: E402

binaries, work = sys.argv[1:]
policy, dump = "fixtures/policy", "fixtures/dump"
LIMIT, ZERO = 1e-4, 1e-6
SET = ["schedule.groups_per_step=6", "optimizer.lr=1e-4"]
# Recipe, settings, formats. From the second step on ratios are not 1, and clips bind.
CASES = {
    "clip, Top-20 %": ("dapo-top20", ["objective.clip_dual=null", "objective.clip_low=0.001", "objective.clip_high=0.002"],
                       ["trl", "verl", "nemo_rl", "tinker", "torch"]),
    "clip with a dual clip, sequence means": (
        "grpo", ["objective.clip_low=0.001", "objective.clip_high=0.001", "objective.clip_dual=1.003"],
        ["trl", "verl", "nemo_rl", "torch"]),
    "cispo": ("cispo", ["objective.clip_high=0.001"], ["trl", "verl", "tinker", "torch"]),
    "likelihood": ("raft", [], ["tinker", "torch"]),
    "a KL term": ("grpo-kl", ["aggregation=token_mean", "kl.bounded=false"], ["trl", "torch"]),
    "a KL term times the ratio": (
        "grpo-kl", ["aggregation=token_mean", "kl.bounded=false", "kl.weighted=ratio", "kl.coef=0.5"], ["trl", "torch"]),
}
failed = 0


def run(*command):
    done = subprocess.run([f"{binaries}/{command[0]}", *command[1:]], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr}")


def said(folder):
    """Loss and gradient norm of each step, as crux-update has them."""
    table = ipc.open_file(folder + "/metrics.arrow").read_all().to_pylist()
    return [(row["loss"], row["grad_norm"]) for row in table]


def logprobs(model, ids, mask, temperature):
    """[B, T - 1]: of tokens 1 on."""
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1].float() / temperature
    return torch.log_softmax(logits, -1).gather(2, ids[:, 1:, None])[..., 0]


# --- the trainers' losses --------------------------------------------------------------------------------------------

def by_trl(model, folder, step, settings):
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=policy + "/tokenizer.json", pad_token="<pad>", eos_token="<eos>")
    names = {"loss_type", "epsilon", "epsilon_high", "delta", "beta", "use_bias_correction_kl", "importance_sampling_level"}
    args = GRPOConfig(
        output_dir=work + "/trl", use_cpu=True, bf16=False, report_to=[], per_device_train_batch_size=2, num_generations=2,
        steps_per_generation=1, gradient_accumulation_steps=1, temperature=settings["temperature"], disable_dropout=True,
        gradient_checkpointing=False, **{name: value for name, value in settings["loss"].items() if name in names})
    trainer = plan_batches.plan_trainer(GRPOTrainer)(
        folder, model=model, reward_funcs=lambda completions, **_: [0.0] * len(completions), args=args,
        processing_class=tokenizer, train_dataset=Dataset.from_list([{"prompt": "1+1="}] * 4))
    trainer.plan_step, trainer.current_gradient_accumulation_steps = step, 1
    model.train()
    return trainer._compute_loss(model, trainer._prepare_inputs(None))


def by_verl(model, folder, step, settings):
    from verl.trainer.ppo import core_algos
    from verl.workers.config import ActorConfig
    loss, batch = settings["loss"], plan_batches.verl_batch(folder, step)
    config = ActorConfig(
        strategy="fsdp", rollout_n=1, ppo_micro_batch_size_per_gpu=1, clip_ratio_low=loss["clip_ratio_low"],
        clip_ratio_high=loss["clip_ratio_high"], clip_ratio_c=loss.get("clip_ratio_c", 3.0), loss_agg_mode=loss["loss_agg_mode"])
    found = logprobs(model, batch["input_ids"], batch["attention_mask"], settings["temperature"])
    function = core_algos.get_policy_loss_fn(loss["policy_loss.loss_mode"])
    return function(
        old_log_prob=batch["old_log_probs"], log_prob=found[:, -batch["responses"].shape[1]:], advantages=batch["advantages"],
        response_mask=batch["response_mask"], loss_agg_mode=loss["loss_agg_mode"], config=config,
        rollout_is_weights=batch["rollout_is_weights"])[0]


def by_nemo_rl(model, folder, step, settings):
    """ClippedPGLossFn of NeMo-RL 7ea279a: the clipped loss, its dual clip where one is given, a masked mean."""
    batch, tokens = plan_batches.nemo_rl_batch(folder, step)
    loss = settings["loss"]
    attended = torch.arange(batch["input_ids"].shape[1])[None] < batch["input_lengths"][:, None]
    found = logprobs(model, batch["input_ids"], attended.long(), settings["temperature"])
    mask = batch["token_mask"][:, 1:] * batch["sample_mask"][:, None]
    advantages, ratio = batch["advantages"][:, 1:], (found - batch["prev_logprobs"][:, 1:]).exp()
    clipped = ratio.clamp(1 - loss["ratio_clip_min"], 1 + loss["ratio_clip_max"])
    terms = torch.maximum(-advantages * ratio, -advantages * clipped)
    if "ratio_clip_c" in loss:
        terms = torch.where(advantages < 0, torch.minimum(terms, -advantages * loss["ratio_clip_c"]), terms)
    return (terms * mask).sum() / tokens


def by_tinker(model, folder, step, settings):
    """The formulas of Tinker's documented losses, which its servers compute."""
    total = 0.0
    for datum in plan_batches.tinker_datums(folder, step):
        inputs = {name: torch.tensor(tensor["data"]) for name, tensor in datum["loss_fn_inputs"].items()}
        tokens = torch.tensor([token for chunk in datum["model_input"]["chunks"] for token in chunk["tokens"]])
        logits = model(input_ids=tokens[None]).logits[0].float()
        found = torch.log_softmax(logits, -1).gather(1, inputs["target_tokens"][:, None])[:, 0]
        bounds = settings["loss"]["loss_fn_config"]
        if settings["loss"]["loss_fn"] == "cross_entropy":
            total = total - (inputs["weights"] * found).sum()
            continue
        ratio = (found - inputs["logprobs"]).exp()
        clipped = ratio.clamp(bounds["clip_low_threshold"], bounds["clip_high_threshold"])
        if settings["loss"]["loss_fn"] == "cispo":
            total = total - (clipped.detach() * found * inputs["advantages"]).sum()
        else:
            total = total - torch.minimum(ratio * inputs["advantages"], clipped * inputs["advantages"]).sum()
    return total


def by_torch(model, folder, step, _):
    data = plan_batches.PlanDataset(folder)
    objective, kl, total = data.recipe["objective"], data.recipe["kl"], 0.0
    for index in data.steps[step]:
        row = data[index]
        ids = row["token_ids"].long()
        logits = model(input_ids=ids[None]).logits[0, :-1].float() / row["temperature"]
        found = torch.log_softmax(logits, -1).gather(1, ids[1:, None])[:, 0]
        trained = row["loss_mask"][1:]
        advantages, weights = row["advantages"][1:], row["token_weights"][1:]
        ratio = (found - row["old_logprobs"][1:]).exp()
        clip = lambda: ratio.clamp(1 - objective["clip_low"], 1 + objective["clip_high"])
        if objective["type"] == "nll":
            terms = -advantages * found
        elif objective["type"] == "cispo":
            terms = -clip().detach() * advantages * found
        else:
            terms = torch.maximum(-advantages * ratio, -advantages * clip())
            if objective["clip_dual"]:
                terms = torch.where(advantages < 0, torch.minimum(terms, -advantages * objective["clip_dual"]), terms)
        total = total + (weights * terms)[trained].sum()
        if "kl_weights" in row:
            d = found - row["reference_logprobs"][1:]
            k3 = torch.expm1(-d) + d
            factor = ratio if kl["weighted"] == "ratio" else 1
            total = total + kl["coef"] * (row["kl_weights"][1:] * k3 * factor)[trained].sum()
    return total


LOSSES = {"trl": by_trl, "verl": by_verl, "nemo_rl": by_nemo_rl, "tinker": by_tinker, "torch": by_torch}


def compare(name, format, folder, update):
    global failed
    settings, worst = plan_batches.settings(folder), 0.0
    for step, (loss, norm) in enumerate(said(update)):
        weights = policy if step == 0 else f"{update}/step-{step:06d}"
        model = AutoModelForCausalLM.from_pretrained(weights, dtype=torch.float32)
        found = LOSSES[format](model, folder, step, settings)
        model.zero_grad()
        found.backward()
        own = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).double().norm().item()
        off = max(abs(own - norm) / norm, max(0.0, abs(found.item() - loss) - ZERO) / max(abs(loss), ZERO / LIMIT))
        worst = max(worst, off)
    ok = worst <= LIMIT
    failed += not ok
    print(f"{'ok  ' if ok else 'FAIL'} {name}, {format}: {len(said(update))} steps, at most {worst:.1e} of loss and gradient norm")


def check_datums(folder):
    """Tinker's own types take every datum."""
    import tinker
    for datum in plan_batches.tinker_datums(folder, 0):
        tokens = [token for chunk in datum["model_input"]["chunks"] for token in chunk["tokens"]]
        inputs = {name: tinker.TensorData(**tensor) for name, tensor in datum["loss_fn_inputs"].items()}
        tinker.Datum(model_input=tinker.ModelInput.from_ints(tokens), loss_fn_inputs=inputs)
    print("ok   tinker.Datum takes every datum")


def check_delta():
    """The Python of docs/handover.md makes the step of the first checkpoint and the delta."""
    global failed
    with open("docs/handover.md") as page:
        code = re.search(r"```python\n(.*?)```", page.read(), re.S).group(1)
    update, out = work + "/delta/update", work + "/delta/out"
    run("crux-update", "--quiet", "--plan", work + "/clip, Top-20 %/plan", "--checkpoint", policy, "--output", update, "--delta")
    os.makedirs(out, exist_ok=True)
    step = sorted(name for name in os.listdir(update) if name.startswith("delta-"))[-1]
    subprocess.run([sys.executable, "-c", code, policy, f"{update}/{step}", out], check=True)
    name = "model.safetensors"
    ok = open(f"{out}/{name}", "rb").read() == open(f"{update}/{step.replace('delta', 'step')}/{name}", "rb").read()
    failed += not ok
    print(f"{'ok  ' if ok else 'FAIL'} a delta applied in Python: the bytes of the step")


torch.manual_seed(0)
run("crux-ingest", "--quiet", "--input", dump, "--output", work + "/ingest")
run("crux-score", "--quiet", "--input", work + "/ingest", "--output", work + "/score", "--reference", policy)
for name, (recipe, more, formats) in CASES.items():
    folder = f"{work}/{name}"
    flags = [word for key in SET + more for word in ("--set", key)]
    run("crux-plan", "--quiet", "--input", work + "/ingest", "--scores", work + "/score", "--recipe", f"recipes/{recipe}.yaml",
        "--output", folder + "/plan", *flags)
    run("crux-update", "--quiet", "--plan", folder + "/plan", "--checkpoint", policy, "--output", folder + "/update",
        "--weights", "f32", "--save-every", "1")
    for format in formats:
        run("crux-plan", "export", "--quiet", "--plan", folder + "/plan", "--format", format, "--output", f"{folder}/{format}")
        compare(name, format, f"{folder}/{format}", folder + "/update")
check_datums(work + "/clip, Top-20 %/tinker")
check_delta()
sys.exit(1 if failed else 0)
