"""A loop of openai-agents over a tool, on the API that is named: argv is the base URL and the API."""

import sys

from agents import Agent, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, function_tool, set_tracing_disabled
from openai import AsyncOpenAI


@function_tool
def weather(city: str) -> str:
    """The weather in a city."""
    return "sunny"


url, api = sys.argv[1:]
set_tracing_disabled(True)
model = {"responses": OpenAIResponsesModel, "chat": OpenAIChatCompletionsModel}[api]
client = AsyncOpenAI(base_url=url, api_key="sk-x", max_retries=0)
agent = Agent(name="agent", tools=[weather], model=model("m", openai_client=client))
print(Runner.run_sync(agent, "How is it?").final_output)
