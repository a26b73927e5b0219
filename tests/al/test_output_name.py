"""Names of what strategies need: their parts, and the same name again."""

from __future__ import annotations

import pytest

from benchmark.al.output_name import OutputName

NAMES = {
    "logits": OutputName("logits"),
    "votes": OutputName("votes"),
    "reference.logits": OutputName("logits", "reference"),
    "labelled.features": OutputName("features", labelled=True),
    "labelled.predicted_loss": OutputName("predicted_loss", labelled=True),
    "labelled.extractor.features": OutputName("features", "extractor", labelled=True),
    "model3.features": OutputName("features", model=3),
    "model12.teacher.logits": OutputName("logits", "teacher", 12),
    "labelled.model0.features": OutputName("features", model=0, labelled=True),
    "pretext.cdd": OutputName("cdd", "pretext"),
    "model.logits": OutputName("logits", "model"),
    "model03.logits": OutputName("logits", "model03"),
}


@pytest.mark.parametrize("text", NAMES)
def test_a_name_and_its_parts(text: str) -> None:
    assert OutputName.parse(text) == NAMES[text] and str(NAMES[text]) == text


def test_what_the_parts_say() -> None:
    name = OutputName.parse("labelled.model3.teacher.logits")
    assert name.owner == "model3.teacher" and not name.is_static
    assert (
        str(name.unlabelled) == "model3.teacher.logits"
        and str(name.of_member) == "labelled.teacher.logits"
    )
    assert OutputName.parse("pretext.loss").is_static
