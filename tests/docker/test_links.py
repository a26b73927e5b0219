"""Data roots made of links (DVC, git-annex, datalad), seen as a container would see them: every
link leads somewhere."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import pytest

from benchmark.errors import UsageError
from benchmark.executors.docker import sandbox


def seen(data: Path) -> dict[str, bytes]:
    """Content of all files under /data in a container with these mounts, by following its links
    there and nowhere else."""
    mounts = {
        "/data": data.resolve(),
        **{target: source for source, target in sandbox.list_links(data)},
    }

    def resolve(place: str, hops: int = 0) -> Path | None:
        """The host's file at a container's path."""
        assert hops < 40
        parts = PurePosixPath(place).parts
        for end in range(len(parts), 0, -1):
            target = str(PurePosixPath(*parts[:end]))
            if target in mounts:
                path, walked = mounts[target], PurePosixPath(target)
                for name in parts[end:]:
                    path, walked = path / name, walked / name
                    if path.is_symlink():
                        rest = PurePosixPath(place).relative_to(walked)
                        return resolve(
                            os.path.normpath(walked.parent / path.readlink() / rest), hops + 1
                        )
                return path if path.exists() else None
        return None

    found: dict[str, bytes] = {}

    def walk(place: str) -> None:
        path = resolve(place)
        assert path is not None, f"{place} dangles"
        if path.is_dir():
            for name in sorted(entry.name for entry in path.iterdir()):
                walk(f"{place}/{name}")
        else:
            found[place] = path.read_bytes()

    walk("/data")
    return found


def annex(tmp_path: Path, count: int, *, absolute: bool) -> Path:
    """A data root whose files are links to a store, as `git annex add` leaves it."""
    store, data = tmp_path / "repo" / "store", tmp_path / "repo" / "data"
    (data / "set").mkdir(parents=True)
    for number in range(count):
        key = store / f"{number % 7:x}" / f"key{number}"
        key.parent.mkdir(parents=True, exist_ok=True)
        key.write_text(str(number))
        link = data / "set" / f"batch_{number}"
        link.symlink_to(key if absolute else os.path.relpath(key, link.parent))
    return data


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("count", [5, 300])
def test_files_that_are_links_reach_a_container(tmp_path: Path, count: int, absolute: bool) -> None:
    data = annex(tmp_path, count, absolute=absolute)
    assert seen(data) == {
        f"/data/set/batch_{number}": str(number).encode() for number in range(count)
    }
    assert len(sandbox.list_links(data)) <= sandbox.BINDS
    shown = [source for source, _ in sandbox.list_links(data)]
    assert all(source.is_relative_to(tmp_path / "repo" / "store") for source in shown), (
        "no more than the store is shown"
    )


def test_links_of_links_folders_and_links_inside_the_root(tmp_path: Path) -> None:
    data, far = tmp_path / "data", tmp_path / "far"
    (far / "deep").mkdir(parents=True)
    (far / "deep" / "real").write_text("pixels")
    (far / "hop").symlink_to("deep/real")
    (far / "inner").mkdir()
    (far / "inner" / "next").symlink_to(tmp_path / "third" / "file")
    (tmp_path / "third").mkdir()
    (tmp_path / "third" / "file").write_text("third")
    (data / "own").mkdir(parents=True)
    (data / "own" / "file").write_text("own")
    (data / "relative").symlink_to("own/file")
    (data / "by_name").symlink_to(data / "own" / "file")
    (data / "chain").symlink_to(far / "hop")
    (data / "folder").symlink_to(far / "inner")
    (data / "gone").symlink_to("nowhere")
    found = seen_without(data, "gone")
    assert found == {
        "/data/own/file": b"own",
        "/data/relative": b"own",
        "/data/by_name": b"own",
        "/data/chain": b"pixels",
        "/data/folder/next": b"third",
    }


def seen_without(data: Path, name: str) -> dict[str, bytes]:
    """A link that dangles on the host dangles in the container too; it is left out."""
    links = sandbox.list_links(data)
    assert all(not target.endswith(name) for _, target in links)
    (data / name).unlink()
    return seen(data)


def test_what_cannot_be_given_is_said_with_a_remedy(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for number in range(sandbox.BINDS + 5):
        place = tmp_path / f"place{number}"
        place.mkdir()
        (place / "file").write_text("x")
        (data / f"link{number}").symlink_to(place / "file")
    with pytest.raises(UsageError, match="more than a container can be given") as caught:
        sandbox.list_links(data)
    assert "cp -rL" in str(caught.value)
    for place in ("/tmp", "/"):
        clash = tmp_path / f"clash{len(place)}"
        clash.mkdir()
        (clash / "x").symlink_to(place)
        with pytest.raises(UsageError, match="place of its own folders") as caught:
            sandbox.list_links(clash)
        assert caught.value.where == str(clash / "x"), (
            "the link is named, and nothing behind it was read"
        )
