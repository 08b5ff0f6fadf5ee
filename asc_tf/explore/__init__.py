"""explore.html of a corpus: choose clips, compute features, draw them."""
