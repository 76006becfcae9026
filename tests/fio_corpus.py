#!/usr/bin/env python3
"""How many of a directory's fio job files run: tests/fio_corpus.py DIRECTORY [PLUGFEST]

Of the files that have verify= (or verify_pattern=) and that fio 3.33 itself takes (`fio --parse-only`), each is
run as `plugfest run hotattach/1 --io-count quick --job FILE`. A file runs unless the program ends with status 2.
Prints what stands in the way of the others, option by option, and the share that runs. Variables of the files
(${NAME}) are taken from the environment. Status 1: less than nine in ten run.
"""

import collections
import os
import re
import subprocess
import sys

ENGINE = re.compile(r"not loadable|Bad option|dropped|failed parsing")


def taken_by_fio(path):
    """Whether fio parses the file; it names what it drops and goes on."""
    run = subprocess.run(["fio", "--parse-only", path], capture_output=True, text=True, timeout=60)
    return run.returncode == 0 and not ENGINE.search(run.stdout + run.stderr)


def main():
    directory, program = sys.argv[1], (sys.argv[2:] or ["plugfest"])[0]
    statuses = collections.Counter()
    obstacles = collections.Counter()
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
        if not re.search(r"^\s*verify(_pattern)?\s*=", text, re.MULTILINE):
            continue
        if not taken_by_fio(path):
            statuses["not fio 3.33's"] += 1
            continue
        command = [program, "run", "hotattach/1", "--io-count", "quick", "--job", path]
        try:
            run = subprocess.run(command, capture_output=True, text=True, timeout=300)
            status = run.returncode
        except subprocess.TimeoutExpired:
            status = "no end"
        statuses[status] += 1
        if status not in (0, 3):
            print(f"{status} {name}")
        if status == 1:
            print("".join(f"    {line}\n" for line in run.stdout.splitlines() if "seen:" in line), end="")
        if status == 2:
            for line in run.stderr.splitlines():
                print(f"    {line}")
                found = re.search(r'"([^"=]+)(=[^"]*)?"', line)
                obstacles[found[1] if found else line] += 1
    for option, count in obstacles.most_common():
        print(f"{count:4} {option}")
    run_at_all = sum(count for status, count in statuses.items() if status in (0, 1, 3))
    taken = sum(statuses.values()) - statuses["not fio 3.33's"]
    print(dict(statuses))
    print(f"{run_at_all} of {taken} run")
    return 0 if taken and run_at_all * 10 >= taken * 9 else 1


if __name__ == "__main__":
    sys.exit(main())
