"""Flask views on one account: a list at once, a stream of words, and a 503 when the line is full.

pip install fanmap flask openai
OPENAI_API_KEY=... flask --app web_flask run            # or: gunicorn --threads 16 web_flask:app
"""

from __future__ import annotations

import math
import os
from collections.abc import Generator
from contextlib import closing

from flask import Flask, Response, jsonify, request
from openai import OpenAI

from fanmap import Busy, Limits, parallel_map

MODEL = os.environ.get("MODEL", "gpt-5-mini")
account = Limits(max_concurrency=8, max_waiting=16)
client = OpenAI(max_retries=0, timeout=60)
app = Flask(__name__)


@parallel_map(limits=account)
def summarise(text: str) -> str:
    return client.responses.create(model=MODEL, input=f"Summarise: {text}").output_text


@parallel_map(limits=account)
def tell(prompt: str) -> Generator[str]:
    with client.responses.create(model=MODEL, input=prompt, stream=True) as events:
        for event in events:
            if event.type == "response.output_text.delta":
                yield event.delta


@app.post("/summaries")
def summaries() -> list[str]:
    return summarise.map(request.get_json(), deadline=20)


@app.get("/tell")
def story() -> Response:
    words = tell(request.args["prompt"])
    first = next(words)  # admitted, or Busy, before the status line has gone

    def whole() -> Generator[str]:
        with closing(words):
            yield first
            yield from words

    return Response(whole(), mimetype="text/plain")


@app.errorhandler(Busy)
def busy(error: Busy) -> tuple[Response, int, dict[str, str]]:
    seconds = max(1, math.ceil(error.retry_after))
    return jsonify(detail=str(error)), 503, {"Retry-After": str(seconds)}
