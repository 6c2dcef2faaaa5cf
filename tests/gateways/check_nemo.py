"""NeMo Guardrails' classifier rails with its three remote engines."""

from __future__ import annotations

import sys

from nemoguardrails import LLMRails, RailsConfig

RUDE, KIND = "You are a fool, and I will kill you.", "Nice weather today."
CONFIG = """
models: []
rails:
  config:
    hf_classifier:
      safety:
        engine: {engine}
        model: safetyclf
        base_url: "{url}"
        threshold: {threshold}
        blocked_labels: {labels}
  input:
    flows:
      - hf classifier check input $classifier="safety"
"""


def main(url: str, _: str) -> None:
    """An input rail for each engine."""
    for engine, threshold, labels in (
        ("vllm", 0.0, ["harassment", "violence"]),
        ("kserve", 1.0, ["review"]),
        ("fms", 0.6, ["harassment"]),
    ):
        config = CONFIG.format(engine=engine, url=url, threshold=threshold, labels=labels)
        rails = LLMRails(RailsConfig.from_content(yaml_content=config))
        for text, refused in ((KIND, False), (RUDE, True)):
            answer = rails.generate(
                messages=[{"role": "user", "content": text}], options={"rails": ["input"]}
            )
            [message] = answer.response
            assert (message["content"] != text) == refused, (engine, message)


if __name__ == "__main__":
    main(*sys.argv[1:])
