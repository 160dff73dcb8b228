"""Holds the last step of an update against that of another: relative L2 of weights, and of what the update has changed.

    compare_weights.py NAME BASE UPDATE OTHER       # exit code 1 where one of them is above its bound

Of every tensor that both steps have: weights, moments, masters and target network. Standard library alone."""
import array
import json
import math
import pathlib
import sys

# Of weights and target network: ten times what float32 rounds by. The change and the moments are hundreds of times smaller
# than the weights, what rounds a gradient (6e-8) grows by what cancels in its sum, and from step to step, since each
# begins with weights that differ: 7e-5 after twelve steps at a high rate. A sequence that is left out, or counted twice,
# changes them by some percent.
MOST_OF_WEIGHTS = 1e-6
MOST_OF_CHANGE = 1e-3


def tensors(path):
    """Name → float32 values of a safetensors file."""
    data = pathlib.Path(path).read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    for name, tensor in header.items():
        begin, end = (8 + length + offset for offset in tensor["data_offsets"])
        yield name, floats(data[begin:end], tensor["dtype"])


def floats(data, dtype):
    if dtype == "F32":
        return array.array("f", data)
    if dtype != "BF16":
        raise SystemExit(f"{dtype}: expected F32 or BF16")
    halves, wide = array.array("H", data), array.array("I")
    wide.extend(half << 16 for half in halves)
    return array.array("f", wide.tobytes())


def last(update, kind):
    steps = sorted(pathlib.Path(update).glob(kind + "-*"))
    return {name: values for step in steps[-1:] for file in sorted(step.glob("*.safetensors"))
            for name, values in tensors(file)}


def squares(one, other):
    return math.fsum((a - b) ** 2 for a, b in zip(one, other))


def relative(plain, other, base=None):
    """|other - plain| / |plain - base|, over all tensors."""
    if plain.keys() != other.keys():
        raise SystemExit(f"other tensors: {sorted(plain.keys() ^ other.keys())[:3]}")
    zeros = {name: array.array("f", bytes(4 * len(values))) for name, values in plain.items()}
    start = base or zeros
    apart = sum(squares(plain[name], other[name]) for name in plain)
    whole = sum(squares(plain[name], start.get(name, zeros[name])) for name in plain)
    return math.sqrt(apart / whole) if whole else math.sqrt(apart)


def main():
    name, base, update, other = sys.argv[1:]
    weights = last(update, "step"), last(other, "step")
    start = {key: values for file in pathlib.Path(base).glob("*.safetensors") for key, values in tensors(file)}
    moments = last(update, "optimizer"), last(other, "optimizer")
    state = [{key: values for key, values in part.items() if key.startswith("exp_avg")} for part in moments]
    found = [("weights", relative(*weights), MOST_OF_WEIGHTS), ("change", relative(*weights, start), MOST_OF_CHANGE),
             ("moments", relative(*state), MOST_OF_CHANGE)]
    targets = [pathlib.Path(folder) / "target" for folder in (update, other)]
    if any(target.exists() for target in targets):
        both = [{key: values for file in target.glob("*.safetensors") for key, values in tensors(file)} for target in targets]
        found.append(("target", relative(*both), MOST_OF_WEIGHTS))
    print(f"{name}: " + ", ".join(f"{what} {value:.2g}" for what, value, _ in found))
    sys.exit(any(not value <= most for _, value, most in found))


if __name__ == "__main__":
    main()
