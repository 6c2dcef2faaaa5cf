"""LiteLLM's proxy with our generic guardrail, and with its OpenAI moderation on our base URL."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

RUDE, KIND = "You are a fool, and I will kill you.", "Nice weather today."
CONFIG = """
model_list:
  - {{model_name: kind, litellm_params: {{model: openai/kind, api_key: none, mock_response: "{kind}"}}}}
  - {{model_name: rude, litellm_params: {{model: openai/rude, api_key: none, mock_response: "{rude}"}}}}
guardrails:
  - guardrail_name: before
    litellm_params: {{guardrail: generic_guardrail_api, mode: pre_call, api_base: "{url}", api_key: "{key}"}}
  - guardrail_name: after
    litellm_params: {{guardrail: generic_guardrail_api, mode: post_call, api_base: "{url}", api_key: "{key}"}}
  - guardrail_name: wrong-key
    litellm_params: {{guardrail: generic_guardrail_api, mode: pre_call, api_base: "{url}", api_key: "wrong"}}
  - guardrail_name: moderation
    litellm_params: {{guardrail: openai_moderation, mode: pre_call, api_base: "{url}/v1", api_key: "{key}"}}
"""


def main(url: str, key: str) -> None:
    """Starts the proxy and talks to it."""
    master = f"sk-{secrets.token_hex(16)}"
    Path("config.yaml").write_text(CONFIG.format(kind=KIND, rude=RUDE, url=url, key=key))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with open("proxy.log", "w") as log:
        proxy = subprocess.Popen(
            [
                Path(sys.executable).parent / "litellm",
                "--config",
                "config.yaml",
                "--host",
                "127.0.0.1",
                "--port",
                str(port),
            ],
            env={**os.environ, "LITELLM_MASTER_KEY": master, "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
            stdout=log,
            stderr=log,
        )
    try:
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers={"authorization": f"Bearer {master}"}, timeout=60
        ) as client:
            wait(client, proxy)
            check(client)
    finally:
        proxy.terminate()
        proxy.wait()


def wait(client: httpx.Client, proxy: subprocess.Popen[bytes]) -> None:
    """Until the proxy answers."""
    for _ in range(180):
        assert proxy.poll() is None, Path("proxy.log").read_text()[-2000:]
        try:
            if client.get("/health/liveliness").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(1)
    raise AssertionError("the proxy does not answer")


def check(client: httpx.Client) -> None:
    """What passes, what does not, and why."""

    def chat(model: str, text: str, guardrail: str) -> httpx.Response:
        body = {"model": model, "messages": [{"role": "user", "content": text}], "guardrails": [guardrail]}
        return client.post("/v1/chat/completions", json=body)

    for guardrail in ("before", "after", "moderation"):
        answer = chat("kind", KIND, guardrail)
        assert answer.status_code == 200, answer.text
        assert answer.json()["choices"][0]["message"]["content"] == KIND
    for model, text, guardrail in (("kind", RUDE, "before"), ("rude", KIND, "after")):
        answer = chat(model, text, guardrail)
        assert answer.status_code == 400, answer.text
        assert "Flagged for harassment" in answer.json()["error"]["message"]
    answer = chat("kind", RUDE, "moderation")
    assert answer.status_code == 400, answer.text
    assert "harassment" in answer.text
    answer = chat("kind", KIND, "wrong-key")
    assert answer.status_code >= 400, "it must not pass where we cannot be asked"


if __name__ == "__main__":
    main(*sys.argv[1:])
