"""Trained models applied to clips, and scored."""
