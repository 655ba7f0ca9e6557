// The AI SDK with its provider for OpenAI, which asks for responses: a text, an object, a tool. Run with this file on
// standard input, so that packages are found from the working directory.
import { createOpenAI } from "@ai-sdk/openai";
import { generateObject, generateText, streamObject, streamText, tool } from "ai";
import { z } from "zod";

const asked = JSON.parse(process.argv[2]);
const model = createOpenAI({ apiKey: asked.key, baseURL: `${asked.url}/v1` })(asked.model);
const shape = z.object({ name: z.string(), sides: z.number().int() });
const question = {
  model,
  messages: [
    {
      role: "user",
      content: [
        { type: "image", image: asked.picture },
        { type: "text", text: asked.question },
      ],
    },
  ],
  maxOutputTokens: 200,
  maxRetries: 0,
};
const withTool = {
  ...question,
  tools: { shape: tool({ description: "Say which shape is in the picture.", inputSchema: shape }) },
  toolChoice: { type: "tool", toolName: "shape" },
};

const ways = {
  text: async () => (await generateText(question)).text,
  "text, streamed": async () => await streamText(question).text,
  object: async () => (await generateObject({ ...question, schema: shape })).object,
  "object, streamed": async () => {
    let last;
    for await (const part of streamObject({ ...question, schema: shape }).partialObjectStream) last = part;
    return last;
  },
  tool: async () => (await generateText(withTool)).toolCalls[0].input,
  "tool, streamed": async () => (await streamText(withTool).toolCalls)[0].input,
};

const seen = {};
for (const [way, ask] of Object.entries(ways)) {
  try {
    seen[way] = await ask();
  } catch (error) {
    seen[way] = { error: { type: error.name, message: error.message } };
  }
}
console.log(JSON.stringify(seen));
