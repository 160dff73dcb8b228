#!/usr/bin/env python3
"""Measures a checkout of Crux: how long files and functions are, which files of a room need each other, and how many
files an addition touches. Python 3, standard library only.

    tools/house.py [PATH…]        a Markdown table, one column for each checkout
    tools/house.py --list PATH    also the circles and, for each registry, who names its members

How it counts. Code is Swift under Sources/, without tests; comments and texts are blanked before anything is looked for.
A function runs from the line of its `func`, `init`, `subscript` or `deinit` to the closing brace. File A needs file B of the
same room where it names a type or a free function that is declared at B's top level (extensions declare nothing), and a
circle is a set of files each of which needs every other, directly or through others. An addition to a registry touches the
files of Sources/ in which a member's type is named: its own, the registry, and whoever else knows it. A column (of those
that one table alone has) touches the files of Formats with its name in a text or its property's declaration; a kernel the
files of CKernels with its name. Registries that were renamed stand under their new name.
"""
import collections
import pathlib
import re
import statistics
import sys

TOKENS = re.compile(
    r'//[^\n]*|/\*.*?\*/|(#*)"""(?:.|\n)*?"""\1|#"(?:.|\n)*?"#|"(?:\\\((?:[^()"]|\([^()]*\)|"[^"\n]*")*\)|\\.|[^"\\\n])*"', re.DOTALL)
TOP_LEVEL = re.compile(
    r"^(?:@\w+(?:\([^)]*\))?\s+)*(?:(?:public|package|internal|private|fileprivate|final|indirect|nonisolated)\s+)*"
    r"(?:struct|class|enum|protocol|actor|typealias|func)\s+(\w+)", re.MULTILINE)
FUNCTION = re.compile(r"(?<![\w.`])(?:func\s+[^\s(<]+|init[?!]?\s*[(<]|subscript\s*[(<]|deinit\s*\{)")
REGISTRY = re.compile(r"static let \w+: \[(?:any )?(\w+)(?:\.Type)?\] = \[((?:\s*\w+(?:\.self|\(\)),?)+)\s*\]")
RENAMED = {"TokenSelection": "MaskRule"}


def blanked(text):
    """Comments and texts as spaces; lines stay."""
    return TOKENS.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)


def function_lengths(code):
    for match in FUNCTION.finditer(code):
        depth, index = 0, match.start()
        while index < len(code):      # the body's brace, past parameters and their closures; none in a protocol
            character = code[index]
            if character in "([": depth += 1
            if character in ")]": depth -= 1
            if character == "{" and depth == 0: break
            if character == "}" and depth == 0: index = len(code)
            if character == "\n" and depth == 0 and re.match(
                    r"\s*(?:@|\}|(?:package |public |private |static |mutating |override )*(?:func|var|let|init|case|struct|associatedtype)\b|$)",
                    code[index + 1:index + 120].split("\n")[0]): index = len(code)
            index += 1
        if index >= len(code): continue
        start, depth = match.start(), 0
        while index < len(code):
            depth += (code[index] == "{") - (code[index] == "}")
            if depth == 0: break
            index += 1
        yield code.count("\n", start, index) + 1


def circles(needs):
    """Strongly connected sets of more than one file (Tarjan)."""
    number, low, stack, found = {}, {}, [], []

    def visit(node):
        number[node] = low[node] = len(number)
        stack.append(node)
        for other in needs[node]:
            if other not in number: visit(other)
            if other in stack: low[node] = min(low[node], low[other])
        if low[node] == number[node]:
            members = []
            while not members or members[-1] != node: members.append(stack.pop())
            if len(members) > 1: found.append(sorted(members))

    for node in sorted(needs):
        if node not in number: visit(node)
    return found


def room_circles(files):
    declared = collections.defaultdict(set)
    for path, code in files.items():
        for name in TOP_LEVEL.findall(code): declared[name].add(path)
    needs = {}
    for path, code in files.items():
        words = set(re.findall(r"\w+", code))
        needs[path] = {home for name in words & declared.keys() for home in declared[name] if path not in declared[name]}
    return circles(needs)


def percentile(values, share):
    return sorted(values)[max(0, -(-len(values) * share // 100) - 1)]


def spread(counts):
    return f"{statistics.median_high(counts)}, {max(counts)}" if counts else "–"


def additions(swift, sources, details):
    """Kind → how many files name each member."""
    touched = {}
    words = {path: set(re.findall(r"\w+", code)) for path, code in swift.items()}
    for path, code in swift.items():
        for kind, members in REGISTRY.findall(code):
            names = re.findall(r"(\w+)(?:\.self|\(\))", members)
            if len(names) < 2: continue
            homes = {name: [other for other in words if name in words[other]] for name in names}
            kind = RENAMED.get(kind, kind)
            # Of several lists the longest is the registry, the others choose from it.
            if len(names) <= len(touched.get(kind, [])): continue
            touched[kind] = [len(homes[name]) for name in names]
            details += [f"{kind} {name}: {', '.join(o.name for o in homes[name])}" for name in names if len(homes[name]) > 2]
    texts = {path: path.read_text() for path in swift if {"Formats", "Arrow"} & set(path.parts)}
    listed = [found for text in texts.values()
              for found in re.findall(r'\.(?:utf8|bool|u?int\d+|float\d+|list\w+)\(\s*"(\w+)",\s*\\\.([\w.]+)', text)]
    often = collections.Counter(name for name, _ in listed)
    columns = {name: path.split(".")[-1] for name, path in listed if often[name] == 1}
    touched["a column"] = [
        sum(f'"{name}"' in text or re.search(rf"\bvar {prop}\b", text) is not None for text in texts.values())
        for name, prop in columns.items()]
    c = {path: path.read_text() for path in (sources / "CKernels").rglob("*") if path.suffix in (".c", ".h", ".inc")}
    heads = "".join(text for path, text in c.items() if path.parent.name == "include")
    kernels = set(re.findall(r"^\w[\w ]*\bcrux_(\w+)\(", heads, re.MULTILINE))
    touched["a kernel"] = [sum(re.search(rf"\b(?:crux_)?{k}\b", text) is not None for text in c.values()) for k in kernels]
    return touched


def measure(checkout):
    sources = pathlib.Path(checkout) / "Sources"
    swift = {path: blanked(path.read_text()) for path in sorted(sources.rglob("*.swift"))}
    lines = {path: path.read_text().splitlines() for path in swift}
    lengths = [len(text) for text in lines.values()]
    functions = [length for code in swift.values() for length in function_lengths(code)]
    every = [line for text in lines.values() for line in text]
    rooms = collections.defaultdict(dict)
    for path, code in swift.items(): rooms[path.relative_to(sources).parts[0]][path] = code
    found = {room: room_circles(files) for room, files in rooms.items()}
    details = []
    touched = additions(swift, sources, details)
    for room, sets in sorted(found.items()):
        details += [f"circle in {room}: {', '.join(path.stem for path in files)}" for files in sets]
    rows = {
        "Swift files, lines": f"{len(lengths)}, {sum(lengths):,}",
        "a file's lines: median, 90 %, most": f"{statistics.median_high(lengths)}, {percentile(lengths, 90)}, {max(lengths)}",
        "a function's lines: median, 90 %, most":
            f"{statistics.median_high(functions)}, {percentile(functions, 90)}, {max(functions)} ({len(functions):,} functions)",
        "lines over 120 columns": f"{100 * sum(len(line) > 120 for line in every) / len(every):.1f} %",
        "circles of files, and files in them": f"{sum(map(len, found.values()))}, {sum(len(s) for sets in found.values() for s in sets)}",
        "largest circle": max(((len(s), room) for room, sets in found.items() for s in sets), default=(0, "none")),
    }
    rows["largest circle"] = "{} files, {}".format(*rows["largest circle"]) if rows["largest circle"][0] else "none"
    for kind, counts in sorted(touched.items(), key=lambda item: (item[0][0].islower(), item[0])):
        subject = kind if kind[0].islower() else "one more " + kind
        rows[f"files that {subject} touches: median, most"] = spread(counts)
    for room, files in sorted(rooms.items()):
        rows[f"room {room}: files, circles"] = f"{len(files)}, {len(found[room])}"
    return rows, details


def main():
    arguments = [word for word in sys.argv[1:] if word != "--list"]
    measured = [measure(path) for path in arguments or ["."]]
    names = list(dict.fromkeys(name for rows, _ in measured for name in rows))
    rooms = [name for name in names if name.startswith("room ")]
    print("| | " + " | ".join(arguments or ["."]) + " |\n|---|" + "---|" * len(measured))
    for name in [name for name in names if name not in rooms] + sorted(rooms):
        print(f"| {name} | " + " | ".join(str(rows.get(name, "–")) for rows, _ in measured) + " |")
    if "--list" in sys.argv:
        for _, details in measured: print("\n" + "\n".join(details))


if __name__ == "__main__":
    main()
