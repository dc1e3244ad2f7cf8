#!/usr/bin/env python3
"""What documents may say, and what counts as the same output: run by scripts/docs-test.sh before anything is played."""
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
from blocks import DocumentError, inline_commands, steps_of  # noqa: E402
from picture import looks_like  # noqa: E402


class Blocks(unittest.TestCase):
    def test_a_console_block_is_commands_with_their_outputs(self):
        step, = steps_of('```console\n01# one\nout\n\n02# two \\\n  more   # exit code 17\nboth# cat <<END\n01# text\nEND\n```\n')
        one, two, both = step.commands
        self.assertEqual((one.nodes, one.text, one.shown, one.code), (['01'], 'one', ['out', ''], 0))
        self.assertEqual((two.nodes, two.text, two.code), (['02'], 'two \\\n  more   # exit code 17', 17))
        self.assertEqual((both.nodes, both.text, both.shown), (['01', '02'], 'cat <<END\n01# text\nEND', []))

    def test_a_block_with_a_path_is_a_file(self):
        step, = steps_of('```res both /etc/x.res\nresource x { }\n```\n')
        self.assertEqual((step.kind, step.nodes, step.path, step.content),
                         ('file', ['01', '02'], '/etc/x.res', 'resource x { }\n'))

    def test_comments_name_stages_and_hide_commands(self):
        stage, hidden = steps_of('<!-- stage: hosts, needs wg openssl -->\n<!-- run\n01# x\n-->\n')
        self.assertEqual((stage.path, stage.needs), ('hosts', ['wg', 'openssl']))
        self.assertEqual((hidden.kind, [each.text for each in hidden.commands]), ('hidden', ['x']))

    def test_what_is_not_played_says_why(self):
        step, = steps_of('```console not-run: needs ssh\n01# scp\n```\n')
        self.assertEqual((step.kind, step.reason), ('not-run', 'needs ssh'))

    def test_everything_else_is_an_error(self):
        for text in ('```bash\nx\n```\n', '```console\nno prompt\n```\n', '```console\n01# x\n', '```console not-run:\n01# x\n```\n',
                     'text\n\n    indented\n', '<!-- stge: hosts -->\n', '<!-- run\n', '```res 03 /etc/x\n```\n'):
            with self.subTest(text), self.assertRaises(DocumentError):
                steps_of(text)

    def test_sentences_name_commands(self):
        text = 'Type `repladm --timeout 5 up drbd0` and\n```console\n01# `repladm no`\n```\n`repladm wait-sync`, `man repladm`.'
        self.assertEqual(list(inline_commands(text)), [(1, 'up'), (5, 'wait-sync')])


class Pictures(unittest.TestCase):
    def same(self, output, shown):
        return looks_like(output.split('\n'), shown.split('\n'))

    def test_what_changes_with_every_run_is_not_compared(self):
        for output, shown in (
                ('current UUID 56F07AD310877F6A', 'current UUID 85BB5A4D7DAE0F4C'),
                ('peer-disk:Inconsistent done:12.99', 'peer-disk:Inconsistent done:0.00'),
                ('2026-11-30 19:15:21.804 drbd0: x', '2027-01-02 03:04:05.678 drbd0: x'),
                ('updated 2026-11-30 20:11:44Z)', 'updated 2026-11-30 19:41:57Z)'),
                ('repld (process 791) did not', 'repld (process 12) did not'),
                ('16 KiB differ', '524236 KiB differ'), ('/dev/loop1', '/dev/loop17'), ('x\n\n', 'x')):
            with self.subTest(output):
                self.assertTrue(self.same(output, shown))

    def test_everything_else_is(self):
        for output, shown in (
                ('disk:UpToDate', 'disk:Outdated'), ('role:Secondary', 'role:Primary'), ('a\nb', 'a'), ('a', 'a\nb'), ('a', ''),
                ('', 'a'), ('Failure: (124) x', 'Failure: (125) x'), ('/dev/drbd0', '/dev/drbd1'), ('a\n\nb', 'a\nb')):
            with self.subTest(output):
                self.assertFalse(self.same(output, shown))

    def test_dots_stand_for_any_lines(self):
        self.assertTrue(self.same('a\nb\nc', '...\nc'))
        self.assertTrue(self.same('', '...'))
        self.assertFalse(self.same('a\nb', '...\nc'))


unittest.main()
