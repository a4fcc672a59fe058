"""JSON that is refused: names that occur twice, numbers that are not finite, what is no object."""

import pytest

from qlite.io import strict_json


def test_an_object_comes_back():
    assert strict_json.parse('{"a": [1, 0.5, -1e308, null, true], "b": {}}', "it") == {
        "a": [1, 0.5, -1e308, None, True],
        "b": {},
    }


@pytest.mark.parametrize(
    "text, message",
    [
        ('{"a": 1e999}', "finite numbers, got 1e999"),
        ('{"a": [-1e400]}', "finite numbers, got -1e400"),
        ('{"a": NaN}', "finite numbers, got NaN"),
        ('{"a": -Infinity}', "finite numbers, got -Infinity"),
        ('{"a": 1, "a": 2}', "occurs twice"),
        ('{"b": {"a": 1, "a": 1}}', "occurs twice"),
        ("[1]", "it is not a JSON object"),
        ("{", "it is not JSON"),
        (b"\xff{}", "it is not UTF-8"),
    ],
)
def test_what_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        strict_json.parse(text, "it")
