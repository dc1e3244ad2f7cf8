#!/usr/bin/env python3
"""Plays documents: scripts/docs-test.sh calls it, and gives it the stages.

  play.py [--record] [--stages NAME,..] DOCUMENT[:WORDS OF A HEADING]..
REPL_DOCS_WORK: a directory in which the stage has put the programs enter.01 and enter.02, which run a command on a node.
--record writes the outputs that came into the documents.

A command must end with exit code 0, or with the one behind it (`# exit code 17`), and print what the document shows. A command
that only looks is repeated until it does, for at most 30 s.
"""
import os
import pty
import re
import select
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
from blocks import DocumentError, inline_commands, steps_of  # noqa: E402
from picture import looks_like, plain  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WORK = os.environ['REPL_DOCS_WORK']
LOOKS = re.compile(r'^(repladm (-\S+ )*(status|explain|role|cstate|dstate|show-gi|get-gi|dump|sh-\S+|events2 --now)( |$)'
                   r'|crm_mon |crm status|crm_resource .*--locate|crm configure show|drbdadm (status|role|cstate|dstate)\b'
                   r'|systemctl (status|is-active|show)|wg show|journalctl|grep |tail |ss |cat |psql |curl |ip )')
ESCAPES = re.compile(r'\x1b\[[0-9;?]*[a-zA-Z]')
PATIENCE = 30
LIMIT = 180


class Failure(Exception):
    pass


def run(node, text, terminal=True):
    """Output lines and exit code of a command on a node, as its terminal of 80 columns shows them."""
    command = [f'{WORK}/enter.{node}', 'bash', '-c', text]
    if not terminal:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=LIMIT, text=True, errors='replace')
        return done.stdout.split('\n'), done.returncode
    master, slave = pty.openpty()
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=slave, stderr=slave)
    os.close(slave)
    output = b''
    deadline = time.monotonic() + LIMIT
    ended = False
    # What the command starts may keep the terminal: the end of the command is the end of its output.
    while True:
        if select.select([master], [], [], 0.02)[0]:
            try:
                piece = os.read(master, 65536)
            except OSError:  # no writer is left
                piece = b''
            if piece:
                output += piece
                continue
            child.wait(timeout=max(1, deadline - time.monotonic()))
            break
        if ended:
            break
        ended = child.poll() is not None
        if time.monotonic() > deadline:
            child.kill()
            raise Failure(f'did not end within {LIMIT} s')
    os.close(master)
    text = ESCAPES.sub('', output.decode(errors='replace').replace('\r\n', '\n'))
    return [line.rsplit('\r', 1)[-1] for line in text.split('\n')], child.returncode


def trimmed(lines):
    lines = list(lines)
    while lines and lines[-1] == '':
        lines.pop()
    return lines


class Player:
    def __init__(self, record, stages):
        self.record = record
        self.stages = stages
        self.commands = self.pictures = self.files = self.inline = 0
        self.failed = 0
        self.left_out = []
        self.left_out_commands = 0
        self.known = {}

    def document(self, path, heading):
        name = os.path.relpath(path, ROOT)
        with open(path, encoding='utf-8') as file:
            text = file.read()
        try:
            steps = steps_of(text)
        except DocumentError as error:
            raise Failure(f'{name}: {error}') from None
        self.named(name, text)
        recorded = self.steps(name, steps, heading)
        if self.record:
            lines = text.split('\n')
            for command in sorted(recorded, key=lambda each: -each.first):
                lines[command.after_command:command.end] = command.shown
                if command.recorded_code:
                    lines[command.after_command - 1] += f'   # exit code {command.recorded_code}'
            with open(path, 'w', encoding='utf-8') as file:
                file.write('\n'.join(lines))

    def named(self, name, text):
        """Every command that a sentence names is one."""
        for line, word in inline_commands(text):
            if word not in self.known:
                done = subprocess.run(['repladm', word, '--help'], capture_output=True, text=True)
                self.known[word] = done.returncode == 0
            if not self.known[word]:
                raise Failure(f'{name}:{line}: repladm has no command "{word}"')
            self.inline += 1

    def steps(self, name, steps, heading):
        recorded = []
        stage = None
        skipping = 'the document names no stage before it'
        for step in steps:
            where = f'{name}:{step.line}'
            if step.kind == 'not-run':
                if not heading or heading in step.section:
                    self.leave_out(where, step.reason, len(step.commands))
                continue
            if step.kind == 'stage':
                stage = step
                skipping = self.why_not(step)
                begun = False
                continue
            if heading and heading not in step.section:
                continue
            if skipping:
                if step.kind != 'hidden':
                    self.leave_out(where, skipping, len(step.commands))
                continue
            try:
                if not begun:
                    begun = True
                    self.begin(stage, where)
                self.step(name, where, step, recorded)
            except Failure as failure:
                self.fail(failure)
                skipping = 'after the failure above'
        return recorded

    def step(self, name, where, step, recorded):
        if step.kind == 'file':
            for node in step.nodes:
                self.write(where, node, step)
            self.files += 1
        for command in step.commands:
            for node in command.nodes:
                self.command(name, node, command, step.kind == 'hidden')
            if step.kind == 'console':
                recorded.append(command)

    def fail(self, failure):
        self.failed += 1
        say(f'FAILED: {failure}')

    def why_not(self, stage):
        if stage.path not in self.stages:
            return f'stage {stage.path}: scripts/docs-test.sh all, or --stages {stage.path}'
        for program in stage.needs:
            if subprocess.run(['sh', '-c', f'command -v {program}'], stdout=subprocess.DEVNULL).returncode != 0:
                return f'needs {program}: scripts/install-packages.sh --cluster --zabbix --docs'
        return ''

    def leave_out(self, where, reason, count):
        self.left_out.append((where, reason))
        self.left_out_commands += count

    def begin(self, stage, where):
        say(f'{where}: {stage.section}: stage {stage.path}')
        done = subprocess.run([f'{ROOT}/scripts/docs-test.sh', '__stage', stage.path], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors='replace')
        if done.returncode != 0:
            raise Failure(f'{where}: the stage {stage.path} does not stand: {done.stdout}')

    def write(self, where, node, step):
        done = subprocess.run([f'{WORK}/enter.{node}', 'sh', '-c', 'mkdir -p "${1%/*}" && cat >"$1"', 'sh', step.path],
                              input=step.content, text=True, capture_output=True)
        if done.returncode != 0:
            raise Failure(f'{where}: {step.path} could not be written on {node}: {done.stderr}')

    def command(self, name, node, command, hidden):
        where = f'{name}:{command.line}: {node}# {command.text}'
        shown = trimmed(command.shown)
        looks = bool(LOOKS.match(command.text))
        deadline = time.monotonic() + (PATIENCE if looks else 0)
        before = None
        while True:
            try:
                lines, code = run(node, command.text, terminal=not hidden)
            except (Failure, subprocess.TimeoutExpired) as failure:
                raise Failure(f'{where}\n{failure}') from None
            lines = trimmed(lines)
            good = code == command.code and (hidden or looks_like(lines, shown))
            if good or time.monotonic() > deadline:
                break
            # While recording there is nothing to wait for but a state that stays.
            if self.record and not shown and code == command.code and before == plain(lines):
                break
            before = plain(lines)
            time.sleep(1 if self.record else 0.2)
        self.commands += 1
        if not hidden:
            self.pictures += 1
        if good:
            return
        if self.record and not hidden:
            if code != command.code:
                say(f'{where}: ends with exit code {code}')
                command.recorded_code = code
            command.shown = lines + [''] * (len(command.shown) - len(shown))
            return
        raise Failure(f'{where}\n-- exit code {code}, output:\n' + '\n'.join(lines) +
                      ('' if hidden else f'\n-- the document shows exit code {command.code} and:\n' + '\n'.join(shown)))


def say(text):
    print(f'{time.monotonic() - BEGAN:5.0f} s  {text}', flush=True)


BEGAN = time.monotonic()


def main():
    words = sys.argv[1:]
    record = '--record' in words
    if record:
        words.remove('--record')
    stages = []
    if '--stages' in words:
        place = words.index('--stages')
        stages = words[place + 1].split(',')
        del words[place:place + 2]
    player = Player(record, stages)
    for word in words:
        path, _, heading = word.partition(':')
        try:
            player.document(path, heading)
        except Failure as failure:
            player.fail(failure)
    print(f'{player.commands} commands run, {player.pictures} of them with the output that the documents show, '
          f'{player.files} files written; {player.inline} commands named in sentences exist')
    print(f'{len(player.left_out)} blocks with {player.left_out_commands} commands not run:')
    for where, reason in player.left_out:
        print(f'  {where}: {reason}')
    if player.failed:
        print(f'{player.failed} FAILED')
    sys.exit(1 if player.failed else 0)


main()
