"""Foundation models of the hub that ecmvae knows by name: where they are, their licences, and what they are for.

`ecmvae models` lists them, `ecmvae fetch NAME` downloads one; nothing else downloads them. No commit of these
repositories has been verified by this project: `revision` is a branch, and the commit that it stands for at the time of
the download is what the hub's cache keeps and `ecmvae fetch` prints. Name it as ``hf://owner/name@commit`` where a run
has to be repeatable.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from ecmvae.errors import UserError
from ecmvae.foreign_text import short
from ecmvae.hub.client import HubAddress, cached_folder, fetch
from ecmvae.hub.named_models import PACKAGED

PACKAGE, PACKAGED_YAMNET = "package", PACKAGED / "yamnet"
"""The word for weights that come with ecmvae, and where they are."""

CONFIG, WEIGHTS = "config.json", "model.safetensors"
FILES = (
    *(
        CONFIG,
        WEIGHTS,
        "model.safetensors.index.json",
        "model-*-of-*.safetensors",
        "preprocessor_config.json",
    ),
    *(
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "vocab.json",
        "vocab.txt",
        "merges.txt",
    ),
)
"""Files of a repository that are used: no pickle, no code."""

PERMISSIVE = frozenset({"apache-2.0", "mit", "bsd-3-clause", "cc0-1.0"})
"""Licences, as SPDX identifiers, that need no `--accept_licence`."""


@dataclass(frozen=True, kw_only=True)
class HubModel:
    """A foundation model that is kept in a repository of the hub.

    Attributes:
        name: Its name in ecmvae.
        kind: Its part: a name of `AUDIO_ENCODERS` or `BACKBONES`, or of a segmenter, detector or mask model of
            `ecmvae.hub.concepts`; "" if ecmvae does not use it.
        repository: ``owner/name``; None where its authors published none.
        licence: SPDX identifier in lower case, or the name of a licence of its own.
        parameters: In millions, counted of its architecture built in transformers; None where that is not known.
        purpose: What it is for, in a line.
        revision: Branch, tag or commit. A branch is unverified: its content may change.
        gated: Whether the hub asks for an account that has accepted the terms.
        reserve: Why it is not a default; "" if nothing speaks against it.
    """

    name: str
    kind: str
    repository: str | None
    licence: str
    parameters: float | None
    purpose: str
    revision: str = "main"
    gated: bool = False
    reserve: str = ""

    @property
    def address(self) -> HubAddress:
        """Where it is.

        Raises:
            UserError: If the model has no repository on the hub.
        """
        if self.repository is None:
            raise UserError(
                f"{self.name} is not on the hub under its authors' name: {self.reserve}"
            )
        return HubAddress(self.repository, self.revision)

    @property
    def permissive(self) -> bool:
        """Whether its licence lets anyone use it for anything."""
        return self.licence in PERMISSIVE

    def cached(self) -> bool:
        """Whether it is in the hub's cache; found out without any network and without reading the weights."""
        folder = cached_folder(self.address) if self.repository else None
        return folder is not None and (folder / CONFIG).is_file()


_MODELS = (
    HubModel(
        name="ast",
        kind="ast",
        repository="MIT/ast-finetuned-audioset-10-10-0.4593",
        licence="bsd-3-clause",
        parameters=86.6,
        purpose="hears: what sounds and when, by AudioSet's 527 names; audio encoder",
    ),
    HubModel(
        name="clap",
        kind="clap",
        repository="laion/clap-htsat-unfused",
        licence="apache-2.0",
        parameters=153.5,
        purpose="hears: what sounds and when, by any text; audio encoder",
    ),
    HubModel(
        name="pe-a-frame",
        kind="pe_a_frame",
        repository="facebook/pe-a-frame-base",
        licence="apache-2.0",
        parameters=None,
        purpose="hears: any text, every 40 ms; audio encoder",
    ),
    HubModel(
        name="clipseg",
        kind="clipseg",
        repository="CIDAS/clipseg-rd64-refined",
        licence="apache-2.0",
        parameters=150.7,
        purpose="sees: where in the picture a text is",
    ),
    HubModel(
        name="grounding-dino-tiny",
        kind="grounding_dino",
        repository="IDEA-Research/grounding-dino-tiny",
        licence="apache-2.0",
        parameters=172.3,
        purpose="sees: boxes around what a text names",
    ),
    HubModel(
        name="owlv2-base",
        kind="owlv2",
        repository="google/owlv2-base-patch16-ensemble",
        licence="apache-2.0",
        parameters=155.0,
        purpose="sees: boxes around what a text names",
    ),
    HubModel(
        name="edgetam",
        kind="edgetam",
        repository="yonigozlan/EdgeTAM-hf",
        licence="apache-2.0",
        parameters=13.9,
        purpose="sees: masks of what is in boxes, small",
    ),
    HubModel(
        name="dinov2-small",
        kind="dinov2",
        repository="facebook/dinov2-small",
        licence="apache-2.0",
        parameters=22.1,
        purpose="visual backbone",
    ),
    HubModel(
        name="dinov2-base",
        kind="dinov2",
        repository="facebook/dinov2-base",
        licence="apache-2.0",
        parameters=86.6,
        purpose="visual backbone",
    ),
    HubModel(
        name="dinov3-vits16",
        kind="dinov3_vit",
        repository="facebook/dinov3-vits16-pretrain-lvd1689m",
        licence="dinov3-license",
        parameters=21.6,
        purpose="visual backbone",
        gated=True,
    ),
    HubModel(
        name="dinov3-convnext-tiny",
        kind="dinov3_convnext",
        repository="facebook/dinov3-convnext-tiny-pretrain-lvd1689m",
        licence="dinov3-license",
        parameters=27.8,
        purpose="visual backbone",
        gated=True,
    ),
    HubModel(
        name="sam2-hiera-tiny",
        kind="sam2_hiera",
        repository="facebook/sam2.1-hiera-tiny",
        licence="apache-2.0",
        parameters=39.0,
        purpose="sees: masks of what is in boxes; visual backbone: its image encoder",
    ),
    HubModel(
        name="sam3",
        kind="",
        repository="facebook/sam3",
        licence="sam-license",
        parameters=840.0,
        purpose="text to masks, tracked",
        gated=True,
        reserve="under a licence of its own; ecmvae does not use it",
    ),
    HubModel(
        name="imagebind",
        kind="",
        repository=None,
        licence="cc-by-nc-sa-4.0",
        parameters=None,
        purpose="joint embedding of sound, picture and text",
        reserve="not for commercial use; ecmvae does not use it",
    ),
)

CATALOGUE: dict[str, HubModel] = {model.name: model for model in _MODELS}
"""Every foundation model by name. Repositories are those that transformers' documentation names, or their authors'."""


def find_model(name: str) -> HubModel:
    """The entry of that name.

    Raises:
        UserError: Listing the names, the nearest first.
    """
    if name in CATALOGUE:
        return CATALOGUE[name]
    close = difflib.get_close_matches(name, CATALOGUE, n=1, cutoff=0.5)
    hint = (
        f"did you mean {close[0]}?"
        if close
        else f"choose from {', '.join(CATALOGUE)}, or hf://owner/name@commit"
    )
    raise UserError(f"no foundation model is called {short(name)}: {hint}")


def weights_folder(choice: str) -> Path:
    """The folder of a foundation model: of its own, or in the hub's cache. Nothing is downloaded.

    Args:
        choice: A folder, a name of the catalogue, ``hf://owner/name[@revision]``, or "package": what comes with ecmvae.

    Raises:
        UserError: If the model is not there, saying which command fetches it.
    """
    if choice == PACKAGE:
        return PACKAGED_YAMNET
    address, folder = HubAddress.parse(choice), Path(choice)
    if address is None and not folder.is_dir():
        if choice not in CATALOGUE and ("/" in choice or folder.exists()):
            raise UserError(
                f"weights not found: {short(choice)} is not a folder with {CONFIG} and {WEIGHTS}"
            )
        address = find_model(choice).address
    if address is not None:
        try:
            folder = fetch(address, FILES, local_only=True)
        except UserError as error:
            if "is damaged" in str(error):
                raise
            raise UserError(f"{choice} is not in the hub's cache: ecmvae fetch {choice}") from error
    check_folder(folder, choice)
    return folder


def check_folder(folder: Path, choice: str) -> None:
    """Make sure that a folder holds a network's configuration and weights without code.

    Raises:
        UserError: Naming the files that are missing.
    """
    there = (folder / WEIGHTS).is_file() or (folder / f"{WEIGHTS}.index.json").is_file()
    missing = [
        name
        for name, found in ((CONFIG, (folder / CONFIG).is_file()), (WEIGHTS, there))
        if not found
    ]
    if missing:
        raise UserError(
            f"{short(choice)} cannot be used: it lacks {' and '.join(missing)} ({folder})"
        )
