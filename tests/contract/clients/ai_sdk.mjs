// The AI SDK with its provider for Fireworks. Run with this file on standard input, so that packages are found from
// the working directory. What it makes of an answer is reported with the wire's names.
import { createFireworks } from "@ai-sdk/fireworks";
import { generateText, streamText } from "ai";

const asked = JSON.parse(process.argv[2]);
const connect = (apiKey) => createFireworks({ apiKey, baseURL: `${asked.url}/inference/v1` });
const provider = connect(asked.key);

const question = ({ picture = asked.picture, model = asked.model, by = provider, ...fields } = {}) => ({
  model: by(model),
  messages: [
    {
      role: "user",
      content: [
        { type: "image", image: picture },
        { type: "text", text: asked.question },
      ],
    },
  ],
  maxOutputTokens: asked.max_tokens,
  providerOptions: { fireworks: { logit_bias: asked.forced, ...fields.extra } },
  maxRetries: 0,
  ...fields,
});
const reply = (text, finishReason, usage, response) => ({
  model: response.modelId,
  choices: [{ index: 0, message: { content: text }, finish_reason: finishReason }],
  usage: {
    prompt_tokens: usage.inputTokens,
    completion_tokens: usage.outputTokens,
    total_tokens: usage.totalTokens,
  },
});

async function chat(fields) {
  const { text, finishReason, usage, response } = await generateText(question(fields));
  return reply(text, finishReason, usage, response);
}

async function stream() {
  const { textStream, finishReason, usage, response } = streamText(question());
  const pieces = [];
  for await (const piece of textStream) pieces.push(piece);
  return reply(pieces.join(""), await finishReason, await usage, await response);
}

const ways = {
  chat,
  "chat, streamed": stream,
  stop: () => chat({ stopSequences: [asked.stop] }),
  alias: () => chat({ model: asked.alias }),
  "unknown model": () => chat({ model: "nowhere" }),
  "broken picture": () => chat({ picture: asked.broken_picture }),
  "unknown field": () => chat({ extra: { colour: "red" } }),
  "wrong key": () => chat({ by: connect("wrong") }),
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
