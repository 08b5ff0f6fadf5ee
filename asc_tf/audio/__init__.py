"""Audio: bytes to waveforms to segments, in the graph, and inspection of files."""
