"""What fanmap is tested with, for tests of your own."""
