"""The parts of the repository agree: generated files, versions, names, the order of imports."""

import ast
import re
import subprocess
import sys
import tomllib
from itertools import chain

import pytest
import yaml

import scripts.lib
from scripts import document_config
from scripts.lib.kinds.registry import KINDS
from scripts.lib.report.registry import figures, tables
from tests.conftest import ROOT

RULES = {path.stem: path.read_text() for path in (ROOT / "rules").glob("*.smk")}
# Programs of one kind that no rule of its file calls.
BY_HAND = {"analyze_metrics", "generate_sweep_configs", "train_ddp"}


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


def test_every_table_and_figure_has_a_function_and_a_caption():
    for presentation, shown in tables().values():
        assert callable(presentation.table(shown))
    for presentation, shown in figures().values():
        assert callable(presentation.figure(shown))
    captions = {path.stem for path in (ROOT / "report").glob("*.rst")}
    assert captions == {*tables(), *figures(), "summary", "workflow"}


def test_report_labels_have_one_key():
    # Of several keys the report makes a switch where half of the results have one of two values,
    # and then breaks on results that have no counterpart on the other side.
    labels = re.findall(r"labels=(\{.*\})", "".join(RULES.values()))
    assert labels
    assert all(len(ast.parse(label, mode="eval").body.keys) == 1 for label in labels)


def rules_and_programs(text):
    """Name of each rule of a file, and the program that it runs."""
    for block in re.split(r"^ *rule\b", text, flags=re.M)[1:]:
        program = re.search(r"-m scripts\.(\w+)", block)
        name = re.match(r' (\w+):|:\s+name:\s+f?"(\w+)', block)
        if program:
            yield name[1] or name[2], program[1]


def test_a_rule_is_called_as_its_program():
    pairs = list(chain.from_iterable(map(rules_and_programs, RULES.values())))
    assert {kind.rule for kind in KINDS.values()} < {program for _, program in pairs}
    # A loop makes a rule of each group: the program's name, an underscore and the group's.
    assert [pair for pair in pairs if pair[0].removesuffix("_") != pair[1]] == []


def code_without_kinds():
    """Source files that know nothing of single kinds, by their paths."""
    own = BY_HAND | {
        program for kind in KINDS for _, program in rules_and_programs(RULES.get(kind, ""))
    }
    for path in sorted((ROOT / "scripts").rglob("*.py")):
        parts = path.relative_to(ROOT / "scripts").parts
        if parts[:2] != ("lib", "kinds") and path.stem not in own:
            yield path, path.read_text()


def test_only_a_kind_knows_its_name():
    name = re.compile(rf"""["']({"|".join(KINDS)})["']""")
    told = [f"{stem}.smk: {found[0]}" for stem, text in RULES.items() if stem not in KINDS
            for found in name.finditer(text)]  # fmt: skip
    for path, text in code_without_kinds():
        constants = (n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Constant))
        told += [f"{path}:{n.lineno}: {n.value}" for n in constants if n.value in list(KINDS)]
    assert told == []


def test_only_a_kind_knows_its_modules():
    # The flat files of the benchmarking guide, of which only training runs ever had any.
    guide = "scripts.lib.kinds.training.document"
    allowed = {"scripts.lib.kinds.registry", "scripts.lib.kinds.base", guide}
    told = [
        f"{path}: {module}"
        for path, text in code_without_kinds()
        for module in imported_modules(text)
        if module.startswith("scripts.lib.kinds") and module not in allowed
    ]
    of_rules = r"scripts\.lib\.kinds[\w.]*"
    told += [f"{stem}.smk: {module}" for stem, text in RULES.items() if stem not in KINDS
             for module in re.findall(of_rules, text) if module not in allowed]  # fmt: skip
    assert told == []


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_workflow_knows_of_a_kind_is_light(kind):
    module = type(KINDS[kind]).__module__
    code = (
        f"import sys, {module}; heavy = {{'torch', 'transformers', 'pandas'}} & set(sys.modules); "
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr.strip()) == (0, "")


def imported_modules(text):
    """Full names of the modules that a source file imports anywhere."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_imports_point_downwards():
    # The docstring lists the packages from the bottom; those of one clause are on one level.
    clauses = scripts.lib.__doc__.split(":", 1)[1].split(";")
    level = {name: i for i, part in enumerate(clauses) for name in re.findall(r"`(\w+)`", part)}
    packages = {path.parent.name for path in (ROOT / "scripts/lib").glob("*/__init__.py")}
    assert set(level) == packages
    upwards = []
    for package in packages:
        for path in (ROOT / "scripts/lib" / package).rglob("*.py"):
            for module in imported_modules(path.read_text()):
                parts = module.split(".")
                if parts[0] == "scripts" and (
                    parts[1] != "lib" or level[parts[2]] > level[package]
                ):
                    upwards.append(f"{path.relative_to(ROOT)}: {module}")
    assert upwards == []
