"""`fanmap run`: a function over a file, without a program."""
