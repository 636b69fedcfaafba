"""Run names."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from infrastructure.config.schema import NamingConfig
from infrastructure.naming import tags
from infrastructure.naming.run_names import RunLabels, run_name, slug


def test_names_follow_the_patterns() -> None:
    """Each stage has its pattern, and trials sort by their number."""
    labels = RunLabels("package:gt_minilm/model", "a" * 64, trial_number=7, trial_key_hash="b" * 64, fold_idx=2)
    naming = NamingConfig()
    study = "local_gt_minilm-model_hpo_study-aaaaaaaa"
    assert run_name(naming, tags.STAGE_SWEEP, labels) == study
    assert run_name(naming, tags.STAGE_TRIAL, labels) == f"{study}_trial-0007"
    assert run_name(naming, tags.STAGE_FOLD, labels) == f"{study}_trial-0007_fold-2"
    assert run_name(naming, tags.STAGE_REFIT, labels) == f"{study}_trial-0007_refit"
    assert run_name(naming, tags.STAGE_FINAL, labels) == "local_gt_minilm-model_final_study-aaaaaaaa_bbbbbbbb"


@given(st.text())
def test_slugs_are_short_plain_words(text: str) -> None:
    """Whatever a backbone is called, its place in a name is a short plain word, never empty and never a path."""
    word = slug(text)
    assert 0 < len(word) <= 60
    assert "/" not in word
    assert not word.startswith(".")
