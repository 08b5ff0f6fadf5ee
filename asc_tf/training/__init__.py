"""Build a model, train it, and keep what a stopped run needs to go on."""
