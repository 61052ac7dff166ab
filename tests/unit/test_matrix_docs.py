"""The page for users of the guide: its commands print what it shows."""

import re
import shlex

import pytest
import yaml
from matrix_cases import ROOT, Command

from scripts.lib.kinds.inference.matrix.master import entry_model

PAGE = (ROOT / "docs/sweep-matrix.md").read_text(encoding="utf-8")
CALLS = re.findall(r"```console\n\$ ((?:[^\n]*\\\n)*[^\n]*\n)(.*?)```", PAGE, flags=re.DOTALL)


def test_the_page_shows_its_commands():
    assert len(CALLS) == PAGE.count("```console") >= 8


@pytest.mark.parametrize(("call", "shown"), CALLS)
def test_a_command_prints_what_the_page_shows(call, shown, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    python, option, module, *arguments = shlex.split(call.replace("\\\n", " "))
    assert (python, option, module) == ("python", "-m", "scripts.generate_sweep_configs")
    assert Command(capsys)(*arguments) == (0, shown, [])


def test_the_master_file_of_the_page_is_valid():
    (text,) = [t for t in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if "image:" in t]
    for data in yaml.safe_load(text).values():
        entry_model(data).model_validate(data)
