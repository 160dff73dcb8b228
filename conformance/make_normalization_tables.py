#!/usr/bin/env python3
"""Makes Sources/Tokenizer/NormalizationTables.swift and fixtures/normalization.txt of the Unicode Character Database.

    conformance/make_normalization_tables.py /usr/share/unicode      # Debian: apt-get install unicode-data
"""
import bz2, collections, os, re, sys

root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
data = sys.argv[1] if len(sys.argv) > 1 else "/usr/share/unicode"


def lines(name):
    path = os.path.join(data, name)
    with (open(path, encoding="utf8") if os.path.exists(path) else bz2.open(path + ".bz2", "rt", encoding="utf8")) as file:
        yield from file


def wrapped(words, width=112):
    rows, row = [], ""
    for word in words:
        if row and len(row) + 1 + len(word) > width: rows.append(row); row = ""
        row += (" " if row else "") + word
    return "\n".join("        " + row for row in rows + [row])


def tables():
    version = re.search(r"-(\d+\.\d+\.\d+)\.txt", next(lines("NormalizationTest.txt"))).group(1)
    classes, canonical, compatible = collections.defaultdict(list), [], []
    for line in lines("UnicodeData.txt"):
        field = line.rstrip("\n").split(";")
        if field[3] != "0": classes[int(field[3])].append(int(field[0], 16))
        if not field[5]: continue
        parts = ",".join(part.lstrip("0") for part in field[5].split() if not part.startswith("<"))
        (compatible if field[5].startswith("<") else canonical).append(f"{field[0].lstrip('0')}={parts}")
    excluded = []
    for line in lines("DerivedNormalizationProps.txt"):
        match = re.match(r"([0-9A-F]+)(?:\.\.([0-9A-F]+))?\s*; Full_Composition_Exclusion", line)
        if match: excluded += [f"{code:X}" for code in range(int(match[1], 16), int(match[2] or match[1], 16) + 1)]
    return version, [f"{number}:{ranges(codes)}" for number, codes in sorted(classes.items())], canonical, compatible, excluded


def ranges(codes):
    runs = []
    for code in sorted(codes):
        if runs and runs[-1][1] == code - 1: runs[-1][1] = code
        else: runs.append([code, code])
    return ",".join(f"{a:X}" if a == b else f"{a:X}-{b:X}" for a, b in runs)


def literal(name, comment, words):
    # A class may have many ranges: a word that is too long for a line is cut behind a comma and repeats its class.
    return f'    /// {comment}\n    static let {name} = """\n{wrapped(words)}\n        """\n'


def split_long(words, width=106):
    for word in words:
        head, ranges = word.split(":")
        piece = []
        for item in ranges.split(","):
            if piece and len(head) + 1 + len(",".join(piece + [item])) > width:
                yield f"{head}:{','.join(piece)}"
                piece = []
            piece.append(item)
        yield f"{head}:{','.join(piece)}"


def main():
    version, classes, canonical, compatible, excluded = tables()
    text = f'''// Made by conformance/make_normalization_tables.py of the Unicode Character Database {version}; don't edit.

extension NormalizationTables {{
    static let version = "{version}"

{literal("combiningClasses", "Canonical combining classes that are not 0: CLASS:FIRST-LAST,…", split_long(classes))}
{literal("canonicalMappings", "Canonical decompositions, one step: CODE=PART,…", canonical)}
{literal("compatibilityMappings", "Compatibility decompositions, one step: CODE=PART,…", compatible)}
{literal("compositionExclusions", "Composites that are never composed.", excluded)}}}
'''
    with open(root + "/Sources/Tokenizer/NormalizationTables.swift", "w", encoding="utf8") as file: file.write(text)
    # The test file's lines, each column only where it differs from what it mostly equals; Hangul syllables follow from arithmetic.
    with open(root + "/fixtures/normalization.txt", "w", encoding="utf8") as file:
        for line in lines("NormalizationTest.txt"):
            line = line.split("#")[0].strip()
            if not line or line.startswith("@"): continue
            source, nfc, nfd, nfkc, nfkd = line.split(";")[:5]
            if re.fullmatch("[0-9A-F]{4}", source) and 0xac00 <= int(source, 16) <= 0xd7a3: continue
            file.write(";".join([source, "" if nfc == source else nfc, "" if nfd == nfc else nfd, "" if nfkc == nfc else nfkc,
                                 "" if nfkd == nfd else nfkd]).rstrip(";") + "\n")


if __name__ == "__main__": main()
