"""A table of what each rank of some updates has held, from their summaries; each must be below the one before, and what was
foreseen must hold but for a twentieth, by which code and libraries are estimated.

    mpi_memory.py SUMMARY…                          # one line of JSON each, in the order of ranks"""
import json
import sys

GIB = 1 << 30


def main():
    print("| ranks | foreseen of each | peak of each | all together |\n|---|---|---|---|")
    before = None
    for path in sys.argv[1:]:
        memory = json.load(open(path))["memory"]
        peaks = memory.get("peak_bytes_of_ranks", [memory["peak_bytes"]])
        print(f"| {len(peaks)} | {memory['foreseen_bytes'] / GIB:.2f} GiB | "
              f"{', '.join(f'{peak / GIB:.2f}' for peak in peaks)} GiB | {sum(peaks) / GIB:.2f} GiB |")
        if before is not None and max(peaks) >= before:
            raise SystemExit(f"{len(peaks)} ranks: {max(peaks)} bytes, not below {before}")
        if max(peaks) > 1.05 * memory["foreseen_bytes"]:
            raise SystemExit(f"{len(peaks)} ranks: {max(peaks)} bytes, above what was foreseen")
        before = max(peaks)


if __name__ == "__main__":
    main()
