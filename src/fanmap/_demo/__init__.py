"""`fanmap demo`: the README into eight languages, five ways, with real clients."""
