"""The page of crux-report in a real browser: every view opens without a request and without a complaint, filters and keys
work, its numbers are those of the tables, and hostile text runs nothing. make browser

    check_page.py BIN_DIR WORK_DIR
"""
import json
import math
import pathlib
import sys
import xml.etree.ElementTree

import numpy

from browser import Browser
from page_runs import HOSTILE, Commands, expansion_run, fixture_run, hostile_run, page_of, table

VIEWS = ["overview", "forks", "rollouts", "expansions", "plans", "training"]
failures = []


def check(what, holds, found=""):
    if not holds:
        failures.append(what)
        print(f"FAIL {what}: {found}")


# MARK: what a page shows


def cells(page, name):
    """A table's cells by the key of each row."""
    return page.evaluate(f"""Object.fromEntries([...document.querySelectorAll('[data-table="{name}"] tbody tr')]
        .map((row) => [row.dataset.key, [...row.cells].map((cell) => cell.textContent)]))""")


def number(text):
    return float(text.replace("\u202f", "").replace("−", "-").replace("%", "").replace("+", ""))


def figure(page, name):
    return float(page.evaluate(f"document.querySelector('[data-figure=\"{name}\"]').dataset.value"))


def close(found, expected):
    return math.isclose(found, expected, rel_tol=1e-3, abs_tol=1e-9)


def click(page, selector):
    page.evaluate(f"document.querySelector({json.dumps(selector)}).click()")


def found(page):
    return int(page.evaluate("document.getElementById('found').dataset.value"))


def chosen(page):
    """The rollout that is shown in full, when it is."""
    page.wait("document.getElementById('rollout').dataset.rollout === rolloutsState.chosen")
    return page.evaluate("rolloutsState.chosen")


def text_of(page, selector):
    return page.evaluate(f"document.querySelector({json.dumps(selector)}).textContent")


# MARK: checks


def check_views(browser, path, views=VIEWS):
    for dark in [False, True]:
        for view in views:
            page = browser.open(path, f"#{view}", dark=dark)
            if view == "rollouts":
                chosen(page)
            what = f"{path.name}, {view}{', dark' if dark else ''}"
            text = text_of(page, "main")
            check(f"{what} asks for nothing", page.requests() == [], page.requests())
            check(f"{what} is quiet", page.complaints() == [], page.complaints())
            check(f"{what} has text", len(text) > 60 and "undefined" not in text and "[object" not in text and "NaN" not in text, text[:400])
            page.close()


def check_overview(browser, path, run):
    rollouts, scores = table(run / "ingest", "rollouts-*.arrow"), table(run / "score", "scores-*.arrow")
    plan, dropped = table(run / "plan", "plan.arrow"), table(run / "plan", "dropped.arrow")
    masks = [numpy.array(row["loss_mask"]) for row in rollouts]
    entropy = numpy.concatenate([numpy.array(score["entropy"], numpy.float32)[mask] for score, mask in zip(scores, masks)])
    difference = numpy.concatenate([numpy.abs(numpy.array(score["old_logprobs"], numpy.float32) - numpy.array(row["rollout_logprobs"], numpy.float32))[mask]
                                    for row, score, mask in zip(rollouts, scores, masks)])
    page = browser.open(path, "#overview")
    expected = {
        "rollouts": len(rollouts), "tokens": sum(mask.sum() for mask in masks), "accuracy": numpy.mean([score["correct"] for score in scores]),
        "reward": numpy.mean([score["reward"] for score in scores]), "entropy": entropy.mean(dtype=numpy.float64),
        "threshold": numpy.quantile(entropy.astype(numpy.float64), 0.8), "difference": difference.mean(dtype=numpy.float64), "kept-rollouts-0": len(plan),
        "kept-share-0": sum(map(sum, (row["entropy_mask"] for row in plan))) / sum(map(sum, (row["loss_mask"] for row in plan))),
    }
    for name, value in expected.items():
        check(f"overview's {name}", math.isclose(figure(page, name), value, rel_tol=1e-6), (figure(page, name), value))
    verdicts = cells(page, "verdicts")
    for verdict in {score["verdict"] for score in scores}:
        check(f"verdict {verdict}", number(verdicts[verdict][1]) == sum(score["verdict"] == verdict for score in scores), verdicts)
    reasons = cells(page, "dropped-0")
    for reason in {row["reason"] for row in dropped}:
        check(f"drop reason {reason}", number(reasons[reason][1]) == sum(row["reason"] == reason for row in dropped), reasons)
    for share, row in cells(page, "quantiles").items():
        check(f"quantile {share}", close(number(row[1]), numpy.quantile(entropy.astype(numpy.float64), int(share) / 100)), row)
    advantages = numpy.concatenate([numpy.array(row["advantages"])[numpy.array(row["loss_mask"])] for row in plan])
    signs = cells(page, "plan-0")
    for key, value in [("positive", (advantages > 0).sum()), ("negative", (advantages < 0).sum()), ("zero", (advantages == 0).sum()),
                       ("weight", sum(sum(map(abs, row["token_weights"])) for row in plan))]:
        check(f"plan's {key}", close(number(signs[key][1]), value), (signs[key], value))
    bars = page.evaluate("""[...document.querySelectorAll('[data-table="entropy-histogram"] tbody tr')].map((row) => [...row.cells].map((cell) => cell.textContent))""")
    counts = numpy.histogram(entropy.astype(numpy.float64), numpy.arange(0, 12.6, 0.05))[0]
    for start, _, height in bars:
        check(f"histogram from {start}", number(height) == counts[round(float(start) / 0.05)], height)
    check("histogram has all tokens", sum(number(bar[2]) for bar in bars) == len(entropy), bars)
    drawing = page.evaluate("standalone(document.querySelector('figure svg'))")
    check("a figure is an SVG of its own", "class=" not in drawing and xml.etree.ElementTree.fromstring(drawing).tag.endswith("svg"), drawing[:200])
    page.close()


def check_forks(browser, path, run):
    entropies = {}
    for row, score in zip(table(run / "ingest", "rollouts-*.arrow"), table(run / "score", "scores-*.arrow")):
        for token, is_trainable, entropy in zip(row["token_ids"], row["loss_mask"], score["entropy"]):
            if is_trainable:
                entropies.setdefault(token, []).append(entropy)
    page = browser.open(path, "#forks")
    shown = cells(page, "forks")
    wanted = {str(token): values for token, values in entropies.items() if len(values) > 100}
    check("forks has every frequent token", set(shown) == set(wanted), (set(shown), set(wanted)))
    for token, values in wanted.items():
        row = shown[token]
        check(f"token {token}", number(row[1]) == len(values) and close(number(row[2]), numpy.mean(values)), row)
    order = page.evaluate("[...document.querySelectorAll('[data-table=forks] tbody tr')].map((row) => Number(row.cells[2].textContent))")
    check("the most uncertain token is first", order == sorted(order, reverse=True), order)
    page.press("/")
    page.type("#")
    check("search finds the token", all("#" in row[0] for row in cells(page, "forks").values()) and len(cells(page, "forks")) == 1, cells(page, "forks"))
    click(page, "[data-table=forks] tbody tr")
    check("a token has contexts", page.evaluate("document.querySelectorAll('#fork-detail .context').length") == 6, text_of(page, "#fork-detail"))
    page.close()


def check_rollouts(browser, path, run):
    rollouts, scores = table(run / "ingest", "rollouts-*.arrow"), table(run / "score", "scores-*.arrow")
    plan = {row["rollout_id"]: row for row in table(run / "plan", "plan.arrow")}
    page = browser.open(path, "#rollouts")
    check("all rollouts are listed", found(page) == len(rollouts), found(page))
    for option, value in [("right", sum(score["correct"] for score in scores)), ("wrong", sum(not score["correct"] for score in scores)),
                          ("kept", len(plan)), ("dropped", len(rollouts) - len(plan)), ("all", len(rollouts))]:
        click(page, f"[data-option={option}]")
        check(f"filter {option}", found(page) == value, (found(page), value))
    lengths = {row["rollout_id"]: sum(row["loss_mask"]) for row in rollouts}
    parting = {row["rollout_id"]: max(abs(a - b) for a, b, is_trainable in zip(score["old_logprobs"], row["rollout_logprobs"], row["loss_mask"]) if is_trainable)
               for row, score in zip(rollouts, scores)}
    for order, measure in [("longest", lengths), ("difference", parting)]:
        page.evaluate(f"""(() => {{ const list = document.querySelector('main select'); list.value = '{order}'; list.dispatchEvent(new Event('change')); }})()""")
        check(f"order {order}", measure[chosen(page)] == max(measure.values()), chosen(page))
    page.close()
    check_tokens(browser, path, rollouts, scores, plan)
    check_rollout_keys(browser, path, rollouts)


def check_tokens(browser, path, rollouts, scores, plan):
    """Numbers of single tokens, read as a person reads them: with the arrows."""
    row, score = next((row, score) for row, score in zip(rollouts, scores) if row["rollout_id"] in plan)
    planned, start = plan[row["rollout_id"]], row["loss_mask"].index(True)
    page = browser.open(path, f"#rollouts/{row['rollout_id']}")
    check("the address names a rollout", chosen(page) == row["rollout_id"], chosen(page))
    page.evaluate("document.getElementById('rollout-text').focus()")
    for position in range(start, start + 8):
        page.press("ArrowRight")
        facts = text_of(page, "#token-facts")
        for what, value in [("entropy", score["entropy"][position]), ("trainer", score["old_logprobs"][position]), ("sampler", row["rollout_logprobs"][position]),
                            ("advantage", planned["advantages"][position]), ("weight", planned["token_weights"][position])]:
            shown = facts.split(what)[1].split(",")[0].split(" nats")[0].strip()
            tail = "".join(one for one in shown.split("dapo")[0].split("likeliest")[0] if one in "0123456789.e+-−")
            check(f"token {position}'s {what}", math.isclose(number(tail), value, rel_tol=1e-3, abs_tol=2e-6), (facts, value))
        is_kept = page.evaluate(f"document.querySelector('[data-position=\"{position}\"].token').classList.contains('kept')")
        check(f"token {position}'s line", is_kept == planned["entropy_mask"][position], is_kept)
        likeliest = max(zip(score["topk_logprobs"][3 * position:3 * position + 3], score["topk_token_ids"][3 * position:3 * position + 3]))
        first = facts.split("likeliest here")[1].split(" %")[0].split(" ")[-1]
        check(f"token {position}'s likeliest alternative", close(number(first), 100 * math.exp(likeliest[0])), facts)
    page.close()


def check_rollout_keys(browser, path, rollouts):
    page = browser.open(path, "#rollouts")
    first = chosen(page)
    for key, place in [("j", 1), ("j", 2), ("k", 1)]:
        page.press(key)
        check(f"key {key} goes to rollout {place}", chosen(page) == rollouts[place]["rollout_id"], chosen(page))
    check("the dump's order", first == rollouts[0]["rollout_id"], first)
    page.press("/")
    page.type(rollouts[-1]["rollout_id"])
    check("search by id", found(page) == 1 and chosen(page) == rollouts[-1]["rollout_id"], found(page))
    page.evaluate("document.activeElement.blur()")
    page.evaluate("[...document.querySelectorAll('#rollout button')].find((one) => one.textContent === 'Only this group').click()")
    page.evaluate("(() => { const search = document.querySelector('main input'); search.value = ''; search.dispatchEvent(new Event('input')); })()")
    check("only one group", found(page) == sum(row["group_id"] == rollouts[-1]["group_id"] for row in rollouts), found(page))
    page.close()


def check_keys(browser, path):
    page = browser.open(path)
    for digit, view in enumerate(VIEWS, 1):
        page.press(str(digit))
        page.wait(f"document.getElementById('view-{view}') !== null")
        check(f"key {digit} selects its tab", page.evaluate("document.querySelector('[aria-selected=true]').dataset.view") == view)
    page.evaluate("document.getElementById('tab-training').focus()")
    page.press("ArrowRight")
    page.wait("document.getElementById('view-overview') !== null")
    page.press("ArrowLeft")
    page.wait("document.getElementById('view-training') !== null")
    for theme in ["light", "dark", None]:
        page.press("t")
        check(f"theme {theme}", page.evaluate("document.documentElement.dataset.theme ?? null") == theme)
    page.press("?")
    check("help opens", page.evaluate("document.getElementById('help').open"))
    check("keys leave no complaint", page.complaints() == [] and page.requests() == [], page.complaints())
    page.close()


def check_plans(browser, path, run):
    plans = [{row["rollout_id"]: row for row in table(run / name, "plan.arrow")} for name in ["plan", "plan-10"]]
    kept = [{(name, position) for name, row in plan.items() for position, is_kept in enumerate(row["entropy_mask"]) if is_kept} for plan in plans]
    page = browser.open(path, "#plans")
    rows = cells(page, "kept-by")
    for key, value in [("both", kept[0] & kept[1]), ("onlyFirst", kept[0] - kept[1]), ("onlySecond", kept[1] - kept[0])]:
        check(f"tokens kept by {key}", number(rows[key][2]) == len(value), (rows[key], len(value)))
    check("Jaccard", math.isclose(figure(page, "jaccard"), len(kept[0] & kept[1]) / len(kept[0] | kept[1])), figure(page, "jaccard"))
    check("the key that differs", list(cells(page, "recipes")) == ["entropy.mask.top"], cells(page, "recipes"))
    click(page, "[data-table=parted] a")
    name = chosen(page)
    marked = page.evaluate("document.querySelectorAll('#rollout-text .only-first, #rollout-text .only-second').length")
    expected = sum(one[0] == name for one in kept[0] ^ kept[1])
    check("tokens that only one keeps are marked", marked == expected > 0, (marked, expected))
    page.close()


def check_expansion(browser, path, run, said):
    jobs = table(run / "expansion" / "jobs", "jobs.arrow")
    rewards = {}
    for row, score in zip(table(run / "joined", "rollouts-*.arrow"), table(run / "joined-score", "scores-*.arrow")):
        rewards[row["job_id"]] = score["reward"]
    page = browser.open(path, "#expansions")
    values = page.evaluate("overview.expansion.bases.flatMap((base) => base.states.map((state) => state.value))")
    check("values of all states", math.isclose(numpy.mean(values), said["summary"]["values"], rel_tol=1e-9), (numpy.mean(values), said["summary"]))
    base = page.evaluate("overview.expansion.bases[0].rollout")
    for state, row in cells(page, "states").items():
        own = [job for job in jobs if job["base_rollout_id"] == base and job["state_index"] == int(state)]
        check(f"state {state}", close(number(row[4]), numpy.mean([rewards[job["job_id"]] for job in own])) and number(row[1]) == own[0]["anchor_position"], row)
    advantages = {row["rollout_id"]: max(row["advantages"], key=abs) for row in table(run / "fork-plan", "plan.arrow")}
    shown = page.evaluate("""overview.expansion.bases.flatMap((base) => base.states.flatMap((state) => state.continuations.map(
        (one) => [one.rollout, one.advantage ?? null, state.factor * (one.reward - state.value)])))""")
    for name, advantage, credit in shown:
        check(f"credit of {name}", (advantage is None) == (name not in advantages)
              and (advantage is None or math.isclose(advantage, advantages[name], rel_tol=1e-6) and math.isclose(advantage, credit, rel_tol=1e-5, abs_tol=1e-7)), (advantage, credit))
    page.close()


def check_training(browser, path, run):
    metrics = table(run / "update", "metrics.arrow")
    page = browser.open(path, "#training")
    rows = cells(page, "step")
    for name in ["loss", "grad_norm", "clip_fraction_low", "clip_fraction_high", "kl_k3", "entropy"]:
        check(f"step's {name}", close(number(rows[name][1]), metrics[0][name]), (rows[name], metrics[0][name]))
    page.close()


def check_sample(browser, path):
    page = browser.open(path, "#rollouts")
    check("a sample says that it is one", "20 of them" in text_of(page, "#sample-note") and found(page) == 20, text_of(page, "#sample-note"))
    for option in ["right", "wrong", "dropped"]:
        click(page, f"[data-option={option}]")
        check(f"the sample has {option} ones", found(page) > 0, found(page))
    page.close()
    page = browser.open(path, "#overview")
    check("figures are of all rollouts", figure(page, "rollouts") == 192, figure(page, "rollouts"))
    page.close()


def check_hostile(browser, path):
    check_views(browser, path)
    page = browser.open(path, "#rollouts")
    scripts = page.evaluate("document.scripts.length")
    for number_of, text in enumerate(HOSTILE):
        chosen(page)
        shown = text_of(page, "#rollout-text")
        plain = text.replace("\u202e", "⟨U+202E⟩").replace("\x1b", "␛")
        check(f"hostile token {number_of} is text", plain in shown and "⟨F0⟩⟨9F⟩⟨98⟩⟨80⟩⟨C3⟩a␀⏎\n⇥" in shown, shown)
        check(f"hostile name {number_of} is text", text in text_of(page, "#rollout h3"), text_of(page, "#rollout h3"))
        page.press("j")
    ran = page.evaluate("typeof window.ran")
    check("nothing ran", ran == "undefined" and page.evaluate("document.scripts.length") == scripts and page.evaluate("document.images.length") == 0, ran)
    check("hostile text asks for nothing", page.requests() == [] and page.complaints() == [], (page.requests(), page.complaints()))
    blocked = page.evaluate("""new Promise((resolve) => { document.addEventListener('securitypolicyviolation', () => resolve(true)); setTimeout(() => resolve(false), 2000);
        const script = document.createElement('script'); script.textContent = 'window.ran = 1'; document.body.append(script); })""")
    check("the page's policy keeps other scripts out", blocked and page.evaluate("typeof window.ran") == "undefined", blocked)
    page.close()


def main():
    crux, work = Commands(sys.argv[1]), pathlib.Path(sys.argv[2])
    run = fixture_run(crux, work)
    path = page_of(crux, run, work / "page.html")
    sample = page_of(crux, run, work / "sample.html", "--page-rollouts", 20)
    expansion, said = expansion_run(crux, run)
    hostile = hostile_run(crux, work)
    with Browser() as browser:
        check_views(browser, path)
        check_views(browser, expansion, ["expansions", "rollouts"])
        check_overview(browser, path, run)
        check_forks(browser, path, run)
        check_rollouts(browser, path, run)
        check_keys(browser, path)
        check_plans(browser, path, run)
        check_expansion(browser, expansion, run, said)
        check_training(browser, path, run)
        check_sample(browser, sample)
        check_hostile(browser, hostile)
    print("page: every view opens without a request, its numbers are the tables', hostile text is text" if not failures else f"page: {len(failures)} failures")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
