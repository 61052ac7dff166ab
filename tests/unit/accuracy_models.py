"""Tiny models with random weights of many families, built from configurations alone."""

import pytest
import torch
import transformers as T
from tokenizers import Tokenizer, models, pre_tokenizers

from scripts.lib.kinds.accuracy.knobs.blocks import ActiveBlocks
from scripts.lib.kinds.accuracy.knobs.pixels import pixels_of
from scripts.lib.kinds.accuracy.knobs.top_k import TopK
from scripts.lib.kinds.accuracy.loading import Loaded

BLOCKS = 4
WORDS = ["<pad>", "<s>", "</s>", "<image>", "<unk>", *"abcdefghijklmnopqrstuvwxyz"]
TEXT = {
    "vocab_size": 128, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": BLOCKS,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2, "max_position_embeddings": 512, "initializer_range": 0.2,
}  # fmt: skip
SHORT = {name: TEXT[name] for name in
         ("vocab_size", "pad_token_id", "bos_token_id", "eos_token_id", "initializer_range")}  # fmt: skip
MOE = {"moe_intermediate_size": 16, "num_experts": 8, "num_experts_per_tok": 2}
LOCAL = {"num_local_experts": 8, "num_experts_per_tok": 2}
VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
          "num_attention_heads": 4}  # fmt: skip


def text_config(family):
    return {
        "llama": lambda: T.LlamaConfig(**TEXT),
        "qwen3_moe": lambda: T.Qwen3MoeConfig(**TEXT, **MOE, norm_topk_prob=True),
        "mixtral": lambda: T.MixtralConfig(**TEXT, **LOCAL),
        "olmoe": lambda: T.OlmoeConfig(**TEXT, num_experts=8, num_experts_per_tok=2),
        "granitemoe": lambda: T.GraniteMoeConfig(**TEXT, **LOCAL),
        "gpt_oss": lambda: T.GptOssConfig(**TEXT, **LOCAL, sliding_window=8),
        "deepseek_v3": lambda: T.DeepseekV3Config(
            **{k: v for k, v in TEXT.items() if k != "head_dim"} | {"num_key_value_heads": 4},
            moe_intermediate_size=16, n_routed_experts=8, num_experts_per_tok=2, n_group=2,
            topk_group=2, first_k_dense_replace=1, q_lora_rank=16, kv_lora_rank=16,
            qk_rope_head_dim=8, qk_nope_head_dim=8, v_head_dim=8,
        ),
        "phimoe": lambda: T.PhimoeConfig(**TEXT, **LOCAL),
        "gpt2": lambda: T.GPT2Config(**SHORT, n_embd=32, n_layer=BLOCKS, n_head=4),
        "gptj": lambda: T.GPTJConfig(**SHORT, n_embd=32, n_layer=BLOCKS, n_head=4, rotary_dim=8),
        "gpt_neo": lambda: T.GPTNeoConfig(
            **SHORT, hidden_size=32, num_layers=BLOCKS, num_heads=4, window_size=8,
            attention_types=[[["global"], BLOCKS]],
        ),
        "bloom": lambda: T.BloomConfig(**SHORT, hidden_size=32, n_layer=BLOCKS, n_head=4),
        "falcon": lambda: T.FalconConfig(**SHORT, hidden_size=32, num_hidden_layers=BLOCKS,
                                         num_attention_heads=4),
    }[family]()  # fmt: skip


def tokenizer():
    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return T.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", bos_token="<s>", eos_token="</s>",
        unk_token="<unk>", padding_side="left", additional_special_tokens=["<image>"],
    )  # fmt: skip


def text_model(family):
    torch.manual_seed(0)
    model = T.AutoModelForCausalLM.from_config(text_config(family)).eval()
    return loaded(model, tokenizer(), None)


def vision_model(family):
    torch.manual_seed(0)
    tok = tokenizer()
    text = T.Qwen3MoeConfig(**TEXT, **MOE, norm_topk_prob=True)
    vision = VISION | {"image_size": 32, "patch_size": 8}
    if family == "internvl":
        size = {"image_size": (32, 32), "patch_size": (8, 8)}
        config = T.InternVLConfig(
            vision_config=T.InternVLVisionConfig(**VISION, **size, initializer_range=0.2),
            text_config=text, image_token_id=3, image_seq_length=4, downsample_ratio=0.5,
        )  # fmt: skip
        processor = T.GotOcr2ImageProcessorPil(size={"height": 32, "width": 32}, max_patches=6)
    elif family in ("idefics3", "smolvlm"):
        smol = family == "smolvlm"
        kind, sees = (T.SmolVLMConfig, T.SmolVLMVisionConfig) if smol else (
            T.Idefics3Config, T.Idefics3VisionConfig)  # fmt: skip
        processor = idefics_processor(tok)
        config = kind(vision_config=sees(**vision).to_dict(), text_config=text, scale_factor=2,
                      image_token_id=tok.convert_tokens_to_ids("<image>"))  # fmt: skip
    elif family == "llava_next":
        tiles = [[32, 64], [64, 32], [64, 64]]
        config = T.LlavaNextConfig(
            vision_config=T.CLIPVisionConfig(**vision, projection_dim=32), text_config=text,
            image_token_index=3, image_grid_pinpoints=tiles, vision_feature_layer=-2,
        )  # fmt: skip
        images = T.LlavaNextImageProcessorPil(
            size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32},
            image_grid_pinpoints=tiles,
        )  # fmt: skip
        processor = T.LlavaNextProcessor(
            images, tok, patch_size=8, vision_feature_select_strategy="default",
            num_additional_image_tokens=1,
        )  # fmt: skip
    elif family == "qwen3_vl_moe":
        sees = VISION | {"depth": 2, "num_heads": 4, "patch_size": 4, "out_hidden_size": 32,
                         "deepstack_visual_indexes": [0], "num_position_embeddings": 64}  # fmt: skip
        config = T.Qwen3VLMoeConfig(
            text_config=TEXT | MOE | {"rope_parameters": {
                "rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}},
            vision_config=sees, image_token_id=3, video_token_id=4, vision_start_token_id=5,
            vision_end_token_id=6,
        )  # fmt: skip
        processor = T.Qwen2VLImageProcessorPil(
            patch_size=4, merge_size=2, size={"shortest_edge": 64, "longest_edge": 8 * 256 * 64}
        )
    model = T.AutoModelForImageTextToText.from_config(config).eval()
    if family in ("idefics3", "smolvlm"):
        model.resize_token_embeddings(len(tok))
    return loaded(model, tok, processor)


def idefics_processor(tok):
    tok.add_special_tokens({"additional_special_tokens": [
        "<fake_token_around_image>", "<image>", "<global-img>", "<end_of_utterance>",
        *(f"<row_{r}_col_{c}>" for r in range(1, 7) for c in range(1, 7))]})  # fmt: skip
    try:
        images = T.Idefics3ImageProcessorPil(
            size={"longest_edge": 96}, max_image_size={"longest_edge": 32}
        )
    except ImportError:
        pytest.skip(f"transformers {T.__version__} wants torchvision for Idefics3's images")
    return T.Idefics3Processor(images, tok, image_seq_len=4)


def loaded(model, tok, processor):
    model.generation_config.eos_token_id = 2
    return Loaded(model, tok, pixels_of(model.config, tok, processor), TopK(model),
                  ActiveBlocks(model))  # fmt: skip
