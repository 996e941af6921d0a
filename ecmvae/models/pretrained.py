"""`from_pretrained`, `save_pretrained` and `push_to_hub`, as users of the Hugging Face hub know them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from ecmvae.config import Config
from ecmvae.errors import UserError
from ecmvae.hub.client import looks_like_repository, push
from ecmvae.hub.named_models import CARD_FILE, MODEL_FILES, named_models

Model = TypeVar("Model", bound="Pretrained")

_CARD = """---
library_name: ecmvae
pipeline_tag: image-segmentation
tags:
- audio-visual-segmentation
- video
---

# {title}

Cuts out of a video the objects that sound: {network}, {side} x {side} pixels, {frames} frames a clip.

```python
import ecmvae

result = ecmvae.VideoPredictor("{address}").predict("video.mp4")
```

Still to be written by whoever trained it: licence, training data and its licences, scores (with command, configuration,
seed and commit), limits.
"""


class Pretrained(nn.Module):
    """A network that comes from a model folder and goes into one.

    Attributes:
        config: The run's whole configuration; set on models that were loaded or saved.
    """

    config: Config

    @classmethod
    def from_pretrained(
        cls: type[Model],
        name: str | Path,
        *,
        device: torch.device | str = "cpu",
        revision: str | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
    ) -> Model:
        """Load a trained model.

        Args:
            name: A folder; a name of `ecmvae models`; or a repository of the hub, ``owner/name``.
            device: Where the model is to live.
            revision: Branch, tag or commit of the repository.
            token: For a private repository; None = the account that is logged in, if any.
            local_files_only: Touch no network: what is not in the hub's cache is an error.

        Returns:
            The model in eval mode.

        Raises:
            UserError: When it cannot be had, or is a model of another kind.
        """
        from ecmvae.checkpoint import find_model_folder, load_model

        asked = str(name)
        if not Path(name).exists() and asked not in named_models() and looks_like_repository(asked):
            asked = f"hf://{asked}"
        if revision is not None:
            if not asked.startswith("hf:/"):
                raise UserError(f"revision={revision} has no effect on {asked}, which is no repository of the hub")
            asked = f"{asked}@{revision}"
        model: Any = load_model(find_model_folder(asked, local_only=local_files_only, token=token), device)
        if not isinstance(model, cls):
            raise UserError(f"{name} is a {type(model).__name__}, not a {cls.__name__}: use ecmvae.load_model")
        return model

    def save_pretrained(
        self, folder: str | Path, *, config: Config | None = None, half: bool = False, card: str | None = None
    ) -> Path:
        """Write a model folder that `from_pretrained`, every ``--checkpoint`` and the hub take.

        Args:
            folder: Where to; an older model there is replaced.
            config: The configuration that built the model; None = its own.
            half: Store numbers in 16 bits: half the size.
            card: Text of README.md, the hub's model card; None keeps the one that is there, else writes a short one.

        Returns:
            The folder.

        Raises:
            UserError: When the model has no configuration, or something else than a model lies there.
        """
        from ecmvae.checkpoint import save_model

        folder, older = Path(folder), Path(folder) / CARD_FILE
        config = config or getattr(self, "config", None)
        if config is None:
            raise UserError("this model was built without a whole Config: give save_pretrained the config it came from")
        if card is None:
            card = older.read_text("utf-8") if older.is_file() else self._card(config, folder.name, str(folder))
        saved: Any = self
        return save_model(saved, folder, config, half=half, card=card)

    def push_to_hub(
        self,
        repository: str,
        *,
        config: Config | None = None,
        half: bool = False,
        card: str | None = None,
        private: bool | None = None,
        token: str | bool | None = None,
        revision: str | None = None,
        message: str = "Push a model with ecmvae",
    ) -> str:
        """Upload the model folder to the hub; needs an account that is logged in, or its token.

        Args:
            repository: ``owner/name``; made when it does not exist.
            config: See `save_pretrained`.
            half: See `save_pretrained`.
            card: Text of the model card; None writes a short one where the repository has none.
            private: Whether a new repository is private; None = as the account has it.
            token: Of the account.
            revision: Branch to push to.
            message: Of the commit.

        Returns:
            The commit's address.

        Raises:
            UserError: When the network, the account or the right to write is missing.
        """
        given = card is not None
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "model"
            own = config or getattr(self, "config", None)
            if not given and own is not None:
                card = self._card(own, repository.rpartition("/")[2], f"hf://{repository}")
            self.save_pretrained(folder, config=config, half=half, card=card)
            return push(
                folder,
                repository,
                MODEL_FILES,
                new_only=() if given else (CARD_FILE,),
                private=private,
                token=token,
                revision=revision,
                message=message,
            )

    def _card(self, config: Config, title: str, address: str) -> str:
        network = f"{type(self).__name__} with {config.model.visual.name} and {config.model.audio.name}"
        data = config.data
        return _CARD.format(title=title, network=network, side=data.image_size, frames=data.num_frames, address=address)
