"""The screen during training: a line per epoch."""

from asc_tf.training.progress import format_epoch


def test_the_line_of_an_epoch_has_scores_of_both_parts_and_shares_in_per_cent():
    logs = {
        **{"loss": 1.23456, "accuracy": 0.5},
        **{"val_loss": 0.9, "val_accuracy": 0.6667},
    }
    assert format_epoch(3, 60, 12.34, logs | {"waiting": 0.034}) == (
        "epoch  3 of 60: loss 1.2346, accuracy 50.0%; validation loss 0.9000, "
        "accuracy 66.7%; 12.3 s, waiting 3%"
    )


def test_the_line_of_an_epoch_without_validation_has_the_scores_of_training():
    logs = {"loss": 0.5, "accuracy": 1.0, "waiting": 0.0}
    assert format_epoch(1, 1, 0.05, logs) == (
        "epoch 1 of 1: loss 0.5000, accuracy 100.0%; 0.1 s, waiting 0%"
    )
