"""Counts of comparisons."""

from collections import Counter

MOST_EXAMPLES = 10


class Tally:
    """How many comparisons there were of each name, how many were wrong, and the first wrong ones in words."""

    def __init__(self):
        self.done, self.wrong, self.examples = Counter(), Counter(), []

    def add(self, name, done, wrong, example):
        """Count comparisons; `example` formats the words that a wrong one can be repeated by."""
        self.done[name] += done
        self.wrong[name] += wrong
        if wrong and len(self.examples) < MOST_EXAMPLES:
            self.examples.append(f"{name}: {example()}")

    def conclude(self, checks):
        """Print a line for each name, and what was wrong."""
        width = max(map(len, self.done))
        for name, done in self.done.items():
            wrong = self.wrong[name]
            checks.line(f"{name:{width}}{done:15,} compared{wrong:10,} wrong", wrong == 0)
        for example in self.examples:
            print(example)
