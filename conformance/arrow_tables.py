"""Open every table of the given stage directories with pyarrow, polars, pandas and DuckDB, and hold them against each other.

usage: arrow_tables.py STAGE_DIR…   Exits 1 when a table does not validate, readers disagree, or a per-token column has not
the length of token_ids. (DuckDB reads the pyarrow table: its own Arrow-file reader is an extension fetched from the net.)
"""
import glob
import sys

import duckdb
import pandas
import polars
import pyarrow as pa
import pyarrow.ipc as ipc

PER_TOKEN = {"loss_mask", "rollout_logprobs", "advantages", "entropy_mask", "token_weights", "old_logprobs", "reference_logprobs", "kl_weights"}
failed = False


def check(path):
    arrow_table = table = ipc.open_file(path).read_all()
    table.validate(full=True)
    counts = {
        "pyarrow": table.num_rows,
        "polars": polars.read_ipc(path).height,
        "pandas": len(pandas.read_feather(path)),
        "duckdb": duckdb.sql("select count(*) from arrow_table").fetchall()[0][0],
    }
    assert len(set(counts.values())) == 1, counts
    assert polars.read_ipc(path).to_arrow().column_names == table.column_names
    assert b"crux.stage" in table.schema.metadata and b"crux.inputs" in table.schema.metadata
    if "token_ids" in table.column_names:
        lengths = pa.compute.list_value_length(table["token_ids"]).to_pylist()
        for name in PER_TOKEN & set(table.column_names):
            found = pa.compute.list_value_length(table[name]).to_pylist()
            assert all(f is None or f == l for f, l in zip(found, lengths)), name
    return counts["pyarrow"]


import pyarrow.compute  # noqa: E402

for folder in sys.argv[1:] or ["(no stage directory given)"]:
    paths = sorted(glob.glob(folder + "/*.arrow"))
    if not paths:
        failed = True
        print(f"FAIL {folder}: no *.arrow in it, so nothing was checked")
    for path in paths:
        try:
            print(f"ok   {path.split('/')[-2]}/{path.split('/')[-1]}: {check(path)} rows in pyarrow, polars, pandas, DuckDB")
        except Exception as error:
            failed = True
            print(f"FAIL {path}: {type(error).__name__}: {error}")
sys.exit(failed)
