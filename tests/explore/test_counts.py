import dataclasses

import pytest

from asc_tf import datasets
from asc_tf.config import Dataset
from asc_tf.explore.counts import MAX_GROUPS, count_by_device, count_by_verification
from asc_tf.manifest import Clip, Manifest


def test_verified_and_unverified_clips_stack():
    clips = tuple(
        Clip(f"{n}.wav", "x", str(n), verified=verified, split=split)
        for n, (verified, split) in enumerate(
            [("1", "train"), ("0", "train"), ("1", "validation"), ("", "test")]
        )
    )
    counts = count_by_verification(Manifest(clips, ("x", "y")))
    assert counts.groups == ("verified", "not verified")
    assert counts.rows == (("x", (2, 1)), ("y", (0, 0)))
    assert counts.totals == (2, 1)
    bare = tuple(dataclasses.replace(clip, verified="") for clip in clips)
    assert count_by_verification(Manifest(bare, ("x",))) is None
    assert count_by_device(Manifest(bare, ("x",))) is None


@pytest.mark.shared_data
def test_the_chart_of_verified_clips_has_all_real_training_clips_of_every_fold(
    shared_data,
):
    folder = str(shared_data / "fsdkaggle2018")
    for fold in (1, 2):
        settings = {"protocol": "kfold", "folds": 2, "fold": fold}
        manifest = datasets.load(Dataset("fsdkaggle2018", folder, **settings))
        counts = count_by_verification(manifest)
        assert counts.groups == ("verified", "not verified")
        assert len(counts.rows) == 41
        assert counts.totals == (3710, 5763)


def test_many_devices_share_a_last_group_and_none_is_lost():
    clips = tuple(
        Clip(f"{n}.wav", "x", str(n), device=f"d{n % 30}", split="train")
        for n in range(60)
    )
    counts = count_by_device(Manifest(clips, ("x",)))
    assert len(counts.groups) == MAX_GROUPS
    assert counts.groups[-1] == "others" and sum(counts.rows[0][1]) == 60
