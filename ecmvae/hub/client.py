"""Model folders on the Hugging Face hub: fetched into its own cache, and pushed. The only door to huggingface_hub.

The cache is the one that every tool of the hub shares: ``HF_HUB_CACHE``, by default ``~/.cache/huggingface/hub``. No
network is touched unless a repository is asked for, nor at all with ``HF_HUB_OFFLINE=1`` or ``ECMVAE_OFFLINE=1``.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ecmvae.errors import UserError

_REPOSITORY = re.compile(r"([\w.-]+/[\w.-]+)")
# Path() makes one slash of two
_ADDRESS = re.compile(rf"hf:/+{_REPOSITORY.pattern}(?:@([\w./-]+))?")
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class HubAddress:
    """A repository ``owner/name`` on the hub, and its branch, tag or commit; None = the newest."""

    repository: str
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> HubAddress | None:
        """Read ``hf://owner/name`` or ``hf://owner/name@revision``; None for anything else."""
        match = _ADDRESS.fullmatch(text)
        return cls(match[1], match[2]) if match else None

    def __str__(self) -> str:
        return f"hf://{self.repository}" + (f"@{self.revision}" if self.revision else "")


def looks_like_repository(text: str) -> bool:
    """Whether `text` could be a repository's ``owner/name``."""
    return _REPOSITORY.fullmatch(text) is not None


def cache_folder() -> Path:
    """Folder of the models that were downloaded."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def cached_folder(address: HubAddress) -> Path | None:
    """The folder in the cache that a revision stood for when it was last fetched; None if it never was.

    Its files may be incomplete: `fetch` with `local_only` says so.
    """
    home = cache_folder() / f"models--{address.repository.replace('/', '--')}"
    reference, revision = home / "refs" / (address.revision or "main"), address.revision or "main"
    commit = reference.read_text("utf-8").strip() if reference.is_file() else revision
    folder = home / "snapshots" / commit
    return folder if folder.is_dir() else None


def is_offline() -> bool:
    """Whether the network is forbidden, by ``ECMVAE_OFFLINE`` or by the hub's own ``HF_HUB_OFFLINE``."""
    from huggingface_hub import constants

    return constants.is_offline_mode() or os.environ.get("ECMVAE_OFFLINE", "").lower() in (
        "1",
        "true",
        "yes",
        "on",
    )


def fetch(
    address: HubAddress,
    files: Collection[str],
    *,
    local_only: bool = False,
    token: str | bool | None = None,
) -> Path:
    """A folder in the cache with those files of a repository; only what is missing is downloaded, with a progress bar.

    Where a connection breaks, the file goes on from the last 10 MB; files that were complete are kept.

    The hub names the content of large files by their SHA-256, and so does its cache: they are checked against it.

    Args:
        address: The repository.
        files: Names of files, or patterns such as ``*.json``; those that the repository does not have are left out.
        local_only: Use the cache alone.
        token: Of an account, for private repositories; None = the one that is logged in, if any.

    Raises:
        UserError: If the repository or the network is not available, or a file is damaged.
    """
    from huggingface_hub import snapshot_download

    local_only = local_only or is_offline()
    with _explaining(str(address), local_only=local_only):
        downloaded = snapshot_download(
            address.repository,
            revision=address.revision,
            allow_patterns=list(files),
            local_files_only=local_only,
            token=token,
            library_name="ecmvae",
        )
    folder = Path(downloaded)
    for path in sorted({path for name in files for path in folder.glob(name)}):
        content = path.resolve()
        if _HASH.fullmatch(content.name):
            check_sha256(path, content.name, f"delete {content} and fetch {address} again")
    return folder


def push(
    folder: Path,
    repository: str,
    files: Collection[str],
    *,
    new_only: Collection[str] = (),
    private: bool | None = None,
    token: str | bool | None = None,
    revision: str | None = None,
    message: str = "Push a model with ecmvae",
) -> str:
    """Upload those files of a folder as one commit; the repository is made if it does not exist.

    Args:
        folder: The folder.
        repository: ``owner/name``.
        files: Names of files.
        new_only: Those of them that replace nothing: left out where the repository has one.
        private: See `Pretrained.push_to_hub`, as all that follow.
        token: Of the account.
        revision: Branch to push to.
        message: Of the commit.

    Returns:
        The commit's address.

    Raises:
        UserError: Without a network, an account or permission to write.
    """
    from huggingface_hub import HfApi

    if is_offline():
        raise UserError(
            f"cannot push to hf://{repository}: offline mode is on (HF_HUB_OFFLINE or ECMVAE_OFFLINE)"
        )
    with _explaining(f"hf://{repository}", local_only=False):
        api = HfApi(token=token, library_name="ecmvae")
        made = api.create_repo(repository, private=private, exist_ok=True)
        there = [
            name for name in new_only if api.file_exists(made.repo_id, name, revision=revision)
        ]
        done = api.upload_folder(
            repo_id=made.repo_id,
            folder_path=folder,
            allow_patterns=[name for name in files if name not in there],
            revision=revision,
            commit_message=message,
        )
    return str(done.commit_url)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sha256(path: Path, wanted: str, advice: str) -> None:
    """Refuse a file whose content is not the expected one.

    Raises:
        UserError: Saying `advice`.
    """
    found = sha256_of(path)
    if found != wanted:
        raise UserError(
            f"{path} is damaged: its SHA-256 is {found[:12]}..., not {wanted[:12]}...: {advice}"
        )


@contextmanager
def _explaining(what: str, *, local_only: bool) -> Iterator[None]:
    """Turn the errors of huggingface_hub into one line."""
    from huggingface_hub import errors

    reasons: dict[type[Exception], str] = {  # subclasses before their bases
        errors.IncompleteSnapshotError: f"{what} is only partly in {cache_folder()}: load it again with a network",
        errors.LocalEntryNotFoundError: f"{what} is not in {cache_folder()}, and "
        + (
            "offline mode forbids fetching it: unset HF_HUB_OFFLINE and ECMVAE_OFFLINE, or copy the model's folder "
            "here and name that"
            if local_only
            else "the hub cannot be reached: is there a network?"
        ),
        errors.GatedRepoError: f"{what} asks for consent: accept its terms on its page, then log in: hf auth login",
        errors.RepositoryNotFoundError: f"the hub has no {what}, or it is private: check the name, or hf auth login",
        errors.RevisionNotFoundError: f"the hub has no such revision: {what}",
        errors.HFValidationError: f"{what} is not the name of a repository: write owner/name",
    }
    try:
        yield
    except (
        Exception
    ) as error:  # the library lets its transport's errors through, whatever that transport is
        for kind, reason in reasons.items():
            if isinstance(error, kind):
                raise UserError(reason) from error
        if isinstance(error, OSError) and error.errno in (
            errno.ENOSPC,
            errno.EDQUOT,
            errno.EACCES,
            errno.EROFS,
        ):
            raise
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"the transfer of {what} failed ({said}): nothing was kept of it; try again"
        ) from error
