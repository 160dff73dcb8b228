"""A judge for crux-score --reward-command: a reward function written for verl, compute_score(data_source, solution_str, ground_truth, extra_info).

    crux-score … --reward-command "python examples/reward_verl.py FILE.py [FUNCTION]"
"""
import importlib.util
import json
import sys

spec = importlib.util.spec_from_file_location("reward", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
compute_score = getattr(module, (sys.argv[2:] or ["compute_score"])[0])

for line in sys.stdin:
    request = json.loads(line)
    try:
        result = compute_score(request["data_source"], request["response"], request["ground_truth"], request["extra_info"])
        answer = dict(result) if isinstance(result, dict) else {"score": result}
        print(json.dumps({"id": request["id"], "score": answer.get("score"), "acc": answer.get("acc"), "pred": answer.get("pred")}), flush=True)
    except Exception as problem:
        print(json.dumps({"id": request["id"], "error": repr(problem)}), flush=True)
