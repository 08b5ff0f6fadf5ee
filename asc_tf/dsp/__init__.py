"""Signal processing in NumPy, shared by the TensorFlow graph and the edge runtime."""
