"""Every family on random small configurations, beside transformers: log-probabilities, updates, sampling, critics.

usage: check_families.py BIN_DIR WORK_DIR [--count 2] [--seed 1] [FAMILY…]

Each configuration turns features on and off: windows shorter than the text, caps that bite, experts that get no token,
positions beyond the original length, biases, ties, types, shards. For each: a dump goes through all stages and is held
against float64 (make_expected.py, compare_expected.py), the written checkpoint is loaded by transformers, greedy rollouts
are its own token for token, log-probabilities of sampled ones those of a full forward, and a critic's values its class's.
"""
import argparse
import glob
import json
import os
import random
import subprocess
import sys

import pyarrow as pa
import torch
import transformers

from checkpoints import eager_experts, load
from replay import routers

parser = argparse.ArgumentParser()
parser.add_argument("binaries")
parser.add_argument("work")
parser.add_argument("families", nargs="*")
parser.add_argument("--count", type=int, default=2)
parser.add_argument("--seed", type=int, default=1)
arguments = parser.parse_args()
here = os.path.dirname(os.path.abspath(__file__))
VOCABULARY, LENGTH = 40, 24


def sizes(r):
    heads = r.choice([2, 4])
    return dict(vocab_size=VOCABULARY, hidden_size=8 * r.choice([2, 3, 4]), intermediate_size=r.choice([20, 36]), num_hidden_layers=r.choice([2, 3, 4]),
                num_attention_heads=heads, num_key_value_heads=r.choice([k for k in (1, 2, 4) if k <= heads]), max_position_embeddings=64,
                tie_word_embeddings=r.random() < 0.5, bos_token_id=None, eos_token_id=0, pad_token_id=r.choice([0, 3]))


def rotary(r, kinds=("default", "linear", "llama3", "yarn"), **more):
    base = dict(rope_theta=r.choice([500.0, 10000.0, 1e6])) | more
    return base | {
        "default": dict(rope_type="default"),
        "linear": dict(rope_type="linear", factor=2.0),
        "llama3": dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16),
        "yarn": dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16),
    }[r.choice(kinds)]


def types(r, layers, others="full_attention"):
    return [r.choice(["sliding_attention", others]) for _ in range(layers)]


def coin(r):
    return r.random() < 0.5


def by_layer(r):
    return dict(sliding_attention=dict(rope_type="default", rope_theta=r.choice([500.0, 10000.0])), full_attention=rotary(r, ("default", "linear", "yarn")))


# model class prefix → the keys that are its own
FAMILIES = {
    "Llama": lambda r, s: dict(attention_bias=coin(r), mlp_bias=coin(r), rope_parameters=rotary(r)),
    "Mistral": lambda r, s: dict(head_dim=r.choice([6, 8]), sliding_window=r.choice([None, 5]), rope_parameters=rotary(r)),
    "Ministral": lambda r, s: dict(head_dim=8, sliding_window=5, layer_types=types(r, s["num_hidden_layers"]), rope_parameters=rotary(r)),
    "Ministral3": lambda r, s: dict(head_dim=r.choice([6, 8]), sliding_window=r.choice([None, 6]), rope_parameters=dict(
        rope_type="yarn", rope_theta=1e4, factor=4.0, original_max_position_embeddings=r.choice([4, 16]), beta_fast=32.0, beta_slow=1.0,
        mscale=1.0, mscale_all_dim=1.0, llama_4_scaling_beta=0.3)),
    "Qwen2": lambda r, s: dict(use_sliding_window=coin(r), sliding_window=5, max_window_layers=1, rope_parameters=rotary(r)),
    "Qwen3": lambda r, s: dict(head_dim=r.choice([6, 8]), attention_bias=coin(r), rope_parameters=rotary(r)),
    "Qwen3Moe": lambda r, s: dict(head_dim=8, moe_intermediate_size=10, num_experts=r.choice([4, 24]), num_experts_per_tok=r.choice([1, 3]),
        norm_topk_prob=coin(r), mlp_only_layers=r.choice([[], [0]]), rope_parameters=rotary(r)),
    "Qwen3_5": lambda r, s: dict(head_dim=r.choice([8, 16]), linear_num_key_heads=(keys := r.choice([1, 2])), linear_num_value_heads=keys * r.choice([1, 2]),
        linear_key_head_dim=r.choice([4, 8, 12]), linear_value_head_dim=r.choice([5, 8, 40]), linear_conv_kernel_dim=r.choice([2, 4]), attention_bias=coin(r),
        # transformers generates nothing without a layer of attention.
        layer_types=r.sample(["full_attention"] + [r.choice(["linear_attention", "linear_attention", "full_attention"]) for _ in
                                                   range(s["num_hidden_layers"] - 1)], s["num_hidden_layers"]),
        rope_parameters=rotary(r, partial_rotary_factor=r.choice([0.25, 0.5]))),
    "GptOss": lambda r, s: dict(head_dim=8, intermediate_size=10, sliding_window=5, num_local_experts=r.choice([4, 20]), num_experts_per_tok=r.choice([1, 2]),
        swiglu_limit=r.choice([0.02, 7.0]), router_aux_loss_coef=0.0, rope_parameters=rotary(r, ("default", "yarn"))),
    "Granite": lambda r, s: dict(attention_bias=coin(r), mlp_bias=coin(r), embedding_multiplier=r.choice([1.0, 5.0]), attention_multiplier=r.choice([1.0, 0.2]),
        residual_multiplier=r.choice([1.0, 0.3]), logits_scaling=r.choice([1.0, 3.0]), rope_parameters=rotary(r)),
    "SeedOss": lambda r, s: dict(head_dim=r.choice([6, 8]), attention_bias=coin(r), attention_out_bias=coin(r), mlp_bias=coin(r), attention_dropout=0.0,
        residual_dropout=0.0, rope_parameters=rotary(r)),
    "SmolLM3": lambda r, s: dict(no_rope_layers=[r.choice([0, 1]) for _ in range(s["num_hidden_layers"])], attention_bias=coin(r), mlp_bias=coin(r),
        rope_parameters=rotary(r)),
    "Olmo2": lambda r, s: dict(attention_bias=coin(r), rope_parameters=rotary(r)),
    "Olmo3": lambda r, s: dict(sliding_window=5, attention_bias=coin(r), layer_types=types(r, s["num_hidden_layers"]), rope_parameters=by_layer(r)),
    "Phi3": lambda r, s: dict(hidden_size=32, num_attention_heads=4, sliding_window=r.choice([None, 6]), rope_parameters=r.choice([
        dict(rope_type="default", rope_theta=1e4, partial_rotary_factor=r.choice([0.5, 1.0])),
        dict(rope_type="longrope", rope_theta=1e4, partial_rotary_factor=0.75, short_factor=[1.0, 1.1, 1.3], long_factor=[1.5, 2.5, 4.0],
             original_max_position_embeddings=64)]), original_max_position_embeddings=64, max_position_embeddings=128),
    "Glm4": lambda r, s: dict(head_dim=r.choice([8, 12]), attention_bias=coin(r), rope_parameters=rotary(r, ("default",), partial_rotary_factor=0.5)),
    "Gemma2": lambda r, s: dict(head_dim=r.choice([6, 8]), sliding_window=5, query_pre_attn_scalar=r.choice([6, 20]), attn_logit_softcapping=r.choice([None, 0.7]),
        final_logit_softcapping=r.choice([None, 1.5]), attention_bias=coin(r), rope_parameters=rotary(r)),
    "Gemma3": lambda r, s: dict(head_dim=r.choice([6, 8]), sliding_window=5, query_pre_attn_scalar=r.choice([6, 20]), final_logit_softcapping=r.choice([None, 1.5]),
        layer_types=types(r, s["num_hidden_layers"]), rope_parameters=by_layer(r)),
}
CONFIGURATIONS = {"Gemma3": "Gemma3TextConfig", "Qwen3_5": "Qwen3_5TextConfig"}
# Where …ForTokenClassification is a class of models with images.
CRITICS = {"Qwen3_5": "Qwen3_5TextForSequenceClassification"}
failures = []


def crux(stage, *flags):
    subprocess.run([f"{arguments.binaries}/crux-{stage}", "--quiet", *map(str, flags)], check=True, stdout=subprocess.DEVNULL)


def python(script, *flags):
    run = subprocess.run([sys.executable, f"{here}/{script}", *map(str, flags)], capture_output=True, text=True)
    if run.returncode != 0:
        print(run.stdout, run.stderr[-2000:])
    return run.returncode == 0


def rows(pattern):
    return [row for path in sorted(glob.glob(pattern)) for row in pa.ipc.open_file(path).read_all().to_pylist()]


def check(name, what, holds, found=""):
    if not holds:
        failures.append(f"{name}: {what}")
    return f"{'ok  ' if holds else 'FAIL'} {what}{found}"


def random_model(kind, configuration, dtype, seed):
    torch.manual_seed(seed)
    model = kind(configuration)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.to(dtype)


def stages(name, checkpoint, folder, *more):
    """A dump through all stages, beside float64, and the written checkpoint in transformers."""
    sizes = ["--groups", 4, "--tokens", LENGTH - 8, "--temperature", 0.9]
    assert python("make_dump.py", checkpoint, folder + "/dump", *sizes, *more)
    crux("ingest", "--input", folder + "/dump", "--output", folder + "/ingest")
    crux("score", "--input", folder + "/ingest", "--output", folder + "/score")
    recipe = here + "/../fixtures/recipes/grpo-entropy-shaped.yaml"
    crux("plan", "--input", folder + "/ingest", "--scores", folder + "/score", "--recipe", recipe, "--output", folder + "/plan")
    crux("update", "--plan", folder + "/plan", "--checkpoint", checkpoint, "--output", folder + "/update")
    assert python("make_expected.py", folder + "/dump", checkpoint, recipe, folder + "/expected")
    holds = python("compare_expected.py", folder + "/expected", checkpoint, folder + "/score", folder + "/plan", folder + "/update")
    step = sorted(glob.glob(folder + "/update/step-*"))[-1]
    crux("score", "--input", folder + "/ingest", "--output", folder + "/rescored", "--checkpoint", step)
    what = " with the sampler's experts" if more else ""
    return [check(name, f"stages beside float64{what}", holds),
            check(name, f"the written checkpoint in transformers{what}", python("check_checkpoint.py", step, folder + "/ingest", folder + "/rescored"))]


def sampling(name, checkpoint, folder, r):
    prompts = [[r.randrange(1, VOCABULARY) for _ in range(r.choice([3, 7, 9]))] for _ in range(4)]
    with open(folder + "/prompts.jsonl", "w") as file:
        for number, ids in enumerate(prompts):
            file.write(json.dumps(dict(group_id=str(number), prompt_token_ids=ids)) + "\n")
    model, wrong, worst = load(checkpoint, dtype=torch.float32).eval(), 0, 0.0
    for kind, flags in (("greedy", ["--group-size", 1, "--temperature", 0]), ("sampled", ["--group-size", 3, "--temperature", 0.8])):
        crux("rollout", "--checkpoint", checkpoint, "--prompts", folder + "/prompts.jsonl", "--output", f"{folder}/{kind}", "--max-tokens", LENGTH, *flags)
        crux("ingest", "--input", f"{folder}/{kind}", "--output", f"{folder}/{kind}-ingest")
        for row in rows(f"{folder}/{kind}-ingest/rollouts-*.arrow"):
            start, ids = row["loss_mask"].index(True), torch.tensor([row["token_ids"]])
            with torch.no_grad():
                if kind == "greedy":
                    out = model.generate(input_ids=ids[:, :start], attention_mask=torch.ones_like(ids[:, :start]), max_new_tokens=LENGTH, do_sample=False)
                    wrong += out[0].tolist() != row["token_ids"]
                else:
                    logp = torch.log_softmax(model(input_ids=ids).logits[0, start - 1:-1].double() / 0.8, -1).gather(1, ids[0, start:, None])[:, 0]
                    worst = max(worst, (logp - torch.tensor(row["rollout_logprobs"][start:], dtype=torch.float64)).abs().max().item())
    return [check(name, "greedy rollouts token for token", wrong == 0, f" ({wrong} of 4 differ)" if wrong else ""),
            check(name, "log-probabilities of sampled rollouts", worst <= 1e-4, f": {worst:.1e}")]


def critic(name, family, configuration, folder, dtype, seed):
    kind = getattr(transformers, CRITICS.get(family, family + "ForTokenClassification"), None)
    if kind is None:
        return []
    configuration.num_labels, configuration.classifier_dropout = 1, 0.0
    model = random_model(kind, configuration, dtype, seed)
    model.save_pretrained(folder + "/critic")
    model = kind.from_pretrained(folder + "/critic", dtype=torch.float32, **eager_experts(configuration)).eval()
    crux("score", "--input", folder + "/ingest", "--output", folder + "/values", "--critic", folder + "/critic")
    worst, scores = 0.0, {row["rollout_id"]: row for row in rows(folder + "/values/scores-*.arrow")}
    for row in rows(folder + "/ingest/rollouts-*.arrow"):
        with torch.no_grad():
            # Of every token: classes for whole sequences give that of the last one.
            values = model.score(model.base_model(input_ids=torch.tensor([row["token_ids"]])).last_hidden_state)[0, :, 0]
        ours = torch.tensor([v or 0.0 for v in scores[row["rollout_id"]]["values"]])
        # The value of a token is that of the state before it.
        mask = torch.tensor(row["loss_mask"])[1:]
        worst = max(worst, (ours[1:] - values[:-1])[mask].abs().max().item())
    return [check(name, "a critic's values", worst <= 1e-4, f": {worst:.1e}")]


def run(family, number):
    r = random.Random(f"{arguments.seed} {family} {number}")
    own = sizes(r)
    own |= FAMILIES[family](r, own)
    configuration = getattr(transformers, CONFIGURATIONS.get(family, family + "Config"))(**own)
    dtype, shard = r.choice([torch.float32, torch.bfloat16]), r.choice([None, "12KB"])
    name, folder = f"{family} {number}", f"{arguments.work}/{family}-{number}"
    checkpoint = folder + "/checkpoint"
    model = random_model(getattr(transformers, family + "ForCausalLM"), configuration, dtype, number)
    model.save_pretrained(checkpoint, **({"max_shard_size": shard} if shard else {}))
    try:
        lines = stages(name, checkpoint, folder) + sampling(name, checkpoint, folder, r) + critic(name, family, configuration, folder, dtype, number)
        if routers(model):
            lines += stages(name, checkpoint, folder + "/replay", "--routes")
    except (subprocess.CalledProcessError, AssertionError) as error:
        lines = [check(name, f"ran to its end ({error})", False)]
    print(f"{name}: " + "; ".join(lines), flush=True)
    if any(line.startswith("FAIL") for line in lines):
        print("   ", own, dtype, shard)


for family in arguments.families or FAMILIES:
    for number in range(arguments.count):
        run(family, number)
print(f"families: {len(arguments.families or FAMILIES) * arguments.count} random configurations, {len(failures)} failures")
sys.exit(bool(failures))
