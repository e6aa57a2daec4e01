// A loop of npm's openai over a tool, on Chat: argv is the base URL and the API, which runTools does not choose.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.argv[2], apiKey: "sk-x", maxRetries: 0 });
const parameters = { type: "object", properties: { city: { type: "string" } } };
const weather = { function: async () => "sunny", parse: JSON.parse, name: "weather", description: "Weather", parameters };
const runner = client.chat.completions.runTools({
  model: "m",
  stream: true,
  messages: [{ role: "user", content: "How is it?" }],
  tools: [{ type: "function", function: weather }],
});
console.log(await runner.finalContent());
