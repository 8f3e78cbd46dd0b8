"""One run at a time: its workers, its end, and what it has come to."""
