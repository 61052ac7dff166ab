"""Master files for the tests of the sweep matrix: written, generated, and the real ones."""

import json
import os
from pathlib import Path

import pytest
import yaml
from hypothesis import strategies as st

from scripts.generate_sweep_configs import main
from scripts.lib.kinds.inference.matrix import Master
from scripts.lib.kinds.inference.matrix.master import entry_model

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "config/examples/inference"
_DATA = Path(os.environ.get("SWEEPMAKE_TEST_DATA", ROOT.parent / "shared/data")) / "inferencex"

needs_data = pytest.mark.skipif(
    not _DATA.is_dir(), reason=f"the real master file is not at {_DATA} (SWEEPMAKE_TEST_DATA)"
)


def data_file(name):
    return str(_DATA / name)


def item(tp=4, start=4, end=16, **others):
    return {"tp": tp, "conc-start": start, "conc-end": end, **others}


def lengths(*items, isl=1024, osl=1024):
    return {"isl": isl, "osl": osl, "search-space": list(items or [item()])}


def entry(*seq_len_configs, **fields):
    return {
        "image": "registry/server:1",
        "model": "organisation/model",
        "model-prefix": "model",
        "precision": "fp8",
        "framework": "vllm",
        "runner": "h100",
        "seq-len-configs": list(seq_len_configs or [lengths()]),
        **fields,
    }


def topology(conc_list, prefill_tp=4, decode_tp=8, **others):
    return {
        "conc-list": conc_list,
        "prefill": {"num-worker": 2, "tp": prefill_tp},
        "decode": {"num-worker": 1, "tp": decode_tp, "additional-settings": ["NODES=2"]},
        **others,
    }


def multinode(*topologies, **fields):
    return entry(lengths(*topologies), multinode=True, disagg=True, **fields)


def write(path, entries):
    path.write_text(yaml.safe_dump(entries, sort_keys=False), encoding="utf-8")
    return str(path)


def master(entries):
    models = {name: entry_model(data).model_validate(data) for name, data in entries.items()}
    return Master(models, None, {})


class Command:
    """Runs the command in this process: exit code, stdout, lines of stderr."""

    def __init__(self, capsys):
        self._capsys = capsys

    def __call__(self, *arguments):
        code = main([str(argument) for argument in arguments])
        captured = self._capsys.readouterr()
        return code, captured.out, captured.err.splitlines()

    def points(self, *arguments):
        code, out, err = self(*arguments)
        assert (code, err) == (0, [])
        return json.loads(out)

    def problems(self, *arguments):
        code, out, err = self(*arguments)
        assert (code, out) == (2, "")
        assert err
        return err


_concurrencies = st.one_of(
    st.tuples(st.integers(1, 64), st.integers(0, 200)).map(
        lambda pair: {"conc-start": pair[0], "conc-end": pair[0] + pair[1]}
    ),
    st.lists(st.integers(1, 256), min_size=1, max_size=4, unique=True).map(
        lambda values: {"conc-list": values}
    ),
)
_items = st.builds(
    lambda tp, ep, dp_attn, conc: {"tp": tp, "ep": ep, "dp-attn": dp_attn, **conc},
    st.sampled_from([1, 2, 4, 8]),
    st.sampled_from([1, 4]),
    st.booleans(),
    _concurrencies,
)
_topologies = st.builds(
    topology,
    st.lists(st.integers(1, 512), min_size=1, max_size=4, unique=True),
    st.sampled_from([2, 4]),
    st.sampled_from([4, 8]),
)


def _entries(items, **fields):
    return st.builds(
        lambda space, isl, osl, prefix, precision, framework, runner: entry(
            lengths(*space, isl=isl, osl=osl),
            **{"model-prefix": prefix, "precision": precision, "framework": framework},
            runner=runner,
            **fields,
        ),
        st.lists(items, min_size=1, max_size=3),
        st.sampled_from([1024, 8192]),
        st.sampled_from([1024, 8192, 300]),
        st.sampled_from(["dsr1", "gptoss"]),
        st.sampled_from(["fp4", "fp8"]),
        st.sampled_from(["vllm", "sglang"]),
        st.sampled_from(["h100", "b200"]),
    )


any_entry = st.one_of(_entries(_items), _entries(_topologies, multinode=True))
any_name = st.builds(
    lambda prefix, number: f"{prefix}-{number}",
    st.sampled_from(["dsr1", "dsr1-fp4", "gptoss"]),
    st.integers(0, 99),
)
any_entries = st.dictionaries(any_name, any_entry, min_size=1, max_size=6)
