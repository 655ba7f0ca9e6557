// The conversation as data, and the request that it becomes.

/**
 * A picture: { id, name, type, url (a blob URL to show), data (a data URL to send), measured (from /v1/tokenize) }.
 * A turn: { role, text, pictures, reasoning, tokens, usage, timing }.
 */

/** @returns the body of a chat completion. `turns` ends with the user's. */
export function requestBody(turns, settings) {
  const body = { model: settings.model, messages: messages(turns, settings), stream: true };
  for (const name of ["temperature", "top_p", "max_tokens", "seed"]) {
    if (settings[name] !== null) body[name] = settings[name];
  }
  if (settings.logprobs) Object.assign(body, { logprobs: true, top_logprobs: 5 });
  if (settings.schema) {
    body.response_format = { type: "json_schema", json_schema: { name: "answer", schema: settings.schema } };
  }
  return body;
}

function messages(turns, settings) {
  const spoken = turns.map((turn) => ({ role: turn.role, content: content(turn, settings) }));
  return settings.system ? [{ role: "system", content: settings.system }, ...spoken] : spoken;
}

function content(turn, settings) {
  if (!turn.pictures?.length) return turn.text;
  const parts = turn.pictures.map((picture) => ({ type: "image_url", image_url: imageUrl(picture, settings) }));
  return turn.text ? [...parts, { type: "text", text: turn.text }] : parts;
}

function imageUrl(picture, settings) {
  return settings.detail === "auto" ? { url: picture.data } : { url: picture.data, detail: settings.detail };
}

/** An answer's price, or null. `pricing`: of a million tokens, from /v1/models. */
export function cost(usage, pricing) {
  if (!pricing || !usage) return null;
  const cached = usage.prompt_tokens_details?.cached_tokens ?? 0;
  const prompt = (usage.prompt_tokens - cached) * pricing.prompt + cached * pricing.cached_prompt;
  return (prompt + usage.completion_tokens * pricing.completion) / 1e6;
}

export function money(amount, currency) {
  const digits = amount && amount < 0.01 ? 2 : undefined;
  const options = digits ? { maximumSignificantDigits: digits } : { minimumFractionDigits: 2, maximumFractionDigits: 4 };
  return `${currency === "USD" ? "$" : `${currency} `}${amount.toLocaleString("en", { useGrouping: false, ...options })}`;
}

export function count(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}
