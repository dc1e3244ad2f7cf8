#!/usr/bin/env python3
"""Plants the faults of mutants.txt, one at a time, and reports which ring of tests catches each, and how fast.

All faults go into one copy of the tree, each behind a switch that the environment variable REPL_MUTANT turns on, so that
the copy is built once. The tree itself is not touched. Called by scripts/mutants.sh, which explains the options."""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIST = Path(__file__).with_name("mutants.txt")
SWITCH = """// Which fault is planted: the number in REPL_MUTANT. This file exists only in the copy that the mutants are built from.
import Glibc

public enum Mutation {
  public static let number: Int = getenv("REPL_MUTANT").flatMap { Int(String(cString: $0)) } ?? 0
  @inline(__always) public static func isOn(_ one: Int) -> Bool { number == one }
}
"""
# What a ring of unit tests runs. drbdmeta's random lives take minutes and say nothing about a single fault.
UNIT_RINGS = {
    "engine": ["--filter", "EngineTests|MetaDiskTests", "--skip", "drbdmetaAgreesOnALife"],
    "disk": ["--filter", "BlockIOTests|DiskTableTests|ReplicationTests|GrowTests"],
}


@dataclass
class Mutant:
    name: str
    kind: str = ""
    rings: list = field(default_factory=list)
    file: str = ""
    what: str = ""
    before: str = ""
    after: str = ""
    number: int = 0


def read_list():
    mutants = []
    for block in re.split(r"(?m)^== ", LIST.read_text())[1:]:
        head, rest = block.split("\n---\n", 1)
        before, after = rest.split("\n+++\n", 1)
        lines = head.split("\n")
        one = Mutant(lines[0].strip())
        for line in lines[1:]:
            key, value = line.split(":", 1)
            setattr(one, key.strip(), value.strip())
        one.rings = one.rings.split()
        one.before, one.after = before, after.rstrip("\n")
        one.number = len(mutants) + 1
        if one.kind not in ("data", "mark", "other") or "MUTANT" not in one.after:
            sys.exit(f"{LIST.name}: {one.name}: kind is data, mark or other, and the new lines name MUTANT")
        mutants.append(one)
    return mutants


def planted(mutants):
    """The texts of the sources with every fault in them. A text that is not there exactly once ends the run: the source has moved."""
    texts, wrong = {}, []
    for one in mutants:
        text = texts.get(one.file) or (ROOT / one.file).read_text()
        count = text.count(one.before)
        if count != 1:
            wrong.append(f"{one.name}: the lines behind --- stand {count} times in {one.file}")
        texts[one.file] = text.replace(one.before, one.after.replace("MUTANT", f"Mutation.isOn({one.number})"))
    if wrong:
        sys.exit("mend these in " + str(LIST.relative_to(ROOT)) + ":\n" + "\n".join(wrong))
    texts["Sources/Base/Mutation.swift"] = SWITCH
    return texts


def copy_tree(tree):
    """The files git knows, those that changed only, so that a second run builds little."""
    names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True)
    wanted = set()
    for name in names.stdout.splitlines():
        source, target = ROOT / name, tree / name
        if not source.is_file():
            continue
        wanted.add(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        shutil.copymode(source, target)
    for folder in ("Sources", "Tests"):
        for path in (tree / folder).rglob("*"):
            if path.is_file() and str(path.relative_to(tree)) not in wanted and path.name != "Mutation.swift":
                path.unlink()


def keep_times(tree, stamps):
    """A file whose contents are as before gets its old time back, so that the build does not see a change."""
    for path, (time_ns, contents) in stamps.items():
        if path.is_file() and path.read_bytes() == contents:
            os.utime(path, ns=(time_ns, time_ns))


def build(tree, wants_units, wants_lives):
    def run(*words):
        done = subprocess.run(words, cwd=tree, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(words)} failed:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")

    if wants_lives:
        run("swift", "build", "-c", "release", "--static-swift-stdlib", "--product", "replsim")
    if wants_units:
        run("swift", "build", "--build-tests")


# Lives of these eras run side by side: what one of them rarely draws is common in the other.
ERAS = ["second", "third"]


def live(number, tree, limit, caught, *words):
    """(status, law, seed) of lives with this fault; no seed: the run as a whole. `caught`: another era was faster."""
    environment = dict(os.environ, REPL_MUTANT=str(number))
    words = [str(tree / ".build/release/replsim"), *words]
    begun = time.monotonic()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(words, cwd=tree, env=environment, stdout=output, stderr=subprocess.STDOUT)
        while process.poll() is None:
            is_late = time.monotonic() - begun > limit
            if is_late or caught.is_set():
                process.kill()
                process.wait()
                return (1, "no end within the time limit", None) if is_late else (0, "", None)
            try:
                process.wait(timeout=0.05)
            except subprocess.TimeoutExpired:
                continue
        output.seek(0)
        text = output.read().decode(errors="replace")
    found = re.search(r"LAW BROKEN: (.*?)(?: \(seed (\d+), at .*)?$", text, re.M)
    if not found:
        found = re.search(r"(the process stopped in seed (\d+))", text)
    if not found:
        return process.returncode, f"exit {process.returncode}", None
    return process.returncode, found.group(1)[:160], found.group(2)


def run_era(era, number, tree, seconds, seed, ignored, caught, laws):
    """Appends the law of the first life that breaks one with this fault and none without it."""
    begun = time.monotonic()
    number_of_era = str(ERAS.index(era) + 2)
    while (left := seconds - (time.monotonic() - begun)) > 0 and not caught.is_set():
        status, law, failed = live(
            number, tree, left * 4 + 60, caught, "--era", number_of_era, "--seconds", f"{left:.1f}", "--first-seed", str(seed)
        )
        if status == 0:
            return
        never = threading.Event()
        is_open = number != 0 and failed and (
            any(text in law for text in ignored) or live(0, tree, 120, never, failed, "--era", number_of_era)[0] != 0
        )
        if not is_open:
            laws.append(f"{era} era: {law}")
            caught.set()
            return
        seed = int(failed) + 1


def run_lives(number, tree, seconds, seed, ignored):
    """(caught, seconds it took, the law that was broken)."""
    begun = time.monotonic()
    caught, laws = threading.Event(), []
    eras = [
        threading.Thread(target=run_era, args=(era, number, tree, seconds, seed, ignored, caught, laws)) for era in ERAS
    ]
    for era in eras:
        era.start()
    for era in eras:
        era.join()
    return bool(laws), time.monotonic() - begun, laws[0] if laws else ""


def run_ring(ring, number, tree, seconds, seed, ignored):
    """(caught, seconds it took, what was seen)."""
    if ring == "lives":
        return run_lives(number, tree, seconds, seed, ignored)
    environment = dict(os.environ, REPL_MUTANT=str(number))
    words = [str(tree / ".build/debug/replPackageTests.xctest"), "--testing-library", "swift-testing", *UNIT_RINGS[ring]]
    limit = 600
    begun = time.monotonic()
    try:
        done = subprocess.run(words, cwd=tree, env=environment, capture_output=True, text=True, errors="replace", timeout=limit)
        status, text = done.returncode, done.stdout + done.stderr
    except subprocess.TimeoutExpired as late:
        status, text = 1, (late.stdout or b"").decode(errors="replace") + "\nno end within the time limit"
    took = time.monotonic() - begun
    if status == 0:
        return False, took, ""
    names = re.findall(r"(?m)^✘ Test (\S+?)\(.*failed after", text)
    return True, took, ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") or f"ended by {status}"


def judge(one, results):
    if not results:
        return "not asked"
    if one.kind in ("data", "mark") and "lives" in one.rings and "lives" in results and not results["lives"][0]:
        return "ESCAPES the lives"
    return "caught" if any(caught for caught, _, _ in results.values()) else "ESCAPES"


def row(one, results):
    def cell(ring):
        if ring not in results:
            return "not asked"
        caught, took, seen = results[ring]
        return f"{took:.0f} s: {seen}".replace("|", "/") if caught else "-"

    unit = "engine" if "engine" in one.rings else "disk"
    return f"| {one.name} | {one.what} | {cell(unit)} | {cell('lives')} | {judge(one, results)} |"


HEAD = ["| fault | what is wrong | unit tests that fail | law that lives see broken | verdict |", "|---|---|---|---|---|"]


def write_table(path, rows):
    """Rows replace those of the same name between the marks."""
    begin, end = "<!-- mutants -->", "<!-- end of mutants -->"
    text = path.read_text()
    if begin not in text or end not in text:
        sys.exit(f"{path}: the marks {begin} and {end} are missing")
    before, rest = text.split(begin, 1)
    old, behind = rest.split(end, 1)
    table = {line.split("|")[1].strip(): line for line in old.splitlines()[2:] if line.startswith("| ")}
    table = {name: line for name, line in table.items() if name != "fault"}
    table.update(rows)
    order = [one.name for one in read_list()]
    lines = [table[name] for name in order if name in table]
    path.write_text(before + begin + "\n" + "\n".join(HEAD + lines) + "\n" + end + behind)


def main():
    parser = argparse.ArgumentParser(prog="scripts/mutants.sh")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--first-seed", type=int, default=500000)
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 1) // 2))
    parser.add_argument("--rings", default="engine,disk,lives")
    parser.add_argument("--ignore", action="append", default=[])
    parser.add_argument("--tree")
    parser.add_argument("--table", type=Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    mutants = read_list()
    unknown = set(options.names) - {one.name for one in mutants} - {"list"}
    if unknown:
        sys.exit(f"no such fault: {', '.join(sorted(unknown))}; 'list' prints the names")
    if options.names == ["list"]:
        print("\n".join(f"{one.name}: {one.what}" for one in mutants))
        return 0
    texts = planted(mutants)
    if options.check:
        print(f"{len(mutants)} faults have their place")
        return 0
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    tree = Path(options.tree) if options.tree else cache / "repl-mutants"
    stamps = {}
    if (tree / "Sources").is_dir():
        for path in (tree / "Sources").rglob("*.swift"):
            stamps[path] = (path.stat().st_mtime_ns, path.read_bytes())
        for path in (tree / "Tests").rglob("*.swift"):
            stamps[path] = (path.stat().st_mtime_ns, path.read_bytes())
    tree.mkdir(parents=True, exist_ok=True)
    copy_tree(tree)
    for name, text in texts.items():
        (tree / name).write_text(text)
    keep_times(tree, stamps)
    chosen = [one for one in mutants if not options.names or one.name in options.names]
    rings = [ring for ring in options.rings.split(",") if ring]
    wanted = {ring for one in chosen for ring in one.rings} & set(rings)
    build(tree, wanted & UNIT_RINGS.keys(), "lives" in wanted)
    for ring in sorted(wanted):
        caught, took, seen = run_ring(ring, 0, tree, options.seconds, options.first_seed, options.ignore)
        if caught and ring == "lives":
            print(f"without any fault lives break a law, too: {seen}; a seed that fails so is not counted", flush=True)
            continue
        if caught:
            sys.exit(f"without any fault the ring {ring} fails, too: {seen}")
        print(f"without a fault: {ring} passes in {took:.0f} s", flush=True)
    rows, lock, queue, bad = {}, threading.Lock(), list(chosen), []

    def work():
        while True:
            with lock:
                if not queue:
                    return
                one = queue.pop(0)
            results = {
                ring: run_ring(ring, one.number, tree, options.seconds, options.first_seed, options.ignore)
                for ring in one.rings
                if ring in rings
            }
            with lock:
                rows[one.name] = row(one, results)
                if judge(one, results).startswith("ESCAPES"):
                    bad.append(one.name)
                if results:
                    print(rows[one.name], flush=True)

    threads = [threading.Thread(target=work) for _ in range(options.jobs)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    if options.table:
        write_table(options.table, rows)
    asked = [one for one in chosen if set(one.rings) & set(rings)]
    print(f"{len(asked) - len(bad)} of {len(asked)} faults caught" + (f"; they escape: {', '.join(sorted(bad))}" if bad else ""))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
