"""Foundation models of a few thousand random weights, saved as folders of the hub are."""

import json
from pathlib import Path
from typing import Any

import torch

NAMES = ("Speech", "Bark", "Bow-wow", "Acoustic guitar", "Silence", "Rain", "Siren", "Meow")
"""What the tiny AST can name."""
WORDS = (
    *("a", "an", "the", "of", "sound", "in", "is", "dog", "guitar", "person", "speaking", "cat"),
    *("rain", "siren", "silence", "noise", "police", "car", "or", "ambulance"),
)


def save(kind: str, folder: Path) -> Path:
    """The tiny model of a kind, with its preprocessor and its tokenizer; the same weights every time."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network, preprocessor = _BUILD[kind]()
        network.save_pretrained(folder)
    if preprocessor:
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    if kind in ("clap", "clipseg", "pe_a_frame"):
        _tokenizer(folder)
    return folder


def _tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["<s>", "<pad>", "</s>", "<unk>"]
    vocabulary = {word: number for number, word in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(folder)


def _ast() -> tuple[Any, dict[str, Any]]:
    from transformers import ASTConfig, ASTForAudioClassification

    config = ASTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_length=256,
        num_mel_bins=32,
        id2label=dict(enumerate(NAMES)),
        label2id={name: number for number, name in enumerate(NAMES)},
    )
    return ASTForAudioClassification(config), {"num_mel_bins": 32, "max_length": 256, "mean": -4.0, "std": 4.5}


def _clap() -> tuple[Any, dict[str, Any]]:
    from transformers import ClapConfig, ClapModel

    audio = {
        "spec_size": 64,
        "num_mel_bins": 16,
        "window_size": 4,
        "patch_size": 2,
        "patch_stride": [2, 2],
        "depths": [1, 1],
        "num_attention_heads": [2, 2],
        "hidden_size": 32,
        "patch_embeds_hidden_size": 16,
        "projection_dim": 16,
        "enable_fusion": False,
    }
    text = {
        "vocab_size": 40,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "max_position_embeddings": 40,
        "projection_dim": 16,
    }
    network = ClapModel(ClapConfig(audio_config=audio, text_config=text, projection_dim=16))
    return network, {"feature_size": 16, "fft_window_size": 512, "hop_length": 320, "sampling_rate": 16_000,
                     "max_length_s": 4, "frequency_max": 7_000}  # fmt: skip


def _pe_a_frame() -> tuple[Any, dict[str, Any]]:
    from transformers import PeAudioConfig, PeAudioFrameLevelModel

    text = {
        "model_type": "modernbert",
        "vocab_size": 40,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "pad_token_id": 1,
        "max_position_embeddings": 64,
    }
    dac = {
        "model_type": "dac",
        "encoder_hidden_size": 4,
        "downsampling_ratios": [2, 4, 4, 5],
        "codebook_dim": 8,
        "hidden_size": 64,
        "n_codebooks": 1,
        "codebook_size": 8,
        "decoder_hidden_size": 64,
        "sampling_rate": 16_000,
    }
    audio = {
        "dac_config": dac,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "head_dim": 8,
    }
    network = PeAudioFrameLevelModel(PeAudioConfig(text_config=text, audio_config=audio))
    return network, {"hop_length": 160, "sampling_rate": 4_000}


def _clipseg() -> tuple[Any, dict[str, Any]]:
    from transformers import CLIPSegConfig, CLIPSegForImageSegmentation

    text = {
        "vocab_size": 40,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 32,
        "eos_token_id": 2,
        "bos_token_id": 0,
    }
    vision = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "image_size": 64,
        "patch_size": 16,
    }
    config = CLIPSegConfig(
        text_config=text,
        vision_config=vision,
        projection_dim=16,
        extract_layers=[0, 1, 2],
        reduce_dim=8,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=16,
        use_complex_transposed_convolution=True,
    )
    return CLIPSegForImageSegmentation(config), {"size": {"height": 64, "width": 64}}


def _dinov2() -> tuple[Any, dict[str, Any]]:
    from transformers import Dinov2Config, Dinov2Model

    config = Dinov2Config(hidden_size=16, num_hidden_layers=4, num_attention_heads=2, image_size=56)
    return Dinov2Model(config), {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.25, 0.3]}


def _dinov3_vit() -> tuple[Any, dict[str, Any]]:
    from transformers import DINOv3ViTConfig, DINOv3ViTModel

    config = DINOv3ViTConfig(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=16, num_register_tokens=4
    )
    return DINOv3ViTModel(config), {}


def _dinov3_convnext() -> tuple[Any, dict[str, Any]]:
    from transformers import DINOv3ConvNextConfig, DINOv3ConvNextModel

    return DINOv3ConvNextModel(DINOv3ConvNextConfig(hidden_sizes=[8, 12, 16, 20], depths=[1, 1, 1, 1])), {}


def _sam2_hiera() -> tuple[Any, dict[str, Any]]:
    from transformers import (
        Sam2Config,
        Sam2HieraDetConfig,
        Sam2MaskDecoderConfig,
        Sam2Model,
        Sam2PromptEncoderConfig,
        Sam2VisionConfig,
    )

    hiera = Sam2HieraDetConfig(
        hidden_size=8,
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 1, 2, 2],
        global_attention_blocks=[3],
    )
    config = Sam2Config(
        vision_config=Sam2VisionConfig(
            backbone_config=hiera, backbone_channel_list=[64, 32, 16, 8], fpn_hidden_size=16
        ),
        prompt_encoder_config=Sam2PromptEncoderConfig(hidden_size=16),
        mask_decoder_config=Sam2MaskDecoderConfig(
            hidden_size=16, mlp_dim=16, iou_head_hidden_dim=16, num_attention_heads=2
        ),
    )
    return Sam2Model(config), {}


_BUILD = {
    "ast": _ast,
    "clap": _clap,
    "pe_a_frame": _pe_a_frame,
    "clipseg": _clipseg,
    "dinov2": _dinov2,
    "dinov3_vit": _dinov3_vit,
    "dinov3_convnext": _dinov3_convnext,
    "sam2_hiera": _sam2_hiera,
}
