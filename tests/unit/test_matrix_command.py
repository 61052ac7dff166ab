"""The command: formats, limits, exit codes, messages."""

import json
import subprocess
import sys

import pytest
from matrix_cases import EXAMPLES, ROOT, Command, entry, item, lengths, multinode, topology, write

from scripts.lib.kinds.inference.matrix.github import MAX_BYTES

FILES = ["--config-files", EXAMPLES / "nvidia.yaml", EXAMPLES / "amd.yaml"]
RUNNERS = ["--runner-config", EXAMPLES / "runners.yaml"]


@pytest.fixture
def command(capsys):
    return Command(capsys)


def many(count, **fields):
    """Master file of `count` points."""
    return {f"e{i}": entry(lengths(item(end=4)), image=f"i{i}", **fields) for i in range(count)}


def test_json_is_one_line_and_jsonl_one_line_a_point(command):
    _, out, _ = command("full-sweep", *FILES)
    _, lines, _ = command("full-sweep", *FILES, "--format", "jsonl")
    assert out.count("\n") == 1
    assert [json.loads(line) for line in lines.splitlines()] == json.loads(out)


def test_github_prints_a_matrix(command):
    matrix = command.points("full-sweep", *FILES, "--format", "github")
    assert matrix == {"include": command.points("full-sweep", *FILES)}


def test_table_has_a_row_for_each_point(command):
    _, out, _ = command("full-sweep", *FILES, "--format", "table")
    header, *rows = out.splitlines()
    assert header.split()[:3] == ["image", "model", "model-prefix"]
    assert len(rows) == len(command.points("full-sweep", *FILES))


def test_count_is_a_table_with_a_row_for_each_value_of_a_filter(command):
    code, out, _ = command("full-sweep", *FILES, "--count", "--max-batch-size", 20)
    rows = [line.split() for line in out.splitlines()]
    assert code == 0
    assert rows[:2] == [["filter", "value", "entries", "batches"], ["all", "79", "4"]]
    assert ["precision", "bf16", "44", "3"] in rows
    assert ["runner-type", "gb200", "2", "1"] in rows


def test_more_entries_than_a_github_matrix_takes(tmp_path, command):
    file = write(tmp_path / "m.yaml", many(300))
    arguments = ("full-sweep", "--config-files", file, "--format", "github")
    (problem,) = command.problems(*arguments)
    assert problem.startswith("300 entries, ")
    assert problem.endswith("use --max-batch-size 256, which makes 2 batches: --batch-index 0 to 1")
    assert len(command.points(*arguments, "--batch-index", 1)["include"]) == 44
    (problem,) = command.problems(*arguments, "--max-batch-size", 300, "--batch-index", 0)
    assert "--max-batch-size 256" in problem


def test_more_bytes_than_a_github_output_takes(tmp_path, command):
    file = write(tmp_path / "m.yaml", many(200, model="m" * 6000))
    arguments = ["full-sweep", "--config-files", file, "--format", "github"]
    (problem,) = command.problems(*arguments, "--batch-index", 0)
    words = problem.split()
    size = int(words[words.index("--max-batch-size") + 1].rstrip(","))
    count = int(words[words.index("makes") + 1])
    parts = []
    for index in range(count):
        _, out, _ = command(*arguments, "--max-batch-size", size, "--batch-index", index)
        assert 2 * len(out) <= MAX_BYTES
        parts += json.loads(out)["include"]
    assert parts == command.points("full-sweep", "--config-files", file)
    (problem,) = command.problems(*arguments, "--max-batch-size", size + 1, "--batch-index", 0)
    assert f"--max-batch-size {size}," in problem


def test_an_entry_too_large_for_github_on_its_own(tmp_path, command):
    file = write(tmp_path / "m.yaml", many(1, model="m" * MAX_BYTES))
    (problem,) = command.problems("full-sweep", "--config-files", file, "--format", "github")
    assert problem.startswith("a single entry is larger")


@pytest.mark.parametrize("index", ["4", "-1", "99"])
def test_a_batch_index_out_of_range(command, index):
    (problem,) = command.problems(
        "full-sweep", *FILES, "--max-batch-size", "20", "--batch-index", index
    )
    assert problem == f"Invalid batch-index {index}. Valid range is 0 to 3"


def test_the_batch_count_wins_over_a_batch_index(command):
    arguments = ("--max-batch-size", "20", "--batch-index", "99", "--get-batch-count")
    assert command("full-sweep", *FILES, *arguments) == (0, "4\n", [])


def test_an_empty_result_repeats_the_filters(command):
    (problem,) = command.problems(
        *("full-sweep", *FILES, "--precision", "fp4", "fp6", "--max-tp", 4, "--seq-lens", "1k8k")
    )
    assert problem == "nothing is left by: --precision fp4 fp6 --seq-lens 1k8k --max-tp 4"
    (problem,) = command.problems(
        "test-config", *FILES, "--key", "glm46-fp8-gb200-dynamo", "--seq-lens", "1k8k"
    )
    assert problem == "nothing is left by: --key glm46-fp8-gb200-dynamo --seq-lens 1k8k"


def test_a_filter_value_without_a_match_is_noted(command):
    arguments = ("full-sweep", *FILES, "--precision", "fp8", "fp9")
    code, out, err = command(*arguments)
    assert (code, err) == (0, ["note: --precision fp9 matches no entry"])
    assert {point["precision"] for point in json.loads(out)} == {"fp8"}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["full-sweep", "--runner-type", "h200"], "--runner-type needs --runner-config"),
        (
            ["full-sweep", "--runner-type", "h20", *RUNNERS],
            "unknown runner type 'h20'; did you mean 'h200'? "
            "(allowed: h200, b200, gb200, mi300x, mi355x)",
        ),
        (["runner-model-sweep", "--runner-type", "h200"], "--runner-type needs --runner-config"),
        (
            ["test-config", "--key", "qwen3-bf16-mi300x-vlm"],
            "unknown entry 'qwen3-bf16-mi300x-vlm'; did you mean 'qwen3-bf16-mi300x-vllm'? "
            "(allowed: qwen3-bf16-h200-vllm, glm46-fp8-b200-sglang, glm46-fp8-gb200-dynamo, "
            "qwen3-bf16-mi300x-vllm, glm46-fp8-mi355x-sglang)",
        ),
        (
            ["test-config", "--key", "qwen3-bf16-mi300x-vllm", "--runner-node", "h200-rack1_0"],
            "--runner-node needs --runner-config",
        ),
        (
            ["test-config", "--key", "qwen3-bf16-mi300x-vllm", "--runner-node", "n0", *RUNNERS],
            "unknown mi300x node 'n0' (allowed: mi300x-rack4_0, mi300x-rack4_1)",
        ),
        (
            ["full-sweep", "--seq-lens", "2k2k"],
            "argument --seq-lens: invalid choice: '2k2k' (choose from ",
        ),
        (["full-sweep", "--model", "x"], "unrecognized arguments: --model x"),
        (["test-config"], "the following arguments are required: --key"),
    ],
)
def test_a_wrong_command_line_is_one_line(command, arguments, problem):
    (line,) = command.problems(*arguments, *FILES)
    assert line.startswith(problem)


def test_configurations_without_a_1k1k_block_are_named(tmp_path, command):
    runners = tmp_path / "runners.yaml"
    runners.write_text("h100: [n0, n1]\n", encoding="utf-8")
    file = write(
        tmp_path / "m.yaml",
        {"a": entry(lengths(osl=8192)), "b": entry(), "c": entry(lengths(isl=9))},
    )
    problems = command.problems(
        *("runner-model-sweep", "--config-files", file),
        *("--runner-config", runners, "--runner-type", "h100"),
    )
    assert [problem.split(": ")[:2] for problem in problems] == [
        [f"{file}:1", "a.seq-len-configs"],
        [f"{file}:29", "c.seq-len-configs"],
    ]


def test_limits_leave_points_out(tmp_path, command):
    file = write(
        tmp_path / "m.yaml",
        {
            "a": entry(lengths(item(tp=4, end=100), item(tp=8, end=8))),
            "b": multinode(topology([4, 16, 64], decode_tp=4), topology([16])),
        },
    )
    arguments = ["full-sweep", "--config-files", file, "--max-tp", 4]
    points = command.points(*arguments, "--min-conc", 8, "--max-conc", 64)
    assert [point["conc"] for point in points] == [8, 16, 32, 64, [16, 64]]
    points = command.points(*arguments, "--min-conc", 8, "--test-mode")
    assert [point["conc"] for point in points] == [8, [16]]


def test_a_closed_pipe_is_no_traceback():
    result = subprocess.run(
        f"{sys.executable} -m scripts.generate_sweep_configs full-sweep --config-files "
        f"{EXAMPLES / 'nvidia.yaml'} --format jsonl | head -n 1",
        **{"shell": True, "cwd": ROOT, "capture_output": True, "text": True, "timeout": 20},
    )
    assert json.loads(result.stdout)["conc"] == 4
    assert result.stderr == ""


def test_nothing_heavy_is_imported():
    code = (
        "import sys, scripts.generate_sweep_configs, scripts.lib.config;"
        "print({'torch', 'transformers', 'pandas', 'numpy'} & sys.modules.keys())"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=20
    )
    assert result.stdout.strip() == "set()"
