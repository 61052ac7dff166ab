"""What stands in YAML or the environment does no harm and is not given away."""

from pathlib import Path

from scripts.lib.config import InputError, expand, load_config
from scripts.lib.workflow.inputs import check_inputs
from tests.conftest import ROOT
from tests.faults.mutations import VALUES
from tests.workflows import CONFIG, TO_SUMMARY, Workflow

SECRETS = {
    "HF_TOKEN": "secret-of-the-hub",
    "OPENAI_API_KEY": "secret-of-a-server",
    "SWEEPMAKE_API_KEY": "secret-of-our-server",
}
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


ENTRY = {
    "image": "none", "model": "embedded", "model-prefix": "m", "precision": "fp32", "runner": "cpu",
    "framework": "vllm", "seq-len-configs": [
        {"isl": 16, "osl": 8, "search-space": [{"tp": 1, "conc-list": [1]}]}],
}  # fmt: skip


def harmful(text: str) -> dict[str, dict]:
    """Sweeps of every kind with a text wherever their run.json takes one."""
    training = CONFIG["sweeps"]["fixed"] | {"size": "pico", "mode": "forward"}
    accuracy = {"kind": "accuracy", "device": "cpu"}
    sweeps = {
        "description": training | {"description": text},
        "data_path": training | {"data_path": text},
        "tokenizer": {"kind": "ddp", "model": "pico", "tokenizer": text},
    }
    for key in ("path", "name", "split", "text_column", "dataset_dir"):
        data = {"path": "lab/data"} | {key: text}
        sweeps[f"ddp_{key}"] = {"kind": "ddp", "model": "pico", "dataset": data}
    for key in ("path", "name", "split", "question_column", "prompt", "dataset_dir"):
        data = {"path": "lab/data"} | {key: text + "{question}" * (key == "prompt")}
        sweeps[f"accuracy_{key}"] = accuracy | {"dataset": data}
    sweeps["model"] = accuracy | {"model": f"lab/{text}"}
    for key in ("model", "image", "model-prefix", "runner", "framework", "precision"):
        entries = {"entry": ENTRY | {key: text}}
        sweeps[f"served_{key}"] = {"kind": "inference", "entries": entries}
    for key in ("tokenizer", "draft_model"):
        served = {"kind": "inference", "entries": {"entry": ENTRY}, "server": {key: text}}
        sweeps[f"served_{key}"] = served
    return sweeps


def refused(path: Path) -> str:
    """What is wrong with a configuration; empty where it is accepted."""
    try:
        check_inputs(expand(load_config([path])))
    except InputError as error:
        return str(error)
    return ""


def test_text_of_the_configuration_reaches_no_shell(tmp_path):
    """What is refused is refused by name; the rest is written, and what ends soon is run."""
    written = {}
    for number, text in enumerate(TEXTS):
        for name, sweep in harmful(text).items():
            workflow = Workflow(tmp_path, CONFIG | {"sweeps": {name: sweep}})
            workflow.command()
            told = refused(tmp_path / "config.yaml")
            if told:
                assert name in told
            else:
                written[f"{name}_{number}"] = sweep
    assert {name.rpartition("_")[0] for name in written} >= {"description", "served_model"}
    Workflow(tmp_path, CONFIG | {"sweeps": written}).run("--until", "write_run", "write_batch")
    run = {name: sweep for name, sweep in written.items() if name.startswith("served_model_")}
    workflow = Workflow(tmp_path, CONFIG | {"sweeps": run})
    workflow.run(*TO_SUMMARY)
    assert set(workflow.summary["status"]) == {"unsupported"}  # the framework is not installed
    for folder in (tmp_path, tmp_path.parent, ROOT, ROOT.parent, Path("/")):
        assert not (folder / "CANARY").exists()
