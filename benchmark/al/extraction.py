"""Features of every image of a data set from a fixed network: one pass, in blocks that survive an
interruption."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from benchmark.al.datasets.dataset import Bytes, Dataset, Part
from benchmark.al.datasets.features import (
    Blocks,
    Rows,
    feature_path,
    open_blocks,
    read_features,
    read_made,
    write_made,
)
from benchmark.al.datasets.split import class_counts, kept_indices
from benchmark.al.networks import efficientnet_lite
from benchmark.al.networks.lite_weights import find_weights, load_weights
from benchmark.al.training.numerics import keep_pages
from benchmark.errors import DataError, UsageError
from benchmark.runs.code_digest import digest_file
from benchmark.spec.data import Imbalance
from benchmark.spec.protocol import FeatureFile, FeatureNetwork

NETWORKS = ("efficientnet_lite0",)
"""Fixed networks whose features can be computed here."""
BATCH, BLOCK = 64, 2_048
"""Images that pass through the network together, and images after which rows are saved."""
OnImages = Callable[[int, int], None]
"""Called with images done and images in all."""


def load_network(name: str, size: int, weights: Path) -> tuple[nn.Module, FeatureNetwork]:
    """A fixed network that is ready to be run, and what pins its features. `weights` is a folder of
    weights files.

    Raises UsageError for an unknown name, DataError where its weights are absent.
    """
    if name not in NETWORKS:
        raise UsageError(
            f"no network '{name}' whose features are computed here",
            remedy=f"use {', '.join(NETWORKS)}",
        )
    network, digest = load_weights(find_weights(weights))
    made = FeatureNetwork(
        network=name,
        weights=digest,
        code=digest_file(Path(inspect.getfile(efficientnet_lite))),
        size=size,
        resize="bicubic",
        mean=efficientnet_lite.MEAN,
        std=efficientnet_lite.STD,
    )
    return fuse_norms(network).to(memory_format=torch.channels_last), made


def fuse_norms(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode whose batch norms are part of the convolutions before them: the
    same function, a quarter faster."""
    fused = copy.deepcopy(network).eval()
    for layer in fused.modules():
        if isinstance(layer, efficientnet_lite.Convolution):
            layer.conv = fuse_conv_bn_eval(layer.conv, layer.norm)
            layer.register_module("norm", nn.Identity())
    return fused


def extract_features(
    dataset: Dataset,
    network: nn.Module,
    made: FeatureNetwork,
    root: Path,
    threads: int,
    on_images: OnImages = lambda *_: None,
) -> Path:
    """Run a network over all images and write `<root>/features/<file>`; returns its path.

    What an interrupted call has saved is used. A finished file of the same network and images is
    left as it is. Raises DataError for images of different sizes, and for a file that cannot be
    written.
    """
    torch.set_num_threads(threads)
    keep_pages()
    path = feature_path(root, dataset.name, made)
    if read_made(path) == (dataset.digest, made):
        return path
    whole = len(dataset.train) + len(dataset.test)
    with open_blocks(path, dataset, made) as blocks:
        train = _extract_rows(
            "train", dataset.train, network, made, blocks, lambda done: on_images(done, whole)
        )
        before = len(dataset.train)
        test = _extract_rows(
            "test",
            dataset.test,
            network,
            made,
            blocks,
            lambda done: on_images(before + done, whole),
        )
        write_made(path, dataset, made, train, test)
    return path


def take_features(
    whole: Dataset,
    rows: Path,
    dataset: Dataset,
    imbalance: Imbalance,
    made: FeatureNetwork,
    root: Path,
) -> Path:
    """Features of an imbalanced pool and of the same test images, from those of the whole data set
    in the file `rows`.

    The images do not pass through the network again. A finished file of the same images is left as
    it is. Returns its path. Raises DataError for a file that cannot be written, and where the pool
    is not what the rule keeps of the whole.
    """
    path = feature_path(root, dataset.name, made, imbalance.kind)
    if read_made(path) == (dataset.digest, made):
        return path
    labels = whole.train.labels
    kept = kept_indices(
        labels,
        class_counts(imbalance, np.bincount(labels, minlength=len(whole.class_names)).tolist()),
    )
    same = len(kept) == len(dataset.train) and np.array_equal(
        whole.train.pixels[kept], dataset.train.pixels
    )
    if not same or not np.array_equal(whole.test.pixels, dataset.test.pixels):
        raise DataError(
            f"the pool is not what '{imbalance.kind}' keeps of {whole.name}",
            where=str(path),
            remedy="pin the split and the test images as the whole data set has them",
        )
    found = read_features(FeatureFile(file=rows.name, made=made), root, whole)
    assert found.test is not None, "written here, with the test images"
    write_made(path, dataset, made, found.train[kept], found.test)
    return path


def _extract_rows(
    name: str,
    part: Part,
    network: nn.Module,
    made: FeatureNetwork,
    blocks: Blocks,
    on_images: Callable[[int], None],
) -> Rows:
    if part.sizes is not None:
        raise DataError(
            f"the images of '{name}' differ in size",
            remedy="declare a size in the suite: data.decode = [{ op = 'resize', ... }]",
        )
    pieces = []
    for start in range(0, len(part), BLOCK):
        end = min(start + BLOCK, len(part))
        rows = blocks.load(name, start)
        if rows is None:
            rows = np.concatenate(
                [
                    compute_rows(network, part.pixels[at : min(at + BATCH, end)], made)
                    for at in range(start, end, BATCH)
                ]
            )
            blocks.save(name, start, rows)
        pieces.append(rows)
        on_images(end)
    return np.concatenate(pieces)


@torch.inference_mode()
def compute_rows(network: nn.Module, pixels: Bytes, made: FeatureNetwork) -> Rows:
    """(b, h, w, channels) uint8 -> (b, d) float32 features. Grey images are shown as RGB."""
    images = torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2).float()
    # A short batch is padded, as other batch sizes may round differently.
    images = torch.cat([images, images[:1].expand(BATCH - len(images), -1, -1, -1)])
    if images.shape[1] == 1:
        images = images.expand(-1, 3, -1, -1)
    images = F.interpolate(images, size=(made.size, made.size), mode="bicubic", align_corners=False)
    images = ((images - made.mean) / made.std).contiguous(memory_format=torch.channels_last)
    rows: Rows = network(images).features[: len(pixels)].numpy()
    return rows
