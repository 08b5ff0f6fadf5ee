"""Signal processing in NumPy that the TensorFlow graph and the edge share."""
