"""JSON without blanks and escapes, by encoders that are made once: `json.dumps` makes one for each text."""

from __future__ import annotations

import json
from typing import Final

compact: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
sorted_compact: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, sort_keys=True).encode
