"""Holds examples/train_elsewhere.py against crux-update: every recipe of recipes/, and settings that no recipe has, by the
loss and the gradient norm of each step of two epochs. A recipe that the script refuses by name counts as held.

    check_train_elsewhere.py BIN_DIR WORK_DIR [NAME…]     (names: only these cases)

Limits: the gradient norm and the loss within 1e-4 of their size (two float32 forward and backward passes that sum in
other orders, and the steps before them); a loss near 0, where its terms cancel, within 1e-6 of the terms' size, 1.
"""
import contextlib
import glob
import json
import os
import runpy
import subprocess
import sys
import traceback

# Imported here, so that the script need not do it for every case.
import peft  # noqa: F401
import pyarrow.ipc as ipc
import torch  # noqa: F401
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForTokenClassification  # noqa: F401

binaries, work, *only = sys.argv[1:]
LIMIT, ZERO = 1e-4, 1e-6
policy, dump = "fixtures/policy", "fixtures/dump/rollouts-00000.rollouts.zst"
# Enough that ratios move away from 1, clips bind and moments count.
SETTINGS = ["optimizer.lr=1e-4", "schedule.epochs=2", "schedule.groups_per_step=6", "reward.overlong=null"]
# Weights that hang on a whole row, and many steps, make more of the last bits that steps before have left.
OWN_SETTINGS = {"fipo": ["optimizer.lr=5e-6"], "s-grpo": ["optimizer.lr=1e-5"], "vespo": ["optimizer.lr=1e-5"]}
EXPANSIONS = {
    "fr3e": ["expansion.anchors=1", "expansion.replicates=3"],
    "vineppo": ["expansion.step_separators=['. ']", "expansion.minimum_step_characters=1", "expansion.replicates=2"],
    "tree": ["expansion.anchors=1", "expansion.replicates=1"],
    "treepo": ["expansion.segment=8", "expansion.width=12", "expansion.rounds=1"],
    "s-grpo": ["expansion.inducer='#### '", "expansion.thought_end='####'", "expansion.exits=2"],
}
ESTIMATORS = ["k1", "k2", "k3", "abs", "k1+", "k3+", "abs+"]
LORA = "trainable={type: lora, rank: 4, alpha: 8, targets: [q_proj, v_proj, o_proj, down_proj]}"
# What no recipe of recipes/ has: recipe, settings.
VARIANTS = {
    "adapters": ("grpo", [LORA, "optimizer.lr=3e-3"]),
    "warm-up and decay": ("dapo", ["optimizer.warmup_steps=2", "optimizer.decay_steps=5"]),
    "no clipping": ("grpo", ["optimizer.max_grad_norm=null", "optimizer.weight_decay=0.1"]),
    # At this share no two entropies about a cut are alike to 1e-3: at a fifth two are to 6e-5, and two float32 passes,
    # steps apart, may order them either way.
    "mask per group": (
        "dapo-top20-current", ["entropy.mask.scope=group", "entropy.mask.normalizer=all", "entropy.mask.top=0.3"]),
    "mask per rollout": ("dapo-top20-current", ["entropy.mask.scope=rollout", "entropy.mask.ties=exact_count"]),
    "mask, sequence means": (
        "dapo-top20-current", ["aggregation=sequence_mean_token_mean", "entropy.mask={top: 0.2, policy: current}"]),
    "mask of the lowest": ("dapo-top20-current", ["entropy.mask={bottom: 0.8, policy: current}"]),
    "mask at random": ("dapo-top20-current", ["entropy.mask={random: 0.2, policy: current}"]),
    "clip-cov that finds tokens": ("clip-cov", ["objective.ratio=0.02", "objective.covariance_low=0.05"]),
    "kl-cov that finds tokens": ("kl-cov", ["objective.ratio=0.05"]),
    "etpo, Monte Carlo target": ("etpo-mc", ["objective={type: etpo_policy, beta: 1, target: monte_carlo}"]),
    "value without a clip": ("ppo-critic", ["objective.clip=null"]),
    "preferences with KL": ("dpo", ["kl={estimator: k3, coef: 0.1, placement: loss}"]),
    **{f"KL by {name}": ("grpo-kl", [f"kl.estimator='{name}'", "kl.coef=0.5"]) for name in ESTIMATORS},
    "KL times the ratio": ("grpo-kl", ["kl.weighted=ratio", "kl.coef=0.5"]),
    "KL by its score": ("grpo-kl", ["kl.weighted=score", "kl.coef=0.5"]),
    "dppo by KL, with a square": ("dppo", ["objective={type: dppo, divergence: kl, low: 1e-4, high: 1e-4, squared: 0.1}"]),
    "topr by the product": ("topr", ["objective.level=sequence_sum"]),
    "stale rows that are dropped": (
        "grpo-drop-stale", ["objective.drop_stale={threshold: 1e-6, against: trainer}"]),
    "bonus by the aggregation": (
        "dapo-entropy", ["aggregation=sequence_mean_token_mean", "entropy.bonus={coef: 0.1, weights: policy}"]),
    "bonus on kept tokens": (
        "dapo-top20", ["entropy={mask: {top: 0.2}, bonus: {coef: 0.1, tokens: kept}}"]),
    "bonus that adapts": (
        "grpo-entropy-adaptive", ["entropy.bonus={coef: 0.1, adaptive: {target: 5, step: 0.05}}"]),
    **{f"distill, {name}": ("distill", [f"objective={{type: distill, {keys}}}"]) for name, keys in {
        "forward": "divergence: forward", "mixed": "divergence: mixed, mix: 0.3", "jsd": "divergence: jsd, beta: 0.3",
        "weighed by ratios": "divergence: reverse, importance_cap: 1.001",
        "teacher's bucket": "support: teacher, top_k: 5", "forward, dropped": "divergence: forward, support: teacher, top_k: 5, tail: drop",
        "student's, renormalized": "support: student, top_k: 5, tail: renormalize"}.items()},
    "bonus with adapters": ("dapo-entropy", [LORA, "optimizer.lr=3e-3", "entropy.bonus.coef=0.1"]),
    "KL without bounds": ("grpo-kl", ["kl.bounded=false", "kl.coef=0.5"]),
}


def crux(name, *arguments):
    done = subprocess.run([f"{binaries}/crux-{name}", "--quiet", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"crux-{name} {' '.join(arguments)}: {done.stderr}")


def folder(name):
    return f"{work}/{name}"


def train_elsewhere(name, *arguments):
    """Runs the script in a process of its own; returns its exit status and what it wrote on stdout and stderr."""
    files = folder(f"{name}/stdout"), folder(f"{name}/stderr")
    child = os.fork()
    if child == 0:
        status = 1
        with open(files[0], "w") as out, open(files[1], "w") as err:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    sys.argv = ["train_elsewhere.py", *arguments]
                    runpy.run_path("examples/train_elsewhere.py", run_name="__main__")
                    status = 0
                except SystemExit as stop:
                    print(stop.code, file=err)
                except BaseException:
                    traceback.print_exc()
        os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status, *(open(file).read() for file in files)


def plan(recipe, name, settings, scores="score", source="ingest", *more):
    flags = [flag for setting in settings for flag in ("--set", setting)]
    crux(
        "plan", "--input", folder(source), "--scores", folder(scores), "--recipe", f"recipes/{recipe}.yaml",
        "--output", folder(name), *flags, *more)


def last_step(name):
    return sorted(glob.glob(folder(name) + "/step-*"))[-1]


def prepare():
    """A dump scored with all that any recipe reads; the models beside are some steps on, so that nothing is 0."""
    crux("ingest", "--input", dump, "--output", folder("ingest"))
    crux("score", "--input", folder("ingest"), "--output", folder("score-plain"))
    plan("grpo", "plan-beside", ["optimizer.lr=3e-4"], "score-plain")
    crux("update", "--plan", folder("plan-beside"), "--checkpoint", policy, "--output", folder("beside"))
    beside = last_step("beside")
    models = [
        "--checkpoint", policy, "--reference", beside, "--process-reward", beside, "--process-reference", policy,
        "--q-network", beside, "--sum-p-squared"]
    crux("score", "--input", folder("ingest"), "--output", folder("score-fresh"), *models, "--critic", policy)
    plan("ppo-critic", "plan-critic", ["optimizer.lr=1e-3"], "score-fresh")
    crux("update", "--plan", folder("plan-critic"), "--checkpoint", policy, "--output", folder("critic"))
    crux("score", "--input", folder("ingest"), "--output", folder("score"), *models, "--critic", last_step("critic"))
    return beside, last_step("critic")


def expanded(recipe, name, settings):
    """Out and home again: the second plan is the one that trains."""
    own = EXPANSIONS[recipe]
    plan(recipe, f"{name}/jobs", own, "score", "ingest", "--tokenizer", policy)
    jobs = folder(f"{name}/jobs/jobs")
    results = folder(f"{name}/results")
    crux("rollout", "--checkpoint", policy, "--jobs", jobs, "--output", results, "--batch", "256", "--logits")
    crux("ingest", "--input", results, "--jobs", jobs, "--output", folder(f"{name}/joined"))
    crux("score", "--input", folder(f"{name}/joined"), "--output", folder(f"{name}/scored"))
    plan(recipe, f"{name}/plan", own + settings, f"{name}/scored", f"{name}/joined", "--jobs", jobs)


def compare(name, recipe, settings, beside, critic):
    if recipe in EXPANSIONS:
        expanded(recipe, name, settings)
    else:
        plan(recipe, f"{name}/plan", settings)
    resolved = json.load(open(folder(f"{name}/plan/recipe.resolved.json")))
    objective = resolved["objective"]
    checkpoint = critic if objective["type"] == "value" else policy
    models = ["--reference", beside] if objective["type"] in ["etpo_policy", "distill"] else []
    if objective.get("target") == "q_network":
        models += ["--q-network", beside]
    crux(
        "update", "--plan", folder(f"{name}/plan"), "--checkpoint", checkpoint, "--output", folder(f"{name}/update"),
        *models)
    ours = ipc.open_file(folder(f"{name}/update/metrics.arrow")).read_all().to_pylist()
    status, output, errors = train_elsewhere(name, folder(f"{name}/plan"), checkpoint, *models)
    if "is not computed here" in errors:
        print(f"ok   {name}: refused: {errors.strip().splitlines()[-1].split(': ', 1)[1]}", flush=True)
        return True
    theirs = [json.loads(line) for line in output.splitlines()] if status == 0 else []
    if not theirs or len(theirs) != len(ours):
        print(f"FAIL {name}: {len(theirs)} steps, crux-update did {len(ours)}: {errors[-2000:]}")
        return False
    loss = max(abs(a["loss"] - b["loss"]) / max(abs(a["loss"]), ZERO / LIMIT) for a, b in zip(ours, theirs))
    norm = max(abs(a["grad_norm"] - b["grad_norm"]) / max(a["grad_norm"], ZERO / LIMIT) for a, b in zip(ours, theirs))
    word = "ok  " if loss <= LIMIT and norm <= LIMIT and any(a["grad_norm"] > 0 for a in ours) else "FAIL"
    print(f"{word} {name}: {len(ours)} steps, loss {loss:.1e}, gradient norm {norm:.1e} (limit {LIMIT})", flush=True)
    return word != "FAIL"


beside, critic = prepare()
# What the fixture's dump has not; tests of their own hold the plans of these.
LACKING = {"remax": "greedy rollouts", "given": "advantages", "sdpo": "a teacher that is told more", "grpo-echo": "token_roles", "arpo": "token_roles", "aepo": "token_roles"}
recipes = [os.path.basename(path)[: -len(".yaml")] for path in sorted(glob.glob("recipes/*.yaml"))]
for recipe in [recipe for recipe in recipes if recipe in LACKING]:
    print(f"     {recipe}: left out, the dump has no {LACKING[recipe]}")
recipes = [recipe for recipe in recipes if recipe not in LACKING]
cases = {recipe: (recipe, OWN_SETTINGS.get(recipe, [])) for recipe in recipes} | VARIANTS
def case(name, recipe, settings):
    try:
        return compare(name, recipe, settings, beside, critic)
    except RuntimeError as error:
        print(f"FAIL {name}: {error}", flush=True)
        return False


held = [
    case(name, recipe, SETTINGS + own) for name, (recipe, own) in cases.items() if not only or name in only]
print(f"train_elsewhere: {sum(held)} of {len(held)} recipes and settings held to crux-update")
sys.exit(not all(held) or not held)
