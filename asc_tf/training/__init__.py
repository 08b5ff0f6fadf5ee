"""Build, train and resume the model of a run."""
