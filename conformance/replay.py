"""Routers of transformers' mixtures of experts, made to take recorded experts."""
import contextlib
from unittest.mock import patch

import torch


def routers(model):
    return [m for m in model.modules() if type(m).__name__.endswith("TopKRouter")]


@contextlib.contextmanager
def replayed(model, routes, start=0):
    """`routes` [rows, sparse layers, k], the first that of token `start`: others are routed freely. None: all are."""
    if routes is None:
        yield
        return

    def recorded(layer):
        def topk(values, count, dim=-1):
            chosen = free(values, count, dim=dim).indices.clone()
            end = min(start + len(routes), len(chosen))
            chosen[start:end] = routes[:end - start, layer].long()
            return values.gather(-1, chosen), chosen
        return topk

    free, kept = torch.topk, [(router, router.forward) for router in routers(model)]
    for layer, (router, forward) in enumerate(kept):
        def replay(hidden_states, forward=forward, topk=recorded(layer)):
            with patch("torch.topk", topk):
                return forward(hidden_states)
        router.forward = replay
    try:
        yield
    finally:
        for router, _ in kept:
            del router.forward


def random_routes(model, tokens, generator):
    """Any experts at all, each once for a token: what no router would choose."""
    every = [router for router in routers(model)]
    return torch.stack([
        torch.stack([torch.randperm(r.weight.shape[0], generator=generator)[:r.top_k] for r in every]) for _ in range(tokens)])
