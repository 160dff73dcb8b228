"""How long the page of a large run takes: to write, to open, and to answer. Needs Chromium, numpy and pyarrow.

    bench/page.py BIN_DIR WORK_DIR [ROLLOUTS] [TOKENS]      # 100000 rollouts of 300 tokens: 30 million, about 1.5 GB of tables
"""
import hashlib
import json
import pathlib
import resource
import subprocess
import sys
import time

import numpy
import pyarrow

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "conformance"))
from browser import Browser  # noqa: E402

BIN, WORK = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
ROLLOUTS = int(sys.argv[3]) if len(sys.argv) > 3 else 100_000
TOKENS = int(sys.argv[4]) if len(sys.argv) > 4 else 300
GROUP, PROMPT, PER_FILE, PER_BATCH, VOCABULARY = 8, 40, 20_000, 500, 32
OPEN_SECONDS, ANSWER_SECONDS = 5.0, 0.2

ROLLOUT_SCHEMA = pyarrow.schema([
    *[(name, pyarrow.utf8()) for name in ["rollout_id", "group_id", "policy_version", "prompt", "completion", "reference_answer", "data_source", "finish_reason"]],
    ("sample_index", pyarrow.int32()), ("temperature", pyarrow.float32()), ("top_p", pyarrow.float32()), ("token_ids", pyarrow.list_(pyarrow.int32())),
    ("loss_mask", pyarrow.list_(pyarrow.bool_())), ("rollout_logprobs", pyarrow.list_(pyarrow.float32())), ("evidence", pyarrow.utf8()),
    ("logits_path", pyarrow.utf8()), ("logits_offset", pyarrow.int64()), ("logits_length", pyarrow.int64()), ("extras", pyarrow.utf8())])
SCORE_SCHEMA = pyarrow.schema([
    ("rollout_id", pyarrow.utf8()), ("reward", pyarrow.float32()), ("correct", pyarrow.bool_()), ("verdict", pyarrow.utf8()), ("extracted", pyarrow.utf8()),
    ("entropy", pyarrow.list_(pyarrow.float32())), ("old_logprobs", pyarrow.list_(pyarrow.float32())), ("evidence", pyarrow.utf8())])


def lists(values, width, kind):
    offsets = numpy.arange(0, values.size + 1, width, dtype=numpy.int32)
    return pyarrow.ListArray.from_arrays(offsets, pyarrow.array(values.ravel(), kind))


def batch(first, count, random):
    """Rollouts of one length, half of them right, with entropies that are mostly small."""
    numbers = range(first, first + count)
    inside = numpy.zeros((count, TOKENS), bool)
    inside[:, PROMPT:] = True
    entropy = numpy.where(inside, random.gamma(0.25, 1.2, (count, TOKENS)), 0).astype(numpy.float32)
    sampler = numpy.where(inside, -entropy * random.random((count, TOKENS)), 0).astype(numpy.float32)
    trainer = numpy.where(inside, sampler + random.normal(0, 0.01, (count, TOKENS)), 0).astype(numpy.float32)
    right = random.random(count) < 0.5
    names, same = [f"r-{number}" for number in numbers], lambda text: [text] * count
    rollouts = pyarrow.record_batch([
        names, [f"g-{number // GROUP}" for number in numbers], same("v0"), [f"problem {number // GROUP}" for number in numbers], same(""), same("7"), same("synthetic"),
        same("stop"), pyarrow.array([number % GROUP for number in numbers], pyarrow.int32()), pyarrow.array(same(1.0), pyarrow.float32()),
        pyarrow.array(same(1.0), pyarrow.float32()), lists(random.integers(1, VOCABULARY, (count, TOKENS)).astype(numpy.int32), TOKENS, pyarrow.int32()),
        lists(inside, TOKENS, pyarrow.bool_()), lists(sampler, TOKENS, pyarrow.float32()), same("logits"), same(""), pyarrow.array(same(0), pyarrow.int64()),
        pyarrow.array(same(0), pyarrow.int64()), same("{}")], schema=ROLLOUT_SCHEMA)
    scores = pyarrow.record_batch([
        names, pyarrow.array(right.astype(numpy.float32)), right.tolist(), ["correct" if one else "wrong" for one in right], same("7"),
        lists(entropy, TOKENS, pyarrow.float32()), lists(trainer, TOKENS, pyarrow.float32()), same("logits")], schema=SCORE_SCHEMA)
    return rollouts, scores


def write_run():
    random = numpy.random.default_rng(1)
    ingest, score = WORK / "ingest", WORK / "score"
    ingest.mkdir(parents=True), score.mkdir()
    for number, start in enumerate(range(0, ROLLOUTS, PER_FILE)):
        with pyarrow.ipc.new_file(ingest / f"rollouts-{number:05}.arrow", ROLLOUT_SCHEMA) as rollouts, \
                pyarrow.ipc.new_file(score / f"scores-{number:05}.arrow", SCORE_SCHEMA) as scores:
            for first in range(start, min(start + PER_FILE, ROLLOUTS), PER_BATCH):
                one, two = batch(first, min(PER_BATCH, ROLLOUTS - first), random)
                rollouts.write(one), scores.write(two)
    files = -(-ROLLOUTS // PER_FILE)
    manifest(ingest, "ingest", [], [f"rollouts-{number:05}.arrow" for number in range(files)], {"rollouts": ROLLOUTS, "vocabulary": VOCABULARY})
    digest = hashlib.sha256((ingest / "manifest.json").read_bytes()).hexdigest()
    manifest(score, "score", [{"path": "ingest/manifest.json", "sha256": digest}], [f"scores-{number:05}.arrow" for number in range(files)],
             {"old_logprobs_checkpoint": ROLLOUTS})


def manifest(folder, stage, inputs, outputs, counts):
    content = {"stage": stage, "version": "0.1.0", "configuration": {}, "inputs": inputs, "outputs": [{"path": path} for path in outputs], "counts": counts}
    (folder / "manifest.json").write_text(json.dumps(content))


def timed(*command):
    began = time.monotonic()
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def write_page():
    source = ["--input", WORK / "ingest", "--scores", WORK / "score"]
    for name, share in [("plan", 0.2), ("plan-10", 0.1)]:
        timed(BIN / "crux-plan", "--quiet", *source, "--recipe", "recipes/dapo-top20.yaml", "--set", f"entropy.mask.top={share}", "--output", WORK / name)
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    seconds = timed(BIN / "crux-report", "page", *source, "--plan", WORK / "plan", "--against", WORK / "plan-10", "--tokenizer", "fixtures/policy",
                    "--output", WORK / "page.html")
    size = (WORK / "page.html").stat().st_size
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    memory = f"{peak / 2**20:.2f} GiB at most" if peak > before else f"no more than crux-plan's {before / 2**20:.2f} GiB"
    print(f"written in {seconds:.1f} s, {size / 1e6:.1f} MB, {memory}")


# What a person does, and what shows that the page has done it.
ANSWERS = {
    "filter": ("document.querySelector('[data-option=wrong]').click()", "document.getElementById('found').dataset.value !== ''"),
    "order": ("(() => { const list = document.querySelector('main select'); list.value = 'uncertain'; list.dispatchEvent(new Event('change')); })()", "true"),
    "search": ("(() => { const field = document.querySelector('main input'); field.value = 'r-1'; field.dispatchEvent(new Event('input')); })()", "true"),
    "next rollout": ("stepRollout(1)", "true"),
    "page of rollouts": ("document.querySelector('[aria-label=\"Next page\"]').click()", "true"),
}
SHOWN = "document.getElementById('rollout').dataset.rollout === rolloutsState.chosen"


def measure_page():
    slowest = 0.0
    with Browser() as browser:
        browser.open(WORK / "page.html").close()
        began = time.monotonic()
        page = browser.open(WORK / "page.html", "#overview")
        opened = time.monotonic() - began
        print(f"opened in {opened:.2f} s")
        for view in ["forks", "plans", "training", "expansions", "overview", "rollouts"]:
            slowest = max(slowest, answer(page, f"view {view}", f"goTo('{view}')", f"document.getElementById('view-{view}') !== null"))
        page.wait(SHOWN)
        for what, (act, sign) in ANSWERS.items():
            slowest = max(slowest, answer(page, what, act, f"{sign} && {SHOWN}"))
    return opened, slowest


def answer(page, what, act, sign):
    """Seconds from the act to the frame in which it shows, as the page's own clock has them."""
    seconds = page.evaluate(f"""new Promise((resolve) => {{ const began = performance.now(); {act};
        const look = () => {{ if ({sign}) resolve((performance.now() - began) / 1000); else requestAnimationFrame(look); }}; requestAnimationFrame(look); }})""")
    print(f"{what}: {1000 * seconds:.0f} ms")
    return seconds


if __name__ == "__main__":
    write_run()
    write_page()
    opened, slowest = measure_page()
    print(f"opening within {OPEN_SECONDS:g} s: {'yes' if opened <= OPEN_SECONDS else 'NO'}; every answer within {1000 * ANSWER_SECONDS:g} ms: "
          f"{'yes' if slowest <= ANSWER_SECONDS else 'NO'}")
    sys.exit(opened > OPEN_SECONDS or slowest > ANSWER_SECONDS)
