"""New suites: images looked at, and what a suite about it has to pin, written down."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.api.suites import write_schema
from benchmark.api.workspace import Workspace
from benchmark.errors import UsageError
from benchmark.files import find_shipped
from benchmark.runs.events import write_bytes
from benchmark.text import toml_value

if TYPE_CHECKING:
    from benchmark.al.datasets.survey import FolderSurvey
    from benchmark.spec.training import Model

GROUP, RECIPE = "own", "_recipe.toml"
"""Folder of the suites folder for suites about one's own data, and what they inherit."""
SIDE = 64
"""Pixels of the squares that images of several sizes become where nothing else is asked for."""
TINY = 16
"""Pixels below which a network for 32 pixels leaves nothing of an image."""
SPLIT_SHARE = 0.8
"""Share of each class that is proposed for the pool where there is no test set."""
SMOKE_TRAIN, SMOKE_TEST = 400, 200
"""Images of the profile smoke at most."""
CYCLES = 5
"""Trainings that the recipe plans."""
AUGMENTATION = "crops and flips; remove the flip where left and right mean something"
"""What is said of the views that the recipe proposes."""


@dataclass(frozen=True)
class NewSuite:
    """A suite that was written."""

    id: str
    path: Path
    text: str
    survey: FolderSurvey
    written: tuple[Path, ...]
    """The suite, and what had to be put beside it."""
    commands: tuple[str, ...]
    """How to go on."""


def write_suite(
    folder: Path | str,
    workspace: Workspace | None = None,
    *,
    name: str | None = None,
    side: int | None = None,
) -> NewSuite:
    """Look at a folder of classes and write a suite about it: `<suites>/own/<name>.toml`.

    The folder holds `train` and `test` with a folder for each class, or the folders of the classes
    themselves; these are then divided. In its place stands `torchvision:NAME` or `huggingface:NAME`
    for files below the data root. Sizes, classes, mean, deviation, the digest of the files and
    the price of an image are measured. Budgets, and a division, are proposed and marked as such.
    Images that are not squares of one size become squares of `side` pixels (None: 64). Where the
    suites are those of the package, the new one is written to ./suites. Raises UsageError where the
    suite exists or the folder's name cannot be one, DataError for a folder without images.
    """
    from benchmark.al.datasets.catalogue import official_format
    from benchmark.al.datasets.survey import survey_files, survey_folder
    from benchmark.al.networks.measure import measure_model
    from benchmark.al.registry import DATA_LIBRARIES
    from benchmark.spec.data import Split
    from benchmark.spec.load import load_suite
    from benchmark.spec.training import Model

    workspace, place = workspace or Workspace(), Path(folder).resolve()
    library, _, below = str(folder).partition(":")
    of_library = library in DATA_LIBRARIES
    source = str(folder) if of_library else place.name
    offered = below if of_library else place.name
    if not of_library and not place.is_dir():
        raise UsageError(
            f"there is no folder {place}", remedy="give the folder that holds the class folders"
        )
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+()-]*", offered.replace("/", "-")):
        raise UsageError(
            f"'{offered}' cannot be the name of a data set",
            remedy="rename the folder: letters, digits, - and _",
        )
    named = name or re.sub(r"[^a-z0-9_.-]+", "-", offered.lower()).strip("-.")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", named):
        raise UsageError(
            f"'{named}' cannot be the name of a suite",
            remedy="give --name with letters, digits, - and _",
        )
    suites = Path("suites") if workspace.suites == find_shipped("suites") else workspace.suites
    path = suites / GROUP / f"{named}.toml"
    if path.exists():
        raise UsageError(
            f"there is already a suite {path}", remedy="remove it, or give another --name"
        )
    split = Split(rule="per_class", train_fraction=SPLIT_SHARE, rounding="floor", seed=0)
    found = (
        survey_files(official_format(source), workspace.data, split, side or SIDE)
        if of_library
        else survey_folder(place, split, side or SIDE)
    )
    small = found.side < TINY
    model = (
        Model(name="small_cnn", params={"width": 16, "heads": 2})
        if small
        else Model(name="resnet_cifar", params={"heads": 2})
    )
    macs = measure_model(model, found.classes, found.channels, found.side).macs
    text = suite_text(source, found, model if small else None, macs)
    written = [path]
    path.parent.mkdir(parents=True, exist_ok=True)
    recipe = path.with_name(RECIPE)
    if not recipe.exists():
        write_bytes(recipe, (find_shipped("suites") / GROUP / RECIPE).read_bytes())
        written.append(recipe)
    write_bytes(path, text.encode())
    load_suite(path, suites)
    if not (suites / "schema.json").exists():
        written.append(write_schema(replace(workspace, suites=suites)))
    suite = f"{GROUP}/{named}"
    root = workspace.data if of_library else place.parent
    return NewSuite(suite, path, text, found, tuple(written), _next_commands(suite, root))


def suite_text(name: str, found: FolderSurvey, model: Model | None, macs: int) -> str:
    """The suite file of a data set called `name`. `model` replaces the recipe's network; `macs` is
    what one image costs."""
    budget = proposed_budget(found.train, found.classes)
    decode = f"decode = {_write_transforms(found.decode)}\n" if found.decode else ""
    layout = "" if ":" in name else 'layout = "class_folders"\n'
    network = (
        f"[[protocol.models]]\nname = {toml_value(model.name)}\nparams = "
        f"{toml_value(model.params)}\n\n"
        if model
        else ""
    )
    scale = (
        f'{{ op = "normalise", mean = {toml_value(found.mean)}, std = {toml_value(found.std)} }}'
    )
    crop = f'{{ op = "random_crop", size = {found.side}, padding = {max(1, found.side // 8)} }}'
    train, test = min(SMOKE_TRAIN, found.train), min(SMOKE_TEST, found.test)
    shrunk = min(budget, _round_to_even(train // 6))
    sides = ", ".join(f"{height} x {width}" for height, width in found.sizes[:3])
    more = f" and {len(found.sizes) - 3} other sizes" if len(found.sizes) > 3 else ""
    divided = (
        ""
        if found.split.rule == "official"
        else (
            f'"protocol.data.split" = "proposed: {SPLIT_SHARE:.0%} of each class for the pool; the '
            'data are not divided"\n'
        )
    )
    share = CYCLES * budget / found.train
    buying = (
        f"{budget} labels at first and {CYCLES - 1} times {budget} more, {share:.0%} of the pool"
    )
    split = found.split.model_dump(exclude_none=True)
    smoke_network = f'"protocol.models.0.params" = {toml_value(model.params)}\n' if model else ""
    return f"""# {name}: written by `albench new suite`.
# [sources] says what was measured, [unknowns] what is only proposed.
base = "{RECIPE}"
title = "Own data: {name}"
headline = "none: nothing is published for this protocol"

[cost]
forward_macs = {macs}
note = "measured on one image; backward counted as two forwards"

{network}[protocol.data]
name = "{name}"
{layout}train_size = {found.train}
test_size = {found.test}
classes = {found.classes}
split = {toml_value(split)}
{decode}files = "{found.files}"

[protocol.views]
train = [{crop}, {{ op = "horizontal_flip", p = 0.5 }}, {scale}]
test = [{scale}]
pool = "test"

[protocol.acquisition]
initial = {{ rule = "uniform", size = {budget} }}
budget = {budget}

[profiles.smoke.set]
{smoke_network}"protocol.data.train_size" = {train}
"protocol.data.test_size" = {test}
"protocol.data.limit" = {{ train = {train}, test = {test} }}
"protocol.acquisition.initial.size" = {shrunk}
"protocol.acquisition.budget" = {shrunk}

[unknowns]
"protocol.acquisition" = "proposed: {buying}"
{divided}"protocol.views.train" = "proposed: {AUGMENTATION}"

[sources]
"protocol.data" = "measured: {found.classes} classes, images of {sides} pixels{more}"
"protocol.views" = "mean and deviation measured on {found.measured} images of the pool"
"""


def proposed_budget(pool: int, classes: int) -> int:
    """Labels of each purchase: two of every class or four in a hundred of the pool, whichever are
    more; an even number, and never so many that the cycles of the recipe need more than five
    eighths of the pool."""
    return min(_round_to_even(max(2 * classes, -(-pool // 25))), _round_to_even(pool // 8))


def _round_to_even(number: int) -> int:
    """The even number at or below, at least 2: no batch then ends in a single image."""
    return max(2, number - number % 2)


def _write_transforms(transforms: tuple[object, ...]) -> str:
    from pydantic import BaseModel

    return toml_value(
        [one.model_dump(exclude_none=True) for one in transforms if isinstance(one, BaseModel)]
    )


def _next_commands(suite: str, root: Path) -> tuple[str, ...]:
    """Checking, trying and running it, with the data root where it is not the usual one."""
    there = [] if Workspace().data.resolve() == root.resolve() else ["--data", str(root)]
    verbs = (
        ["check", suite],
        ["run", suite, "--profile", "smoke"],
        ["plan", suite],
        ["run", suite, "--methods", "random,margin"],
    )
    return tuple(shlex.join(["albench", *verb, *there]) for verb in verbs)
