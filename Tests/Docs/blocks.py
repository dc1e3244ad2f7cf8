"""A document as a list of steps: what its fenced blocks and comments ask for, in their order.

A fence says by the words behind its three ticks what becomes of it:
  console                   commands, each behind the prompt of a node (`01#`, `02#`, `both#`), and their output below
  LANGUAGE NODE PATH        the block is written to that file on that node (01, 02 or both)
  ... not-run: REASON       the block is only shown
and a comment (`<!-- -->`) what the reader does not see:
  stage: NAME[, needs PROGRAM ..]   from here on the blocks are played on this stage, which begins anew
  run                       commands as in a console block, whose output is not compared

Law: every fence of a document is one of these; an unknown one is an error, and so is code that is only indented.
"""
import re
from dataclasses import dataclass, field

PROMPT = re.compile(r'^(01|02|both)# (.*)$')
EXIT_CODE = re.compile(r'\s+# exit code (\d+)$')
NODES = {'01': ['01'], '02': ['02'], 'both': ['01', '02']}


class DocumentError(Exception):
    pass


@dataclass
class Command:
    nodes: list
    text: str
    line: int
    code: int = 0
    recorded_code: int = 0
    shown: list = field(default_factory=list)
    # Lines of the document, counted from 0: those of the command, then those of its output.
    first: int = 0
    after_command: int = 0
    end: int = 0


@dataclass
class Step:
    kind: str  # stage, console, hidden, file, not-run
    line: int
    section: str
    commands: list = field(default_factory=list)
    nodes: list = field(default_factory=list)
    path: str = ''
    content: str = ''
    reason: str = ''
    needs: list = field(default_factory=list)


def commands_of(lines, first):
    """Commands with their outputs of the lines [first, first + len(lines)) of a document."""
    found = []
    index = 0
    while index < len(lines):
        match = PROMPT.match(lines[index])
        if not match:
            if not found:
                raise DocumentError(f'line {first + index + 1}: output without a command: begin with 01#, 02# or both#')
            found[-1].shown.append(lines[index])
            index += 1
            found[-1].end = first + index
            continue
        text = match[2]
        start = index
        index += 1
        here = re.search(r"<<-?'?(\w+)'?", text)
        while index < len(lines) and (text.endswith('\\') or here):
            text += '\n' + lines[index]
            index += 1
            if here and lines[index - 1] == here[1]:
                break
        code = EXIT_CODE.search(text)
        found.append(Command(NODES[match[1]], text, first + start + 1, int(code[1]) if code else 0,
                             first=first + start, after_command=first + index, end=first + index))
    return found


def steps_of(text):
    lines = text.split('\n')
    steps = []
    section = ''
    index = 0
    while index < len(lines):
        line = lines[index]
        if line.startswith('#'):
            section = line.lstrip('# ')
        if line.startswith('```'):
            words = line[3:].strip()
            first = index + 1
            index = first
            while index < len(lines) and lines[index] != '```':
                index += 1
            if index == len(lines):
                raise DocumentError(f'line {first}: this block has no end')
            steps.append(fence(words, lines[first:index], first, section))
        elif line.startswith('<!--'):
            first = index
            while '-->' not in lines[index]:
                index += 1
                if index == len(lines):
                    raise DocumentError(f'line {first + 1}: this comment has no end')
            step = comment(lines[first:index + 1], first, section)
            if step:
                steps.append(step)
        elif line.startswith('    ') and index > 0 and lines[index - 1] == '':
            raise DocumentError(f'line {index + 1}: code that is only indented is not played: give it a fence')
        index += 1
    return steps


def fence(words, body, first, section):
    if 'not-run:' in words:
        reason = words.split('not-run:')[1].strip()
        if not reason:
            raise DocumentError(f'line {first}: not-run: needs a reason')
        return Step('not-run', first, section, reason=reason,
                    commands=[line for line in body if PROMPT.match(line)])
    if words == 'console':
        return Step('console', first, section, commands=commands_of(body, first))
    parts = words.split()
    if len(parts) == 3 and parts[1] in NODES and parts[2].startswith('/'):
        return Step('file', first, section, nodes=NODES[parts[1]], path=parts[2], content='\n'.join(body) + '\n')
    raise DocumentError(f'line {first}: "{words}" is no kind of block: console, LANGUAGE NODE PATH, or not-run: REASON')


def comment(lines, first, section):
    text = '\n'.join(lines)[4:].split('-->')[0].strip()
    if text.startswith('stage:'):
        name, _, needs = text[6:].partition(', needs ')
        return Step('stage', first + 1, section, path=name.strip(), needs=needs.split())
    if text == 'run' or text.startswith('run\n'):
        body = [line for line in lines[1:] if line != '-->']
        return Step('hidden', first + 1, section, commands=commands_of(body, first + 1))
    raise DocumentError(f'line {first + 1}: a comment is "stage: NAME" or "run": "{text[:40]}"')


def inline_commands(text):
    """Commands of repladm that are named in sentences: (line, word)."""
    fenced = False
    for number, line in enumerate(text.split('\n'), 1):
        if line.startswith('```'):
            fenced = not fenced
        if not fenced:
            for code in re.findall(r'`([^`]+)`', line):
                match = re.match(r'repladm (?:--?\S+ (?:\d+ )?)*([a-z][a-z0-9-]*)', code)
                if match:
                    yield number, match[1]
