"""Promises that take minutes to check, beside what other libraries reach: `python -m tests.verify`. Never collected."""
