"""Streams of direct calls: their call holds its slot and charge until they end, raise, are closed or collected.

One that a generator function makes is admitted at its first chunk, and sent again as any call, until there is one. One
that a function has returned is under way already. Imported by the first call that has one.
"""
