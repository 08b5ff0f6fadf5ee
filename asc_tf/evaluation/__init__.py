"""Prediction and scoring with trained models."""
