"""What stands in YAML or the environment does no harm and is not given away."""

from pathlib import Path

import yaml

from tests.conftest import ROOT
from tests.faults.mutations import VALUES
from tests.workflows import CONFIG, Workflow

SECRETS = {"HF_TOKEN": "secret-of-the-hub", "OPENAI_API_KEY": "secret-of-a-server"}
TEXTS = [value for value in VALUES if isinstance(value, str) and "CANARY" in value]


def files_with(folder, text: bytes) -> list:
    return [p for p in folder.rglob("*") if p.is_file() and text in p.read_bytes()]


def test_tokens_of_the_environment_are_in_no_file(tmp_path, monkeypatch):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    config = CONFIG | {"sweeps": {"fixed": CONFIG["sweeps"]["fixed"] | {"size": "pico"}}}
    workflow = Workflow(tmp_path, config)
    output = workflow.run()
    output += workflow.run("--report", "results/report.html")
    for secret in SECRETS.values():
        assert secret not in output
        assert files_with(tmp_path, secret.encode()) == []
    assert files_with(tmp_path, b"pico")  # the search finds what is there


def test_text_of_the_configuration_reaches_no_shell(tmp_path):
    """Harm in every free text: what is refused is refused by name, the rest is written and planned."""
    base = next(iter(yaml.safe_load((ROOT / "config/config.yaml").read_text())["sweeps"].values()))
    sweeps = {f"s{i}": base | {"description": text} for i, text in enumerate(TEXTS)}
    harm = {f"harm{i}": base | {"data_path": text} for i, text in enumerate(TEXTS)}
    workflow = Workflow(tmp_path, {"sweeps": sweeps | harm})
    told = workflow.call("--until", "write_run", "write_batch")
    assert told.returncode != 0
    assert all(f"{name}.data_path" in told.stderr for name in harm)  # there are no such files
    workflow.config = {"sweeps": sweeps}
    workflow.run("--until", "write_run", "write_batch")
    assert list(tmp_path.glob("results/runs/*/run.json"))
    for folder in (tmp_path, tmp_path.parent, ROOT, ROOT.parent, Path("/")):
        assert not (folder / "CANARY").exists()
