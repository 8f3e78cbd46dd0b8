"""One call at a time: what becomes of it, from its place in line to its outcome."""
