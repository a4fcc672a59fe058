"""The README's Python runs as it stands."""

import re
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"


def test_python_blocks_run_in_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 7
    names = {}
    for block in blocks:
        exec(block, names)
    assert (tmp_path / "digits.qlite").exists()
    assert "accuracy" in capsys.readouterr().out
