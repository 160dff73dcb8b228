#!/usr/bin/env python3
"""Man pages of the commands, from what argument-parser says of them (--experimental-dump-help).

    tools/make_man.py BIN_FOLDER MAN_FOLDER       # writes crux.1, crux-ingest.1, …
"""
import json
import pathlib
import subprocess
import sys

COMMANDS = ["ingest", "score", "plan", "update", "rollout", "loop", "report", "runs", "slurm"]
# Words in front of a command's arguments that make another one of it.
BESIDE = {"plan": ["export"], "update": ["apply-delta"]}
EXITS = """0 done, also when nothing was left to do; 1 some shards failed, the rest are complete; 2 usage; 3 invalid input;
4 output or I/O; 5 the directory was made with another configuration; 6 nothing to learn from; 75 interrupted, or somebody
else is at work in the directory: run again."""


def escaped(text):
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text[:1] in ".'" else text


def spelled(argument):
    if argument["kind"] == "positional": return f"<{argument['valueName']}>"
    names = [("--" if name["kind"] == "long" else "-") + name["name"] for name in argument["names"]]
    return ", ".join(names) + (f" <{argument['valueName']}>" if argument["kind"] == "option" else "")


def synopsis(name, arguments):
    needed = [spelled(a) for a in arguments if not a["isOptional"]]
    return [f".B {name}", escaped(" ".join(needed + ["[OPTIONS]"]))]


def options(arguments):
    lines = []
    for argument in arguments:
        if not argument.get("shouldDisplay", True): continue
        values, default = argument.get("allValues"), argument.get("defaultValue")
        notes = (f" Values: {', '.join(values)}." if values else "") + (f" Default: {default}." if default else "")
        lines += [".TP", f".B {escaped(spelled(argument))}", escaped(argument.get("abstract", "") + notes)]
    return lines


def page(name, command, version):
    """Of a command with its options, or of one with commands of its own, theirs."""
    own, commands = command.get("arguments", []), [one for one in command.get("subcommands", []) if one["commandName"] != "help"]
    lines = [f'.TH {name.upper()} 1 "" "Crux {version}"', ".SH NAME", f"{name} \\- {escaped(command['abstract'])}", ".SH SYNOPSIS"]
    for one in commands: lines += synopsis(f"{name} {one['commandName']}", one.get("arguments", [])) + [".br"]
    lines += (synopsis(name, own) if not commands else []) + [".SH OPTIONS"] + options(own)
    for one in commands: lines += [f".SH {one['commandName'].upper()}", escaped(one["abstract"])] + options(one.get("arguments", []))
    return lines + [".SH EXIT STATUS", escaped(EXITS), ".SH SEE ALSO", "crux(1), and docs/ beside this page's installation"]


def main():
    folder, target = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    target.mkdir(parents=True, exist_ok=True)

    def said(name, *arguments):
        return subprocess.run([folder / name, *arguments], check=True, capture_output=True, text=True).stdout

    version = said("crux-plan", "--version").strip()
    about = []
    for command in COMMANDS:
        name = f"crux-{command}"
        described = json.loads(said(name, "--experimental-dump-help"))["command"]
        (target / f"{name}.1").write_text("\n".join(page(name, described, version)) + "\n")
        about += [".TP", f".B {command}", escaped(described["abstract"])]
        for word in BESIDE.get(command, []):
            other = json.loads(said(name, word, "--experimental-dump-help"))["command"]
            (target / f"{name}-{word}.1").write_text("\n".join(page(f"{name} {word}", other, version)) + "\n")
            about += [".TP", f".B {command} {word}", escaped(other["abstract"])]
    (target / "crux.1").write_text("\n".join(
        [f'.TH CRUX 1 "" "Crux {version}"', ".SH NAME", "crux \\- offline reinforcement learning on language models", ".SH SYNOPSIS",
         ".B crux", "COMMAND \\&...", ".SH COMMANDS", "Each is the same as crux\\-COMMAND, which has a page of its own."] + about) + "\n")


if __name__ == "__main__":
    main()
