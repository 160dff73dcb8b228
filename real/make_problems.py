#!/usr/bin/env python3
"""Word problems of our own — adding, taking away, two steps — as prompts and as requests for an engine.

    python3 real/make_problems.py run/real/problems

The same bytes on every run, for any Python. For crux-rollout and crux-loop: heldout.jsonl (64) and train.jsonl (1024,
none of which has the numbers and signs of one of the 64). For a server, as lines of an OpenAI batch: requests.jsonl (8
answers to each of the first 16 training problems) and requests-after.jsonl (2 to each). Every prompt shows the same
worked examples in gsm8k's format ("#### 8"), so that a small model knows what is asked, and ends where the answer
begins; an answer is one line.
"""
import itertools, json, os, random, sys

NAMES = ["Tom", "Anna", "Ben", "Mia", "Sam", "Lucy", "Jack", "Emma", "Paul", "Nora", "Leo", "Ruth"]
THINGS = [
    "apples", "books", "marbles", "stamps", "cards", "shells", "coins", "pencils", "stones", "cookies", "balls", "toys",
]

# Text with the numbers a, b, c, and what is done with b and c.
ADDING = [
    ("{name} has {a} {things}. {name} gets {b} more. How many {things} does {name} have now?", "+"),
    ("{name} finds {a} {things} on Monday and {b} {things} on Tuesday. "
     "How many {things} does {name} find in all?", "+"),
    ("There are {a} {things} in a box and {b} {things} in a bag. How many {things} are there in all?", "+"),
]
TAKING_AWAY = [
    ("{name} has {a} {things}. {name} gives away {b}. How many {things} are left?", "-"),
    ("There are {a} {things} on a table. {name} takes {b} of them. How many {things} are still there?", "-"),
    ("{name} had {a} {things} and lost {b}. How many {things} does {name} have now?", "-"),
]
TWO_STEPS = [
    ("{name} has {a} {things}, buys {b} more and then gives away {c}. How many {things} does {name} have now?", "+-"),
    ("{name} has {a} {things}. {name} loses {b} and then finds {c}. How many {things} does {name} have now?", "-+"),
    ("There are {a} {things} in one box, {b} in another and {c} in a third. How many {things} are there in all?", "++"),
    ("{name} had {a} {things}, lost {b} and sold {c}. How many {things} are left?", "--"),
]

EXAMPLES = [
    (ADDING[0], "Kim", "plums", (7, 5)),
    (TAKING_AWAY[0], "Dan", "pens", (14, 6)),
    (TWO_STEPS[0], "Eve", "eggs", (9, 8, 4)),
    (TAKING_AWAY[1], "Max", "cups", (8, 3)),
    (ADDING[1], "Zoe", "nuts", (4, 9)),
    (TWO_STEPS[1], "Ian", "keys", (10, 3, 5)),
    (TWO_STEPS[2], "", "caps", (6, 3, 7)),
    (TWO_STEPS[3], "Amy", "dolls", (12, 2, 4)),
]


def totals(signs, numbers):
    """What is there after each step."""
    changes = [number if sign == "+" else -number for sign, number in zip(signs, numbers[1:])]
    return list(itertools.accumulate(changes, initial=numbers[0]))[1:]


def question(template, name, things, numbers):
    return template.format(name=name, things=things, **dict(zip("abc", numbers)))


def worked(example):
    (template, signs), name, things, numbers = example
    formula = " ".join([str(numbers[0])] + [f"{sign} {number}" for sign, number in zip(signs, numbers[1:])])
    total = totals(signs, numbers)[-1]
    return f"Q: {question(template, name, things, numbers)}\nA: {formula} = {total} #### {total}\n\n"


PREAMBLE = "".join(map(worked, EXAMPLES))


def problem(generator):
    """Text, answer, and the sum behind it: its numbers and signs. What is taken away is always there."""
    template, signs = generator.choice(generator.choice([ADDING, TAKING_AWAY, TWO_STEPS]))
    name, things = generator.choice(NAMES), generator.choice(THINGS)
    while True:
        numbers = [generator.randint(3, 15)] + [generator.randint(1, 9) for _ in signs]
        after = totals(signs, numbers)
        if min(after) > 0: return question(template, name, things, numbers), after[-1], (signs, *numbers)


def problems(generator, count, avoid=frozenset()):
    """`count` different problems, as texts and answers, and the set of their sums, none of which is in `avoid`."""
    found, sums = {}, set()
    while len(found) < count:
        text, answer, behind = problem(generator)
        if behind in avoid: continue
        found[text] = answer
        sums.add(behind)
    return list(found.items()), sums


def prompts(prefix, rows):
    """Lines of a prompt file."""
    for number, (text, answer) in enumerate(rows):
        yield dict(
            group_id=f"{prefix}-{number:04d}", prompt=f"{PREAMBLE}Q: {text}\nA:", reference_answer=str(answer),
            data_source="openai/gsm8k")


def requests(prompts, answers, seed):
    """Lines of an OpenAI batch: what crux-ingest --requests reads stands beside the body that is sent."""
    for line in prompts:
        body = dict(
            model="policy", prompt=line["prompt"], n=answers, max_tokens=24, stop=["\n"], temperature=1.0, seed=seed,
            logprobs=20, return_token_ids=True, return_tokens_as_token_ids=True)
        own = {key: line[key] for key in ("group_id", "reference_answer", "data_source")}
        yield dict(custom_id=line["group_id"], method="POST", url="/v1/completions", body=body, **own)


def write(path, lines):
    with open(path + ".part", "w", encoding="utf8") as file: file.writelines(json.dumps(line) + "\n" for line in lines)
    os.replace(path + ".part", path)


def main(folder):
    os.makedirs(folder, exist_ok=True)
    generator = random.Random(20260)
    heldout, sums = problems(generator, 64)
    train, _ = problems(generator, 1024, avoid=sums)
    write(f"{folder}/heldout.jsonl", prompts("heldout", heldout))
    write(f"{folder}/train.jsonl", prompts("train", train))
    write(f"{folder}/requests.jsonl", requests(prompts("train", train[:16]), 8, seed=1))
    write(f"{folder}/requests-after.jsonl", requests(prompts("train", train[:16]), 2, seed=2))


if __name__ == "__main__": main(sys.argv[1])
