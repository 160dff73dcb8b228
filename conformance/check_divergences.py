"""Holds the divergences of examples/train_elsewhere.py, which check_train_elsewhere.py holds crux-update to, against TRL's
and verl's own functions: value and gradient by the policy's logits.
"""
import ast
import math
import pathlib
import types

import torch

SCRIPT = pathlib.Path(__file__).parent.parent / "examples/train_elsewhere.py"


def distances(student, teacher, temperature=1.0, **objective):
    """The script's function, on logits in place of models."""
    tree = ast.parse(SCRIPT.read_text())
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "distances")
    settings = {"divergence": "reverse", "beta": 0.5, "mix": 0.5, "support": "full", "top_k": 64, "tail": "bucket", **objective}
    names = {"torch": torch, "math": math, "objective": settings, "reference": "teacher",
             "read": lambda row, network=None: (teacher if network else student, None)}
    exec(compile(ast.Module([function], []), str(SCRIPT), "exec"), names)
    return names["distances"]({"temperature": temperature})


def run(seed, compare):
    from trl.experimental.gkd import GKDTrainer
    from trl.experimental.sdft.loss_utils import compute_topk_self_distillation_loss
    from verl.trainer.distillation.fsdp.losses import compute_forward_kl_topk

    generator = torch.Generator().manual_seed(seed)
    student, teacher = (torch.randn(6, 40, generator=generator, dtype=torch.float64) * 2 for _ in range(2))

    def hold(name, ours, theirs):
        results = []
        for function in (ours, theirs):
            leaf = student.clone().requires_grad_(True)
            losses = function(leaf)
            (losses * torch.arange(1, 7)).sum().backward()
            results.append((losses.detach().numpy(), leaf.grad.numpy()))
        compare(f"divergence {name}", results[0][0], results[1][0])
        compare(f"divergence gradient {name}", results[0][1], results[1][1])

    for beta, temperature in [(0, 1), (1, 1), (0.5, 1), (0.3, 0.9)]:
        hold(f"trl gkd {beta} {temperature}", lambda z: distances(z, teacher, temperature, divergence="jsd", beta=beta),
             lambda z: GKDTrainer.generalized_jsd_loss(z, teacher, beta=beta, temperature=temperature, reduction="none").sum(-1))
    for alpha in [0.0, 1.0, 0.5]:
        for tail in ["bucket", "renormalize"]:
            hold(f"trl sdft {alpha} {tail}", lambda z: distances(z, teacher, divergence="jsd", beta=alpha, support="student", top_k=7, tail=tail),
                 lambda z: compute_topk_self_distillation_loss(
                     z, teacher, distillation_topk=7, distillation_alpha=alpha, distillation_add_tail=tail == "bucket"))
    best, ids = torch.log_softmax(teacher, -1).topk(5, -1)
    config = types.SimpleNamespace(distillation_loss=types.SimpleNamespace(log_prob_min_clamp=None))
    nested = [torch.nested.as_nested_tensor([x], layout=torch.jagged) for x in (best, ids)]

    def verl(z):
        found = compute_forward_kl_topk(z[None], *nested, config, "bshd")
        return (found["distillation_losses"] if isinstance(found, dict) else found[0])[0].clamp(min=0)

    hold("verl forward_kl_topk", lambda z: distances(z, teacher, divergence="forward", support="teacher", top_k=5, tail="drop"), verl)
