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
    if kind in ("clap", "clipseg", "pe_a_frame", "owlv2"):
        _tokenizer(folder)
    if kind == "grounding_dino":
        _bert_tokenizer(folder)
    return folder


def _bert_tokenizer(folder: Path) -> None:
    """Numbers of BERT's special tokens, which Grounding DINO knows by heart."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", *WORDS])}
    vocabulary |= {"[CLS]": 101, "[SEP]": 102, ".": 1012}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 101), ("[SEP]", 102)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        unk_token="[UNK]",
    ).save_pretrained(folder)


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
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
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
    return ASTForAudioClassification(config), {
        "num_mel_bins": 32,
        "max_length": 256,
        "mean": -4.0,
        "std": 4.5,
    }


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
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=16,
        num_register_tokens=4,
    )
    return DINOv3ViTModel(config), {}


def _dinov3_convnext() -> tuple[Any, dict[str, Any]]:
    from transformers import DINOv3ConvNextConfig, DINOv3ConvNextModel

    return DINOv3ConvNextModel(
        DINOv3ConvNextConfig(hidden_sizes=[8, 12, 16, 20], depths=[1, 1, 1, 1])
    ), {}


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


def _grounding_dino() -> tuple[Any, dict[str, Any]]:
    from transformers import (
        BertConfig,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        SwinConfig,
    )

    backbone = SwinConfig(
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=4,
        image_size=64,
        out_indices=[2, 3, 4],
    )
    text = BertConfig(
        vocab_size=1030,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    config = GroundingDinoConfig(
        backbone_config=backbone,
        text_config=text,
        d_model=64,  # 32 groups of two: one channel of one cell cannot be normalised
        num_queries=12,
        encoder_layers=1,
        decoder_layers=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        max_text_len=32,
    )
    return GroundingDinoForObjectDetection(config), {}


def _owlv2() -> tuple[Any, dict[str, Any]]:
    from transformers import Owlv2Config, Owlv2ForObjectDetection

    shared = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    text = {
        **shared,
        "vocab_size": 40,
        "max_position_embeddings": 16,
        "eos_token_id": 2,
        "bos_token_id": 0,
    }
    vision = {**shared, "image_size": 48, "patch_size": 16}
    network = Owlv2ForObjectDetection(
        Owlv2Config(text_config=text, vision_config=vision, projection_dim=16)
    )
    return network, {"image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28]}


_SAM2_MAPS = [[16, 16], [8, 8], [4, 4]]
_SAM2_PROMPTS = {"hidden_size": 16, "image_size": 64, "patch_size": 16}
_SAM2_MASKS = {
    "hidden_size": 16,
    "mlp_dim": 16,
    "iou_head_hidden_dim": 16,
    "num_attention_heads": 2,
}
_SAM2_MEMORY = {
    "image_size": 64,
    "memory_attention_hidden_size": 16,
    "memory_attention_num_layers": 1,
    "memory_attention_feed_forward_hidden_size": 16,
    "memory_attention_rope_feat_sizes": [4, 4],
    "memory_encoder_hidden_size": 16,
    "memory_encoder_output_channels": 16,
    "mask_downsampler_embed_dim": 16,
    "memory_fuser_embed_dim": 16,
    "memory_fuser_intermediate_dim": 16,
}


def _sam2() -> tuple[Any, dict[str, Any]]:
    """The video model, as the hub's repositories hold it."""
    from transformers import Sam2HieraDetConfig, Sam2VideoConfig, Sam2VideoModel, Sam2VisionConfig

    hiera = Sam2HieraDetConfig(
        hidden_size=8,
        image_size=[64, 64],
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 1, 2, 2],
        global_attention_blocks=[3],
    )
    vision = Sam2VisionConfig(
        backbone_config=hiera,
        backbone_channel_list=[64, 32, 16, 8],
        backbone_feature_sizes=_SAM2_MAPS,
        fpn_hidden_size=16,
    )
    config = Sam2VideoConfig(
        vision_config=vision,
        prompt_encoder_config=_SAM2_PROMPTS,
        mask_decoder_config=_SAM2_MASKS,
        **_SAM2_MEMORY,
    )
    return _spread(Sam2VideoModel(config)), {}


def _edgetam() -> tuple[Any, dict[str, Any]]:
    from transformers import (
        EdgeTamVideoConfig,
        EdgeTamVideoModel,
        EdgeTamVisionConfig,
        TimmWrapperConfig,
    )

    arguments = {"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]}
    vision = EdgeTamVisionConfig(
        backbone_config=TimmWrapperConfig(architecture="test_convnext", model_args=arguments),
        backbone_channel_list=[64, 48, 32, 24],
        backbone_feature_sizes=_SAM2_MAPS,
        fpn_hidden_size=16,
    )
    config = EdgeTamVideoConfig(
        vision_config=vision,
        prompt_encoder_config=_SAM2_PROMPTS,
        mask_decoder_config=_SAM2_MASKS,
        **_SAM2_MEMORY,
    )
    return _spread(EdgeTamVideoModel(config)), {
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }


def _spread(network: Any) -> Any:
    """The network with larger random weights in its mask decoder: masks that are neither empty nor everywhere."""
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if name.startswith("mask_decoder") and weight.ndim > 1:
                weight.mul_(12)
    return network


_BUILD = {
    "ast": _ast,
    "clap": _clap,
    "pe_a_frame": _pe_a_frame,
    "clipseg": _clipseg,
    "dinov2": _dinov2,
    "dinov3_vit": _dinov3_vit,
    "dinov3_convnext": _dinov3_convnext,
    "sam2_hiera": _sam2_hiera,
    "grounding_dino": _grounding_dino,
    "owlv2": _owlv2,
    "sam2": _sam2,
    "edgetam": _edgetam,
}

KINDS = tuple(_BUILD)
