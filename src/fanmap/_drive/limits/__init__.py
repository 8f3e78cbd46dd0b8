"""What calls have in common: `Limits`, and the books behind it."""
