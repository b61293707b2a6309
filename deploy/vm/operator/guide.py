"""The operator's guide as a program: its blocks of commands, found by name and run as they stand."""

import re

BLOCK = re.compile(r"<!-- run: (?P<name>[a-z-]+) -->\n```console\n(?P<lines>.*?)```", re.DOTALL)
# What people see, in the first column of the table of failures.
FAILURES = re.compile(r"^## When something fails\n(?P<section>.*?)^## ", re.DOTALL | re.MULTILINE)
ROW = re.compile(r"^\|(?P<seen>[^|]*)\|", re.MULTILINE)
PROMPT = re.compile(r"^(root#|bob\$) (.+)$")


class Guide:
    def __init__(self, text):
        self.blocks = {}
        for block in BLOCK.finditer(text):
            commands = [PROMPT.match(line) for line in block["lines"].splitlines()]
            if block["name"] in self.blocks or not all(commands):
                raise SystemExit(f"operator.md: block {block['name']} is there twice or has a line without root# or bob$")
            self.blocks[block["name"]] = [(c[1], c[2]) for c in commands]
        named, all_blocks = len(self.blocks), text.count("```console")
        if named != all_blocks:
            raise SystemExit(f"operator.md: {all_blocks} blocks of commands, but {named} with a name to run them by")
        seen = ROW.findall(FAILURES.search(text + "## ")["section"])
        self.sayings = {quoted.lower() for cell in seen for quoted in re.findall(r"`([^`]+)`", cell)}
        if len(self.sayings) < 5:
            raise SystemExit("operator.md: the table of failures quotes hardly anything")
