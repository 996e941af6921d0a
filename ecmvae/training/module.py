"""One optimisation step and one validation of a model as a Lightning module; model, loss and metrics do the work."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from ecmvae.config import Config
from ecmvae.errors import UserError
from ecmvae.losses.objective import Objective
from ecmvae.losses.segmentation import UNLABELLED
from ecmvae.metrics import VALIDATION
from ecmvae.metrics.metric_set import MetricSet, numbers
from ecmvae.models import SegmentationOutput, Segmenter
from ecmvae.models.checkpoint import initial_model
from ecmvae.models.latent_use import SATURATED, LatentUse
from ecmvae.models.latents import LatentMode
from ecmvae.training.datamodule import ClipDataModule
from ecmvae.training.embeddings import EmbeddingCache
from ecmvae.training.features import FeatureCache
from ecmvae.training.finite import FiniteLoss, check_weights
from ecmvae.training.optimizers import make_optimizer
from ecmvae.types import AVBatch
from ecmvae.visual.checkpointing import checkpoint_blocks

logger = logging.getLogger(__name__)

LATENT_USE_CLIPS = 8
"""Validation clips over which the use of the latents is measured."""

SATURATION_STEPS = 20
"""Steps after which a saturated divergence is worth a word."""

LOG_EVERY_STEPS = 20
"""Loss terms are read back this often, and at an epoch's last step: every read waits for the device."""


class SegmentationModule(LightningModule):
    """ECMVAE or the baseline, with its loss, its optimiser and its validation scores.

    Terms of the loss may have parameters, as the mutual-information heads do: they are optimised and saved too.

    Args:
        config: The run's configuration.
        objective: What is minimised; None builds the terms that ``config.loss`` names.

    Attributes:
        logged: The loss terms of the last step that was logged, unweighted, with their weighted "total".
        logged_at: Number of that step, counted from 0; -1 before any.
    """

    def __init__(self, config: Config, objective: Objective | None = None) -> None:
        super().__init__()
        self.config = config
        self.model: Segmenter = initial_model(config)
        self.model.config = config
        # Channels-last convolutions train 1.7 times as fast on a CPU, and no slower on a GPU.
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # its stub knows no module
        if config.train.activation_checkpointing:
            _checkpoint(self.model.backbone)
        if config.train.compile:
            self.model.compile()
        self.loss = Objective.from_config(config) if objective is None else objective
        self.features: FeatureCache | None = None
        self.embeddings: EmbeddingCache | None = None
        self.logged: dict[str, float] = {}
        self.logged_at = -1
        self._tells_classes = config.model.num_classes > 1
        kind = "classes" if self._tells_classes else "masks"
        self._scores = MetricSet(VALIDATION[kind], num_classes=config.model.num_classes)
        self._latent_use = LatentUse.of(self.model)
        self._warned = False
        self._freeze_batch_norm()
        self._finite = FiniteLoss()

    def forward(
        self, batch: AVBatch, *, learn: bool = False, latents: LatentMode = "sample"
    ) -> SegmentationOutput:
        """Run the model on a batch; `learn` shows the masks to the posterior branch, as the loss needs it."""
        return self.model(
            batch.frames,
            self._audio(batch),
            masks=batch.masks if learn else None,
            supervised=batch.known if learn else None,
            latents=latents,
            features=self._maps(batch),
        )

    def _audio(self, batch: AVBatch) -> Tensor:
        """The embeddings of what is heard, zero in padded seconds."""
        if self.embeddings is not None and batch.audio is not None:
            return batch.without_padding(self.embeddings(batch.audio))
        return batch.without_padding(self.model.encode_audio(batch.audio))

    def _maps(self, batch: AVBatch) -> Sequence[Tensor] | None:
        """The backbone's maps, where they are known already or have to be zero in padded frames.

        Zeros also keep gradients out of the backbone there, whose norms would blow them up: black frames are constant.
        """
        maps: Sequence[Tensor] | None = batch.features
        if maps is None and self.features is not None:
            maps = self.features.lookup(batch.names, self.device)
        if batch.valid is None:
            return maps
        return [
            batch.without_padding(each)
            for each in maps or self.model.extract_features(batch.frames)
        ]

    def setup(self, stage: str) -> None:
        """Compute the frozen backbone's maps, where they are to be kept: every process at the same time."""
        if self.config.train.cache_features and self.features is None:
            assert isinstance(self.trainer.datamodule, ClipDataModule)  # type: ignore[attr-defined]  # set by fit
            self.cache_features(self.trainer.datamodule)  # type: ignore[attr-defined]

    def cache_features(self, data: ClipDataModule) -> None:
        """From now on look the frozen backbone's maps up instead of computing them; shows a progress bar."""
        self.features = data.features = FeatureCache(self.model, self.config.data.feature_cache)
        if EmbeddingCache.serves(self.model):
            self.embeddings = EmbeddingCache(self.model, self.config.data.feature_cache)
        trainer = self._trainer
        several = trainer is not None and trainer.world_size > 1
        for clips, label in (
            (data.train_clips.clips, "training clips"),
            (data.val_clips.clips, "validation clips"),
        ):
            self.features.fill(
                clips,
                workers=self.config.data.workers,
                label=label,
                start=trainer.global_rank / trainer.world_size
                if several and trainer is not None
                else None,
            )

    def kl_factor(self) -> float:
        """Share of the KL weight in force: rises from 0 to 1 over ``loss.kl_warmup_epochs``."""
        warmup = self.config.loss.kl_warmup_epochs
        if warmup == 0:
            return 1.0
        steps = self.trainer.num_training_batches / self.trainer.accumulate_grad_batches
        return min(1.0, self.global_step / steps / warmup)

    def training_step(self, batch: AVBatch, batch_idx: int) -> Tensor:
        """The weighted sum of the loss terms.

        Between the steps that are logged nothing here waits for the device, so there alone is a `FloatingPointError`
        raised for a step since the last of them whose loss was not finite.
        """
        output = self(batch, learn=True)
        terms = self.loss(
            output,
            batch.masks,
            batch.known,
            kl_factor=self.kl_factor(),
            labels=_labels(batch),
            valid=batch.present,
            objects=batch.objects,
            classes=batch.classes,
            heard=batch.heard,
        )
        total: Tensor = terms.total
        self._finite.remember(self.global_step, terms.named(), batch.names)
        if self.global_step % LOG_EVERY_STEPS == 0 or self.trainer.is_last_batch:
            self._finite.look()
            self.logged_at = self.global_step
            mean = self.trainer.strategy.reduce  # over the processes
            self.logged = {name: float(mean(term.detach())) for name, term in terms.named().items()}
            self._warn_of_saturation()
        return total

    def _warn_of_saturation(self) -> None:
        """Say once that the divergence of c has reached its ceiling, where it no longer teaches anything."""
        latent, warmed_up = self.config.model.latent, self.global_step >= SATURATION_STEPS
        ceiling = math.log(2) * (latent.dim if latent.shared_divergence == "dimension_js" else 1)
        value = self.logged.get(f"{latent.shared_divergence}_shared", 0.0)
        bounded = (
            latent.shared_divergence in ("js", "dimension_js")
            and self.config.loss.formulas == "principled"
        )
        if bounded and warmed_up and value > SATURATED * ceiling and not self._warned:
            self._warned = True
            logger.warning(
                "the divergence of c is at its ceiling, %.3f, where it has no gradient: posterior and prior drift "
                "apart freely; set model.latent.shared_divergence: geometric_js",
                ceiling,
            )

    def validation_step(self, batch: AVBatch, batch_idx: int) -> None:
        """Score the prior branch with the latents' means: the same clips score the same."""
        if batch.masks is None or batch.index is None:
            raise ValueError("validation needs clips with masks, and their places in the data set")
        logits = self(batch, latents="mean").logits
        if self._latent_use is not None and self._latent_use.clips < LATENT_USE_CLIPS:
            self._latent_use.update(
                batch.frames, self._audio(batch), batch.masks, self._maps(batch)
            )
        if self._tells_classes and batch.labels is None:
            raise ValueError("validating a model with several classes needs clips with labels")
        self._scores.update(
            batch, batch.index, **{"classes" if self._tells_classes else "logits": logits}
        )

    def on_validation_epoch_end(self) -> None:
        """Log the scores, fractions in [0, 1].

        Masks: mIoU, F, non-empty mIoU and, where the objects are known, right-of-two. Classes: mIoU and F over the
        classes that occur in real frames, with and without the background.
        """
        anywhere = partial(self.trainer.strategy.reduce_boolean_decision, all=False)
        scores = [
            pair
            for name, value in self._scores.compute(anywhere).items()
            for pair in numbers(value, name)
        ]
        # All clips' scores: the same on every process, and so is their mean.
        self.log_dict(
            {
                f"val/{name}": score
                for name, score in scores
                if score is not None and math.isfinite(score)
            },
            sync_dist=True,
        )
        self._scores.reset()
        if self._latent_use is not None:
            self.log_dict(self._latent_use.curves(), sync_dist=True)
            self._latent_use = LatentUse.of(self.model)

    def on_validation_epoch_start(self) -> None:
        """Refuse to score, and so to keep, what is no longer finite."""
        self._check_finite()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the normalisation of the frames: a resumed run goes on with it. Nothing that is not finite is saved."""
        self._check_finite()
        checkpoint["normalisation"] = self.model.normalisation.to_dict()

    def _check_finite(self) -> None:
        """Raise a `FloatingPointError` if a step since the last look, or the weights it made, are not finite."""
        self._finite.look()
        check_weights(self, self.global_step)

    def train(self, mode: bool = True) -> SegmentationModule:
        """Go to training or evaluation mode; batch normalisation stays in evaluation mode where it is frozen."""
        super().train(mode)
        self._freeze_batch_norm()
        return self

    def _freeze_batch_norm(self) -> None:
        if self.config.train.batch_norm == "frozen":
            for part in self.model.modules():
                if isinstance(part, nn.modules.batchnorm._BatchNorm):
                    part.eval()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """See `ecmvae.training.optimizers`."""
        return make_optimizer(self, self.config.train, self.device)


def _labels(batch: AVBatch) -> Tensor | None:
    """The class of each pixel, with the unlabelled ones marked."""
    if batch.labels is None or batch.ignored is None:
        return batch.labels
    return batch.labels.masked_fill(batch.ignored, UNLABELLED)


def _checkpoint(backbone: nn.Module) -> None:
    if not checkpoint_blocks(backbone):
        raise UserError(
            f"train.activation_checkpointing knows no blocks in {type(backbone).__name__}: leave it off with it"
        )
