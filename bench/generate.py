"""Peer of crux-bench's generation figures: transformers' generate on a Qwen2.5-0.5B-shaped model with random weights.

usage: generate.py f32|bf16

Reads "BATCH PROMPT NEW THREADS" lines, answers each with generated tokens per second; the weights are made once.
"""
import sys, time
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

config = Qwen2Config(vocab_size=151936, hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14,
                     num_key_value_heads=2, tie_word_embeddings=True, rope_theta=1000000.0, bos_token_id=None, eos_token_id=None, pad_token_id=0)
torch.manual_seed(0)
model = Qwen2ForCausalLM(config).to(torch.bfloat16 if sys.argv[1] == "bf16" else torch.float32).eval()
model.generation_config.eos_token_id = None
print("ready", flush=True)
for line in sys.stdin:
    batch, prompt, new, threads = map(int, line.split())
    torch.set_num_threads(threads)
    ids = torch.randint(1, 100000, (batch, prompt))
    start = time.perf_counter()
    with torch.no_grad():
        out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, min_new_tokens=new, do_sample=True, top_k=0, top_p=1.0)
    assert out.shape[1] == prompt + new
    print(batch * new / (time.perf_counter() - start), flush=True)
