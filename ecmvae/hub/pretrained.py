"""`from_pretrained`, `save_pretrained` and `push_to_hub`, as users of the Hugging Face hub know them."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from ecmvae.config import Config
from ecmvae.errors import UserError
from ecmvae.hub.client import looks_like_repository, push
from ecmvae.hub.find import find_model_folder, read_card
from ecmvae.hub.folder import StoredModel, read_model_folder, write_model_folder
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

Segments the sounding objects in a video: {network}, {side} x {side} pixels, {frames} frames a clip.

```python
import ecmvae

result = ecmvae.VideoPredictor("{address}").predict("video.mp4")
```

To be completed by its author: licence, training data and its licences, scores (with command, configuration,
seed and commit), limits.
"""


class Pretrained(nn.Module, ABC):
    """Base of networks that are read from model folders and written to them.

    Attributes:
        config: The configuration of the run that trained the network; None for one that was built from objects.
    """

    config: Config | None = None

    @classmethod
    @abstractmethod
    def restore(cls, stored: StoredModel) -> Pretrained:
        """Build the network of a model folder, in eval mode.

        Raises:
            UserError: If the weights are not those of the configuration.
        """

    @abstractmethod
    def metadata(self) -> dict[str, Any]:
        """What a model folder's metadata.json has to keep for `restore`."""

    @classmethod
    def from_pretrained(
        cls: type[Model],
        name: str | Path,
        *,
        device: torch.device | str = "cpu",
        revision: str | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        trust_code: bool = False,
    ) -> Model:
        """Load a trained model.

        Args:
            name: A folder; a name of `ecmvae models`; or a repository of the hub, ``owner/name``.
            device: Device of the model.
            revision: Branch, tag or commit of the repository.
            token: For a private repository; None = the account that is logged in, if any.
            local_files_only: Do not use the network: a model that is not in the hub's cache is an error.
            trust_code: Import the classes that the model's configuration names by import path.

        Returns:
            The model in eval mode.

        Raises:
            UserError: If there is no such model, it is of another class, or it names code that is not trusted.
        """
        requested = str(name)
        if (
            not Path(name).exists()
            and requested not in named_models()
            and looks_like_repository(requested)
        ):
            requested = f"hf://{requested}"
        if revision is not None:
            if not requested.startswith("hf:/"):
                raise UserError(
                    f"revision={revision} has no effect on {requested}, not a repository of the hub"
                )
            requested = f"{requested}@{revision}"
        folder = find_model_folder(requested, local_only=local_files_only, token=token)
        model = cls.restore(read_model_folder(folder, trust_code=trust_code))
        if not isinstance(model, cls):
            raise UserError(
                f"{name} is a {type(model).__name__}, not a {cls.__name__}: use ecmvae.load_model"
            )
        return model.to(device)

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        config: Config | None = None,
        half: bool = False,
        card: str | None = None,
    ) -> Path:
        """Write a model folder that `from_pretrained`, every ``--checkpoint`` and the hub accept.

        Args:
            folder: Its path; an older model there is replaced.
            config: The configuration that built the model; None = its own.
            half: Store numbers in 16 bits: half the size.
            card: Text of README.md, the model card; None keeps an existing one, else writes a short one.

        Returns:
            The folder.

        Raises:
            UserError: If the model has no configuration, or something other than a model lies there.
        """
        folder, older = Path(folder), Path(folder) / CARD_FILE
        config = config or self.config
        if config is None:
            raise UserError(
                "this model was built without a whole Config: give save_pretrained the config it came from"
            )
        if card is None:
            card = (
                read_card(folder)
                if older.is_file()
                else self._card(config, folder.name, str(folder))
            )
        return write_model_folder(
            folder, self.state_dict(), config, self.metadata(), half=half, card=card
        )

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
        """Upload the model folder to the hub, with the account that is logged in or its token.

        Args:
            repository: ``owner/name``; created if it does not exist.
            config: See `save_pretrained`.
            half: See `save_pretrained`.
            card: Text of the model card; None writes a short one where the repository has none.
            private: Whether a new repository is private; None = the account's default.
            token: Of the account.
            revision: Branch to push to.
            message: Of the commit.

        Returns:
            The commit's address.

        Raises:
            UserError: Without a network, an account or permission to write.
        """
        new_only = (CARD_FILE,) if card is None else ()
        if card is None and (own := config or self.config):
            card = self._card(own, repository.rpartition("/")[2], f"hf://{repository}")
        options = {"private": private, "token": token, "revision": revision, "message": message}
        with tempfile.TemporaryDirectory() as temporary:
            folder = self.save_pretrained(
                Path(temporary) / "model", config=config, half=half, card=card
            )
            return push(folder, repository, MODEL_FILES, new_only=new_only, **options)  # type: ignore[arg-type]

    def _card(self, config: Config, title: str, address: str) -> str:
        network = (
            f"{type(self).__name__} with {config.model.visual.name} and {config.model.audio.name}"
        )
        data = config.data
        return _CARD.format(
            title=title,
            network=network,
            side=data.image_size,
            frames=data.num_frames,
            address=address,
        )
