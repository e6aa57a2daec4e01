"""A call of a tool and the answer to its output, by langchain-openai: argv is the base URL and the API."""

import sys

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return "sunny"


url, api = sys.argv[1:]
model = ChatOpenAI(model="m", base_url=url, api_key="sk-x", max_retries=0, use_responses_api=api == "responses")
question = HumanMessage("How is it?")
called = model.bind_tools([weather]).invoke([question])
output = ToolMessage("sunny", tool_call_id=called.tool_calls[0]["id"])
print(model.bind_tools([weather]).invoke([question, called, output]).text)
