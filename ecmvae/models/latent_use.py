"""Whether a model's latents carry anything: what its masks lose when the latents are changed.

A latent that is not used can be zeroed, drawn again or taken from another clip without a trace in the masks. A
posterior that ignores the mask it is shown answers a shifted mask as the prior answers the clip.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from ecmvae.models.branch import ClipInputs
from ecmvae.models.decoder import foreground_logits
from ecmvae.models.ecmvae import ECMVAE
from ecmvae.vae.latents import LatentSet, active_units

SYMBOLS = {"shared": "c", "visual": "s_v", "audio": "s_a", "all": "all"}
"""Latents as reports name them."""

UNUSED = 0.02
"""Below this mean change of probability in objects, under latents of another clip, the latents count as unused."""

SATURATED = 0.99
"""Above this share of its ceiling, ln 2, a Jensen-Shannon divergence counts as saturated: it has no gradient there."""


class LatentUse:
    """Collects batches; `compute` gives the numbers of all of them.

    Args:
        model: In eval mode.
    """

    def __init__(self, model: ECMVAE) -> None:
        self.model = model
        self.clips = 0
        self._sums: dict[tuple[str, ...], float] = defaultdict(float)
        self._counts: dict[tuple[str, ...], int] = defaultdict(int)
        self._means: dict[str, dict[str, list[Tensor]]] = {
            "prior": defaultdict(list),
            "posterior": defaultdict(list),
        }

    @classmethod
    def of(cls, model: object) -> LatentUse | None:
        """For this model; None where it has no latents whose values can be chosen."""
        return cls(model) if isinstance(model, ECMVAE) and model.latent_names else None

    @torch.no_grad()
    def update(
        self,
        frames: Float[Tensor, "b t 3 h w"],
        audio: Float[Tensor, "b t a"],
        masks: Float[Tensor, "b t 1 h w"],
        features: Sequence[Tensor] | None = None,
    ) -> None:
        """Add a batch of at least two clips; a single clip has no other to take latents from and is left out.

        Random numbers are drawn from a generator of their own.
        """
        if len(audio) < 2:
            return
        with torch.random.fork_rng(devices=[audio.device] if audio.device.type == "cuda" else []):
            torch.manual_seed(self.clips)
            self._update(frames, audio, masks, features)

    def _update(
        self, frames: Tensor, audio: Tensor, masks: Tensor, features: Sequence[Tensor] | None
    ) -> None:
        self.clips += len(audio)
        clips, truth = self.model.condition(frames, audio, features), masks.flatten(0, 1) > 0.5
        prior = self.model.prior_latents(clips)
        normal = self._probability(prior.mode, clips)
        self._add(normal > 0.5, truth, "iou", "normal")
        changed = {
            "zeroed": {name: torch.zeros_like(mean) for name, mean in prior.mode.items()},
            "resampled": prior.rsample(),
            "swapped": {name: mean.roll(audio.shape[1], 0) for name, mean in prior.mode.items()},
        }
        for change, points in changed.items():
            for name in [*prior, "all"]:
                point = points if name == "all" else {**prior.mode, name: points[name]}
                probability = self._probability(point, clips)
                self._mean((probability - normal).abs()[truth], "change", change, name)
                self._add(probability > 0.5, normal > 0.5, "mask_iou", change, name)
                self._add(probability > 0.5, truth, "iou", change, name)
        self._posterior(clips, prior, masks, normal)

    def _posterior(
        self, clips: ClipInputs, prior: LatentSet, masks: Tensor, normal: Tensor
    ) -> None:
        """Show the posterior the masks for its divergence from the prior, and shifted ones for its answer."""
        flat = masks.flatten(0, 1)
        posterior = self.model.posterior_latents(flat, clips)
        for side, latents in (("prior", prior), ("posterior", posterior)):
            for name, mean in latents.mode.items():
                self._means[side][name].append(mean)
        for name, kl in posterior.divergence(prior).items():
            self._mean(kl, "kl", name)
            self._mean(posterior.gaussian(name).js(prior.gaussian(name), 8), "js", name)
        shifted = flat.roll((flat.shape[-2] // 3, flat.shape[-1] // 3), (-2, -1))
        shown = self.model.posterior_latents(shifted, clips)
        answer = self.model.decode_latents(shown.mode, clips).sigmoid() > 0.5
        sounding = flat.flatten(1).any(1)
        self._add(answer[sounding], shifted[sounding] > 0.5, "posterior", "shown")
        self._add(answer[sounding], normal[sounding] > 0.5, "posterior", "prior_answer")

    def _probability(self, point: dict[str, Tensor], clips: ClipInputs) -> Tensor:
        logits = foreground_logits(self.model.answer(point, clips))
        return rearrange(logits, "b t c h w -> (b t) c h w").sigmoid()

    def _add(
        self, first: Bool[Tensor, "n 1 h w"], second: Bool[Tensor, "n 1 h w"], *key: str
    ) -> None:
        """IoU of two masks of each frame, 1 where both are empty."""
        union = (first | second).flatten(1).sum(1)
        both = (first & second).flatten(1).sum(1)
        self._mean(torch.where(union > 0, both / union.clamp_min(1), 1.0), *key)

    def _mean(self, values: Tensor, *key: str) -> None:
        self._sums[key] += float(values.double().sum())
        self._counts[key] += values.numel()

    def compute(self) -> dict[str, Any] | None:
        """The numbers; None without a batch of two clips.

        ``normal_miou``; for each change ("zeroed", "resampled", "swapped") and each latent ("c", "s_v", "s_a", "all")
        ``change_in_objects`` (mean |change of probability| in what sounds), ``mask_iou`` with the normal answer and
        ``miou`` with the truth; for each latent ``active_units`` of ``dimensions`` (by the posterior's means;
        ``active_units_prior`` by the prior's), ``kl`` in nats and ``js_share_of_ceiling``;
        ``posterior_iou_with_shown_mask`` and ``..._with_prior_answer`` under masks shifted by a third of the picture.
        """
        if self.clips == 0:
            return None
        value = {key: self._sums[key] / max(1, count) for key, count in self._counts.items()}
        names = [*self._means["prior"]]
        changes = {
            change: {
                SYMBOLS[name]: {
                    "change_in_objects": round(value["change", change, name], 4),
                    "mask_iou": round(value["mask_iou", change, name], 4),
                    "miou": round(value["iou", change, name], 4),
                }
                for name in [*names, "all"]
            }
            for change in ("zeroed", "resampled", "swapped")
        }
        latents = {}
        for name in names:
            active = {
                side: active_units(torch.cat(means[name])) for side, means in self._means.items()
            }
            latents[SYMBOLS[name]] = {
                "dimensions": len(active["posterior"]),
                "active_units": int(active["posterior"].sum()),
                "active_units_prior": int(active["prior"].sum()),
                "kl": round(value["kl", name], 3),
                "js_share_of_ceiling": round(value["js", name] / math.log(2), 4),
            }
        return {
            "clips": self.clips,
            "used": changes["swapped"]["all"]["change_in_objects"] >= UNUSED,
            "normal_miou": round(value["iou", "normal"], 4),
            "latents": latents,
            **changes,
            "posterior_iou_with_shown_mask": round(value["posterior", "shown"], 4),
            "posterior_iou_with_prior_answer": round(value["posterior", "prior_answer"], 4),
        }

    def curves(self) -> dict[str, float]:
        """What a training curve shows: four numbers of `compute`; none without a batch of two clips."""
        use = self.compute()
        if use is None:
            return {}
        latents = use["latents"].values()
        return {
            "val/latent_active_share": sum(each["active_units"] for each in latents)
            / sum(each["dimensions"] for each in latents),
            "val/latent_change_swapped": use["swapped"]["all"]["change_in_objects"],
            "val/latent_miou_zeroed": use["zeroed"]["all"]["miou"],
            "val/latent_posterior_iou": use["posterior_iou_with_shown_mask"],
        }
