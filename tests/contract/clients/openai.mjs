// openai for Node. Run with this file on standard input, so that packages are found from the working directory.
import OpenAI from "openai";

const asked = JSON.parse(process.argv[2]);
const connect = (apiKey) => new OpenAI({ apiKey, baseURL: `${asked.url}/v1`, maxRetries: 0 });
const client = connect(asked.key);
const forced = { model: asked.model, max_tokens: asked.max_tokens, logit_bias: asked.forced };

const messages = (picture) => [
  {
    role: "user",
    content: [
      { type: "image_url", image_url: { url: picture } },
      { type: "text", text: asked.question },
    ],
  },
];
const chat = (fields = {}, by = client) =>
  by.chat.completions.create({ messages: messages(asked.picture), ...forced, ...fields });
const complete = (fields = {}) =>
  client.completions.create({ prompt: asked.prompt, images: [asked.picture], ...forced, ...fields });

async function all(stream) {
  const chunks = [];
  for await (const chunk of await stream) chunks.push(chunk);
  return chunks;
}

const ways = {
  chat,
  "chat, streamed": () => all(chat({ stream: true })),
  "chat, include_usage": () => all(chat({ stream: true, stream_options: { include_usage: true } })),
  completion: complete,
  "completion, streamed": () => all(complete({ stream: true })),
  "picture by URL": () => chat({ messages: messages(asked.picture_url) }),
  "two choices": () => chat({ n: 2 }),
  stop: () => chat({ stop: [asked.stop] }),
  logprobs: () => chat({ logprobs: true, top_logprobs: 2 }),
  "legacy logprobs": () => complete({ logprobs: 2 }),
  alias: () => chat({ model: asked.alias }),
  models: () => client.models.list(),
  "unknown model": () => chat({ model: "nowhere" }),
  "broken picture": () => chat({ messages: messages(asked.broken_picture) }),
  "unknown field": () => chat({ colour: "red" }),
  "wrong key": () => chat({}, connect("wrong")),
};

const seen = {};
for (const [way, ask] of Object.entries(ways)) {
  try {
    seen[way] = await ask();
  } catch (error) {
    seen[way] = { error: { type: error.constructor.name, message: error.message } };
  }
}
console.log(JSON.stringify(seen));
