"""KServe's client for its v1 protocol."""

from __future__ import annotations

import asyncio
import sys

import httpx
from kserve import InferenceRESTClient, RESTConfig

TEXTS = ["You are a fool, and I will kill you.", "Nice weather today."]


async def main(url: str, key: str) -> None:
    """Readiness, predictions, errors."""
    client, headers = InferenceRESTClient(RESTConfig(protocol="v1")), {"authorization": f"Bearer {key}"}
    try:
        assert await client.is_model_ready(url, "safetyclf", headers=headers) is True
        answer = await client.infer(url, {"instances": TEXTS}, model_name="safetyclf", headers=headers)
        rude, kind = answer["predictions"]
        assert (rude["review"], kind["review"]) == (1, 0)
        assert rude["harassment"] > 0.5 > kind["harassment"]
        assert await status_of(client, url, {"instances": [1]}, "safetyclf", headers) == 400
        assert await status_of(client, url, {"instances": TEXTS}, "other", headers) == 404
        assert await status_of(client, url, {"instances": TEXTS}, "safetyclf", {}) == 401
    finally:
        await client.close()


async def status_of(
    client: InferenceRESTClient, url: str, body: dict[str, object], name: str, headers: dict[str, str]
) -> int:
    """What an inference that fails is answered."""
    try:
        await client.infer(url, body, model_name=name, headers=headers)
    except httpx.HTTPStatusError as error:
        return error.response.status_code
    return 200


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
