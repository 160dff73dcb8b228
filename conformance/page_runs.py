"""Runs that pages are made of: the fixture dump with plans and an update, an expansion of it, and a hostile dump.

Functions take the folder of the executables and a folder to work in.
"""
import json
import pathlib
import subprocess

import numpy
import pyarrow
import safetensors.numpy
import zstandard


class Commands:
    """The executables of a folder."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    def __call__(self, stage, *arguments):
        """What the command's summary says; a command that fails ends all."""
        done = subprocess.run([self.folder / f"crux-{stage}", *map(str, arguments)], capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"crux-{stage}: {done.stderr}")
        return json.loads(done.stdout)


def table(folder, names):
    return [row for path in sorted(pathlib.Path(folder).glob(names)) for row in pyarrow.ipc.open_file(path).read_all().to_pylist()]


def fixture_run(crux, work):
    """The fixture dump with two plans and an update."""
    run = work / "run"
    crux("ingest", "--input", "fixtures/dump", "--output", run / "ingest")
    crux("score", "--input", run / "ingest", "--output", run / "score", "--checkpoint", "fixtures/policy", "--top-k", 3)
    source = ["--input", run / "ingest", "--scores", run / "score", "--recipe", "recipes/dapo-top20.yaml"]
    crux("plan", *source, "--output", run / "plan")
    crux("plan", *source, "--set", "entropy.mask.top=0.1", "--output", run / "plan-10")
    crux("update", "--plan", run / "plan", "--checkpoint", "fixtures/policy", "--output", run / "update")
    return run


def page_of(crux, run, output, *more):
    crux("report", "page", "--input", run / "ingest", "--scores", run / "score", "--plan", run / "plan", "--against", run / "plan-10",
         "--update", run / "update", "--tokenizer", "fixtures/policy", "--output", output, *more)
    return output


def expansion_run(crux, run):
    """FR3E from the fixture dump, joined; returns the page and what the second plan says of its values."""
    changes = ["--recipe", "recipes/fr3e.yaml", "--set", "expansion.anchors=2", "--set", "expansion.replicates=4"]
    crux("plan", "--input", run / "ingest", "--scores", run / "score", *changes, "--tokenizer", "fixtures/policy", "--output", run / "expansion")
    jobs = run / "expansion" / "jobs"
    crux("rollout", "--checkpoint", "fixtures/policy", "--jobs", jobs, "--output", run / "continuations")
    crux("ingest", "--input", run / "continuations", "--jobs", jobs, "--output", run / "joined")
    crux("score", "--input", run / "joined", "--output", run / "joined-score")
    said = crux("plan", "--input", run / "joined", "--scores", run / "joined-score", *changes, "--jobs", jobs, "--output", run / "fork-plan")
    page = run.parent / "expansion.html"
    crux("report", "page", "--input", run / "joined", "--scores", run / "joined-score", "--plan", run / "fork-plan", "--jobs", jobs,
         "--tokenizer", "fixtures/policy", "--output", page)
    return page, said


HOSTILE = ["<script>window.ran=1</script>", "</script><script>window.ran=1</script>", "<img src=x onerror=window.ran=1>", "\"><svg onload=window.ran=1>",
           "&lt;b&gt;", "\u202egnp.exe", "\x1b[31mred", "👩‍🚀", "javascript:window.ran=1", "${window.ran=1}", "<!--", "]]>"]


def hostile_run(crux, work):
    """A dump whose tokens and names are markup, control characters, marks of direction and pieces of characters."""
    run = work / "hostile"
    run.mkdir(parents=True)
    alphabet = byte_alphabet()
    added = [dict(id=256 + number, content=text, single_word=False, lstrip=False, rstrip=False, normalized=False, special=False) for number, text in enumerate(HOSTILE)]
    model = dict(type="BPE", dropout=None, unk_token=None, continuing_subword_prefix=None, end_of_word_suffix=None, fuse_unk=False, byte_fallback=False,
                 vocab={alphabet[byte]: byte for byte in range(256)}, merges=[])
    level = dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=False)
    (run / "tokenizer.json").write_text(json.dumps(dict(version="1.0", added_tokens=added, normalizer=None, pre_tokenizer=level, post_processor=None,
                                                        decoder=level, model=model)))
    pieces = list("😀".encode()) + list("é".encode())[:1] + [ord("a"), 0, 10, 9]
    with open(run / "dump.rollouts.zst", "wb") as shard:
        for number, text in enumerate(HOSTILE):
            ids = [65, 66] + [256 + number] + pieces
            tensors = dict(token_ids=numpy.array(ids, numpy.int32), loss_mask=numpy.array([0, 0] + [1] * (len(ids) - 2), numpy.uint8),
                           logits=numpy.random.default_rng(number).normal(size=(len(ids) - 2, 256 + len(HOSTILE))).astype(numpy.float32))
            metadata = dict(rollout_id=f"{number} {text}", group_id=f"g {text}", prompt=text, completion=text, reference_answer=text, data_source=text,
                            finish_reason=text, policy_version=text, temperature="1.0", top_p="1.0", logits_kind="raw", reward=str(number % 2))
            shard.write(zstandard.ZstdCompressor(write_checksum=True).compress(safetensors.numpy.save(tensors, metadata=metadata)))
    crux("ingest", "--input", run / "dump.rollouts.zst", "--output", run / "ingest")
    crux("score", "--input", run / "ingest", "--output", run / "score", "--reward", "given")
    page = work / "hostile.html"
    crux("report", "page", "--input", run / "ingest", "--scores", run / "score", "--tokenizer", run / "tokenizer.json", "--minimum-count", 0,
         "--title", "</title><script>window.ran=1</script>", "--output", page)
    return page


def byte_alphabet():
    """GPT-2's visible character for each byte."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = iter(range(256, 512))
    return {byte: chr(byte) if byte in visible else chr(next(hidden)) for byte in range(256)}
