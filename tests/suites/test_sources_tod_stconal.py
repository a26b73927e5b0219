"""Sources of the TOD and ST-CoNAL suites name files and functions that were read in the official
repositories."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmark.spec.load import find_suite, suite_files

ROOT = Path(__file__).parents[2] / "suites"
PARENTS = {
    "main.py",
    "train_test.py",
    "selection_methods.py",
    "models/query_models.py",
    "models/resnet.py",
    "kcenterGreedy.py",
}
FILES = {
    "tod": {
        "main_TOD.py",
        "main_LL4AL.py",
        "models/resnet.py",
        "models/imagenet_resnet.py",
        "models/lossnet.py",
        "utils/custom_dataset.py",
    },
    "st-conal": PARENTS
    | {
        "load_dataset.py",
        "data/datasets.py",
        "models/vgg.py",
        "query_strategies/strategy.py",
        "query_strategies/badge_sampling.py",
    },
}
"""Files of siyuhuang/TOD at 883494b; of soony1213/ST-CoNAL at 43cb8c9, its parents and BADGE's own
repository."""
FUNCTIONS = {
    "main.py": {"task_model_ema"},
    "train_test.py": {"train_epoch", "train", "update_ema_variables", "update_batchnorm"},
    "selection_methods.py": {
        "get_consistency",
        "train_vaal",
        "query_samples",
        "vae_loss",
        "aff_to_adj",
        "get_kcg",
    },
    "models/query_models.py": {"GraphConvolution.reset_parameters", "VAE", "Discriminator"},
    "models/resnet.py": {"ResNet_img"},
}
"""Names that stand behind a file's."""
FOLLOWING = re.compile(r"([\w/]+\.py) ([A-Za-z_]+(?:\.[a-z_]+|_[\w]+|(?<=VAE)))")
COMMITS = {"tod": {"883494b"}, "st-conal": {"43cb8c9", "1161071", "bbc43db", "a2d18ac"}}


@pytest.mark.parametrize(
    "name",
    [
        path.relative_to(ROOT).with_suffix("").as_posix()
        for path in suite_files(ROOT)
        if path.parent.name in FILES
    ],
)
def test_sources_exist(name: str) -> None:
    suite, paper = find_suite(name, ROOT).suite, name.partition("/")[0]
    texts = [
        *suite.sources.values(),
        *(deviation.source for deviation in suite.deviations.values()),
    ]
    for text in texts:
        files = set(re.findall(r"[\w/]+\.py", text))
        assert files <= FILES[paper], text
        assert set(re.findall(r"\bat ([0-9a-f]{7})\b", text)) <= COMMITS[paper], text
        for file, function in FOLLOWING.findall(text):
            assert function in FUNCTIONS.get(file, set()), f"{file} {function}: {text}"
