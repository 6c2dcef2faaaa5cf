"""LangChain's moderation middleware on our base URL."""

from __future__ import annotations

import sys

from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_openai.middleware import OpenAIModerationMiddleware
from openai import OpenAI

RUDE, KIND = "You are a fool, and I will kill you.", "Nice weather today."


def main(url: str, key: str) -> None:
    """An agent that hears and says kind and rude things."""
    with OpenAI(base_url=f"{url}/v1", api_key=key) as client:
        for heard, said, refused in ((KIND, KIND, False), (RUDE, KIND, True), (KIND, RUDE, True)):
            agent = create_agent(
                GenericFakeChatModel(messages=iter([AIMessage(said)])),
                middleware=[OpenAIModerationMiddleware(client=client)],
            )
            last = agent.invoke({"messages": [("user", heard)]})["messages"][-1].content
            assert ("flagged for harassment" in last) == refused, (heard, said, last)
            assert refused or last == said


if __name__ == "__main__":
    main(*sys.argv[1:])
