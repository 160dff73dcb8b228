"""What verl's reward functions say of odd answers.

usage: make_reward_fixture.py REWARD_SCORE_DIR OUT.json [COUNT]     (the folder verl/utils/reward_score of an unpacked verl)
"""
import contextlib, importlib.util, io, json, random, sys


def load(folder, name):
    spec = importlib.util.spec_from_file_location(name, f"{folder}/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ANSWERS = ["42", "-7", "3.5", "0.5", ".5", "1,234", "1,234,567", "$12$", "\\frac{1}{2}", "\\frac12", "\\frac1{72}", "\\frac{3}{4}", "\\dfrac{3}{4}", "3/4", "-3/4", "03/4", "\\sqrt3",
           "\\sqrt{3}", "2\\sqrt5", "x=5", "k = 9", "abc=4", "12\\text{ cm}", "12 cm", "90^\\circ", "90^{\\circ}", "50\\%", "50%", "\\left(1, 2\\right)", "(1,2)", "\\text{east}", "\\textbf{B}",
           "\\mathrm{th}", "5th", "\\$5.00", "\\$ 5", "10 dollars", "7 square units", "1{,}000", "\\overline{AB}", "\\boxed{6}", "\\fbox{6}", "x^2+1", "\\pi", "2 \\pi", "\\frac", "\\sqrt", "1/", "a/b",
           "\\text{ ", "one\\text{ two}\\text{ three}", "", " ", "...", "٣", "²", "é", "e\u0301", "mbox{5}", "\\mbox{5}", "an apple", "a b", "\\ 5", "{.5}", "= 8", "y=8=8", "\\\\frac{1}{2}", "tfrac12", "1 000", "\"5\"",
           "sqrta", "frac12", "frac\n12", "5\n", "\t5", "$\\frac{1}{2}$ and $3$", "a $5$ b", "\\text{a\nb}", "(-\\infty, 3]", "10^{-3}", "1e3", "\\!5", "\\;5", "5\\ldots", "points 5", "five"]
FRAMES = ["The answer is {}.", "#### {}", "#### {}\n", "Answer: {}", "answer :{}", "ANSWER: {}\n", "Answer:\n{}", "Anſwer: {}", "\\boxed{{{}}}", "so \\boxed {}$ done", "\\fbox{{{}}}", "$\\boxed{{{}}}$", "Answer: {} \nAnswer: {}",
          "\\boxed{{{}}} or \\boxed{{7}}", "Answer: $\\boxed{{{}}}$", "{}", "Answer: ", "Answer:\n", "Answer:  \n", "\\boxed{{{}", "####{}", "#### \n{}", "#### -{},", "Answer: \\text{{{}}}", "{} \\boxed", "\\boxed{{\\frac{{1}}{{{}}}}}"]


def main():
    folder, out, count = sys.argv[1], sys.argv[2], int((sys.argv[3:] or ["800"])[0])
    gsm8k, math_reward, math_dapo = (load(folder, n) for n in ("gsm8k", "math_reward", "math_dapo"))
    rng, cases = random.Random(11), []
    while len(cases) < count:
        truth = rng.choice(ANSWERS)
        answer = truth if rng.random() < 0.5 else rng.choice(ANSWERS)
        if rng.random() < 0.15: answer = answer.replace("1", rng.choice(["1", "2", ","])) + rng.choice(["", ".", " ", "$", "\\%"])
        frame = rng.choice(FRAMES)
        if rng.random() < 0.35:     # plain ones too, so that every rule says yes often enough
            truth = rng.choice(["42", "-7", "1234", "3.5", "0", "100"])
            answer = rng.choice([truth, truth, truth + ",", "1,234", "$" + truth, truth + ".0"])
            frame = rng.choice(["#### {}", "#### {}\n", "x = 3 #### {} done", "Answer: {}", "\\boxed{{{}}}", "it is {}"])
        text = ("Some thoughts. " * rng.choice([0, 1, 30])) + frame.format(*[answer] * 2) + rng.choice(["", "", "", "\n", " trailing " * rng.choice([1, 12, 40])])
        if not truth: continue
        with contextlib.redirect_stdout(io.StringIO()):
            cases.append(dict(text=text, truth=truth, gsm8k=float(gsm8k.compute_score(text, truth)), gsm8k_flexible=float(gsm8k.compute_score(text, truth, method="flexible")),
                              math=float(math_reward.compute_score(text, truth)), dapo_math=float(math_dapo.compute_score(text, truth)["score"]),
                              dapo_math_strict=float(math_dapo.compute_score(text, truth, strict_box_verify=True)["score"])))
    json.dump(cases, open(out, "w"))
    for name in ("gsm8k", "gsm8k_flexible", "math", "dapo_math", "dapo_math_strict"): print(name, sum(c[name] > 0 for c in cases), "of", len(cases), "right")


main()
