"""Keeps docs/elsewhere.md complete against TRL's and verl's own registries, and its recipes such that crux loads them.

    check_coverage.py BIN_DIR
"""
import inspect
import json
import pathlib
import re
import subprocess
import sys
import types

try:
    import ray  # noqa: F401
except ImportError:     # verl imports it at the top for things that no formula needs
    sys.modules["ray"] = types.ModuleType("ray")

from trl import GRPOTrainer  # noqa: E402
from verl.trainer.config.algorithm import RolloutCorrectionConfig  # noqa: E402
from verl.trainer.ppo import core_algos, rollout_corr_helper  # noqa: E402

PAGE = pathlib.Path(__file__).parent.parent / "docs/elsewhere.md"


def words_of_trl(attribute):
    """Every word that TRL's trainer compares a setting with, or looks it up among."""
    words = set()
    for _, rest in re.findall(rf"\b{attribute} (==|!=|in|not in) (\[[^\]]*\]|\"[^\"]*\")", inspect.getsource(GRPOTrainer)):
        words |= set(re.findall(r"\"([^\"]+)\"", rest))
    return words


def distillation_losses():
    import verl.trainer.distillation.losses as losses

    return set(losses.DISTILLATION_LOSS_REGISTRY)


def correction_presets():
    return {name for name, member in vars(RolloutCorrectionConfig).items() if isinstance(member, classmethod)}


def levels_of_weights():
    source = inspect.getsource(rollout_corr_helper.compute_rollout_correction_weights)
    return set(re.findall(r"rollout_is == \"(\w+)\"", source))


REGISTRIES = {
    "TRL loss_type": lambda: words_of_trl("loss_type"),
    "TRL importance_sampling_level": lambda: words_of_trl("importance_sampling_level"),
    "TRL vllm_importance_sampling_mode": lambda: words_of_trl("vllm_importance_sampling_mode"),
    "TRL scale_rewards": lambda: words_of_trl("scale_rewards"),
    "TRL multi_objective_aggregation": lambda: words_of_trl("multi_objective_aggregation"),
    "verl adv_estimator": lambda: set(core_algos.ADV_ESTIMATOR_REGISTRY),
    "verl policy_loss": lambda: set(core_algos.POLICY_LOSS_REGISTRY),
    "verl rollout_is": levels_of_weights,
    "verl rollout_rs": lambda: set(rollout_corr_helper.SUPPORTED_ROLLOUT_RS_OPTIONS),
    "verl rollout_correction": correction_presets,
    "verl distillation loss": distillation_losses,
}

# No package of these can be had here: their names were read from their sources, and only the recipes are checked.
BY_HAND = ["prime-rl loss and algorithm", "slime advantage_estimator and losses"]


def tables():
    """Heading → rows of (names, recipe or None, remark)."""
    found, heading = {}, None
    for line in PAGE.read_text().splitlines():
        if line.startswith("## "):
            heading = line[3:]
            found[heading] = []
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if heading and line.startswith("| `") and len(cells) >= 2:
            recipe = cells[1].strip("`") if cells[1].startswith("`") else None
            found[heading].append((re.findall(r"`([^`]+)`", cells[0]), recipe, cells[2].strip(" |") if len(cells) > 2 else ""))
    return found


def load(binaries, recipe):
    """What crux says against a recipe; None where it takes it."""
    request = json.dumps({"recipe": recipe, "units": []})
    answer = subprocess.run([binaries + "/crux-probe"], input=request + "\n", capture_output=True, text=True, check=True).stdout
    return json.loads(answer).get("error")


def main():
    page, failures, recipes = tables(), [], 0
    for heading in [*REGISTRIES, *BY_HAND]:
        rows = page.get(heading, [])
        written = [name for row in rows for name in row[0]]
        names = REGISTRIES[heading]() if heading in REGISTRIES else set(written)
        for name in sorted(names - set(written)):
            failures.append(f"{heading}: '{name}' is not in docs/elsewhere.md")
        for name in sorted(set(written) - names):
            failures.append(f"{heading}: '{name}' is in docs/elsewhere.md, and no more in the registry")
        if not names or len(written) != len(set(written)):
            failures.append(f"{heading}: {len(names)} names, {len(written)} written")
        for own, recipe, remark in rows:
            error = load(sys.argv[1], recipe) if recipe else None
            recipes += 1 if recipe else 0
            if error or not (recipe or remark):
                failures.append(f"{heading}: {', '.join(own)}: {error or 'neither a recipe nor a reason'}")
    for heading in sorted(set(page) - set(REGISTRIES) - set(BY_HAND)):
        failures.append(f"{heading}: a table of no registry")
    for failure in failures:
        print("FAIL " + failure)
    print(f"coverage: {len(REGISTRIES)} registries of TRL and verl, {len(BY_HAND)} tables by hand, {recipes} recipes, {len(failures)} faults")
    sys.exit(1 if failures else 0)


main()
