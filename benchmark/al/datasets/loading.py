"""From files on disk to a data set as a protocol asks for it, through the cache."""

from __future__ import annotations

from pathlib import Path

from benchmark.al.datasets import digest
from benchmark.al.datasets.cache import Cache, Entry, SourceFacts
from benchmark.al.datasets.catalogue import format_of
from benchmark.al.datasets.dataset import Dataset, DataStatus
from benchmark.al.datasets.decode import check as check_transforms
from benchmark.al.datasets.decode import decode_images
from benchmark.al.datasets.source import DatasetFormat, File
from benchmark.al.datasets.split import split_dataset
from benchmark.errors import DataError
from benchmark.spec.data import Data


def load(
    data: Data, root: Path, cache: Path, *, check: bool = False, shared: Path | None = None
) -> Dataset:
    """The data set, from the cache where it was made before. `check`: read the cached pixels again
    and compare.

    `shared` is a cache that is looked into first and never written. `root` holds data sets in
    torchvision's folder layout. Raises DataError when files are missing or damaged, when their
    numbers are not the pinned ones, or when the cache cannot be written.
    """
    try:
        return _load_dataset(
            data, root, [Cache(place) for place in (shared, cache) if place is not None], check
        )
    except OSError as error:
        raise DataError(
            f"{data.name} cannot be read: {error.strerror or error}",
            where=str(error.filename or root),
            remedy="check the folder, its permissions and the disk",
        ) from error


def describe(data: Data, root: Path, cache: Path) -> DataStatus:
    """Whether `load` would succeed, and with what. Quick where the cache has it; the first time it
    is made."""
    try:
        found = load(data, root, cache)
    except DataError as error:
        return DataStatus(data.name, present=False, digest=None, canonical=False, note=str(error))
    return DataStatus(
        found.name,
        present=True,
        digest=found.digest,
        canonical=found.canonical,
        note=found.canonical_note,
    )


def _load_dataset(data: Data, root: Path, caches: list[Cache], check: bool) -> Dataset:
    kind = format_of(data)
    files = kind.files(root)
    store = caches[-1]
    stamp = digest.digest_json([kind.origin.name, digest.stamp_files(files)])
    facts = next((found for one in caches if (found := one.facts(stamp))), None)
    if facts is None:
        facts = SourceFacts(digest.digest_files(files), kind.differs(files))
        store.remember(stamp, facts)
    # Without fields that say nothing of this data set: copies from before these stay valid.
    absent = {name for name in ("code", "validation") if getattr(data, name) is None}
    pinned = data.model_dump(mode="json", exclude={"files", *absent})
    name = data.name.rpartition(":")[2].replace("/", "-")
    key = f"{name}-{digest.digest_json([facts.sources, pinned])[:24]}"
    entry = next((made for one in caches if (made := one.open(key, check))), None)
    if entry is None:
        with store.lock(key):
            entry = store.open(key, check) or _make_entry(data, kind, files, store, key)
    differs = facts.differs
    if data.files is not None:
        differs = (
            ""
            if facts.sources == data.files
            else (
                f"its files have the digest {facts.sources[:12]}, and the suite pins "
                f"{data.files[:12]}"
            )
        )
    return Dataset(
        data.name,
        entry.train,
        entry.test,
        entry.class_names,
        entry.digest,
        differs == "",
        differs,
        entry.validation,
    )


def _make_entry(
    data: Data, kind: DatasetFormat, files: list[File], store: Cache, key: str
) -> Entry:
    check_transforms(data.decode)
    source = kind.read(files)
    chosen = split_dataset(data, source)
    held_out = source.train if source.test is None else source.test
    kept = None
    if chosen.validation is not None and chosen.validation_labels is not None:
        kept = decode_images(source.train, chosen.validation, data.decode), chosen.validation_labels
    store.store(
        key,
        (decode_images(source.train, chosen.train, data.decode), chosen.train_labels),
        (decode_images(held_out, chosen.test, data.decode), chosen.test_labels),
        chosen.class_names,
        kept,
    )
    entry = store.open(key)
    if entry is None:
        raise DataError(
            f"the cached copy of {data.name} was damaged while it was written",
            where=str(store.folder / key),
            remedy="check the disk, or choose another folder for the cache",
        )
    return entry
