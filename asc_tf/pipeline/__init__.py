"""tf.data pipelines from clips to batches of training examples."""
