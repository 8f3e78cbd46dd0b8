"""What calls take: tokens and dollars, guessed before and read after."""
