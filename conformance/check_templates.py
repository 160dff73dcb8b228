"""Chat templates beside transformers: the cases of fixtures/chat-templates, TRL's collection where it is installed, and templates of our own
with the constructs of released ones; fifty conversations through each, byte for byte, with and without a generation prompt, twenty-five that go on with their last message, and
the spans of those that mark what was generated.

usage: check_templates.py BIN_DIR FIXTURES_DIR WORK_DIR
"""
import datetime, glob, importlib.util, json, os, random, subprocess, sys
import transformers.utils.chat_template_utils as templates

binaries, fixtures, work = sys.argv[1:4]
rng, failed, DAY = random.Random(31), False, "2026-03-05"


class Day(datetime.datetime):
    @classmethod
    def now(cls, tz=None): return cls(*map(int, DAY.split("-")))


templates.datetime = Day
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
WORDS = ["Hello", "wörld", "<think>", "</think>", "\n", "  two ", "日本", "😀", "{{ x }}", "it's", '"quoted"', "a\\b", "<|im_end|>", "1e-7", "", "tab\t", "<tool_call>"]


def text(): return " ".join(rng.choice(WORDS) for _ in range(rng.randint(0, 8)))


def value(depth=0):
    kind = rng.random()
    if depth < 3 and kind < 0.2: return {rng.choice("abcdé"): value(depth + 1) for _ in range(rng.randint(0, 3))}
    if depth < 3 and kind < 0.35: return [value(depth + 1) for _ in range(rng.randint(0, 3))]
    return rng.choice([None, True, False, 0, -7, 2.5, 1e-07, 1e22, 0.1, text()])


def tool():
    return {"type": "function", "function": {"name": rng.choice(["get_weather", "add"]), "description": text(), "parameters": {
        "type": "object", "properties": {n: {"type": rng.choice(["string", "number", ["string", "null"]]), "description": text()} for n in ("city", "n")}, "required": ["city"]}}}


def message(role):
    own = {"role": role, "content": text() if rng.random() < 0.8 else [{"type": "text", "text": text()} for _ in range(rng.randint(1, 2))]}
    if role == "assistant":
        if rng.random() < 0.3: own["reasoning_content" if rng.random() < 0.5 else "reasoning"] = text()
        if rng.random() < 0.3: own["tool_calls"] = [{"id": "abcdefghi", "type": "function", "function": {"name": "add", "arguments": {"x": value(), "y": value()}}} for _ in range(rng.randint(1, 2))]
        if rng.random() < 0.1: own["content"] = None
    if role == "tool": own.update(name="add", tool_call_id="abcdefghi")
    return own


def conversation():
    chat = [message("system")] if rng.random() < 0.5 else []
    for _ in range(rng.randint(1, 3)):
        chat.append(message("user"))
        if rng.random() < 0.8:
            chat.append(message("assistant"))
            if chat[-1].get("tool_calls") and rng.random() < 0.8: chat += [message("tool"), message("assistant")]
    line = dict(messages=chat, add_generation_prompt=rng.random() < 0.5)
    if rng.random() < 0.4: line["tools"] = [tool() for _ in range(rng.randint(1, 2))]
    if rng.random() < 0.3: line["chat_template_kwargs"] = {"enable_thinking": rng.random() < 0.5}
    return line


def expected(source, line):
    """(text, spans of generation, error) of transformers; as `apply_chat_template` prepares the messages."""
    chat = templates._normalize_chat_messages(line["messages"])
    names = {**TOKENS, **line.get("chat_template_kwargs", {})}
    goes_on, marks = line.get("continue_final_message", False), "endgeneration" in source
    try:
        rendered, spans = templates.render_jinja_template([chat], tools=line.get("tools"), documents=line.get("documents"), chat_template=source,
                                                      add_generation_prompt=line.get("add_generation_prompt", False), continue_final_message=goes_on,
                                                          return_assistant_tokens_mask=marks and not goes_on, **names)
        return rendered[0], [list(pair) for pair in spans[0]] if spans else None, None
    except Exception as error: return None, None, str(error)


def check(name, source, lines):
    global failed
    folder = f"{work}/template"
    os.makedirs(folder, exist_ok=True)
    with open(folder + "/tokenizer_config.json", "w") as f: json.dump(TOKENS, f)
    with open(folder + "/chat_template.jinja", "w", encoding="utf8", newline="") as f: f.write(source)
    run = subprocess.run([f"{binaries}/crux-probe", "chats", folder, "--date", DAY], input="\n".join(json.dumps(l) for l in lines) + "\n", capture_output=True, text=True)
    if run.returncode:
        print("FAIL template", name, run.stderr.strip().splitlines()[-1:] or run.returncode)
        failed = True
        return
    wrong, refused, answers = [], 0, run.stdout.split("\n")[:-1]
    assert len(answers) == len(lines)
    for line, found in zip(lines, map(json.loads, answers)):
        wanted, spans, error = expected(source, line)
        refused += error is not None
        # Python's words for what it can't do are others; a template's own are the same.
        if wanted != found.get("text") or spans is not None and spans != found["generation"] or \
            error is not None and not error.startswith("continue_final_message") and "raise_exception" in source and found.get("error") != error and "line" not in found.get("error", ""):
            wrong.append((line, found, wanted if error is None else error))
    for line, found, wanted in wrong[:2]: print("FAIL", name, ascii(line)[:400], "\n  found   ", ascii(found)[:600], "\n  expected", ascii(wanted)[:600])
    print(f"{'FAIL' if wrong else 'ok  '} template {name}: {len(lines) - len(wrong)} of {len(lines)} chats, {refused} of them refused by both")
    failed |= bool(wrong)


# Constructs of released templates, in our own words.
OWN = {
    "thoughts of earlier turns taken out": """{%- set ns = namespace(last=messages|length - 1) %}
{%- for m in messages[::-1] %}{% if m.role == 'user' and ns.last == messages|length - 1 %}{% set ns.last = (messages|length - 1) - loop.index0 %}{% endif %}{% endfor -%}
{%- for m in messages %}
    {%- set content = m.content if m.content is string else (m.content or [])|map(attribute='text')|join('') %}
    {%- if m.role == 'assistant' and '</think>' in content %}{% set content = content.split('</think>')[-1].lstrip('\\n') %}{% endif %}
    {{- '<|' + m.role + '|>' }}{% if m.reasoning_content is defined and loop.index0 > ns.last %}<think>{{ m.reasoning_content|trim }}</think>{% endif %}{{ content }}
    {%- for c in m.tool_calls or [] %}
        {{- '\\n<call>' ~ c.function.name }}
        {%- for k, v in c.function.arguments|items %}{{ '<' ~ k ~ '>' }}{{ v if v is string else v|tojson }}{% endfor %}
    {%- endfor %}
    {{- '<|end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>' }}{% if enable_thinking is defined and enable_thinking is false %}<think></think>{% endif %}{% endif %}""",
    "tools as types": """{%- macro kind(p, depth=0) -%}
    {%- if p.type is iterable and p.type is not string -%}{{ p.type|join(' | ') }}{%- elif p.type == 'object' -%}{ {%- for k, v in p.properties.items() %}{{ k }}: {{ kind(v, depth + 1) }}{% if not loop.last %}, {% endif %}{% endfor -%} }
    {%- else -%}{{ p.type|default('any')|upper }}@{{ depth }}{%- endif -%}
{%- endmacro -%}
{{- bos_token }}{{ strftime_now('%d %b %Y') }}
{% if tools %}{% for t in tools %}{{ t.function.name }}({{ kind(t.function.parameters) }})
{{ t|tojson(indent=2) }}
{% endfor %}{{ tools }}{% endif %}
{%- for m in messages if m.role != 'system' %}
{{ loop.index }}/{{ loop.length }} {{ m.role|capitalize }}: {{ m.content|string|trim }}{{ eos_token if m.role == 'assistant' }}
{%- else %}nobody{% endfor %}""",
    "roles that alternate": """{%- if messages[0]['role'] == 'system' %}{% set system, rest = messages[0]['content'], messages[1:] %}{% else %}{% set system, rest = '', messages %}{% endif -%}
{%- for m in rest %}
    {%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) and m.role not in ['tool'] %}{{ raise_exception('After the optional system message, roles must alternate: ' + m.role) }}{% endif %}
    {%- if m['role'] == 'user' %}{{ '[INST] ' ~ (system|string ~ '\\n\\n' if loop.first and system) ~ m['content'] ~ ' [/INST]' }}
    {%- else %}{{ ' ' ~ m['content'] ~ eos_token }}{% endif %}
{%- endfor %}""",
    "marks": """{% for m in messages %}{% if m.role == 'assistant' %}A:{% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}
{% else %}{{ m.role }}: {{ m.content }}
{% endif %}{% endfor %}""",
    "values": """{% for m in messages %}{% for c in m.tool_calls|default([], true) %}{{ c.function.arguments }} {{ c.function.arguments|tojson }} {{ c.function.arguments.x }} {% for k, v in c.function.arguments|dictsort %}{{ k }}={{ v is mapping }}{{ v is sequence }}{{ v is none }}{{ v is boolean }}{{ v is number }}{% endfor %}{% endfor %}{{ m.get('name', '-') }}{{ m|length }}{{ m.content|length }}{% endfor %}""",
}

cases = json.load(open(fixtures + "/chat-templates/cases.json", encoding="utf8"))
for case in cases:
    global_names = TOKENS
    TOKENS = {k: v for k, v in case["arguments"].items() if k.endswith("_token")}
    line = dict(messages=case["messages"] or [{"role": "user", "content": "x"}])
    for key, own in case["arguments"].items():
        if key in ("tools", "add_generation_prompt"): line[key] = own
        elif not key.endswith("_token"): line.setdefault("chat_template_kwargs", {})[key] = own
    check("case " + case["name"], case["template"], [line])
    TOKENS = global_names
chats = [conversation() for _ in range(50)]
# A last message that goes on.
for chat in chats[:25]:
    going = dict(chat, messages=[m for m in chat["messages"]], add_generation_prompt=False, continue_final_message=True)
    going["messages"].append({"role": "assistant", "content": text() + rng.choice(["x", " y ", "\n"])})
    chats.append(going)
for name, source in OWN.items(): check(name, source, chats)
trl = importlib.util.find_spec("trl")
collection = sorted(glob.glob(os.path.dirname(trl.origin) + "/chat_templates/*.jinja")) if trl else []
for path in collection: check("trl/" + os.path.basename(path), open(path, encoding="utf8", newline="").read(), chats)
if not collection: print("templates: trl is not installed; its collection was not tried")
sys.exit(failed)
