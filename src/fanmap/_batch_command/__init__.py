"""`fanmap batch`: where a batch job stands, and its batches cancelled; imported when the command is run."""
