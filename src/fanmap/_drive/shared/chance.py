"""Chance that is nobody else's: a program that seeds Python's `random` gets the numbers it asked for, fork or not."""

from __future__ import annotations

import random

__all__ = ["chance"]

chance = random.SystemRandom()
