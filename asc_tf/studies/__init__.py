"""Studies: several runs of one question, trained, pooled, ranked and compared."""
