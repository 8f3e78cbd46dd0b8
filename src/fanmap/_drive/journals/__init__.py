"""Results that are kept in a file, and found there again."""
