"""The results of scenarios, as lines and as the table of docs/interop.md, where a later run replaces its own rows."""

import os
import re
from dataclasses import dataclass

BEGIN, END = "<!-- results -->", "<!-- end of results -->"


@dataclass
class Result:
    name: str
    title: str
    direction: str
    release: str
    trouble: str
    note: str
    seconds: float

    @property
    def word(self):
        return "FAILED" if self.trouble else "ok"

    def line(self):
        what = (self.trouble or self.note or "").split("\n")[0][:150]
        return f"{self.word:6} {self.name:28} {self.direction:6} {self.release:18} {self.seconds:6.1f} s  {what}"

    def row(self):
        note = re.sub(r"\s+", " ", (self.trouble or self.note or "")).replace("|", "\\|")[:160]
        return (f"| {self.name} | {self.title} | {self.direction} | {self.release} | {self.word} | "
                f"{self.seconds:.0f} s | {note} |")


def write_table(path, results):
    with open(path) as file:
        text = file.read()
    head, rest = text.split(BEGIN, 1)
    old, tail = rest.split(END, 1)
    rows = {}
    for row in re.findall(r"^\| .* \|$", old, re.M):
        cells = [cell.strip() for cell in row.strip("|").split(" | ")]
        if cells[0] not in ("scenario",):
            rows[(cells[3], cells[0], cells[2])] = row
    for result in results:
        rows[(result.release, result.name, result.direction)] = result.row()
    lines = ["| scenario | what happens | first | kernel | result | time | note |", "|---|---|---|---|---|---|---|",
             *[rows[key] for key in sorted(rows)]]
    text = head + BEGIN + "\n" + "\n".join(lines) + "\n" + END + tail
    with open(path + ".new", "w") as file:
        file.write(text)
    os.replace(path + ".new", path)


__all__ = ["Result", "write_table"]
