"""Asks a service as its clients do."""

import json
import urllib.request
from collections.abc import Sequence
from typing import Any


def classify(url: str, texts: Sequence[str], language: str) -> list[Any]:
    """Return the predictions for these texts."""
    content = json.dumps({"texts": list(texts), "language": language}).encode()
    request = urllib.request.Request(f"{url}/classify", content, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        predictions: list[Any] = json.load(response)["predictions"]
        return predictions
