"""The command line's `fanmap shared`."""
