"""Read what `--metrics jsonl,tensorboard` has written with pandas and TensorBoard's own reader, and hold both against metrics.arrow.
The line of docs/running.md that makes a table a Parquet file is run too, and what comes of it compared.

usage: check_metrics.py DIR…   (of crux-update or crux-loop)   Exits 1 where a step, a column or a number is another.
"""
import math
import os
import shlex
import subprocess
import sys
import tempfile

import numpy
import pandas
import pyarrow.ipc as ipc
import pyarrow.parquet as parquet
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

failed = False


def table_of(folder):
    table = ipc.open_file(folder + "/metrics.arrow").read_all()
    return table.to_pandas(), table.schema.metadata[b"crux.stage"].decode()


def check_lines(folder, table):
    lines = pandas.read_json(folder + "/metrics.jsonl", lines=True, precise_float=True)
    assert list(lines.columns) == list(table.columns), set(lines.columns) ^ set(table.columns)
    for name in table.columns:
        # A column of nulls alone has no type in JSON.
        numpy.testing.assert_array_equal(lines[name].astype(float), table[name].astype(float), name)


def series(events, tag):
    """(step, value) of a tag, whichever way this version of TensorBoard keeps scalars."""
    if tag in events.Tags()["scalars"]:
        return [(event.step, event.value) for event in events.Scalars(tag)]
    return [(event.step, float(tensor_util.make_ndarray(event.tensor_proto))) for event in events.Tensors(tag)]


def check_events(folder, table, group):
    # 0: every event, not a sample of them.
    events = EventAccumulator(folder, size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    found = set(events.Tags()["scalars"]) | set(events.Tags()["tensors"])
    steps = table[table.columns[0]]
    known = {name: [(int(step), float(numpy.float32(value))) for step, value in zip(steps, table[name].astype(float)) if not math.isnan(value)]
             for name in table.columns}
    assert found == {f"{group}/{name}" for name, values in known.items() if values}, found
    for name, values in known.items():
        if values:
            assert series(events, f"{group}/{name}") == values, name
    return len(found)


def check_parquet(folder):
    """The documented line, with another table and another place for the file."""
    docs = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../docs/running.md")
    line, = [line for line in open(docs, encoding="utf-8") if line.startswith("    python3 -c") and "parquet" in line]
    with tempfile.TemporaryDirectory() as place:
        path = place + "/metrics.parquet"
        subprocess.run([sys.executable, *shlex.split(line)[1:-2], folder + "/metrics.arrow", path], check=True)
        arrow = ipc.open_file(folder + "/metrics.arrow").read_all()
        assert parquet.read_table(path).equals(arrow), "the Parquet file holds something else"


for folder in sys.argv[1:] or ["(no directory given)"]:
    try:
        table, group = table_of(folder)
        check_lines(folder, table)
        check_parquet(folder)
        print(f"ok   {folder.split('/')[-1]}: {len(table)} rows in pandas and Parquet, {check_events(folder, table, group)} series in TensorBoard")
    except Exception as error:
        failed = True
        print(f"FAIL {folder}: {type(error).__name__}: {error}")
sys.exit(failed)
