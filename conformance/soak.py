#!/usr/bin/env python3
"""2,000 small shards, 100 of them broken in different ways, through ingest, score, plan and update.

    soak.py BIN [--shards N] [--tasks N]

Four broken ones are no files that can be read: with them ingest must end with exit code 1 and say of each what it is;
without them, with 0. Each of the others must cost exactly one rejection, for the reason that it was broken for. All that
is left must be there once and right: every table and every weight must have the bytes of a run over the same dump
without the broken rollouts (but for the digests of inputs that stand in tables), and those of a run by several tasks.
Needs libzstd and nothing from PyPI.
"""
import argparse
import collections
import ctypes
import ctypes.util
import json
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "fixtures"
ROLLOUTS_OF_A_SHARD = 2
EACH_KIND = 3
# The first shards, one of so many, stay whole: what is doubled must come behind what it doubles.
INTACT = 10

zstd = ctypes.CDLL(ctypes.util.find_library("zstd") or "libzstd.so.1")
for name, result, arguments in [
    ("ZSTD_findFrameCompressedSize", ctypes.c_size_t, [ctypes.c_char_p, ctypes.c_size_t]),
    ("ZSTD_getFrameContentSize", ctypes.c_ulonglong, [ctypes.c_char_p, ctypes.c_size_t]),
    ("ZSTD_decompress", ctypes.c_size_t, [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]),
    ("ZSTD_createCCtx", ctypes.c_void_p, []),
    ("ZSTD_CCtx_setParameter", ctypes.c_size_t, [ctypes.c_void_p, ctypes.c_int, ctypes.c_int]),
    ("ZSTD_compressBound", ctypes.c_size_t, [ctypes.c_size_t]),
    ("ZSTD_compress2", ctypes.c_size_t, [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]),
]:
    function = getattr(zstd, name)
    function.restype, function.argtypes = result, arguments
compressor = zstd.ZSTD_createCCtx()
# ZSTD_c_checksumFlag
zstd.ZSTD_CCtx_setParameter(compressor, 201, 1)


def compressed(blob):
    target = ctypes.create_string_buffer(zstd.ZSTD_compressBound(len(blob)))
    size = zstd.ZSTD_compress2(compressor, target, len(target), blob, len(blob))
    return target.raw[:size]


def frames(path):
    """The blobs of a shard."""
    rest = path.read_bytes()
    while rest:
        size = zstd.ZSTD_findFrameCompressedSize(rest, len(rest))
        length = zstd.ZSTD_getFrameContentSize(rest, size)
        blob = ctypes.create_string_buffer(length)
        zstd.ZSTD_decompress(blob, length, rest, size)
        yield blob.raw
        rest = rest[size:]


class Rollout:
    """Metadata, and tensors by name: (type, shape, bytes)."""

    def __init__(self, metadata, tensors):
        self.metadata, self.tensors = dict(metadata), dict(tensors)

    @staticmethod
    def of(blob):
        length = struct.unpack("<Q", blob[:8])[0]
        header = json.loads(blob[8:8 + length])
        metadata, data = header.pop("__metadata__"), blob[8 + length:]
        return Rollout(metadata, {name: (tensor["dtype"], tensor["shape"], data[slice(*tensor["data_offsets"])])
                                  for name, tensor in header.items()})

    def copy(self, **metadata): return Rollout(self.metadata | metadata, self.tensors)

    def blob(self):
        header, data = {"__metadata__": self.metadata}, b""
        for name, (kind, shape, values) in self.tensors.items():
            header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(data), len(data) + len(values)]}
            data += values
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        return struct.pack("<Q", len(text)) + text + data

    def frame(self): return compressed(self.blob())

    @property
    def id(self): return self.metadata["rollout_id"]

    def put(self, name, form, index, value):
        """One number of a tensor, in struct's letters."""
        kind, shape, values = self.tensors[name]
        size = struct.calcsize(form)
        self.tensors[name] = kind, shape, values[:index * size] + struct.pack("<" + form, value) + values[(index + 1) * size:]

    @property
    def first_sampled(self): return self.tensors["loss_mask"][2].index(1)


def with_metadata(**values):
    """None takes a key away."""
    def change(rollout):
        for key, value in values.items():
            if value is None: rollout.metadata.pop(key, None)
            else: rollout.metadata[key] = value
        return rollout.frame()
    return change


def with_tensor(name, change):
    def changed(rollout):
        tensor = change(*rollout.tensors.pop(name))
        if tensor: rollout.tensors[name] = tensor
        return rollout.frame()
    return changed


def with_number(name, form, value, index=None):
    def changed(rollout):
        rollout.put(name, form, rollout.first_sampled if index is None else index, value)
        return rollout.frame()
    return changed


def with_blob(change): return lambda rollout: compressed(change(rollout.blob()))


def with_frame(change): return lambda rollout: change(rollout.frame())


def flipped(frame, place):
    return frame[:place] + bytes([frame[place] ^ 1]) + frame[place + 1:]


DAMAGE = {"checksum_mismatch", "damaged_frame", "unreadable_frame", "truncated_frame"}
LENGTH = {"wrong_shape", "length_mismatch"}
# What is done to the last rollout of a shard, and the reasons that it may be rejected for.
BROKEN_ROLLOUTS = {
    "cut off in its frame": (with_frame(lambda frame: frame[:len(frame) * 2 // 3]), {"truncated_frame"}),
    "cut off in its frame's head": (with_frame(lambda frame: frame[:5]), {"truncated_frame"}),
    "a bit flipped in the middle": (with_frame(lambda frame: flipped(frame, len(frame) // 2)), DAMAGE),
    "a bit flipped in its checksum": (with_frame(lambda frame: flipped(frame, len(frame) - 1)), {"checksum_mismatch"}),
    "a bit flipped in its magic number": (with_frame(lambda frame: flipped(frame, 0)), DAMAGE),
    "zeros in its middle": (with_frame(lambda frame: frame[:50] + bytes(len(frame) - 100) + frame[-50:]), DAMAGE),
    "no token_ids": (with_tensor("token_ids", lambda *_: None), {"missing_tensor"}),
    "no loss_mask": (with_tensor("loss_mask", lambda *_: None), {"missing_tensor"}),
    "token_ids as floats": (with_tensor("token_ids", lambda kind, shape, values: ("F32", shape, values)), {"wrong_dtype"}),
    "logits of two rows too few": (with_tensor("logits", lambda kind, shape, values: (kind, [shape[0] - 2, shape[1]], values[:-4 * shape[1]])), LENGTH),
    "logits without a second dimension": (with_tensor("logits", lambda kind, shape, values: (kind, [shape[0] * shape[1]], values)), LENGTH),
    "a short loss_mask": (with_tensor("loss_mask", lambda kind, shape, values: (kind, [shape[0] - 1], values[:-1])), LENGTH),
    "short log-probabilities": (with_tensor("rollout_logprobs", lambda kind, shape, values: (kind, [shape[0] - 1], values[:-4])), LENGTH),
    "a log-probability that is none": (with_number("rollout_logprobs", "f", float("nan")), {"invalid_logprob"}),
    "a log-probability above 0": (with_number("rollout_logprobs", "f", 0.5), {"invalid_logprob"}),
    "a trainable first token": (with_number("loss_mask", "B", 1, index=0), {"first_token_trainable"} | LENGTH),
    "no trainable token": (with_tensor("loss_mask", lambda kind, shape, values: (kind, shape, bytes(len(values)))), {"no_trainable_token"} | LENGTH),
    "a negative token": (with_number("token_ids", "i", -1), {"invalid_token_id", "token_out_of_vocabulary"}),
    "a token beyond the vocabulary": (with_number("token_ids", "i", 1 << 20), {"token_out_of_vocabulary", "invalid_token_id"}),
    "logits that are no number": (with_number("logits", "H", 0x7fc0, index=0), {"nan_logits"}),
    "no rollout_id": (with_metadata(rollout_id=None), {"missing_metadata"}),
    "no group_id": (with_metadata(group_id=None), {"missing_metadata"}),
    "a temperature of 0": (with_metadata(temperature="0"), {"invalid_value"}),
    "logits of an unknown kind": (with_metadata(logits_kind="cooked"), {"invalid_value"}),
    "another prompt": (with_number("token_ids", "i", 3, index=0), {"other_prompt"}),
    "a blob that ends early": (with_blob(lambda blob: blob[:-7]), {"blob_shorter_than_declared"}),
    "a blob with more behind it": (with_blob(lambda blob: blob + b"more"), {"blob_longer_than_declared"}),
    "a header that is no JSON": (with_blob(lambda blob: blob[:8] + b"?" + blob[9:]), {"invalid_safetensors"}),
}
# What stands in place of a whole shard.
BROKEN_FILES = {
    "an empty file": (lambda chance: b"", {"empty_shard"}),
    "text": (lambda chance: b"rollouts, one a line\n" * 40, {"no_frame"}),
    "noise": (lambda chance: chance.randbytes(3000), {"no_frame", "damaged_frame", "truncated_frame"}),
}
# Bytes behind a whole last frame.
GARBAGE = {"damaged_frame", "truncated_frame"}
UNREADABLE = 4
SECONDS_BETWEEN_LOOKS = 0.02
BROKEN = 100


def make_unreadable(folder):
    """Names that lead to nothing that could be read, behind all others; what has to be said of each."""
    (folder / "zz-directory.rollouts.zst").mkdir()
    (folder / "zz-dangling.rollouts.zst").symlink_to("nowhere")
    (folder / "zz-loop.rollouts.zst").symlink_to("zz-loop.rollouts.zst")
    os.mkfifo(folder / "zz-pipe.rollouts.zst")
    return {"zz-directory": "something that is not a regular file", "zz-dangling": "no such file",
            "zz-loop": "too many levels of symbolic links", "zz-pipe": "something that is not a regular file"}


def rollouts(count):
    """As many as are wanted: the fixture's, again and again under new names."""
    stored = [Rollout.of(blob) for path in sorted((FIXTURES / "dump").glob("*.zst")) for blob in frames(path)]
    for number in range(count):
        original, copy = stored[number % len(stored)], number // len(stored)
        yield original.copy(rollout_id=f"{original.id}-{copy:03}", group_id=f"{original.metadata['group_id']}-{copy:03}")


def write_dumps(whole, broken, shards, chance):
    """Both dumps. How many rejections may be of which reasons: (what was done, reasons, the rollout's id if it has one)."""
    every = list(rollouts(shards * ROLLOUTS_OF_A_SHARD))
    places = chance.sample(range(shards // INTACT, shards), BROKEN - UNREADABLE)
    kinds = [*BROKEN_ROLLOUTS, *BROKEN_FILES, "garbage behind its end", "an id of another shard"]
    kinds = (kinds * EACH_KIND + kinds)[:len(places)]
    chosen, expected = dict(zip(places, kinds)), []
    for shard in range(shards):
        own = every[shard * ROLLOUTS_OF_A_SHARD:(shard + 1) * ROLLOUTS_OF_A_SHARD]
        right = damaged = b"".join(rollout.frame() for rollout in own)
        kind, last = chosen.get(shard), own[-1]
        kept = b"".join(rollout.frame() for rollout in own[:-1])
        if kind in BROKEN_ROLLOUTS:
            change, reasons = BROKEN_ROLLOUTS[kind]
            right, damaged = kept, kept + change(last.copy())
            expected.append((kind, reasons))
        elif kind in BROKEN_FILES:
            make, reasons = BROKEN_FILES[kind]
            right, damaged = b"", make(chance)
            expected.append((kind, reasons))
        elif kind == "garbage behind its end":
            damaged = right + b"\x00garbage"
            expected.append((kind, GARBAGE))
        elif kind:
            right, damaged = kept, kept + every[shard % (shards // INTACT) * ROLLOUTS_OF_A_SHARD].frame()
            expected.append((kind, {"duplicate_rollout_id"}))
        name = f"rollouts-{shard:05}.rollouts.zst"
        (whole / name).write_bytes(right)
        (broken / name).write_bytes(damaged)
    return expected


def matches(expected, counts):
    """What is wrong about the rejections: each must have one thing that was broken for it, and the other way round."""
    rejections = list(collections.Counter(counts).elements())
    owner = [None] * len(rejections)

    def place(one, tried):
        """Finds a rejection for what was broken; another gives its own up where it has a choice."""
        for index, reason in enumerate(rejections):
            if reason not in expected[one][1] or index in tried: continue
            tried.add(index)
            if owner[index] is None or place(owner[index], tried):
                owner[index] = one
                return True
        return False

    for one, (kind, reasons) in enumerate(expected):
        if not place(one, set()): return f"no rejection for '{kind}', expected one of {sorted(reasons)}; found {counts}"
    left = [reason for reason, one in zip(rejections, owner) if one is None]
    return f"rejections that nothing was broken for: {left}" if left else None


def peak(process):
    """Most memory that a process has had so far, in KiB; 0 of one that is gone."""
    try: lines = pathlib.Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError: return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


class Run:
    """The four stages over a dump, beside it."""

    def __init__(self, bin_folder, folder):
        self.bin, self.folder, self.figures = bin_folder, folder, []

    def stage(self, name, words, tasks=1, expected=0):
        """Runs a stage, by itself or as tasks; what its processes have said."""
        said, begin, memory = [], time.monotonic(), 0
        for rank in range(tasks):
            share = ["--tasks", str(tasks), "--rank", str(rank)] if tasks > 1 else []
            line = [self.bin / f"crux-{name}", *words, "--threads", "2", *share]
            with tempfile.TemporaryFile() as errors:
                process = subprocess.Popen(list(map(str, line)), stdout=subprocess.DEVNULL, stderr=errors)
                # Not by wait4: what it tells has this process's own peak in it, from before the other began.
                while process.poll() is None:
                    memory = max(memory, peak(process.pid))
                    time.sleep(SECONDS_BETWEEN_LOOKS)
                errors.seek(0)
                said.append(errors.read().decode(errors="replace"))
            if process.returncode != expected:
                sys.exit(f"{name} in {self.folder}: exit code {process.returncode}, expected {expected}: {said[-1][-2000:]}")
        self.figures.append(f"{name} {time.monotonic() - begin:.1f} s, {memory / 1024:.0f} MiB")
        return "\n".join(said)

    def ingest(self, *flags, tasks=1, expected=0):
        return self.stage("ingest", ["--input", self.folder / "dump", "--output", self.folder / "ingest", *flags], tasks, expected)

    def rest(self, tasks=1):
        at = self.folder
        self.stage("score", ["--input", at / "ingest", "--output", at / "score"], tasks)
        self.stage("plan", ["--input", at / "ingest", "--scores", at / "score", "--recipe", ROOT / "recipes/grpo.yaml", "--output", at / "plan"])
        self.stage("update", ["--plan", at / "plan", "--checkpoint", FIXTURES / "policy", "--memory", "2G", "--output", at / "update"])

    def manifest(self, name): return json.loads((self.folder / name / "manifest.json").read_text())

    def content(self):
        """Every file, with the digests of what it was made from taken out; but for those with times and those that tell of rejections."""
        digests, found = set(), {}
        for name in ("ingest", "score", "plan", "update"):
            for file in self.manifest(name)["inputs"]: digests.add(file.get("sha256", "").encode())
        for path in sorted(self.folder.rglob("*")):
            name = str(path.relative_to(self.folder))
            if not path.is_file() or name.startswith("dump/") or path.name in ("run.json", "manifest.json", "rejected.arrow", "metrics.arrow"): continue
            found[name] = path.read_bytes()
        return found, digests


def without(content, digests):
    """Bytes with every digest of an input replaced by one and the same."""
    for digest in digests:
        if digest: content = content.replace(digest, b"0" * len(digest))
    return content


def compare(one, other):
    """Files that are in one run alone, or differ."""
    (first, first_digests), (second, second_digests) = one.content(), other.content()
    wrong = sorted(set(first) ^ set(second))
    return wrong + [name for name in first if name in second and first[name] != second[name]
                    and without(first[name], first_digests) != without(second[name], second_digests)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bin", type=pathlib.Path)
    parser.add_argument("--shards", type=int, default=2000)
    parser.add_argument("--tasks", type=int, default=7)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    folder, chance = pathlib.Path(tempfile.mkdtemp(prefix="crux-soak-")), random.Random(asked.seed)
    whole, broken, shared = (Run(asked.bin.resolve(), folder / name) for name in ("whole", "broken", "tasks"))
    for run in (whole, broken): (run.folder / "dump").mkdir(parents=True)
    expected = write_dumps(whole.folder / "dump", broken.folder / "dump", asked.shards, chance)
    whole.ingest()
    whole.rest()
    wrong = []
    unreadable = make_unreadable(broken.folder / "dump")
    said = broken.ingest(expected=1).splitlines()
    for name, words in unreadable.items():
        if not any(name in line and words in line for line in said): wrong.append(f"{name}: nobody says '{words}'")
        path = broken.folder / "dump" / f"{name}.rollouts.zst"
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    shutil.copytree(broken.folder / "dump", shared.folder / "dump")
    # Anew: another list of shards is another configuration.
    broken.ingest("--overwrite")
    broken.rest()
    counts = broken.manifest("ingest")["counts"]
    reasons = {key.removeprefix("rejected_"): count for key, count in counts.items() if key.startswith("rejected_")}
    if counts["rejected"] != len(expected): wrong.append(f"{counts['rejected']} rejections, expected {len(expected)}")
    if complaint := matches(expected, reasons): wrong.append(complaint)
    if counts["rollouts"] != whole.manifest("ingest")["counts"]["rollouts"]: wrong.append("another number of rollouts than without the broken ones")
    wrong += [f"{name} differs from the run without broken shards" for name in compare(whole, broken)]
    shared.ingest(tasks=asked.tasks)
    shared.rest(asked.tasks)
    wrong += [f"{name} differs between one task and {asked.tasks}" for name in compare(broken, shared)]
    print(f"{asked.shards} shards, {len(expected) + len(unreadable)} broken in {len(BROKEN_ROLLOUTS) + len(BROKEN_FILES) + 2 + len(unreadable)} ways: "
          f"{len(unreadable)} unreadable, {counts['rejected']} rejections, {counts['rollouts']} rollouts taken")
    for run in (whole, broken, shared): print(f"{run.folder.name}: " + "; ".join(run.figures))
    for complaint in wrong[:20]: print(complaint)
    if wrong: sys.exit(f"{len(wrong)} complaints; {folder} is kept")
    shutil.rmtree(folder)


if __name__ == "__main__": main()
