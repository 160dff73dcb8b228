"""Where VinePPO's code cuts solutions written in LaTeX into steps.

usage: make_segmentation_fixture.py VINEPPO_CHECKOUT OUT.json [COUNT]
"""
import hashlib, importlib.util, json, random, sys, types

INLINE = ["$x$", "$x + y = 12$", "$a_1, a_2, \\dots, a_n$", "$\\frac{1}{2}.$", "\\(n^2\\)", "\\(k = 3.\\)", "$5\\$ + 2\\$$", "$$", "\\$4.50", "$-3$", "$\\angle ABC = 90^\\circ,$", "$x \\equiv 3 \\pmod 7$",
          "$\\begin{tabular}{c|c} 1 & 2 \\\\ 3 & 4 \\end{tabular}$", "$f(x)=x^2+3x+2=(x+1)(x+2)$", "$é = ω$", "$\\cancelto{2}{4}$"]
DISPLAY = ["\\[x = 3\\]", "\\[\n  a + b = c,\n\\]", "$$\ny = mx + b.\n$$", "\\[\\frac{a}{b} = \\frac{c}{d}.\\]", "\\begin{align*}\nx &= 1 + 2 + 3 \\\\\n&= 6.\n\\end{align*}", "\\begin{tabular}{cc}\n1 & 2 \\\\\n3 & 4\n\\end{tabular}",
           "\\begin{equation}\nE = mc^2\n\\end{equation}", "[asy]\ndraw((0,0)--(1,1));\nlabel(\"$A$\", (0,0));\n[/asy]", "$$a=b$$", "\\begin{cases} x & y \\\\ z & w \\end{cases}",
           "\\[(x+1)(x+2)(x+3)+(x+4)(x+5)(x+6)=x^3+6x^2+11x+6+x^3+15x^2+74x+120=2x^3+21x^2+85x+126.\\]",
           "\\[\n1 + 2 + 3 + 4 + 5 + 6 + 7 + 8 + 9 + 10 + 11 + 12 + 13 + 14 + 15 + 16 + 17 + 18 + 19 + 20 + 21 + 22 + 23 + 24 = 300\n\\equiv 0 \\pmod{10}\\]"]
ODD = ["$", "\\[", "\\]", "\\begin{align}", "\\end{align}", "$$$", "\\begin{align} a $b$ c \\end{align}", "\\[ $x$ \\]", "[asy]", "\\\\(", "\\begin{}x\\end{}", "$$\\begin{tabular}{c} 1 \\end{tabular}$$", "\\text{if $n$ is odd}"]
WORDS = ("we have that the sum of all terms is equal to zero and so it follows from the above that there are exactly two ways to choose them since each of these numbers must be even : , "
         "Therefore Let Since Then If Mr. Dr. a. b. e.g. i.e. Fig. No. p. 3.14 2, 10, x. y. naïve Δ 数学 🙂 a\u0301 é. Σ. \u00a0 \u2003 \x1c and to and and to").split(" ")


def load(checkout):
    stub = types.ModuleType("treetune.tasks.math_extract_steps")
    stub.md5_hash = lambda text: hashlib.md5(text.encode()).hexdigest()
    for name in ("treetune", "treetune.tasks"): sys.modules[name] = types.ModuleType(name)
    sys.modules[stub.__name__] = stub
    spec = importlib.util.spec_from_file_location("steps", f"{checkout}/src/treetune/tasks/math_extract_steps_inplace.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.split_solution_inplace


def text(rng):
    odd, parts = rng.random() < 0.25, []
    for _ in range(rng.choice([0, 1, 2, 4, 8, 16, 24])):
        kind = rng.random()
        if kind < 0.55:
            words = [rng.choice(WORDS) for _ in range(rng.choice([1, 2, 4, 8, 16, 24]))]
            for _ in range(rng.choice([0, 0, 1, 2])): words.insert(rng.randrange(len(words) + 1), rng.choice(INLINE))
            parts.append(" ".join(words) + rng.choice([".", ".", ",", "", ":", "...", "!"]))
        elif kind < 0.75: parts.append(rng.choice(INLINE))
        elif kind < 0.93: parts.append(rng.choice(DISPLAY))
        elif odd: parts.append(rng.choice(ODD))
        parts.append(rng.choice([" ", " ", " ", "\n", "\n", "\n\n", "", "  ", ". ", ".\n"]))
    return "".join(parts)


def main():
    split, out, count = load(sys.argv[1]), sys.argv[2], int((sys.argv[3:] or ["450"])[0])
    rng, cases, failed = random.Random(8), [], 0
    while len(cases) < count:
        solution = text(rng)
        if not solution or len(solution) > 1200: continue
        try: cuts = split(solution)
        except AssertionError: cuts = None
        # Few of those that it can't cut: they only show that ours goes on.
        if cuts is None and failed >= count // 8: continue
        failed += cuts is None
        cases.append(dict(text=solution, cuts=cuts))
    with open(out, "w") as file: file.write("[\n" + ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases) + "\n]\n")
    print(f"{len(cases)} texts, {sum(len(c['cuts']) - 1 for c in cases if c['cuts'])} steps, {failed} texts on which the original fails")


main()
