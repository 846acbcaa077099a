"""Profiles by digest, under a folder or fsspec URL: written once, whole or not at all, and never believed unchecked.

    <profiles>/<sha256 hex>.json

Whoever writes the same profile twice changes nothing; whoever reads one that was altered is told, not served.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import fsspec

from agents.configuration import Configuration
from agents.errors import Misconfigured, NotReady
from agents.monitor.profiles import Profile
from orchestration.log_store import LogStore

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


class ProfileStore:
    """Profiles of one deployment."""

    def __init__(self, url: str) -> None:
        """`url` is a path, or an fsspec URL such as `s3://bucket/profiles`; a local folder is made when first written."""
        self.url = url
        self._store = LogStore(url)
        self._fs, self._root = fsspec.core.url_to_fs(url)

    def put(self, data: bytes) -> str:
        """Keep a profile's bytes, durably when this returns; its digest. Raises Misconfigured where they are no profile."""
        profile = Profile.of_bytes(data)
        path = _path(profile.digest)
        try:
            if self._store.read(path) == data:
                return profile.digest
        except FileNotFoundError:
            pass
        self._store.write({path: data})
        return profile.digest

    def get(self, digest: str) -> Profile:
        """The profile of a digest; its beginning is enough where only one profile begins so.

        Raises Misconfigured where its bytes were altered, and NotReady where there is none.
        """
        whole = digest if _DIGEST.fullmatch(digest) else self._complete(digest)
        try:
            return Profile.of_bytes(self._store.read(_path(whole)), whole)
        except FileNotFoundError as error:
            raise NotReady(
                f"there is no profile {digest} in {self.url}; fit it with `govern profile fit`, or set GOVERN_PROFILES"
            ) from error

    def of(self, configuration: Configuration) -> Mapping[str, Profile]:
        """The profiles that the models of a configuration name, by model; raises as `get`."""
        return {name: self.get(model.profile) for name, model in configuration.models.items() if model.profile}

    def digests(self) -> list[str]:
        """Every profile that is kept."""
        names = (str(path).rsplit("/", 1)[-1] for path in self._fs.glob(f"{self._root}/*.json"))
        found = (f"sha256:{name.removesuffix('.json')}" for name in names)
        return sorted(one for one in found if _DIGEST.fullmatch(one))

    def _complete(self, beginning: str) -> str:
        found = [
            one for one in self.digests() if one.removeprefix("sha256:").startswith(beginning.removeprefix("sha256:"))
        ]
        if len(found) == 1:
            return found[0]
        raise Misconfigured(
            f"{len(found)} profiles in {self.url} begin with {beginning!r}; give the digest that `govern profile fit` printed"
        )


def _path(digest: str) -> str:
    return f"{digest.removeprefix('sha256:')}.json"
