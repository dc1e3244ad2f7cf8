"""Does an output look like the one that a document shows?

Both are taken as equal where they differ in nothing but: generations and other numbers of 16 hex digits; the counters of status
and what is computed of them; KiB in sentences; times of day and dates; process ids; loop devices. A line `...` of a document stands
for any lines, also none.
"""
import re

COUNTERS = ('done|eta|dbdt1|size|read|written|al-writes|bm-writes|received|sent|out-of-sync|pending|unacked|'
            'upper-pending|lower-pending|ap-in-flight|rs-in-flight')
SAME = [
    (re.compile(r'\b[0-9A-Fa-f]{16}\b'), 'UUID'),
    (re.compile(rf'\b({COUNTERS}):[0-9.]+'), r'\1:N'),
    (re.compile(r'\b[0-9]+ ?(KiB|MiB|MB|KB|kB|bytes|sectors|bits|blocks|ms|s)\b'), r'N \1'),
    (re.compile(r'\b[0-9]{4}-[0-9]{2}-[0-9]{2}[T ]'), 'DATE '),
    (re.compile(r'\b[A-Z][a-z]{2} +[0-9]{1,2} (?=[0-9]{2}:)'), 'DATE '),
    (re.compile(r'\b[A-Z][a-z]{2} [0-9]{4}-[0-9]{2}-[0-9]{2} '), 'DATE '),
    (re.compile(r'\b[0-9]{2}:[0-9]{2}:[0-9]{2}([.,][0-9]+)?Z?\b'), 'TIME'),
    (re.compile(r'\b(process|pid|PID:|holder) [0-9]+\b'), r'\1 N'),
    (re.compile(r'(\w)\[[0-9]+\]'), r'\1[N]'),
    (re.compile(r'/dev/loop[0-9]+'), '/dev/loopN'),
    (re.compile(r'[ \t]+$'), ''),
]


def plain(lines):
    result = []
    for line in lines:
        for pattern, word in SAME:
            line = pattern.sub(word, line)
        result.append(line)
    while result and result[-1] == '':
        result.pop()
    return result


def looks_like(output, shown):
    """Lines of an output against lines of a document."""
    return fits(plain(output), plain(shown))


def fits(output, shown):
    if not shown:
        return not output
    if shown[0] == '...':
        return any(fits(output[skip:], shown[1:]) for skip in range(len(output) + 1))
    return bool(output) and output[0] == shown[0] and fits(output[1:], shown[1:])
