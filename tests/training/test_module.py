import pytest
import torch
from lightning.pytorch import Trainer
from prepared import prepared

from ecmvae.data.synthetic import SyntheticAVS
from ecmvae.training.module import SegmentationModule
from ecmvae.types import AVBatch


def test_adamw_where_there_is_weight_decay(tiny) -> None:
    assert type(SegmentationModule(tiny()).configure_optimizers()) is torch.optim.Adam
    optimiser = SegmentationModule(tiny(train__weight_decay=0.1)).configure_optimizers()
    assert type(optimiser) is torch.optim.AdamW
    assert optimiser.param_groups[0]["weight_decay"] == 0.1


def test_frozen_parts_are_not_optimised_and_the_losss_heads_are(tiny) -> None:
    module = SegmentationModule(tiny(model__audio__frozen=False)).train()
    optimised = {
        id(p) for group in module.configure_optimizers().param_groups for p in group["params"]
    }
    assert not optimised & {id(p) for p in module.model.backbone.parameters()}
    assert optimised >= {id(p) for p in module.model.audio_encoder.parameters()}
    heads = {id(p) for p in module.loss.parameters() if p.requires_grad}
    assert heads
    assert optimised >= heads
    assert not any(part.training for part in module.model.backbone.modules())
    assert module.model.prior_branch.training


@pytest.mark.parametrize(
    ("step", "warmup", "factor"), [(0, 0.0, 1.0), (0, 2.0, 0.0), (15, 2.0, 0.75), (99, 2.0, 1.0)]
)
def test_kl_warms_up_by_the_share_of_epochs(tiny, step: int, warmup: float, factor: float) -> None:
    module = SegmentationModule(tiny(loss__kl_warmup_epochs=warmup))
    trainer = Trainer(logger=False, enable_checkpointing=False)
    trainer.fit_loop.max_batches = 10  # batches an epoch
    trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.total.completed = step
    module.trainer = trainer
    assert module.kl_factor() == pytest.approx(factor)


def test_maps_given_in_the_batch_or_kept_change_nothing(tiny) -> None:
    module = SegmentationModule(tiny()).eval()
    clips = SyntheticAVS("s4", length=2, size=32)
    batch = AVBatch.collate([prepared(clips[0]), prepared(clips[1])])
    plain = module(batch, latents="mean").logits
    module.features = type(
        "Kept",
        (),
        {"lookup": lambda self, names, device: module.model.extract_features(batch.frames)},
    )()
    torch.testing.assert_close(module(batch, latents="mean").logits, plain)
