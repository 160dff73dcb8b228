"""A server with vLLM's and SGLang's request and response shapes over transformers, to run job lines against.

usage: tiny_server.py CHECKPOINT PORT
"""
import json, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

checkpoint, port = sys.argv[1], int(sys.argv[2])
torch.set_num_threads(1)
model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
tokenizer = AutoTokenizer.from_pretrained(checkpoint)
lock, served = threading.Lock(), [0]


def sample(prefix, limit, temperature, top_p, top_k):
    ids = torch.tensor([prefix])
    with lock, torch.no_grad():
        out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=limit, do_sample=True, temperature=temperature, top_p=top_p,
                             top_k=0 if top_k < 0 else top_k)
        logits = model(input_ids=out).logits[0].double() / temperature
    tokens = out[0, len(prefix):].tolist()
    logprobs = torch.log_softmax(logits, -1)[len(prefix) - 1:-1].gather(1, out[0, len(prefix):, None])[:, 0].tolist()
    return tokens, logprobs, "stop" if tokens[-1] == model.config.eos_token_id else "length"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_): pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        served[0] += 1
        if served[0] % 17 == 0: return self.answer(503, {"error": {"message": "overloaded"}})     # now and then, as servers do
        if self.path == "/generate": return self.answer(200, self.sglang(body))
        chat = self.path == "/v1/chat/completions"
        prefix = tokenizer("".join(m["content"] for m in body["messages"]))["input_ids"] if chat else body["prompt"]
        tokens, logprobs, reason = sample(prefix, body["max_tokens"], body["temperature"], body["top_p"], body["top_k"])
        text, names = tokenizer.decode(tokens, skip_special_tokens=True), [f"token_id:{t}" for t in tokens]
        choice = dict(index=0, finish_reason=reason, token_ids=tokens)
        if chat: choice |= dict(message=dict(role="assistant", content=text), logprobs=dict(content=[dict(token=n, logprob=p) for n, p in zip(names, logprobs)]))
        else: choice |= dict(text=text, prompt_token_ids=prefix, logprobs=dict(tokens=names, token_logprobs=logprobs))
        answer = dict(id="cmpl", model=body["model"], choices=[choice], usage=dict(completion_tokens=len(tokens)))
        self.answer(200, answer | (dict(prompt_token_ids=prefix) if chat else {}))

    def sglang(self, body):
        s = body["sampling_params"]
        tokens, logprobs, reason = sample(body["input_ids"], s["max_new_tokens"], s["temperature"], s["top_p"], s["top_k"])
        meta = dict(id=body["rid"], finish_reason=dict(type=reason), completion_tokens=len(tokens), output_token_logprobs=[[p, t, None] for p, t in zip(logprobs, tokens)])
        return dict(text=tokenizer.decode(tokens, skip_special_tokens=True), output_ids=tokens, meta_info=meta)

    def answer(self, status, value):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
