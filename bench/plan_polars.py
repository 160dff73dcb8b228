"""Baseline of crux-bench's plan figures: the same over the same Arrow files in polars.

usage: plan_polars.py ROOT THREADS     (ROOT/ingest and ROOT/score)
Prints "ready", then answers each line that it reads with "SECONDS THRESHOLD KEPT":
queries  mean and deviation of the reward by group, the 0.8-quantile of entropies over trainable tokens, the mask (kept in memory), as queries
columns  the same as fast as we could write it: columns laid end to end and filtered once, all of them in memory, tokens kept only counted
whole    what "columns" does, then plan.arrow: tokens, masks, advantages, weights and old log-probabilities
"""
import os
import sys
import time

root, threads = sys.argv[1:3]
os.environ["POLARS_MAX_THREADS"] = threads

import polars as pl  # noqa: E402

rollouts = pl.scan_ipc(root + "/ingest/rollouts-*.arrow")
scores = pl.scan_ipc(root + "/score/scores-*.arrow")


def table(left, right):
    return pl.concat([rollouts.select(left), scores.select(right)], how="horizontal")


def groups():
    small = table(["group_id"], ["reward"])
    return small.group_by("group_id").agg(pl.col("reward").mean().alias("mean"), pl.col("reward").std().alias("deviation")).collect()


def queries():
    statistics = groups()
    tokens = table(["loss_mask"], ["entropy"]).select(pl.col("entropy").explode(), pl.col("loss_mask").explode())
    threshold = tokens.select(pl.col("entropy").filter("loss_mask").quantile(0.8, "linear")).collect().item()
    mask = tokens.select(((pl.col("entropy") >= threshold) & pl.col("loss_mask")).alias("mask")).collect()["mask"]
    return statistics, threshold, mask.sum()


def columns():
    statistics = groups()
    tokens = table(["loss_mask"], ["entropy"]).collect()
    entropy = tokens["entropy"].explode().filter(tokens["loss_mask"].explode())
    threshold = entropy.quantile(0.8, "linear")
    return statistics, threshold, (entropy >= threshold).sum()


def whole():
    statistics, threshold, kept = columns()
    rows = table(["rollout_id", "group_id", "token_ids", "loss_mask"], ["reward", "entropy", "old_logprobs"]).with_row_index("row")
    rows = rows.join(statistics.lazy(), on="group_id", how="left", maintain_order="left")
    rows = rows.with_columns(((pl.col("reward") - pl.col("mean")) / (pl.col("deviation") + 1e-6)).alias("advantage"))
    tokens = rows.select("row", "advantage", "loss_mask", "entropy").explode("loss_mask", "entropy")
    tokens = tokens.with_columns(((pl.col("entropy") >= threshold) & pl.col("loss_mask")).alias("entropy_mask"))
    lists = tokens.group_by("row", maintain_order=True).agg(
        pl.when("loss_mask").then("advantage").otherwise(0).cast(pl.Float32).alias("advantages"), "entropy_mask",
        pl.when("entropy_mask").then(1 / kept).otherwise(0).cast(pl.Float32).alias("token_weights"))
    copied = ["rollout_id", "group_id", "token_ids", "loss_mask", "old_logprobs", "reward"]
    pl.concat([rows.select(copied), lists.drop("row")], how="horizontal").collect().write_ipc(root + "/polars-plan.arrow")
    return statistics, threshold, kept


print("ready", flush=True)
for line in sys.stdin:
    start = time.perf_counter()
    _, threshold, kept = {"queries": queries, "columns": columns, "whole": whole}[line.strip()]()
    print(time.perf_counter() - start, threshold, kept, flush=True)
