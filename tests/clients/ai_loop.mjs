// A loop of npm's ai over a tool, streamed, on the API that is named: argv is the base URL and the API.
import { createOpenAI } from "@ai-sdk/openai";
import { jsonSchema, stepCountIs, streamText, tool } from "ai";

const [url, api] = process.argv.slice(2);
const inputSchema = jsonSchema({ type: "object", properties: { city: { type: "string" } } });
const answer = streamText({
  model: createOpenAI({ baseURL: url, apiKey: "sk-x" })[api]("m"),
  prompt: "How is it?",
  tools: { weather: tool({ description: "Weather", inputSchema, execute: async () => "sunny" }) },
  stopWhen: stepCountIs(5),
});
let text = "";
for await (const piece of answer.textStream) text += piece;
console.log(text);
