"""Prices of models: genai-prices, which is imported by the first response that is priced."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from fanmap._policy.tokens.money import NoPrice
from fanmap._usage import Usage


def check_installed() -> None:
    """ImportError where there is nobody to ask."""
    try:
        installed = importlib.util.find_spec("genai_prices") is not None
    except ValueError:  # something stands in for it that nobody has found on a path
        installed = True
    if not installed:
        raise ImportError('max_spend needs prices: pip install "fanmap[prices]", or pass a price= function')


def price_of(model: str, usage: Usage, address: str) -> float:
    """What genai-prices says that a response of this model cost at this address, in dollars.

    An address that it does not know (a proxy's, a test server's) says nothing; the model then has to say it all.

    Raises:
        NoPrice: it does not know the model.
    """
    genai_prices: Any = importlib.import_module("genai_prices")  # by the first response that is priced
    taken: Any = genai_prices.Usage(
        input_tokens=usage.input,
        cache_read_tokens=usage.cached,
        cache_write_tokens=usage.written,
        output_tokens=usage.output,
    )
    for known in ({"provider_api_url": address}, {}) if address else ({},):
        try:
            return float(genai_prices.calc_price(taken, model, **known).total_price)
        except LookupError:  # its text quotes what it was asked
            pass
    raise NoPrice
