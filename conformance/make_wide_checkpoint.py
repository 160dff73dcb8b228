"""A checkpoint of some 0.1 billion float32 parameters that speaks a small one's tokens; random weights, always the same.

    make_wide_checkpoint.py SMALL OUTPUT            # standard library alone"""
import array
import json
import pathlib
import random
import shutil
import sys

HIDDEN, FEED_FORWARD, LAYERS, HEADS, KEY_VALUE_HEADS, HEAD = 768, 2304, 15, 12, 4, 64
# Uniform in ±this has the variance of transformers' initialisation (0.02²).
BOUND = 0.035
# Of random numbers; tensors repeat them from a place of their own.
BLOCK = 1 << 20


def shapes(vocabulary):
    yield "model.embed_tokens.weight", [vocabulary, HIDDEN]
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        for name, shape in [
            ("input_layernorm", [HIDDEN]), ("post_attention_layernorm", [HIDDEN]),
            ("self_attn.q_norm", [HEAD]), ("self_attn.k_norm", [HEAD]),
            ("self_attn.q_proj", [HEADS * HEAD, HIDDEN]), ("self_attn.k_proj", [KEY_VALUE_HEADS * HEAD, HIDDEN]),
            ("self_attn.v_proj", [KEY_VALUE_HEADS * HEAD, HIDDEN]), ("self_attn.o_proj", [HIDDEN, HEADS * HEAD]),
            ("mlp.gate_proj", [FEED_FORWARD, HIDDEN]), ("mlp.up_proj", [FEED_FORWARD, HIDDEN]),
            ("mlp.down_proj", [HIDDEN, FEED_FORWARD]),
        ]:
            yield prefix + name + ".weight", shape
    yield "model.norm.weight", [HIDDEN]


def main():
    small, output = map(pathlib.Path, sys.argv[1:])
    output.mkdir(parents=True, exist_ok=True)
    for file in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copy(small / file, output)
    configuration = json.loads((small / "config.json").read_text())
    configuration.update(
        hidden_size=HIDDEN, intermediate_size=FEED_FORWARD, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        num_key_value_heads=KEY_VALUE_HEADS, head_dim=HEAD, dtype="float32",
        layer_types=["full_attention"] * LAYERS)
    (output / "config.json").write_text(json.dumps(configuration, indent=1))
    generator = random.Random(0)
    block = array.array("f", (generator.uniform(-BOUND, BOUND) for _ in range(BLOCK)))
    header, end = {}, 0
    for name, shape in shapes(configuration["vocab_size"]):
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + 4 * count]}
        end += 4 * count
    words = json.dumps(header).encode()
    words += b" " * (-len(words) % 8)
    with open(output / "model.safetensors", "wb") as file:
        file.write(len(words).to_bytes(8, "little") + words)
        for name, tensor in header.items():
            begin, stop = tensor["data_offsets"]
            write(file, (stop - begin) // 4, block, generator, is_norm=len(tensor["shape"]) == 1)
    print(f"{end // 4:,} parameters")


def write(file, count, block, generator, is_norm):
    if is_norm:
        file.write(array.array("f", [1.0]) * count)
        return
    turned = generator.randrange(BLOCK)
    values = block[turned:] + block[:turned]
    while count > 0:
        file.write(values[:count])
        count -= min(count, BLOCK)


if __name__ == "__main__":
    main()
