"""What a failure says, wherever a client keeps it."""
