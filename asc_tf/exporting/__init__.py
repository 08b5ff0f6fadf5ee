"""Trained models to SavedModel and TFLite files, each checked against Keras."""
