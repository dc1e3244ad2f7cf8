#!/usr/bin/env python3
"""Runs scenarios between kernel DRBD 8.4 in a virtual machine and repld on this host, and prints a table of them.

    run.py [--kernel stable|backports|both] [--direction kernel|repl] [--seed N] [--table FILE] [--keep DIR]
           [--control] [SCENARIO ... | all | quick | list]

A scenario is named, or a part of its name. `--control` puts a second kernel in the place of repld: what fails then is the
test's own fault. Called by scripts/interop.sh, which installs and builds what is needed first.
"""

import argparse
import importlib
import os
import pkgutil
import shutil
import signal
import sys
import tempfile
import time
import traceback

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, here)

import scenarios  # noqa: E402
from lab.faulty_disk import FaultyDisk  # noqa: E402
from lab.kernel_node import KernelNode  # noqa: E402
from lab.machine import Machine  # noqa: E402
from lab.network import Network  # noqa: E402
from lab.pair import Pair  # noqa: E402
from lab.repl_node import ReplNode  # noqa: E402
from lab.table import Result, write_table  # noqa: E402

CACHE = os.environ.get("REPL_INTEROP_CACHE") or os.path.join(
    os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache"), "repl-interop")


def say(text):
    print(f"[{time.strftime('%T')}] {text}", flush=True)


class Bench:
    """The machines and the network of one run, reused from scenario to scenario while they fit."""

    def __init__(self, options):
        self.options = options
        self.work = tempfile.mkdtemp(prefix="ri-")
        self.network = Network(f"ri-{os.getpid()}")
        self.machines = {}

    def noise(self, flavour):
        with open(os.path.join(CACHE, flavour, "share", "noise"), "rb") as file:
            return file.read()

    def disks(self, owner, sizes):
        paths = []
        for number, size in enumerate(sizes):
            path = os.path.join(self.work, f"{owner}-{number}.img")
            with open(path, "ab") as file:
                file.truncate(size)
            paths.append(path)
        return paths

    def machine(self, name, flavour, address, sizes, faulty=False):
        machine = self.machines.get(name)
        if machine and (machine.flavour != flavour or bool(machine.faulty) != faulty
                        or [os.path.getsize(path) for path in machine.disks] != sizes):
            machine.kill()
            machine = None
        if machine is None:
            disks = self.disks(name, sizes)
            machine = Machine(name, flavour, CACHE, os.path.join(self.work, "vm"), self.network, address, disks,
                              faulty=[FaultyDisk(disk) for disk in disks] if faulty else None)
            self.machines[name] = machine
        return machine

    def pair(self, scenario, direction, flavour, seed):
        kernel = KernelNode(self.machine("alpha", flavour, "10.77.0.1", scenario.kernel_sizes, scenario.faulty))
        noise = self.noise(flavour)
        if self.options.control:
            repl = KernelNode(self.machine("beta", flavour, "10.77.0.2", scenario.repl_sizes, scenario.faulty))
        else:
            repl = ReplNode(os.environ["REPL_PROGRAMS"], os.path.join(self.work, "beta"), self.network,
                            self.disks("beta", scenario.repl_sizes), noise, scenario.meta_format,
                            scenario.faulty)
        return Pair(kernel, repl, self.network, noise, direction, seed, say)

    def run(self, scenario, direction, flavour):
        seed = self.options.seed
        begun, trouble, pair = time.monotonic(), None, None
        note = ""
        try:
            pair = self.pair(scenario, direction, flavour, seed)
            note = scenario.function(pair) or ""
            pair.check_logs()
        except KeyboardInterrupt:
            raise
        except Exception as error:
            trouble = f"{type(error).__name__}: {error}"
            say(f"FAILED {scenario.name} ({direction}): {trouble}")
            if not isinstance(error, AssertionError) and self.options.verbose:
                traceback.print_exc()
            self.keep(scenario, direction, flavour, pair, traceback.format_exc())
        finally:
            if pair:
                pair.end_proxy()
                for node in pair.nodes:
                    try:
                        node.end()
                    except Exception as error:
                        say(f"{node.name} does not end: {error}")
        release = self.machines["alpha"].release if "alpha" in self.machines else flavour
        return Result(scenario.name, scenario.title, direction, release, trouble, note, time.monotonic() - begun)

    def keep(self, scenario, direction, flavour, pair, trace):
        """What one needs to understand a failure."""
        directory = os.path.join(self.options.keep or os.path.join(CACHE, "failures"),
                                 f"{scenario.name}-{direction}-{flavour}")
        shutil.rmtree(directory, ignore_errors=True)
        os.makedirs(directory)

        def put(name, text):
            with open(os.path.join(directory, name), "w") as file:
                file.write(text)
        put("trace.txt", trace)
        for node in pair.nodes if pair else ():
            try:
                put(f"{node.name}.conf", node.config or "")
                put(f"{node.name}.log", node.log())
                put(f"{node.name}.state", "".join(f"{v}: {s}\n" for v, s in node.states().items()))
            except Exception as error:
                put(f"{node.name}.lost", str(error))
        machine = self.machines.get("alpha")
        if machine:
            put("alpha.console", machine.read("console.log"))
            if "did not end within" in trace:
                put("alpha.diagnosis", machine.diagnosis())
        say(f"kept {directory}")

    def end(self):
        for machine in self.machines.values():
            machine.kill()
        self.network.remove()
        shutil.rmtree(self.work, ignore_errors=True)


def chosen(options):
    for module in sorted(info.name for info in pkgutil.iter_modules(scenarios.__path__)):
        importlib.import_module(f"scenarios.{module}")
    everything = sorted(scenarios.registered, key=lambda s: s.order)
    wanted = []
    for word in options.scenario or ["quick"]:
        if word == "list":
            for scenario in everything:
                print(f"{scenario.name:28} {'quick ' if scenario.quick else '      '}{scenario.title}")
            sys.exit(0)
        found = [s for s in everything if word == "all" or (word == "quick" and s.quick) or s.name == word]
        found = found or [s for s in everything if word in s.name]
        if not found:
            sys.exit(f"run.py: no scenario is called {word}: run.py list names them")
        wanted += [s for s in found if s not in wanted]
    return wanted


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel", default="stable", choices=["stable", "backports", "both"])
    parser.add_argument("--direction", choices=["kernel", "repl"])
    parser.add_argument("--seed", type=int, default=int(time.time()) % 1000000)
    parser.add_argument("--table", help="merge the results into this file")
    parser.add_argument("--keep", help="where the files of a failure go")
    parser.add_argument("--control", action="store_true")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--tries", type=int, default=1, choices=[1, 2], help="2: what fails once is played again, and said so")
    parser.add_argument("scenario", nargs="*")
    options = parser.parse_args()
    wanted = chosen(options)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    flavours = ["stable", "backports"] if options.kernel == "both" else [options.kernel]
    results, bench = [], Bench(options)
    say(f"seed {options.seed}")
    try:
        for flavour in flavours:
            for scenario in wanted:
                for direction in scenario.directions:
                    if options.direction in (None, direction):
                        result = bench.run(scenario, direction, flavour)
                        if result.trouble and options.tries > 1:
                            say(result.line())
                            first, result = result, bench.run(scenario, direction, flavour)
                            result.note = f"second try; the first: {first.trouble}".replace("\n", " ")[:200]
                        results.append(result)
                        say(result.line())
                        if options.table and not options.control:
                            write_table(options.table, [result])
    finally:
        bench.end()
    print()
    for result in results:
        print(result.line())
    failed = [result for result in results if result.trouble]
    print(f"\n{len(results) - len(failed)} passed, {len(failed)} failed (seed {options.seed})")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
