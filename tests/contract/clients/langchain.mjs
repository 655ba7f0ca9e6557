// LangChain for Node: structured output by a schema and by a tool, and a tool, on chats and on responses. Run with this
// file on standard input, so that packages are found from the working directory.
import { HumanMessage, ToolMessage } from "@langchain/core/messages";
import { tool } from "@langchain/core/tools";
import { ChatOpenAI } from "@langchain/openai";
import { z } from "zod";

const asked = JSON.parse(process.argv[2]);
const connect = (useResponsesApi) =>
  new ChatOpenAI({
    model: asked.model,
    apiKey: asked.key,
    configuration: { baseURL: `${asked.url}/v1` },
    maxTokens: 200,
    maxRetries: 0,
    useResponsesApi,
  });
const schema = z.object({ name: z.string(), sides: z.number().int() });
const shape = tool(({ name, sides }) => `${name}: ${sides}`, {
  name: "shape",
  description: "Say which shape is in the picture.",
  schema,
});
const question = new HumanMessage({
  content: [
    { type: "image_url", image_url: { url: asked.picture } },
    { type: "text", text: asked.question },
  ],
});

async function answered(chat) {
  const calling = chat.bindTools([shape], { tool_choice: "shape" });
  const call = await calling.invoke([question]);
  const result = new ToolMessage({ content: "a circle", tool_call_id: call.tool_calls[0].id });
  return typeof (await chat.bindTools([shape]).invoke([question, call, result])).text;
}

const waysOf = (chat) => ({
  "structured by a schema": () => chat.withStructuredOutput(schema, { method: "jsonSchema" }).invoke([question]),
  "structured by a tool": () => chat.withStructuredOutput(schema, { method: "functionCalling" }).invoke([question]),
  tool: async () => {
    const message = await chat.bindTools([shape], { tool_choice: "shape" }).invoke([question]);
    return message.tool_calls[0].args;
  },
  "a result": () => answered(chat),
});

const seen = {};
for (const [wire, isResponses] of [["chat", false], ["responses", true]]) {
  for (const [way, ask] of Object.entries(waysOf(connect(isResponses)))) {
    try {
      seen[`${wire}: ${way}`] = await ask();
    } catch (error) {
      seen[`${wire}: ${way}`] = { error: { type: error.name, message: error.message } };
    }
  }
}
console.log(JSON.stringify(seen));
