#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""coverage.py [--prune] SRCDIR LIST BUILDDIR... - judge what the tests have run of SRCDIR/src.

The BUILDDIRs were built with gcc's --coverage, without optimisation and asserts, and hold the counters
that the tests left; counts of the same line in several builds and objects add up.  LIST names every
branch that no test takes, with its reason.  Prints lines and branches of each file; then branches not
taken and not listed, and listed ones that are taken or gone.  Exit status 1 if there are such, or if
too little is run.

LIST is made of paragraphs of text, each a reason, with indented entries below that it is the reason of:
    FILE FUNCTION I,J/N: LINE   branches that are not taken, as gcov counts them from 1, of N on the line
    FILE FUNCTION: never        the function is not called
LINE is the text of the source line, preceded by lines above it where the function has it twice.  Entries
whose reason begins with "By chance" may be taken.  --prune takes out of LIST what is taken or gone.
"""
import collections, json, os, re, subprocess, sys

LINES, BRANCHES = 95, 90    # percent
ENTRY = re.compile(r"(\S+ \S+) ([0-9,]+)/([0-9]+): (.*)|(\S+ \S+): never")

def read_counters(src, builddir, counts, functions):
    """Add to counts[file, function, line] = [of the line, of each branch], functions[file, function]."""
    notes = [os.path.join(where, name) for where, _, names in os.walk(os.path.join(builddir, "src"))
             for name in names if name.endswith(".gcno")]
    if not notes:
        sys.exit("coverage: %s was not built with --enable-coverage" % builddir)
    for note in notes:
        out = subprocess.run(["gcov", "--branch-probabilities", "--json-format", "--stdout", note],
                             check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        for file in json.loads(out)["files"]:
            name = os.path.relpath(os.path.realpath(os.path.join(builddir, file["file"])), src)
            if name.startswith(".."):
                continue    # of the system
            for f in file["functions"]:
                functions[name, f["name"]] += f["execution_count"]
            for line in file["lines"]:
                got = [line["count"]] + [b["count"] for b in line["branches"]]
                old = counts.setdefault((name, line["function_name"], line["line_number"]), got)
                if old is not got:
                    old[:] = [a + b for a, b in zip(old, got)]

def label(lines, number, others):
    """The text of line number, with as many lines above as tell it from the others."""
    def text(n, above):
        return " ".join(" ".join(lines[max(n - 1 - above, 0):n]).split())
    above = 0
    while above < 8 and any(n != number and text(n, above) == text(number, above) for n in others):
        above += 1
    return text(number, above)

def find_places(src, counts, functions):
    """{(file and function, number of branches, label): (line, branches not taken)}, in order of lines;
    number and label are 0 and "" for a function that is never called."""
    branching = collections.defaultdict(list)
    for (file, function, number), got in counts.items():
        if len(got) > 1:
            branching[file, function].append(number)
    places = {}
    lines = {}
    for (file, function, number), got in sorted(counts.items(), key=lambda c: (c[0][0], c[0][2])):
        where = file + " " + function
        if functions[file, function] == 0:
            places.setdefault((where, 0, ""), (number, {0}))
        elif len(got) > 1:
            if file not in lines:
                with open(os.path.join(src, file)) as f:
                    lines[file] = f.read().split("\n")
            text = label(lines[file], number, branching[file, function])
            places[where, len(got) - 1, text] = number, {i for i, n in enumerate(got) if n == 0} - {0}
    return places

def parse(line):
    m = ENTRY.fullmatch(line.strip())
    if not m:
        sys.exit("coverage: no entry: " + line.strip())
    return ((m[5], 0, ""), {0}) if m[5] else \
        ((m[1], int(m[3]), m[4]), {int(i) for i in m[2].split(",")})

def read_list(path):
    """{as above: (reason, branches)}"""
    listed = {}
    reason, in_entries = "", True
    with open(path) as f:
        for line in f:
            if line.startswith("#") or not line.strip():
                continue
            if not line[0].isspace():
                reason = line.strip() if in_entries else reason + " " + line.strip()
                in_entries = False
                continue
            in_entries = True
            key, branches = parse(line)
            if key in listed:
                sys.exit("coverage: listed twice: " + line.strip())
            listed[key] = reason, branches
    return listed

def prune(path, places):
    with open(path) as f:
        lines = f.readlines()
    with open(path, "w") as f:
        for line in lines:
            if line[0].isspace() and line.strip():
                key, branches = parse(line)
                branches &= places.get(key, (0, set()))[1]
                line = "    " + entry(key, branches) + "\n" if branches else ""
            f.write(line)

def entry(key, branches):
    where, count, text = key
    return "%s %s/%d: %s" % (where, ",".join(map(str, sorted(branches))), count, text) if count \
        else where + ": never"

def percent(part, whole):
    return 100.0 * part / whole if whole else 100.0

def print_table(counts):
    """Return the totals: lines run, lines, branches taken, branches."""
    rows = collections.defaultdict(lambda: [0, 0, 0, 0])
    for (file, _, _), got in counts.items():
        for row in rows[file], rows["total"]:
            row[0] += got[0] > 0
            row[1] += 1
            row[2] += sum(n > 0 for n in got[1:])
            row[3] += len(got) - 1
    total = rows.pop("total")
    for file, row in sorted(rows.items()) + [("all of src/", total)]:
        print("%-16s lines %5d of %5d %5.1f %%   branches %5d of %5d %5.1f %%" % (
            file, row[0], row[1], percent(*row[:2]), row[2], row[3], percent(*row[2:])))
    return total

def main(with_prune, srcdir, list_path, *builddirs):
    src = os.path.realpath(os.path.join(srcdir, "src"))
    counts, functions = {}, collections.Counter()
    for builddir in builddirs:
        read_counters(src, os.path.realpath(builddir), counts, functions)
    total = print_table(counts)
    places = find_places(src, counts, functions)
    if with_prune:
        prune(list_path, places)
    listed = read_list(list_path)
    reasons = collections.Counter()
    bad = []
    for key, (line, missing) in places.items():
        reason, known = listed.get(key, ("", set()))
        reasons[reason] += len(missing & known)
        if missing - known:
            bad.append("line %d: no test, and not listed:\n    %s" % (line, entry(key, missing - known)))
    for key, (reason, known) in listed.items():
        line, missing = places.get(key, (0, set()))
        if line == 0:
            bad.append("listed, but gone:\n    " + entry(key, known))
        elif known - missing and not reason.startswith("By chance"):
            bad.append("line %d: listed, but taken:\n    %s" % (line, entry(key, known - missing)))
    if percent(*total[:2]) < LINES or percent(*total[2:]) < BRANCHES:
        bad.append("less than %d %% of lines or %d %% of branches" % (LINES, BRANCHES))
    print("\n%d branches (or functions) that no test takes have these reasons:" % sum(reasons.values()))
    for reason, count in reasons.most_common():
        if count > 0:
            print("%5d  %s" % (count, reason))
    for text in bad:
        print("coverage: " + text)
    return len(bad) > 0

if __name__ == "__main__":
    args = sys.argv[1:]
    with_prune = args[:1] == ["--prune"]
    sys.exit(main(with_prune, *args[with_prune:]))
