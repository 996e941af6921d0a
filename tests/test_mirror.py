"""`tests/` mirrors `ecmvae/`: what is in ecmvae/a/b.py is tested in tests/a/test_b.py."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

WITHOUT_TESTS = {
    "__main__.py": "calls cli.main",
    "backbones/vggish.py": "an older name",
    "checkpoint.py": "an older name",
    "config_loss.py": "a dataclass without methods, held by test_config.py",
    "config_model.py": "dataclasses without methods, held by test_config.py",
    "data/audio.py": "an older name",
    "data/faces/palette.py": "colours",
    "prediction/named_maps.py": "named tuples without methods",
}
"""Files that need no tests of their own, and why."""

ELSEWHERE: dict[str, str] = {
    "audio/encoder.py": "models/test_base.py",
    "config_reader.py": "test_config.py",
    "conversion.py": "test_released_checkpoints.py",
    "conversion_command.py": "test_released_checkpoints.py",
    "data/attribute_table.py": "data/test_picture_folder.py",
    "data/collage/items.py": "data/collage/test_sources.py",
    "data/faces/clothes.py": "data/faces/test_draw.py",
    "data/faces/command.py": "data/faces/test_folder.py",
    "data/faces/hair.py": "data/faces/test_draw.py",
    "data/faces/head.py": "data/faces/test_draw.py",
    "data/faces/look.py": "data/faces/test_draw.py",
    "data/loading.py": "data/sets/test_records.py",
    "data/packed_shards.py": "data/test_packed.py",
    "data/packing.py": "data/test_packed.py",
    "data/picture_files.py": "data/test_picture_folder.py",
    "data/preprocess.py": "training/test_features.py",
    "data/sets/aviseg.py": "data/sets/test_clips.py",
    "data/sets/check.py": "data/sets/test_records.py",
    "data/sets/is3.py": "data/sets/test_clips.py",
    "data/sets/miniature.py": "integration/test_recorded_sets.py",
    "data/sets/refavs.py": "data/sets/test_clips.py",
    "data/sets/rows.py": "data/sets/test_clips.py",
    "data/sets/vggss.py": "data/sets/test_clips.py",
    "data/sets/vpo.py": "data/sets/test_clips.py",
    "data/video/clips.py": "data/video/test_frames.py",
    "data/video/live_writing.py": "data/video/test_live.py",
    "data/video/sound.py": "data/video/test_live.py",
    "data/video/soundtrack.py": "data/video/test_writing.py",
    "demo_command.py": "test_demo.py",
    "evaluation/folds_run.py": "evaluation/test_folds.py",
    "evaluation/photographs.py": "data/collage/test_photographs.py",
    "evaluation/report.py": "evaluation/test_evaluator.py",
    "evaluation/rows.py": "evaluation/test_report_files.py",
    "foundation/audio/ast.py": "foundation/test_encoders.py",
    "foundation/audio/clap.py": "foundation/test_encoders.py",
    "foundation/audio/pe_a_frame.py": "foundation/test_encoders.py",
    "foundation/kept.py": "foundation/visual/test_boxes.py",
    "foundation/loading.py": "foundation/test_encoders.py",
    "foundation/spectrograms.py": "foundation/test_encoders.py",
    "foundation/visual/box_prompted.py": "foundation/visual/test_boxes.py",
    "foundation/visual/clipseg.py": "foundation/test_concepts.py",
    "foundation/visual/dinov2.py": "foundation/test_encoders.py",
    "foundation/visual/dinov3_convnext.py": "foundation/test_encoders.py",
    "foundation/visual/dinov3_vit.py": "foundation/test_encoders.py",
    "foundation/visual/edgetam.py": "foundation/visual/test_boxes.py",
    "foundation/visual/grounding_dino.py": "foundation/visual/test_boxes.py",
    "foundation/visual/owlv2.py": "foundation/visual/test_boxes.py",
    "foundation/visual/plain_vit.py": "foundation/test_encoders.py",
    "foundation/visual/sam2.py": "foundation/visual/test_boxes.py",
    "foundation/visual/sam2_hiera.py": "foundation/test_encoders.py",
    "foundation/visual/segmenters.py": "foundation/test_concepts.py",
    "hub/concepts.py": "foundation/test_concepts.py",
    "hub/find.py": "models/test_checkpoint.py",
    "hub/folder.py": "models/test_checkpoint.py",
    "losses/base.py": "losses/test_terms.py",
    "losses/released.py": "reference/test_released_blocks.py",
    "metrics/clip_sums.py": "metrics/test_by_picture.py",
    "models/branch.py": "integration/test_elbo_reuse.py",
    "models/concept_classes.py": "foundation/test_classes.py",
    "models/concepts.py": "foundation/test_concepts.py",
    "models/tpavi.py": "models/test_fusion.py",
    "prediction/concepts_engine.py": "foundation/test_concepts.py",
    "prediction/file_work.py": "prediction/test_run.py",
    "prediction/inference.py": "prediction/test_predictor.py",
    "prediction/key_frames.py": "prediction/test_predictor.py",
    "prediction/onnx_engine.py": "prediction/test_export.py",
    "prediction/options.py": "test_arguments.py",
    "prediction/plot.py": "prediction/test_predictor.py",
    "prediction/remembered_engines.py": "prediction/test_calibration.py",
    "prediction/result.py": "prediction/test_writers.py",
    "prediction/saving.py": "prediction/test_writers.py",
    "prediction/torch_engine.py": "prediction/test_engine.py",
    "prediction/writers/base.py": "prediction/test_writers.py",
    "prediction/writers/live_overlay.py": "prediction/test_live.py",
    "prediction/writers/npz.py": "prediction/test_command.py",
    "prediction/writers/panoptic.py": "prediction/test_objects.py",
    "prediction/writers/reframe.py": "prediction/test_reframing.py",
    "prediction/writers/videos.py": "prediction/test_writers.py",
    "serving/command.py": "serving/test_app.py",
    "serving/quotas.py": "serving/test_guard.py",
    "training/command.py": "test_cli.py",
    "training/embeddings.py": "foundation/test_encoders.py",
    "training/progress.py": "training/test_run.py",
    "training/vae_coherence.py": "training/test_vae.py",
    "training/vae_data.py": "training/test_vae_folder.py",
    "training/vae_edit.py": "training/test_vae_pictures.py",
    "training/vae_picture_command.py": "training/test_vae_pictures.py",
    "training/vae_settings.py": "training/test_vae_folder.py",
    "training/vae_state.py": "training/test_vae_loop.py",
    "vae/assembly.py": "vae/test_zoo.py",
    "vae/autoregressive.py": "vae/test_flow_posterior.py",
    "vae/conditional.py": "integration/test_elbo_reuse.py",
    "visual/timm_models.py": "visual/test_build.py",
}
"""Files that are tested under another name. The table may only become shorter."""


def sources() -> set[str]:
    """Python files of ecmvae, without packages' `__init__`, which re-export."""
    package = ROOT / "ecmvae"
    return {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if path.name != "__init__.py"
    }


def mirror(source: str) -> Path:
    path = Path(source)
    return ROOT / "tests" / path.with_name(f"test_{path.name}")


def test_every_file_has_a_mirror() -> None:
    known = WITHOUT_TESTS.keys() | ELSEWHERE.keys()
    missing = sorted(each for each in sources() - known if not mirror(each).exists())
    assert missing == [], "write tests at tests/a/test_b.py for each ecmvae/a/b.py"


@pytest.mark.parametrize("source", sorted(ELSEWHERE))
def test_what_is_tested_elsewhere_is(source: str) -> None:
    assert source in sources(), "gone: take it out of the table"
    assert not mirror(source).exists(), "it has a mirror now: take it out of the table"
    assert (ROOT / "tests" / ELSEWHERE[source]).is_file()


def test_files_without_tests_exist() -> None:
    assert sources() >= WITHOUT_TESTS.keys()
    assert not [each for each in WITHOUT_TESTS if mirror(each).exists()]
