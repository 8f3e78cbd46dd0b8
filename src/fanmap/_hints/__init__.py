"""Did you mean: from what people type to the line to write.

Tables of words, and functions that look one up. Pure, and imported only when something goes wrong. Nothing of a
user's data is quoted: names are (they are code), and numbers where a table knows them for a setting.
"""
