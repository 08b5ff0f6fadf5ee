"""Export of trained models to SavedModel and TFLite, each file compared with Keras."""
