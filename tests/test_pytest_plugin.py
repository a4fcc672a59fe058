"""The plugin in runs of their own: it reports, fails what drops too far, and stays away where nobody asks for it."""

import importlib.metadata
import itertools
import re
import subprocess
import sys
import xml.etree.ElementTree

import pytest
from models import extra

pytest_plugins = ["pytester"]

MODELS = """
    import numpy as np
    import pytest
    import qlite as ql

    x = np.random.default_rng(0).normal(size=(400, 8))
    model = ql.from_weights([(np.eye(8), None)])
    y = model.predict(x)
    good = ql.quantize_model(model, data=x)
    bad = ql.quantize_model(ql.from_weights([(np.eye(8)[::-1], None)]), data=x)
"""
REPORTING = f"""{MODELS}
    def test_good(qlite_report):
        report = qlite_report.add("good", model, good, x, y)
        assert report.float_figure == 1 and report.samples == 400

    @pytest.fixture
    def reported(qlite_report):
        qlite_report.add("in a fixture", model, good, x, y)

    def test_bad(reported, qlite_report):
        qlite_report.add("bad", model, bad, x, y)

    def test_without():
        pass
"""
UNUSED = """
    import sys

    def test_nothing(pytestconfig):
        assert pytestconfig.pluginmanager.hasplugin("qlite")
        assert "qlite" not in sys.modules
"""


@pytest.fixture
def run(pytester, monkeypatch):
    """Run pytest on a file in a process of its own."""
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)

    def run(text, *options):
        pytester.makepyfile(text)
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", *options)

    return run


def test_the_plugin_is_registered():
    """An installation from before the plugin, even an editable one, has to be made again."""
    assert [e.value for e in importlib.metadata.entry_points(group="pytest11", name="qlite")] == ["pytest_qlite"]


def test_it_imports_neither_qlite_nor_numpy_by_itself():
    program = "import sys, pytest_qlite; print([name for name in ('qlite', 'numpy') if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_a_run_without_reports_neither_imports_qlite_nor_prints_a_table(run):
    for options in ((), ("--qlite-max-drop", "1")):
        result = run(UNUSED, *options)
        result.assert_outcomes(passed=1)
        assert "accuracy" not in result.stdout.str()


def test_the_option_is_in_the_help(run):
    run(UNUSED, "--help").stdout.fnmatch_lines(["qlite:", "*--qlite-max-drop=POINTS*"])


def rows(result):
    """The lines of the table."""
    lines = result.stdout.str().partition("= qlite: accuracy of quantized models =")[2].splitlines()[1:]
    return [
        re.split(r"  +", line) for line in itertools.takewhile(lambda line: not line.startswith("="), lines) if line
    ]


def test_table(run, pytester):
    result = run(REPORTING, "--junit-xml=report.xml")
    result.assert_outcomes(passed=3)
    head, *lines = rows(result)
    assert head == ["model", "float", "quantized", "points", "interval", "lost", "gained", "agreement", "samples"]
    assert [line[0] for line in lines] == ["good", "in a fixture", "bad"]
    good, bad = (dict(zip(head, lines[i], strict=True)) for i in (0, 2))
    assert re.fullmatch(r"-?\+?[012]\.\d\d", good["points"]) and re.fullmatch(r"9[89]\.\d\d%", good["agreement"])
    assert good["float"] == bad["float"] == "100.00%" and good["samples"] == bad["samples"] == "400"
    assert int(bad["lost"]) > 380 and bad["gained"] == "0" and bad["points"].startswith("-9")

    properties = xml.etree.ElementTree.parse(pytester.path / "report.xml").findall(".//property")
    assert [p.get("name") for p in properties] == ["qlite"] * 3
    assert '"name": "good", "metric": "accuracy"' in properties[0].get("value")


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["one process", "workers"])
def test_max_drop_fails_tests_and_names_the_layer(options, run):
    if options:
        extra("xdist")
    result = run(REPORTING, "--qlite-max-drop", "2.5", *options)
    result.assert_outcomes(passed=2, failed=1)
    text = result.stdout.str()
    assert re.search(r"AssertionError: a drop of 0\.\d+ in accuracy, at most 0\.025 expected", text)
    assert "dense_1 loses most" in text
    assert sorted(row[0] for row in rows(result)) == ["bad", "good", "in a fixture", "model"]  # what failed too


def test_max_drop_is_a_number(run):
    result = run(REPORTING, "--qlite-max-drop", "much")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "--qlite-max-drop" in result.stderr.str()


def test_bad_arguments(run):
    text = f"""{MODELS}
    def test_name(qlite_report):
        with pytest.raises(TypeError, match="^name: "):
            qlite_report.add(None, model, good, x, y)

    def test_labels(qlite_report):
        with pytest.raises(ValueError, match="^y: "):
            qlite_report.add("good", model, good, x, y[:3])
    """
    result = run(text)
    result.assert_outcomes(passed=2)
    assert "qlite: accuracy" not in result.stdout.str()
