"""Augmentations that mix clips: shares as documented, labels and statistics too."""

import numpy as np
import pytest
import tensorflow as tf
from draws import normal, seed
from scipy import stats

from asc_tf import augment
from asc_tf.augment import mixing


@pytest.mark.parametrize("per", ["sample", "batch"])
def test_mixup_mixes_features_and_targets_with_the_same_share(per):
    features = np.eye(8, dtype=np.float32)[:, :, np.newaxis]
    targets = np.eye(8, dtype=np.float32)
    mixed, mixed_targets = mixing.mixup(features, targets, seed(5), 0.5, per)
    np.testing.assert_allclose(mixed[:, :, 0], mixed_targets, atol=1e-7)
    np.testing.assert_allclose(tf.reduce_sum(mixed_targets, axis=1), 1, atol=1e-6)
    assert (np.count_nonzero(mixed_targets, axis=1) <= 2).all()


@pytest.mark.parametrize("alpha", [0.1, 0.3, 1.0, 4.0])
def test_mixup_shares_follow_the_beta_distribution(alpha):
    shares = []
    for number in range(2):
        batch = tf.range(5000, dtype=tf.float64)[:, tf.newaxis]
        mixed, _ = mixing.mixup(batch, batch, seed(number), alpha)
        partner = tf.random.experimental.stateless_shuffle(
            tf.range(5000), augment.fold_in(seed(number), 1)
        )
        own, other = batch[:, 0].numpy(), tf.cast(partner, tf.float64).numpy()
        use = own != other
        shares.append((mixed[:, 0].numpy() - other)[use] / (own - other)[use])
    found = np.concatenate(shares)
    assert stats.kstest(found, stats.beta(alpha, alpha).cdf).pvalue > 0.001


def own_shares(mixed: np.ndarray) -> np.ndarray:
    """Of a mixture of unit vectors, the shares of those that are not their own partner.

    Partners are a permutation, so that a clip's own share is on the diagonal.
    """
    share = np.diag(mixed)
    return share[share < 1 - 1e-6]


def test_mixup_per_batch_has_one_share_and_it_is_beta_distributed():
    mix = tf.function(lambda s: mixing.mixup(tf.eye(8), tf.eye(8), s, 0.7, "batch"))
    found = []
    for number in range(400):
        shares = own_shares(mix(seed(number))[0].numpy())
        if len(shares):
            assert np.ptp(shares) < 1e-6
            found.append(shares[0])
    assert len(found) > 390
    assert stats.kstest(found, stats.beta(0.7, 0.7).cdf).pvalue > 0.001


def test_mixup_per_sample_has_a_share_for_each():
    mixed, _ = mixing.mixup(tf.eye(8), tf.eye(8), seed(1), 0.7)
    assert len(set(own_shares(mixed.numpy()).round(5))) > 4


def test_mixup_with_a_tiny_alpha_stays_finite():
    batch = tf.random.stateless_normal([256, 4], [1, 2])
    mixed, _ = mixing.mixup(batch, batch, seed(6), alpha=1e-3)
    assert np.isfinite(mixed).all()


def test_mixup_partners_are_a_fresh_permutation_each_step():
    batch = tf.eye(16)
    orders = []
    for number in range(2):
        mixed, _ = mixing.mixup(batch, batch, seed(number), alpha=1.0)
        partners = mixed.numpy() * (1 - np.eye(16))
        # Each clip is a partner at most once.
        assert (np.count_nonzero(partners, axis=0) <= 1).all()
        orders.append(partners.argmax(axis=1))
    assert (orders[0] != orders[1]).any()


def drawn_by_mixstyle(number: int, batch: int, alpha: float) -> tuple:
    """Partners and own shares of a batch, whose first band tells them."""
    # Means far apart tell a pair: 2 ** clip.
    means = 2.0 ** np.arange(batch, dtype=np.float32)
    features = means[:, np.newaxis, np.newaxis] + np.zeros((1, 3, 1), np.float32)
    mixed = mixing.mixstyle(features, seed(number), alpha, 1.0).numpy()[:, 0, 0]
    partner = tf.random.experimental.stateless_shuffle(
        tf.range(batch), augment.fold_in(seed(number), 2)
    ).numpy()
    use = partner != np.arange(batch)
    share = np.ones(batch)
    share[use] = (mixed - means[partner])[use] / (means - means[partner])[use]
    return partner, share


@pytest.mark.parametrize("shape", [(6, 50, 4), (6, 50, 4, 2)])
def test_statistics_after_mixstyle_are_the_mixed_ones(shape):
    scale = np.linspace(0.5, 4, 6).reshape(6, *[1] * (len(shape) - 1))
    features = (normal(*shape) * scale + normal(6, 1, *shape[2:])).astype(np.float32)
    mixed = mixing.mixstyle(features, seed(3), 0.4, 1.0).numpy()
    partner, share = drawn_by_mixstyle(3, 6, 0.4)
    assert (partner != np.arange(6)).any()
    assert ((share > 0.01) & (share < 0.99)).any()
    share = share.reshape(6, *[1] * (len(shape) - 2))
    for statistic in (np.mean, np.std):
        own = statistic(features, axis=1)
        wanted = share * own + (1 - share) * own[partner]
        np.testing.assert_allclose(statistic(mixed, axis=1), wanted, atol=1e-4)
    # What is left is the clip's own.
    normalized = [
        (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True)
        for x in (features, mixed)
    ]
    np.testing.assert_allclose(*normalized, atol=1e-3)


def test_mixstyle_shares_follow_the_beta_distribution():
    shares = [drawn_by_mixstyle(number, 16, 0.6) for number in range(60)]
    found = np.concatenate([s[p != np.arange(16)] for p, s in shares])
    assert stats.kstest(found, stats.beta(0.6, 0.6).cdf).pvalue > 0.001


def test_mixstyle_happens_to_a_whole_batch_or_not_at_all():
    features = normal(6, 10, 4)
    mix = tf.function(lambda s: mixing.mixstyle(features, s, 0.4, 0.3))
    changed = 0
    for number in range(400):
        rows = (mix(seed(number)).numpy() != features).any(axis=(1, 2))
        changed += rows.any()
    assert stats.binomtest(changed, 400, 0.3).pvalue > 0.01
