"""What a journal's lines say, and how results become text and come back."""
