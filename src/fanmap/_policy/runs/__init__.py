"""What a run decides: who takes which item, what is tried again, which result leaves."""
