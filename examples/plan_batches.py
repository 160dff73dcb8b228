"""What crux-plan export writes, as the objects that other trainers take. Reads with pyarrow, safetensors and torch alone.

    crux-plan export --plan run/plan --format trl --output run/trl
    python -c "import plan_batches; print(plan_batches.trl_inputs('run/trl', 0)['advantages'].shape)"

`settings(FOLDER)` is export.json: what the trainer must be told, by its own names. A batch is an optimizer step's;
cut it into micro-batches as you like, but keep what is summed over the step (`num_items_in_batch`, `global_valid_toks`).
"""
import json
import pathlib

import torch
from torch.nn.utils.rnn import pad_sequence


def settings(folder):
    return json.loads((pathlib.Path(folder) / "export.json").read_text())


def rows(folder, step):
    """An optimizer step's rows of data.arrow, as dictionaries of lists."""
    import pyarrow.ipc as ipc
    table = ipc.open_file(f"{folder}/data.arrow").read_all()
    return [row for row in table.to_pylist() if row["step"] == step]


def right(lists, dtype, value=0):
    """[B, T], padded behind."""
    return pad_sequence([torch.tensor(one, dtype=dtype) for one in lists], batch_first=True, padding_value=value)


def left(lists, dtype, value=0):
    """[B, T], padded in front."""
    return right([one[::-1] for one in lists], dtype, value).flip(1)


def trl_inputs(folder, step, pad=0):
    """What GRPOTrainer._prepare_inputs returns: `PlanTrainer` below hands it to the trainer's own loss."""
    batch = rows(folder, step)
    inputs = {
        "prompt_ids": left([row["prompt_ids"] for row in batch], torch.long, pad),
        "prompt_mask": left([[1] * len(row["prompt_ids"]) for row in batch], torch.long),
        "completion_ids": right([row["completion_ids"] for row in batch], torch.long, pad),
        # Tokens of an environment are attended to, and take no part in the loss.
        "completion_mask": right([[1] * len(row["completion_ids"]) for row in batch], torch.long),
        "tool_mask": right([row["completion_mask"] for row in batch], torch.long),
        "advantages": right([row["advantages"] for row in batch], torch.float32),
        "old_per_token_logps": right([row["old_per_token_logps"] for row in batch], torch.float32),
        "num_items_in_batch": torch.tensor(float(batch[0]["num_items_in_batch"])),
    }
    if batch[0]["ref_per_token_logps"] is not None:
        inputs["ref_per_token_logps"] = right([row["ref_per_token_logps"] for row in batch], torch.float32)
    return inputs


def verl_batch(folder, step, pad=0):
    """The tensors of verl's actor batch: DataProto.from_dict(tensors=…, meta_info={"temperature": …})."""
    batch = rows(folder, step)
    prompts = left([row["prompts"] for row in batch], torch.long, pad)
    responses = right([row["responses"] for row in batch], torch.long, pad)
    attention = torch.cat([left([[1] * len(row["prompts"]) for row in batch], torch.long),
                           right([[1] * len(row["responses"]) for row in batch], torch.long)], 1)
    return {
        "prompts": prompts, "responses": responses, "input_ids": torch.cat([prompts, responses], 1),
        "attention_mask": attention, "position_ids": (attention.cumsum(1) - 1).clamp(min=0),
        "response_mask": right([row["response_mask"] for row in batch], torch.long),
        **{name: right([row[name] for row in batch], torch.float32)
           for name in ("old_log_probs", "advantages", "rollout_is_weights")},
    }


def nemo_rl_batch(folder, step, pad=0):
    """NeMo-RL's training data: BatchedDataDict(…), and global_valid_toks for its loss."""
    batch = rows(folder, step)
    return {
        "input_ids": right([row["input_ids"] for row in batch], torch.long, pad),
        "input_lengths": torch.tensor([len(row["input_ids"]) for row in batch]),
        "token_mask": right([row["token_mask"] for row in batch], torch.float32),
        "sample_mask": torch.ones(len(batch)),
        **{name: right([row[name] for row in batch], torch.float32)
           for name in ("advantages", "prev_logprobs", "generation_logprobs")},
    }, torch.tensor(batch[0]["global_valid_toks"])


def tinker_datums(folder, step):
    """A step's datums as dictionaries; with tinker installed: tinker.Datum(model_input=…, loss_fn_inputs=…)."""
    with open(f"{folder}/step-{step:06d}.jsonl") as lines:
        return [json.loads(line) for line in lines]


class PlanDataset(torch.utils.data.Dataset):
    """The rows of a plan exported with --format torch: dictionaries of tensors [L], as plan.arrow has them. `steps` has
    the indices of each optimizer step: a batch_sampler."""

    def __init__(self, folder):
        from safetensors.torch import load_file
        folder = pathlib.Path(folder)
        self.recipe = json.loads((folder / "recipe.resolved.json").read_text())
        self.rows, self.steps = [], []
        for path in sorted(folder.glob("step-*.safetensors")):
            tensors = load_file(path)
            offsets, first = tensors.pop("offsets").tolist(), len(self.rows)
            count = len(offsets) - 1
            of_rows = {name: tensors.pop(name) for name in ("temperature", "reward", "pair") if name in tensors}
            supports = tensors.pop("support_offsets", None), tensors.pop("support_token_ids", None)
            starts = tensors.pop("support_starts", None)
            for index, (start, end) in enumerate(zip(offsets, offsets[1:])):
                row = {name: values[start:end] for name, values in tensors.items()}
                row.update({name: values[index] for name, values in of_rows.items()})
                own = [] if starts is None else supports[0][starts[index]:starts[index + 1]]
                if len(own):
                    row["support_token_ids"], row["support_offsets"] = supports[1][own[0]:own[-1]], own - own[0]
                self.rows.append(row)
            self.steps.append(list(range(first, first + count)))

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index]


def plan_trainer(base):
    """A GRPOTrainer (`base`) that learns from an exported plan in place of what it would sample:

        from trl import GRPOConfig, GRPOTrainer
        trainer = plan_trainer(GRPOTrainer)("run/trl", model=…, reward_funcs=lambda **_: [0.0], train_dataset=…, args=GRPOConfig(…))
    """
    class PlanTrainer(base):
        def __init__(self, folder, *arguments, **keywords):
            super().__init__(*arguments, **keywords)
            self.folder, self.plan_step = folder, 0

        def _prepare_inputs(self, _):
            inputs = trl_inputs(self.folder, self.plan_step, self.processing_class.pad_token_id or 0)
            self.plan_step += 1
            return {name: value.to(self.accelerator.device) for name, value in inputs.items()}

    return PlanTrainer
