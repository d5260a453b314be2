"""Model hub: a file at a pinned commit, a repository at a revision, and the upload of a folder.

All of it goes through huggingface_hub, so its settings hold: ``HF_ENDPOINT`` (another hub),
``HF_TOKEN`` (private and gated repositories), ``HF_HOME`` (where the cache is) and
``HF_HUB_OFFLINE``. What the cache holds of a full commit is taken from there, without the network.
"""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from ldae.errors import UserError, require
from ldae.resources.download import Unavailable, checksum, copy_file

NAME = r"(?P<repository>[\w.-]+/[\w.-]+)"
PINNED = re.compile(NAME + r"@(?P<commit>[0-9a-f]{40}):(?P<file>\S+)")
MODEL = re.compile(NAME + r"(@(?P<revision>[\w./-]+))?")
COMMIT = re.compile(r"[0-9a-f]{40}")
HUB = "https://huggingface.co"  # where a person finds a file whose hub is not named
ACCESS = "or it is private: set HF_TOKEN to a token that may read it"

T = TypeVar("T")
log = logging.getLogger("ldae.progress")


@dataclass(frozen=True)
class HubFile:
    """A file of a repository at a commit: ``ORG/NAME@COMMIT:FILE``.

    Attributes:
        repository: ``ORG/NAME``.
        commit: 40 hexadecimal digits; a branch or a tag can move.
        file: Path inside the repository.
        endpoint: URL of the hub; None: ``HF_ENDPOINT``, or the public one.
    """

    repository: str
    commit: str
    file: str
    endpoint: str | None = None

    @classmethod
    def parse(cls, text: str) -> "HubFile":
        """Read ``ORG/NAME@COMMIT:FILE``.

        Raises:
            UserError: the text is no such name.
        """
        found = PINNED.fullmatch(text)
        if found is None:
            raise UserError(
                f"{text!r} names no file of a hub: ORG/NAME@COMMIT:FILE is expected, with all 40 "
                "digits of the commit."
            )
        return cls(**found.groupdict())

    def at(self, endpoint: str) -> "HubFile":
        """The same file on another hub."""
        return replace(self, endpoint=endpoint.rstrip("/"))

    @property
    def url(self) -> str:
        """Address for a browser."""
        return f"{self.endpoint or HUB}/{self.repository}/resolve/{self.commit}/{self.file}"

    def __str__(self) -> str:
        where = f" at {self.endpoint}" if self.endpoint else ""
        return f"hub:{self.repository}@{self.commit}:{self.file}{where}"


def fetch_hub(file: HubFile, path: Path, identity: str) -> tuple[Path, bool]:
    """Copy a file of the hub to a partial file beside ``path``; as ``download.fetch``.

    A file in the hub's cache that has not the checksum is downloaded once more.

    Args:
        file: The file.
        path: Final place of the file; its folder exists.
        identity: Its checksum.

    Raises:
        Unavailable: the hub does not answer, or does not give this file.
        UserError: the partial file cannot be written.
    """
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache

    cached = try_to_load_from_cache(file.repository, file.file, revision=file.commit)
    if isinstance(cached, str):
        if checksum(Path(cached), identity) == identity:
            return copy_file(cached, path, identity)
        if constants.HF_HUB_OFFLINE:
            raise Unavailable(f"the file in the hub's cache has another checksum, and {_unreached()}")
    at: dict[str, Any] = {"revision": file.commit, "endpoint": file.endpoint}
    at["force_download"] = isinstance(cached, str)  # what is there stays if this fails
    cached = _asked(str(file), lambda: hf_hub_download(file.repository, file.file, **at))
    return copy_file(cached, path, identity)


def fetch_repository(name: str, patterns: list[str]) -> tuple[Path, str]:
    """Download files of a repository into the hub's cache.

    Args:
        name: ``ORG/NAME``, with ``@REVISION`` (a commit, tag or branch) for another one than the
            newest. A commit of 40 digits that is in the cache needs no network.
        patterns: Which files, such as ``models/**``.

    Returns:
        The folder in the cache, and the commit.

    Raises:
        UserError: the name is none, or the hub does not give the repository.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    found = MODEL.fullmatch(name)
    if found is None:
        raise UserError(f"{name!r} is neither a folder nor the name of a model, ORG/NAME@REVISION.")
    given: dict[str, Any] = {"revision": found["revision"], "allow_patterns": patterns}
    folder = None
    if found["revision"] and COMMIT.fullmatch(found["revision"]):
        try:
            folder = snapshot_download(found["repository"], local_files_only=True, **given)
        except LocalEntryNotFoundError:
            folder = None  # not in the cache, or not wholly
    if folder is None:
        try:
            folder = _asked(name, lambda: snapshot_download(found["repository"], **given))
        except Unavailable as error:
            raise UserError(f"The model {name} is not available: {error}.") from error
    return Path(folder), Path(folder).name


def require_repository(name: str) -> str:
    """The name of a repository, ``ORG/NAME``.

    Raises:
        UserError: it is none.
    """
    require(
        re.fullmatch(NAME, name) is not None,
        f"{name!r} is no name of a repository: ORG/NAME is expected.",
    )
    return name


def upload_folder(folder: Path, repository: str, public: bool, message: str) -> str:
    """Upload a folder as one commit of a repository, made if it does not exist.

    Args:
        folder: What to upload.
        repository: ``ORG/NAME``.
        public: Whether a new repository can be read by everybody.
        message: Of the commit.

    Returns:
        The commit, 40 hexadecimal digits.

    Raises:
        UserError: the hub does not take it, or the repository exists, is public and ``public`` is
            not set.
    """
    from huggingface_hub import HfApi, errors

    api = HfApi()

    def is_public() -> bool:
        try:
            return api.repo_info(repository).private is False
        except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError):
            return False  # there is none, or an empty one

    def upload() -> str:
        if not public and is_public():
            raise UserError(
                f"{repository} exists and everybody can read it: give --public, or another name."
            )
        api.create_repo(repository, private=not public, exist_ok=True)
        done = api.upload_folder(
            repo_id=repository, folder_path=folder, commit_message=message, run_as_future=False
        )
        return done.oid

    try:
        return _asked(repository, upload)
    except Unavailable as error:
        raise UserError(f"{folder} was not uploaded to {repository}: {error}.") from error


def _asked(name: str, request: Callable[[], T]) -> T:
    """The result of a request to the hub; its errors as one sentence.

    Raises:
        Unavailable: the hub does not answer, or refuses.
    """
    import httpx2
    import huggingface_hub.utils
    from huggingface_hub import errors

    huggingface_hub.utils.disable_progress_bars()
    log.info("Asking the hub for %s", name)
    try:
        return request()
    except errors.GatedRepoError as error:
        reason = "its owners ask for consent: accept their terms on its page, and set HF_TOKEN"
        raise Unavailable(reason) from error
    except errors.RepositoryNotFoundError as error:
        raise Unavailable(f"there is no such repository, {ACCESS}") from error
    except errors.RevisionNotFoundError as error:
        raise Unavailable("the repository has no such revision") from error
    except errors.LocalEntryNotFoundError as error:
        if isinstance(error.__cause__, errors.FileMetadataError):
            raise Unavailable("what answers there is no hub") from error
        raise Unavailable(f"it is not in the cache, and {_unreached()}") from error
    except errors.EntryNotFoundError as error:
        raise Unavailable("the repository has no such file at this revision") from error
    except errors.LocalTokenNotFoundError as error:
        raise Unavailable("there is no token: set HF_TOKEN to one that may write") from error
    except errors.OfflineModeIsEnabled as error:
        raise Unavailable(_unreached()) from error
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status in (401, 403):
            reason = f"the hub refuses the token for {name.partition('@')[0]}, {ACCESS}"
        else:
            reason = f"the hub answered with an error ({status or error})"
        raise Unavailable(reason) from error
    except (httpx2.HTTPError, OSError) as error:
        raise Unavailable(f"the hub cannot be reached ({type(error).__name__}: {error})") from error


def _unreached() -> str:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE switches the hub off"
    return f"the hub at {constants.ENDPOINT} cannot be reached"
