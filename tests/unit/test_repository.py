"""Generated files are up to date and versions are named once."""

import re
import tomllib

import yaml

from scripts import document_config
from tests.conftest import ROOT


def test_schema_and_settings_page_are_up_to_date():
    assert document_config.main(["--check"]) == 0


def test_every_setting_is_described():
    undescribed = re.findall(
        r"^\| `(?!kind)\w+` \|[^|]*\|[^|]*\|\s*\|$", document_config.readme(), re.M
    )
    assert not undescribed


def test_conda_environment_names_the_same_versions():
    requirements = (ROOT / "envs/requirements.txt").read_text()
    pinned = {line for line in requirements.splitlines() if line and not line.startswith("#")}
    environment = yaml.safe_load((ROOT / "envs/sweepmake.yaml").read_text())
    by_pip = next(item["pip"] for item in environment["dependencies"] if isinstance(item, dict))
    assert set(by_pip) == pinned
    assert all("==" in line for line in pinned)


def test_changelog_names_the_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_table_of_contents_stays_short():
    assert len((ROOT / "Snakefile").read_text().splitlines()) < 80


def test_report_labels_have_one_key():
    # Of several keys the report makes a switch where half of the results have one of two values,
    # and then breaks on results that have no counterpart on the other side.
    rules = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    labels = re.findall(r"labels=(\{[^}]*\})", rules)
    assert len(labels) > 5
    assert all(len(yaml.safe_load(label)) == 1 for label in labels)
