"""Lines that end in PASS or FAIL."""


class Checks:
    """Prints what was checked, and remembers how it went."""

    def __init__(self):
        self.passed = self.failed = 0

    def line(self, text, holds):
        """Print a line with its verdict."""
        self.passed += bool(holds)
        self.failed += not holds
        print(f"{text}  {'PASS' if holds else 'FAIL'}", flush=True)

    def conclude(self):
        """Print the sum, and return the exit status."""
        print(f"\n{self.passed} passed, {self.failed} failed")
        return int(self.failed > 0)
