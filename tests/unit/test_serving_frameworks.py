"""The command of every framework and every option, to the letter."""

import json
import re

import pytest

from scripts.lib.kinds.inference.frameworks import (
    UnsupportedError,
    compose,
    filled,
    load_frameworks,
)
from scripts.lib.schema.errors import InputError

POINT = {
    "image": "registry#team/server:1", "model": "org/model", "precision": "fp8", "tp": 4, "ep": 1,
    "dp_attn": False, "spec_decoding": "none", "max_model_len": 2248,
}  # fmt: skip
START = {
    "model": "org/model", "host": "127.0.0.1", "port": "8001", "device": "cuda",
    "config_file": "/x/server.yaml", "python": "python3",
}  # fmt: skip
ADDRESS = "--host 127.0.0.1 --port 8001"
VLLM = f"vllm serve org/model {ADDRESS}"
VLLM_END = "--max-model-len 2248"
SGLANG = (
    f"python3 -m sglang.launch_server --model-path org/model {ADDRESS} --tp-size 4"
    " --context-length 2248"
)
TRT = f"trtllm-serve org/model {ADDRESS} --backend pytorch --tp_size 4"
TRT_END = "--max_seq_len 2248 --extra_llm_api_options /x/server.yaml"
CACHE = "--cb-num-blocks 1024 --cb-block-size 32 --cb-max-batch-tokens 1024"
MTP = '{"method": "mtp", "num_speculative_tokens": 1}'
DRAFT = '{"method": "draft_model", "model": "org/small", "num_speculative_tokens": 4}'

GOLDEN = [
    ("transformers", {"tp": 1, "precision": "fp32"},
     [f"transformers serve org/model {ADDRESS} --device cuda --dtype float32 --continuous-batching {CACHE}"], None),
    ("transformers", {"tp": 1, "precision": "bf16"},
     [f"transformers serve org/model {ADDRESS} --device cuda --dtype bfloat16 --continuous-batching {CACHE}"], None),
    ("vllm", {}, [f"{VLLM} --tensor-parallel-size 4 --data-parallel-size 1 {VLLM_END}"], None),
    ("vllm", {"ep": 4},
     [f"{VLLM} --tensor-parallel-size 4 --data-parallel-size 1 {VLLM_END} --enable-expert-parallel"], None),
    ("vllm", {"ep": 4, "dp_attn": True},
     [f"{VLLM} --tensor-parallel-size 1 --data-parallel-size 4 {VLLM_END} --enable-expert-parallel"], None),
    ("vllm", {"spec_decoding": "mtp"},
     [f"{VLLM} --tensor-parallel-size 4 --data-parallel-size 1 {VLLM_END} --speculative-config", MTP], None),
    ("vllm", {"spec_decoding": "draft_model"},
     [f"{VLLM} --tensor-parallel-size 4 --data-parallel-size 1 {VLLM_END} --speculative-config", DRAFT], None),
    ("sglang", {}, [SGLANG], None),
    ("sglang", {"ep": 2}, [f"{SGLANG} --ep-size 2"], None),
    ("sglang", {"ep": 4, "dp_attn": True},
     [f"{SGLANG} --ep-size 4 --enable-dp-attention --dp-size 4"], None),
    ("sglang", {"spec_decoding": "mtp"},
     [f"{SGLANG} --speculative-algorithm EAGLE --speculative-num-steps 1 --speculative-eagle-topk 1"
      " --speculative-num-draft-tokens 2"], None),
    ("sglang", {"spec_decoding": "draft_model"},
     [f"{SGLANG} --speculative-algorithm STANDALONE --speculative-draft-model-path org/small"], None),
    ("trt", {}, [f"{TRT} --ep_size 1 {TRT_END}"], {}),
    ("trt", {"ep": 4, "dp_attn": True}, [f"{TRT} --ep_size 4 {TRT_END}"],
     {"enable_attention_dp": True}),
    ("trt", {"spec_decoding": "mtp"}, [f"{TRT} --ep_size 1 {TRT_END}"],
     {"speculative_config": {"decoding_type": "MTP", "num_nextn_predict_layers": 1}}),
    ("trt", {"spec_decoding": "draft_model", "dp_attn": True}, [f"{TRT} --ep_size 1 {TRT_END}"],
     {"enable_attention_dp": True,
      "speculative_config": {"decoding_type": "Draft_Target", "max_draft_len": 4, "speculative_model": "org/small"}}),
]  # fmt: skip


def command_of(launch, **start):
    return [filled(argument, START | start) for argument in launch.command]


@pytest.mark.parametrize(("framework", "changes", "texts", "config_file"), GOLDEN)
def test_the_command_of_a_point(framework, changes, texts, config_file):
    launch = compose(POINT | {"framework": framework} | changes, draft_model="org/small")
    first, *others = texts
    assert command_of(launch) == [*first.split(" "), *others]
    assert launch.config_file == config_file
    # A key of one framework is in no other's run.json, whose runs it would make new.
    assert ("plain_bind" in launch.model_dump(exclude_none=True)) == (framework == "trt")


def test_every_framework_is_shown_with_every_option():
    shown = {(f, k) for f, changes, *_ in GOLDEN for k in [*changes, changes.get("spec_decoding")]}
    for name, framework in load_frameworks().items():
        for option in ("ep", "dp_attn", "mtp", "draft_model"):
            assert (getattr(framework, option) is not None) == ((name, option) in shown)


@pytest.mark.parametrize("framework", load_frameworks())
@pytest.mark.parametrize("name", ["a model; rm -rf $HOME", "`id` {port} 'x' \"y\" | z"])
def test_a_name_stays_one_argument(framework, name):
    point = POINT | {"framework": framework, "model": name, "tp": 1, "precision": "bf16"}
    plain = command_of(compose(point | {"model": "x"}), model="x")
    command = command_of(compose(point), model=name)
    assert len(command) == len(plain)
    assert [a for a, b in zip(command, plain, strict=True) if a != b] == [name]


def test_a_draft_models_name_stays_inside_its_json():
    point = POINT | {"framework": "vllm", "spec_decoding": "draft_model"}
    last = compose(point, draft_model='a"b {tp};').command[-1]
    assert json.loads(last)["model"] == 'a"b {tp};'


@pytest.mark.parametrize("framework", load_frameworks())
def test_a_name_that_looks_like_an_option_is_refused(framework):
    point = POINT | {
        "framework": framework,
        "model": "--trust-remote-code",
        "tp": 1,
        "precision": "bf16",
    }
    with pytest.raises(InputError, match="model: must not begin with '-'"):
        compose(point)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"framework": "dynamo-trt"}, "framework 'dynamo-trt' is not in config/frameworks.yaml"),
        ({"framework": "transformers"}, "transformers serves on one device, tp is 4"),
        ({"framework": "transformers", "tp": 1}, "transformers has no precision fp8 (fp32, bf16, fp16)"),
        ({"framework": "transformers", "tp": 1, "spec_decoding": "mtp"}, "transformers has no option for spec-decoding mtp"),
        ({"framework": "transformers", "tp": 1, "dp_attn": True}, "transformers has no option for dp-attn"),
        ({"framework": "vllm", "ep": 2}, "vllm spreads experts over all of tp (4) or not, ep is 2"),
        ({"framework": "trt", "spec_decoding": "draft_model"}, "spec-decoding draft_model needs draft_model"),
    ],
)  # fmt: skip
def test_what_a_framework_cannot_do_is_said(changes, reason):
    with pytest.raises(UnsupportedError, match=re.escape(reason)):
        compose(POINT | changes)


def test_an_image_runs_in_its_container():
    launch = compose(POINT | {"framework": "sglang"}, container="apptainer")
    prefix = ["apptainer", "exec", "--nv", "docker://registry/team/server:1", "python3", "-m"]
    assert launch.command[:6] == prefix


def test_a_wrong_line_of_the_frameworks_is_named(tmp_path):
    path = tmp_path / "frameworks.yaml"
    path.write_text("mine:\n  devices: [tpu]\n  command: []\n  helth: /\n")
    with pytest.raises(InputError) as caught:
        load_frameworks(path)
    assert f"{path}:2: mine.devices.0: must be 'cpu' or 'cuda', got 'tpu'" in caught.value.problems
    assert any("mine.command: must not be empty" in p for p in caught.value.problems)
    assert any('did you mean "health"' in p for p in caught.value.problems)
