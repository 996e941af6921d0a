"""A trained model of `ecmvae.vae` with its configuration: loaded from a run, a folder or the hub, saved and pushed.

A model folder holds ``config.yaml``, ``model.safetensors``, ``metadata.json`` and the card; a run is such a folder with
what its training needs. Loading one needs no data and unpickles nothing.
"""

from __future__ import annotations

import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from ecmvae.device import choose_device
from ecmvae.errors import UserError
from ecmvae.files import show_path
from ecmvae.foreign_text import cut
from ecmvae.hub.client import HubAddress, fetch, looks_like_repository, push
from ecmvae.hub.find import read_card
from ecmvae.hub.folder import write_folder
from ecmvae.hub.named_models import CARD_FILE, CONFIG_FILE, MODEL_FILES, WEIGHTS_FILE
from ecmvae.registry import is_import_path
from ecmvae.training.vae_data import DataFacts, RunData, Samples, as_float, batch_of
from ecmvae.training.vae_folder import build_model, config_text, facts_of, metadata_of
from ecmvae.training.vae_settings import FOLDER, DataSettings, VAEConfig, load_vae_config
from ecmvae.vae.autoencoder import AutoEncoder
from ecmvae.vae.multimodal import MultimodalVAE
from ecmvae.vae.vae import ConditionalVAE
from ecmvae.vae.zoo import Model, build_vae, codes_of
from ecmvae.weight_files import differences, read_weight_file

BATCH = 250
"""Pictures that are encoded or decoded at once."""

_CARD = """---
library_name: ecmvae
tags:
- variational-autoencoder
---

# {title}

{network}, {latent_dim} latents, samples of shape {shape}, trained with [ecmvae](https://pypi.org/project/ecmvae/) on
{source}.

```bash
ecmvae vae sample {address} --out samples.png
ecmvae vae reconstruct {address} picture.jpg --out pairs.png
```

```python
from ecmvae.training.vae_model import TrainedVAE

trained = TrainedVAE.from_pretrained("{address}")
print(trained.model)
```

To be completed by its author: licence, training data and its licences, scores (with command, configuration,
seed and commit), limits.
"""


@dataclass(frozen=True, eq=False, kw_only=True)
class TrainedVAE:
    """A model in eval mode, and what it was trained by.

    Attributes:
        model: One of `ecmvae.vae.zoo`.
        config: Its configuration.
        facts: Shape of its data, and names of its conditions.
        folder: Where it was loaded from.
    """

    model: Model
    config: VAEConfig
    facts: DataFacts
    folder: Path | None = None

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        device: torch.device | str = "cpu",
        revision: str | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        trust_code: bool = False,
    ) -> TrainedVAE:
        """Load a run, a model folder, or a repository of the hub.

        Args:
            name: A folder, ``hf://owner/name[@revision]``, or ``owner/name`` where no such folder exists.
            device: Device of the model.
            revision: Branch, tag or commit of the repository.
            token: For a private repository.
            local_files_only: Do not use the network.
            trust_code: Import the prior that the configuration names by import path.

        Raises:
            UserError: If the model does not exist, is damaged, or names code that is not trusted.
        """
        requested = str(name)
        if not Path(name).exists() and looks_like_repository(requested):
            requested = f"hf://{requested}"
        if revision is not None:
            requested = f"{requested}@{revision}"
        if address := HubAddress.parse(requested):
            folder = fetch(address, MODEL_FILES, local_only=local_files_only, token=token)
        else:
            folder = Path(name)
        return _load(folder, torch.device(device), trust_code=trust_code)

    def save_pretrained(
        self, folder: str | Path, *, half: bool = False, card: str | None = None
    ) -> Path:
        """Write a model folder that `from_pretrained`, the commands and the hub accept; an older one is replaced.

        The path of the training data is not written, only the last part of its name.

        Args:
            folder: Its path.
            half: Store numbers in 16 bits: half the size.
            card: Text of README.md; None keeps an existing one, else writes a short one.

        Raises:
            UserError: If something other than a model lies there.
        """
        folder = Path(folder)
        if card is None:
            older = (folder / CARD_FILE).is_file()
            card = read_card(folder) if older else self._card(folder.name, show_path(folder))
        data = self.config.data
        if data.name == FOLDER:
            data = dataclasses.replace(data, root=Path(data.root or "").name or "pictures")
        config = dataclasses.replace(self.config, data=data)
        return write_folder(
            folder,
            self.model.state_dict(),
            config_text(config),
            metadata_of(self.facts, config),
            half=half,
            card=card,
        )

    def push_to_hub(
        self,
        repository: str,
        *,
        half: bool = False,
        card: str | None = None,
        private: bool | None = None,
        token: str | bool | None = None,
        revision: str | None = None,
        message: str = "Push a model with ecmvae",
    ) -> str:
        """Upload the model folder to the hub, with the account that is logged in or its token.

        Args:
            repository: ``owner/name``; created if it does not exist.
            half: See `save_pretrained`.
            card: Text of the model card; None writes a short one where the repository has none.
            private: Whether a new repository is private; None is the account's default.
            token: Of the account.
            revision: Branch to push to.
            message: Of the commit.

        Returns:
            The commit's address.

        Raises:
            UserError: Without a network, an account or permission to write.
        """
        new_only = (CARD_FILE,) if card is None else ()
        card = card or self._card(repository.rpartition("/")[2], f"hf://{repository}")
        with tempfile.TemporaryDirectory() as temporary:
            folder = self.save_pretrained(Path(temporary) / "model", half=half, card=card)
            return push(
                folder,
                repository,
                MODEL_FILES,
                new_only=new_only,
                private=private,
                token=token,
                revision=revision,
                message=message,
            )

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def data(self, named: str | None = None) -> RunData:
        """The data of the run, or other data in the form that the model takes.

        Args:
            named: ``folder:PATH`` or the name of an image set; None is what the model was trained on.

        Raises:
            UserError: If it cannot be read, or its pictures have another shape.
        """
        settings = self.config.data
        if named is not None:
            settings = self._settings_of(DataSettings(name=named))
        data = RunData(settings, self.facts)
        if data.facts.event_shape != self.facts.event_shape:
            raise UserError(
                f"{data.source} has samples of shape {data.facts.event_shape}, the model takes "
                f"{self.facts.event_shape}: name other data"
            )
        return data

    def batch(self, samples: Samples) -> dict[str, Tensor]:
        """Named tensors in [0, 1] for the model, on its device.

        Raises:
            UserError: If the samples lack what the model is conditioned on.
        """
        missing = [name for name in self.facts.conditions if name not in samples.conditions]
        if isinstance(self.model, ConditionalVAE) and missing:
            needed = cut(", ".join(self.facts.conditions[missing[0]]))
            raise UserError(
                f"{self.config.model.name} is given {needed} beside each picture: name data that has them"
            )
        return {
            name: as_float(x.to(self.device)) for name, x in batch_of(self.model, samples).items()
        }

    @torch.no_grad()
    def encode(self, samples: Samples) -> Float[Tensor, "n l"]:
        """The posterior's mode for each sample, of multimodal models given the pictures alone, with all its latents.

        Raises:
            UserError: As `batch`.
        """
        parts = [torch.zeros(0, self.code_width)]
        for start in range(0, len(samples), BATCH):
            batch = self.batch(samples.take(slice(start, start + BATCH)))
            parts.append(self._codes(batch).cpu())
        return torch.cat(parts)

    @torch.no_grad()
    def decode(
        self, codes: Float[Tensor, "n l"], samples: Samples | None = None
    ) -> Float[Tensor, "n ..."]:
        """Mean pictures for codes as `encode` gives them.

        Args:
            codes: Points.
            samples: One for each code, whose conditions a conditional model is given.

        Raises:
            UserError: As `batch`.
        """
        parts = [torch.zeros(0, *self.facts.event_shape)]
        for start in range(0, len(codes), BATCH):
            rows = slice(start, start + BATCH)
            part = None if samples is None else samples.take(rows)
            parts.append(self._decoded(codes[rows].to(self.device), part).cpu())
        return torch.cat(parts)

    def reconstruct(self, samples: Samples) -> Float[Tensor, "n ..."]:
        """The decoder's mean for each sample's own code; errors as `batch`."""
        return self.decode(self.encode(samples), samples)

    @property
    def code_width(self) -> int:
        """Number of values of a code as `encode` gives it."""
        if isinstance(self.model, MultimodalVAE):
            return sum(self._widths().values())
        if isinstance(self.model, AutoEncoder):
            return int(
                self.model.encode(
                    torch.zeros(1, *self.facts.event_shape, device=self.device)
                ).shape[1]
            )
        return int(self.model.latent_dim)

    def _widths(self) -> dict[str, int]:
        assert isinstance(self.model, MultimodalVAE)
        return {name: prior.latent_dim for name, prior in self.model.latent_priors().items()}

    def _codes(self, batch: dict[str, Tensor]) -> Tensor:
        if not isinstance(self.model, MultimodalVAE):
            return codes_of(self.model, batch)
        pictures = {name: x for name, x in batch.items() if name not in self.facts.conditions}
        points = self.model.united_points(self.model.prepare(pictures))
        return torch.cat([points[name] for name in self._widths()], 1)

    def _decoded(self, codes: Tensor, samples: Samples | None) -> Tensor:
        model = self.model
        if isinstance(model, MultimodalVAE):
            widths = self._widths()
            points = dict(zip(widths, torch.split(codes, list(widths.values()), 1), strict=True))
            pictures = [
                model.likelihood(name).mean(model.decoders[name](model.decoder_input(name, points)))
                for name in model.names
                if name not in self.facts.conditions
            ]
            return torch.stack(pictures, 1) if len(self.facts.event_shape) == 4 else pictures[0]
        if isinstance(model, ConditionalVAE):
            if samples is None:
                raise ValueError("a conditional model decodes under conditions: give the samples")
            return model.likelihood.mean(model.decode(codes, self.batch(samples)["y"]))
        return model.likelihood.mean(model.decode(codes))

    def _settings_of(self, named: DataSettings) -> DataSettings:
        """Other data, in the model's size and colours."""
        if named.name != FOLDER:
            return dataclasses.replace(named, pad_to=self.config.data.pad_to)
        channels, size = self.facts.event_shape[-3], self.facts.event_shape[-1]
        return dataclasses.replace(
            named, size=size, grey=channels == 1, views=self.config.data.views
        )

    def _card(self, title: str, address: str) -> str:
        data = self.config.data
        source = (
            f"a folder of pictures, {Path(data.root or '').name}"
            if data.name == FOLDER
            else data.name
        )
        return _CARD.format(
            title=title,
            network=self.config.model.name,
            latent_dim=self.config.model.latent_dim,
            shape=" x ".join(map(str, self.facts.event_shape)),
            source=cut(source),
            address=address,
        )


def _load(folder: Path, device: torch.device, *, trust_code: bool) -> TrainedVAE:
    if not (folder / WEIGHTS_FILE).is_file():
        raise UserError(
            f"{show_path(folder)} holds no trained model: give a folder left by ecmvae vae train"
        )
    config = load_vae_config(folder / CONFIG_FILE)
    if is_import_path(config.model.prior) and not trust_code:
        raise UserError(
            f"{show_path(folder / CONFIG_FILE)} names code by import path ({cut(config.model.prior)}): pass "
            "trust_code=True / --trust_code if you trust it"
        )
    facts = facts_of(folder, config.data)
    state = read_weight_file(folder / WEIGHTS_FILE)
    try:
        # sizes that a foreign file asks for take no memory before its weights have them
        with torch.device("meta"):
            shapes = build_vae(config.model, facts.event_shape, facts.classes).state_dict()
    except ValueError as error:
        raise UserError(f"{show_path(folder / CONFIG_FILE)}: {error}") from None
    if differences(shapes, state):
        weights, settings = show_path(folder / WEIGHTS_FILE), show_path(folder / CONFIG_FILE)
        raise UserError(f"{weights} is not of the model in {settings}: train it again")
    model = build_model(config, facts)
    model.load_state_dict(state)
    return TrainedVAE(model=model.to(device).eval(), config=config, facts=facts, folder=folder)


def load_trained(name: str | Path, *, device: str = "auto", trust_code: bool = False) -> TrainedVAE:
    """As `TrainedVAE.from_pretrained`, on the device that a command's option names."""
    return TrainedVAE.from_pretrained(name, device=choose_device(device), trust_code=trust_code)
