"""A run's id hashes only what differs from the stated base: a new default changes nothing."""

import json
from pathlib import Path

import pytest
from pydantic import Field, create_model

from scripts.lib.config import expand, load_config
from scripts.lib.kinds.registry import KINDS
from scripts.lib.sweeps import identity
from scripts.lib.sweeps.identity import completed, id_of, identity_of, kind_name
from tests.conftest import ROOT

CONFIGS = [ROOT / "config/config.yaml", *sorted((ROOT / "config/examples").glob("*.yaml"))]


def examples(kind: str) -> list[dict]:
    """Resolved settings of runs of a kind, from the configurations that ship."""
    settings = []
    for path in CONFIGS:
        runs = expand(load_config([path])).runs.values()
        settings += [json.loads(run.settings) for run in runs if run.kind == kind][:5]
    return settings


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_setting_with_a_default_changes_no_id_and_no_run_file(kind):
    model = KINDS[kind].run
    grown = create_model(
        model.__name__, __base__=model, a_new_setting=(int, Field(7, description="New."))
    )
    assert examples(kind)
    for settings in examples(kind):
        resolved = settings | {"a_new_setting": 7}
        assert id_of(grown, resolved) == id_of(model, settings)
        assert identity_of(grown, resolved) == identity_of(model, settings)
        assert id_of(grown, settings | {"a_new_setting": 8}) != id_of(model, settings)


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_setting_of_a_nested_model_changes_no_id(kind):
    """Of the search, the data set, the load, the server: whatever a run model has."""
    model = KINDS[kind].run
    for settings in examples(kind):
        for name, _, nested in identity._fields(model):
            if nested is None or not isinstance(settings.get(name), dict):
                continue
            inner = create_model(nested.__name__, __base__=nested, a_new_setting=(bool, False))
            grown = create_model(model.__name__, __base__=model, **{name: (inner | None, None)})
            changed = settings | {name: settings[name] | {"a_new_setting": False}}
            own = identity_of(model, settings)
            assert identity_of(grown, changed).get(name, own.get(name)) == own.get(name)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_left_out_is_completed(kind):
    model = KINDS[kind].run
    for settings in examples(kind):
        short = identity_of(model, settings)
        assert len(short) < len(settings)
        assert model.model_validate(completed(model, short)) == model.model_validate(settings)
        assert identity_of(model, completed(model, short)) == short


def test_a_changed_default_gives_new_ids_and_keeps_those_of_the_old_value():
    model = KINDS["training"].run
    settings = next(s for s in examples("training") if s["num_trials"] == 10)
    changed = create_model(model.__name__, __base__=model, num_trials=(int, 20))
    assert id_of(changed, settings) == id_of(model, settings)
    assert id_of(changed, settings | {"num_trials": 20}) != id_of(model, settings)
    # A run file of before leaves the number out, and means the old one.
    assert completed(changed, identity_of(model, settings))["num_trials"] == 10


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_keys_does_not_matter(kind):
    model = KINDS[kind].run
    settings = examples(kind)[0]
    assert id_of(model, dict(reversed(settings.items()))) == id_of(model, settings)


def test_the_base_file_only_grows(monkeypatch):
    from scripts import document_config

    bases = json.loads(document_config.bases())
    known = json.loads(Path(identity.BASE_FILE).read_text())
    assert bases == known, "run python -m scripts.document_config"
    changed = json.loads(json.dumps(known))
    changed["training"]["num_trials"] = 9
    monkeypatch.setattr(document_config, "load_bases", lambda: changed)
    assert json.loads(document_config.bases())["training"]["num_trials"] == 9
    del changed["training"]["num_trials"]
    assert json.loads(document_config.bases())["training"]["num_trials"] == 10


def test_every_kind_has_a_base():
    assert set(identity.load_bases()) == set(KINDS)
    assert all(kind_name(kind.run) == name for name, kind in KINDS.items())
