"""sweepmake as a module of another workflow, as docs/module.md shows it; `--config` overrides."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.conftest import ROOT
from tests.workflows import Workflow

PAGE = (ROOT / "docs/module.md").read_text()
SNAKEMAKE = str(Path(sys.executable).parent / "snakemake")


def block(language: str) -> str:
    return re.search(rf"```{language}\n(.*?)```", PAGE, re.S)[1]


@pytest.fixture
def outer(tmp_path):
    """A foreign workflow in a folder of its own; returns a function that calls it."""
    snakefile = block("python").replace("SWEEPMAKE", str(ROOT))
    (tmp_path / "Snakefile").write_text(snakefile)
    (tmp_path / "config.yaml").write_text(block("yaml"))

    def call(*arguments, **environment):
        command = [SNAKEMAKE, "--cores", "1", "--configfile", "config.yaml", *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, env=os.environ | environment,
            check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    call.folder = tmp_path
    return call


def test_the_page_runs_as_it_stands(outer):
    code, output = outer()
    assert code == 0, output
    summary = pd.read_csv(outer.folder / "sweep/results/summary.csv")
    assert list(summary["status"]) == ["ok", "ok"]
    assert set(summary["context_length"]) == {16, 32}
    assert (outer.folder / "fastest.txt").read_text().strip() in set(summary["run"])
    assert (outer.folder / "sweep/results/figures/training_time.svg").exists()
    made = {path.name for path in outer.folder.iterdir()} - {".snakemake"}
    assert made == {"Snakefile", "config.yaml", "sweep", "fastest.txt"}
    code, output = outer("-n")
    assert code == 0
    assert "Nothing to be done" in output


def test_a_mistake_in_the_configuration_is_one_line(outer):
    config = yaml.safe_load(block("yaml"))
    config["sweep"]["sweeps"]["context"]["contxt_length"] = 3
    (outer.folder / "config.yaml").write_text(yaml.safe_dump(config))
    code, output = outer("-n")
    assert code != 0
    assert "Traceback" not in output
    (line,) = [line for line in output.splitlines() if "contxt_length" in line]
    assert line.startswith("config of the module: sweeps.context.contxt_length: unknown key")


def test_two_modules_and_one_without_a_prefix(outer):
    text = (outer.folder / "Snakefile").read_text()
    other = text.split("rule all:")[0].replace("module sweep", "module other")
    other = other.replace('config["sweep"]', 'config["other"]').replace("from sweep", "from other")
    other = other.replace("sweep_*", "other_*").replace('    prefix:\n        "sweep"\n', "")
    text = text.replace("rule all:", other + "rule all:", 1)
    text = text.replace("rules.sweep_all.input,", "rules.sweep_all.input, rules.other_all.input,")
    (outer.folder / "Snakefile").write_text(text)
    config = yaml.safe_load(block("yaml"))
    config["other"] = json.loads(json.dumps(config["sweep"]))
    config["other"]["sweeps"]["context"]["context_length"] = 8
    (outer.folder / "config.yaml").write_text(yaml.safe_dump(config))
    code, output = outer("--until", "sweep_aggregate_results", "other_aggregate_results")
    assert code == 0, output
    own = pd.read_csv(outer.folder / "sweep/results/summary.csv")
    others = pd.read_csv(outer.folder / "results/summary.csv")
    assert (set(own["context_length"]), set(others["context_length"])) == ({16, 32}, {8})


def test_paths_of_the_users_files_are_not_prefixed(outer, tokens):
    config = yaml.safe_load(block("yaml"))
    (outer.folder / "mine.npy").write_bytes(Path(tokens).read_bytes())
    config["sweep"]["sweeps"]["context"]["data_path"] = "mine.npy"
    (outer.folder / "config.yaml").write_text(yaml.safe_dump(config))
    code, output = outer("--until", "sweep_benchmark")
    assert code == 0, output
    assert len(list(outer.folder.glob("sweep/results/runs/*/benchmark.json"))) == 2


def test_a_module_from_a_hosted_repository(outer, tmp_path_factory):
    """`github()` with git told to find the repository here: the rest is Snakemake's own path."""
    hosted = tmp_path_factory.mktemp("hosted")
    repository = hosted / "someone" / "sweepmake"
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    files = subprocess.check_output(["git", "-C", ROOT, "ls-files", "-z"])
    repository.mkdir(parents=True)
    archive = subprocess.run(
        ["tar", "-c", "--null", "-T", "-"], input=files, cwd=ROOT, capture_output=True, check=True
    )
    subprocess.run(["tar", "-x"], input=archive.stdout, cwd=repository, check=True)
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "all"]):
        subprocess.run([*git, *words], cwd=repository, check=True)
    commit = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=repository, text=True)
    (hosted / "gitconfig").write_text(
        f'[url "file://{hosted}/"]\n\tinsteadOf = https://github.com/\n[safe]\n\tdirectory = *\n'
    )
    text = (outer.folder / "Snakefile").read_text()
    source = f'github("someone/sweepmake", path="Snakefile", commit="{commit.strip()}")'
    text = text.replace(f'"{ROOT}/Snakefile"', source)
    (outer.folder / "Snakefile").write_text(text)
    code, output = outer(
        "--until", "sweep_aggregate_results", GIT_CONFIG_GLOBAL=str(hosted / "gitconfig"),
        XDG_CACHE_HOME=str(hosted / "cache"), PYTHONPATH="",
    )  # fmt: skip
    assert code == 0, output
    assert len(pd.read_csv(outer.folder / "sweep/results/summary.csv")) == 2
    provenance = next(outer.folder.glob("sweep/results/runs/*/benchmark.json")).read_text()
    assert json.loads(provenance)["provenance"]["git_commit"] in (None, commit.strip())


SWEEP = {
    "kind": "training", "size": "nano", "context_length": 16, "batch_size": 2, "mode": "forward",
}  # fmt: skip


@pytest.mark.parametrize(
    ("override", "setting"),
    [('{"s":{"num_trials":7}}', ("num_trials", 7)), ("{s: {compile: true}}", ("compile", True)),
     ("{s: {peak_tflops: 1.5}}", ("peak_tflops", 1.5)), ("{s: {mode: [forward]}}", None)],
)  # fmt: skip
def test_config_overrides_keep_their_types(override, setting, tmp_path):
    workflow = Workflow(tmp_path, {"sweeps": {"s": SWEEP}})
    workflow.run("--until", "write_run", "--config", f"sweeps={override}")
    (path,) = tmp_path.glob("results/runs/*/run.json")
    settings = json.loads(path.read_text())["settings"]
    if setting:
        name, value = setting
        assert settings[name] == value


def test_a_wrong_override_is_one_line(tmp_path):
    workflow = Workflow(tmp_path, {"sweeps": {"s": SWEEP}})
    done = workflow.call("-n", "--config", 'sweeps={"s":{"num_trials":"7"}}')
    assert done.returncode != 0
    assert "--config: sweeps.s.num_trials: " in done.stderr
    done = workflow.call("-n", "--config", "batches=0")
    assert done.returncode == 0, done.stderr
