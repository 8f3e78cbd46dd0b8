"""Run the function you already have over many inputs at once."""
