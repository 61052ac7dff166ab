"""The real master file gives what the system of the document printed for it."""

import json
from pathlib import Path

import pytest
from matrix_cases import EXAMPLES, Command, data_file, needs_data

RUNNERS = data_file("runners.yaml")
CALLS = {
    "full": ["full-sweep"],
    "dsr1-1k1k": ["full-sweep", "--model-prefix", "dsr1", "--seq-lens", "1k1k"],
    "gptoss-fp4-h100": [
        *("full-sweep", "--model-prefix", "gptoss", "--precision", "fp4"),
        *("--runner-type", "h100", "--runner-config", RUNNERS),
    ],
    "test-mode": ["full-sweep", "--test-mode"],
    "step4-8k1k": ["full-sweep", "--step-size", "4", "--seq-lens", "8k1k"],
    "batch50-3": ["full-sweep", "--max-batch-size", "50", "--batch-index", "3"],
    "test-config": [
        *("test-config", "--runner-config", RUNNERS),
        *("--key", "dsr1-fp4-b200-sglang", "--seq-lens", "1k1k"),
    ],
    "runner-model-sweep-b200": [
        *("runner-model-sweep", "--runner-config", RUNNERS, "--runner-type", "b200"),
    ],
}
FIELDS = {
    *("image", "model", "model-prefix", "precision", "framework", "runner", "isl", "osl"),
    *("tp", "ep", "dp-attn", "spec-decoding", "conc", "max-model-len", "exp-name"),
}


@needs_data
@pytest.mark.parametrize("name", CALLS)
def test_golden_file_is_reproduced(name, capsys):
    golden = json.loads(Path(data_file(f"golden/{name}.json")).read_text(encoding="utf-8"))
    points = Command(capsys).points(*CALLS[name], "--config-files", data_file("nvidia-master.yaml"))
    assert [
        {key: point[key] for key in expected}
        for point, expected in zip(points, golden, strict=True)
    ] == golden
    assert all(set(point) == FIELDS for point in points)


@needs_data
def test_golden_batch_count(capsys):
    golden = Path(data_file("golden/batch50-count.json")).read_text(encoding="utf-8")
    code, out, _ = Command(capsys)(
        *("full-sweep", "--config-files", data_file("nvidia-master.yaml")),
        *("--max-batch-size", "50", "--get-batch-count"),
    )
    assert (code, out.strip()) == (0, golden.strip())


@needs_data
def test_the_real_runner_file_knows_every_runner(capsys):
    arguments = ["full-sweep", "--config-files", data_file("nvidia-master.yaml")]
    command = Command(capsys)
    assert command(*arguments) == command(*arguments, "--runner-config", RUNNERS)


FILES = ["--config-files", EXAMPLES / "nvidia.yaml", EXAMPLES / "amd.yaml"]
EXAMPLE_RUNNERS = ["--runner-config", EXAMPLES / "runners.yaml"]


def test_examples_keep_the_order_of_files_entries_lengths_items_and_concurrencies(capsys):
    points = Command(capsys).points("full-sweep", *FILES, *EXAMPLE_RUNNERS)
    assert [(p["runner"], p["isl"], p["tp"], p["conc"]) for p in points[:9]] == [
        *[("h200", 1024, 1, conc) for conc in (4, 8, 16, 32)],
        *[("h200", 1024, 2, conc) for conc in (4, 8, 16, 32, 64)],
    ]
    assert list(dict.fromkeys(point["runner"] for point in points)) == [
        *("h200", "b200", "gb200", "mi300x", "mi355x")
    ]


def test_examples_put_a_topology_over_several_nodes_into_one_entry(capsys):
    points = Command(capsys).points("full-sweep", *FILES, "--model-prefix", "glm46-fp8-gb200")
    assert [point["conc"] for point in points] == [[256, 512, 1024], [64, 128]]
    assert points[0]["decode"] == {
        **{"num-worker": 1, "tp": 8, "ep": 8, "dp-attn": True},
        "additional-settings": ["DECODE_NODES=2"],
    }
    assert points[1]["prefill"] == {
        **{"num-worker": 2, "tp": 4, "ep": 1, "dp-attn": False},
        "additional-settings": [],
    }
    assert all(point["disagg"] and "tp" not in point for point in points)


def test_examples_name_lengths_and_add_200_tokens(capsys):
    points = Command(capsys).points("full-sweep", *FILES)
    for point in points:
        assert point["max-model-len"] == point["isl"] + point["osl"] + 200
    names = {(p["isl"], p["osl"]): p["exp-name"].split("_", 1)[1] for p in points}
    assert names == {
        **{(1024, 1024): "1k1k", (1024, 8192): "1k8k", (8192, 1024): "8k1k"},
        (32768, 512): "32768_512",
    }


def test_examples_in_test_mode(capsys):
    points = Command(capsys).points("full-sweep", *FILES, "--test-mode", "--seq-lens", "1k1k")
    assert [(p["runner"], p["tp"], p["conc"]) for p in points] == [
        *[("h200", 4, 4), ("b200", 8, 64), ("mi300x", 2, 4), ("mi355x", 8, 128)]
    ]


def test_examples_on_every_node_of_a_type(capsys):
    points = Command(capsys).points(
        "runner-model-sweep", *FILES, *EXAMPLE_RUNNERS, "--runner-type", "h200"
    )
    assert [
        (p["runner"], p["tp"], p["conc"], p["max-model-len"], p["exp-name"]) for p in points
    ] == [
        (node, 4, 4, 2048, "qwen3_test")
        for node in ("h200-rack1_0", "h200-rack1_1", "h200-rack2_0")
    ]


def test_examples_one_entry_on_one_node(capsys):
    arguments = [
        *("test-config", *FILES, *EXAMPLE_RUNNERS, "--key", "qwen3-bf16-mi300x-vllm"),
        *("--runner-node", "mi300x-rack4_1"),
    ]
    points = Command(capsys).points(*arguments, "--seq-lens", "8k1k", "--step-size", "4")
    assert [(p["runner"], p["conc"], p["max-model-len"], p["exp-name"]) for p in points] == [
        ("mi300x-rack4_1", conc, 9216, "qwen3_8k1k") for conc in (4, 16, 32)
    ]
    points = Command(capsys).points(*arguments, "--test-mode")
    assert [(p["tp"], p["isl"], p["conc"], p["exp-name"]) for p in points] == [
        *[(1, 1024, 4, "qwen3_test"), (2, 1024, 4, "qwen3_test"), (2, 8192, 4, "qwen3_test")]
    ]
