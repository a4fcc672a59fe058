"""Promises that take minutes to check, some beside what other libraries reach: `python -m tests.verify`. Not collected;
`tests/test_verifiers.py` runs parts of those that go through the instruction sets."""
