"""A judge for crux-score --reward-command: Math-Verify (pip install math-verify), one process per worker, no threads, no alarms of ours.

    crux-score … --reward numeric --reward-command "python examples/reward_math_verify.py"
"""
import json
import sys

from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

for line in sys.stdin:
    request = json.loads(line)
    try:
        gold = parse("\\boxed{" + request["ground_truth"] + "}", extraction_config=[LatexExtractionConfig()])
        answer = parse(request["response"], extraction_config=[LatexExtractionConfig(), ExprExtractionConfig()])
        if not gold:     # nobody can judge it
            print(json.dumps({"id": request["id"], "score": None}), flush=True)
            continue
        right = verify(gold, answer)     # the order matters: gold first
        print(json.dumps({"id": request["id"], "score": float(right), "acc": right, "pred": str(answer[0]) if answer else ""}), flush=True)
    except Exception as problem:     # one row, not the run
        print(json.dumps({"id": request["id"], "error": repr(problem)}), flush=True)
