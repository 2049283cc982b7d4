"""Signed metadata, read by python-tuf in this very process."""

import contextlib
from collections.abc import Iterator

from edge_agent.signed_metadata import MetadataReader, Refreshed, SignedTarget, Sources, translated
from edge_agent.updater import MetadataUpdater, TufFetcher
from protocols.resources import Repository, metadata_url, targets_url


@contextlib.contextmanager
def read_here(sources: Sources) -> Iterator[MetadataReader]:
    """Yield a reader that keeps python-tuf, and what it needs, in this process's memory from now on."""
    yield _Reader(sources)


class _Reader:
    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._updaters: dict[Repository, MetadataUpdater] = {}

    def refresh(self, repository: Repository) -> Refreshed:
        sources, director = self._sources, repository == "director"
        folder = sources.folder / repository
        folder.mkdir(parents=True, exist_ok=True)
        with translated(repository):
            updater = self._updaters[repository] = MetadataUpdater(
                folder,
                metadata_url(repository),
                targets_url(repository),
                TufFetcher(sources.fetcher),
                root=sources.roots.director if director else sources.roots.image,
                now=lambda root: sources.now(repository, root),
            )
            updater.refresh()
            return Refreshed(updater.signed_at if director else None, updater.delegates)

    def target(self, repository: Repository, path: str) -> SignedTarget | None:
        updater = self._updaters[repository]
        with translated(path):
            found = updater.get_targetinfo(path)
        if found is None:
            return None
        return SignedTarget(found.path, updater.target_url(found), found.length, found.hashes, found.custom)
