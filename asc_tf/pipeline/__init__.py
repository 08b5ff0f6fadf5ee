"""Clips to batches of training examples, as tf.data graphs."""
