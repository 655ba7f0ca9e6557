// The request as a program: curl, Python and JavaScript, with pictures as files of their names.

export const LANGUAGES = { curl, Python: python, JavaScript: javascript };

const KEY = "$FOVEAL_API_KEY";

/** @param body a chat completion's  @param pictures its pictures, in order  @param origin of the server */
function curl(body, { pictures, origin, needsKey }) {
  const placeholder = (index) => `@@picture ${index}@@`;
  const json = JSON.stringify(withPictures(body, pictures, (picture, index) => placeholder(index)), null, 2);
  let text = json.replace(/[\\$`]/g, "\\$&"); // a shell's here-document carries out what has one of these
  pictures.forEach(({ name, type }, index) => {
    text = text.replace(placeholder(index), () => `data:${type};base64,$(base64 -w0 ${shell(name)})`);
  });
  const key = needsKey ? [`-H "authorization: Bearer ${KEY}"`] : [];
  return [`curl -N ${origin}/v1/chat/completions`, "-H 'content-type: application/json'", ...key, `-d @- <<END\n${text}\nEND\n`].join(" \\\n  ");
}

function python(body, { pictures, origin, needsKey }) {
  const request = pythonValue(withPictures(body, pictures, ({ name }) => new Expression(`data_url(${JSON.stringify(name)})`)));
  return `${pictures.length ? `import base64
import mimetypes
` : ""}${needsKey ? "import os\n" : ""}
from openai import OpenAI

client = OpenAI(base_url="${origin}/v1", api_key=${needsKey ? 'os.environ["FOVEAL_API_KEY"]' : '"none"'})

${pictures.length ? `
def data_url(path: str) -> str:
    with open(path, "rb") as file:
        return f"data:{mimetypes.guess_type(path)[0]};base64,{base64.b64encode(file.read()).decode()}"


` : ""}request = ${request}
for chunk in client.chat.completions.create(**request):
    if chunk.choices and chunk.choices[0].delta.content:
        print(chunk.choices[0].delta.content, end="", flush=True)
`;
}

function javascript(body, { pictures, origin, needsKey }) {
  const request = scriptValue(withPictures(body, pictures, ({ name }) => new Expression(`dataUrl(${JSON.stringify(name)})`)));
  return `${pictures.length ? 'import { readFileSync } from "node:fs";\n' : ""}import OpenAI from "openai";

const client = new OpenAI({ baseURL: "${origin}/v1", apiKey: ${needsKey ? "process.env.FOVEAL_API_KEY" : '"none"'} });
${pictures.length ? '\nconst dataUrl = (path) => `data:;base64,${readFileSync(path, "base64")}`;\n' : ""}
const stream = await client.chat.completions.create(${request});
for await (const chunk of stream) process.stdout.write(chunk.choices[0]?.delta.content ?? "");
`;
}

/** Source text in place of a value. */
class Expression {
  constructor(text) {
    this.text = text;
  }
}

function withPictures(body, pictures, url) {
  let index = -1;
  const part = (value) => {
    if (value.type !== "image_url") return value;
    index += 1;
    return { ...value, image_url: { ...value.image_url, url: url(pictures[index], index) } };
  };
  const messages = body.messages.map((message) =>
    Array.isArray(message.content) ? { ...message, content: message.content.map(part) } : message,
  );
  return { ...body, messages };
}

function shell(name) {
  return `'${name.replaceAll("'", "'\\''")}'`;
}

function pythonValue(value, indent = "") {
  const deeper = `${indent}    `;
  if (value instanceof Expression) return value.text;
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const items = Array.isArray(value)
    ? value.map((item) => pythonValue(item, deeper))
    : Object.entries(value).map(([name, item]) => `${JSON.stringify(name)}: ${pythonValue(item, deeper)}`);
  return items.length ? `${open}\n${items.map((item) => `${deeper}${item},\n`).join("")}${indent}${close}` : open + close;
}

function scriptValue(value, indent = "") {
  const deeper = `${indent}  `;
  if (value instanceof Expression) return value.text;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const name = (key) => (/^[A-Za-z_]\w*$/.test(key) ? key : JSON.stringify(key));
  const items = Array.isArray(value)
    ? value.map((item) => scriptValue(item, deeper))
    : Object.entries(value).map(([key, item]) => `${name(key)}: ${scriptValue(item, deeper)}`);
  return items.length ? `${open}\n${items.map((item) => `${deeper}${item},\n`).join("")}${indent}${close}` : open + close;
}
