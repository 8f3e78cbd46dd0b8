"""Drawing a run: imported by the first that asks for it."""
