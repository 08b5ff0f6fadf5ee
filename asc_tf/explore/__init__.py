"""A corpus on one page: choose clips, compute what is drawn and played."""
