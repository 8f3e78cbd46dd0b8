"""Side-by-side measurements; ratios in one run, never assertions on seconds."""
