"""Between clients and the wire: the responses to a call's own requests, as they pass."""
