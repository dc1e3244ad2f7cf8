"""The scenarios: functions that get a pair of nodes, do something to it, and raise when it does not end as it must.

Most are run twice: `first` is the node that acts (promotes, writes, is the source), `second` the other one. With direction
`kernel` the kernel acts, with `repl` repld does.
"""

MiB = 1 << 20
registered = []


class Scenario:
    def __init__(self, function, name, title, quick, directions, kernel_sizes, repl_sizes, meta_format,
                 faulty):
        self.faulty = faulty  # both disks can be told to fail
        self.function, self.name, self.title, self.quick, self.directions = function, name, title, quick, directions
        self.kernel_sizes, self.repl_sizes, self.meta_format = kernel_sizes, repl_sizes, meta_format
        self.order = len(registered)


def scenario(title, quick=False, directions=("kernel", "repl"), kernel_sizes=(64 * MiB, 16 * MiB),
             repl_sizes=(64 * MiB, 16 * MiB), meta_format="v09", name=None, faulty=False):
    def register(function):
        registered.append(Scenario(function, name or function.__name__.replace("_", "-"), title, quick, directions,
                                   list(kernel_sizes), list(repl_sizes), meta_format, faulty))
        return function
    return register
