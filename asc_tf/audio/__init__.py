"""Audio in the graph: decoding, resampling, segments; inspection and cache of files."""
