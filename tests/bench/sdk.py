"""The peer that everybody writes first: the openai SDK's typed stream, text to stdout. Arguments: base URL, API."""

import sys

from openai import OpenAI

client = OpenAI(api_key="none", base_url=sys.argv[1], max_retries=0)
if sys.argv[2] == "chat":
    stream = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}], stream=True)
    texts = (chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
else:
    events = client.responses.create(model="m", input="hi", stream=True)
    texts = (event.delta for event in events if event.type == "response.output_text.delta")
for text in texts:
    sys.stdout.write(text)
    sys.stdout.flush()
