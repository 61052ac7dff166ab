"""Two hundred master files with faults: a line for each fault, exit code 2, no traceback."""

import random
from pathlib import Path

import pytest
import yaml
from matrix_cases import Command, entry, item, lengths, multinode, topology, write

from scripts.lib.kinds.inference.matrix import load_master
from scripts.lib.schema.errors import InputError


def _drop(rng, data):
    del data[rng.choice([key for key in data if key not in ("multinode", "disagg")])]


def _rename(rng, data):
    key = rng.choice([key for key in data if key != "multinode"])
    data[key + rng.choice("xs_")] = data.pop(key)


def _retype(rng, data):
    wrong = {"seq-len-configs": [[], {}, "none", [3], 4], "multinode": ["yes", 1, []]}
    key = rng.choice(list(data))
    data[key] = rng.choice(wrong.get(key, [None, 4.5, ["x"], {"a": 1}, [], ""]))


def _space(data):
    return data["seq-len-configs"][0]["search-space"]


def _spoil_item(rng, data):
    spoiled = {
        "tp": ["4", True, 0, -1, 1 << 40, 4.0],
        "ep": ["4", False, 0],
        "dp-attn": [1, "yes", 0, []],
        "spec-decoding": ["eagle", True, 3],
        "conc-list": [[], [0], ["4"], [True], 4, [4, 4]],
        "conc-start": [0, "4", True, 1 << 40],
        "conc-end": [0, "64", 1.5],
        "prefill": [{}, 3, {"num-worker": 0, "tp": 1}, {"num-worker": 1, "tp": 1, "np": 1}],
        "extra": [1],
    }
    space = _space(data)
    key = rng.choice(list(spoiled))
    space[rng.randrange(len(space))][key] = rng.choice(spoiled[key])


def _reverse(rng, data):
    _space(data)[0] = item(start=rng.randint(5, 99), end=rng.randint(1, 4))


def _spoil_lengths(rng, data):
    key, values = rng.choice(
        [("isl", [None, "1k", 0, True]), ("osl", [8.0, -1]), ("search-space", [[], {}, None, [[]]])]
    )
    data["seq-len-configs"][0][key] = rng.choice(values)


def _no_mapping(rng, data):
    return [rng.choice([None, [], "text", 3, [data], True])]


MUTATIONS = [_drop, _rename, _retype, _spoil_item, _reverse, _spoil_lengths]


def spoiled_entries(rng):
    """Entries of which some, the first always, have one fault each, and the names of those."""
    entries, faulty = {}, []
    for i in range(rng.randint(1, 6)):
        name = f"entry-{i}"
        entries[name] = rng.choice(
            [entry(lengths(item(), item(tp=8))), multinode(topology([4]), topology([8, 9]))]
        )
        if i == 0 or rng.random() < 0.5:
            replaced = rng.choice([*MUTATIONS, _no_mapping])(rng, entries[name])
            entries[name] = entries[name] if replaced is None else replaced[0]
            faulty.append(name)
    return entries, faulty


@pytest.mark.parametrize("seed", range(150))
def test_every_faulty_entry_has_its_line(seed, tmp_path, capsys):
    rng = random.Random(seed)
    entries, faulty = spoiled_entries(rng)
    file = write(tmp_path / "m.yaml", entries)
    problems = Command(capsys).problems("full-sweep", "--config-files", file)
    lines = Path(file).read_text(encoding="utf-8").splitlines()
    for name in faulty:
        own = [line for line in problems if f": {name}" in line]
        assert own, f"{name} has no line"
        assert all(1 <= int(line.split(":")[1]) <= len(lines) for line in own)
    assert all(line.startswith(f"{file}:") and ": " in line for line in problems)
    assert not any("Traceback" in line for line in problems)


CORRUPTIONS = {
    "cut short": lambda rng, text: text[: rng.randint(20, 160)] + "\n  [",
    "no UTF-8": lambda rng, text: text.encode()[: rng.randint(1, 90)] + b"\xff\xfe",
    "control character": lambda rng, text: text.replace("vllm", "vl\x00lm"),
    "tab": lambda rng, text: text.replace("  image", "\timage"),
    "list": lambda rng, text: "- " + text.replace("\n", "\n  "),
    "empty": lambda rng, text: rng.choice(["", "# only a comment\n", "---\n", "null\n", "{}\n"]),
    "two documents": lambda rng, text: f"{text}\n---\n{text}",
    "python object": lambda rng, text: f"x: !!python/object/apply:os.getcwd []\n{text}",
    "name twice": lambda rng, text: text + text,
    "key twice": lambda rng, text: text.replace("  image:", "  runner: h100\n  image:"),
    "bad tag": lambda rng, text: text.replace("isl: 1024", "isl: !!int twelve"),
    "deep": lambda rng, text: f"x: {'[' * rng.randint(600, 60_000)}",
    "unknown alias": lambda rng, text: text.replace("vllm", "*vllm"),
    "itself": lambda rng, text: "a: &a {seq-len-configs: [*a], search-space: *a}\n",
    "many aliases": lambda rng, text: (
        "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60))
    ),
    "huge number": lambda rng, text: text.replace("isl: 1024", "isl: 0x" + "f" * 9000),
    "line breaks": lambda rng, text: text.replace("vllm", '"a\\nb"'),
    "key of two lines": lambda rng, text: text + '  "x\\ny": 1\n',
    "key of no text": lambda rng, text: f"3: {{}}\nnull: {{}}\n{text}",
    "list as key": lambda rng, text: f"? [a]\n: 1\n{text}",
}


@pytest.mark.parametrize("kind", CORRUPTIONS)
@pytest.mark.parametrize("seed", range(3))
def test_a_corrupt_file_has_a_line(kind, seed, tmp_path, capsys):
    text = yaml.safe_dump({"a": entry()}, sort_keys=False)
    corrupt = CORRUPTIONS[kind](random.Random(seed), text)
    path = tmp_path / "m.yaml"
    path.write_bytes(corrupt if isinstance(corrupt, bytes) else corrupt.encode())
    problems = Command(capsys).problems("full-sweep", "--config-files", path)
    assert all(line.startswith(f"{path}:") for line in problems)
    assert not any("Traceback" in line for line in problems)


def test_all_problems_of_all_files_are_reported_at_once(tmp_path):
    first = write(tmp_path / "1.yaml", {"a": entry(lengths(item(tp=0, start=9, end=3))), "b": 3})
    second = write(tmp_path / "2.yaml", {"a": entry(runner="h10")})
    runners = tmp_path / "runners.yaml"
    runners.write_text("h100: [n0, n0]\nb200: n1\nh200: []\n", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_master([first, tmp_path / "none.yaml", second], runners)
    item_line = f"{first}:{{}}: a.seq-len-configs.0.search-space.0"
    assert list(caught.value.problems) == [
        f"{runners}:1: h100: 'n0' stands twice",
        f"{runners}:2: b200: must be a valid list, got 'n1'",
        f"{runners}:3: h200: must not be empty",
        f"{item_line.format(14)}.conc-end: must be at least conc-start (9), got 3",
        f"{item_line.format(12)}.tp: must be greater than or equal to 1, got 0",
        f"{first}:15: b: must be a mapping (key: value), got 3",
        f"{tmp_path}/none.yaml: cannot be read: No such file or directory",
        f"{second}:1: a: this name stands already in {first}:1",
    ]


def test_every_runner_must_be_known(tmp_path):
    file = write(tmp_path / "m.yaml", {"a": entry(), "b": entry(runner="h10")})
    runners = tmp_path / "runners.yaml"
    runners.write_text("h100: [n0]\nb200: [n1]\n", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_master([file], runners)
    assert list(caught.value.problems) == [
        f"{file}:21: b.runner: unknown runner type 'h10'; did you mean 'h100'? "
        "(allowed: h100, b200)"
    ]


def test_a_name_that_stands_twice_in_one_file_is_reported_with_its_other_problems(tmp_path, capsys):
    file = tmp_path / "m.yaml"
    one = yaml.safe_dump({"a": entry(precision=8)}, sort_keys=False)
    file.write_text(one + one, encoding="utf-8")
    twice, wrong = Command(capsys).problems("full-sweep", "--config-files", file)
    assert twice == f"{file}:15: a: this key stands twice"
    assert wrong.endswith("a.precision: must be a valid string, got 8")
