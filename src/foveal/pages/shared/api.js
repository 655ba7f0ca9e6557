// The server, as a page sees it: the public API and nothing else.

/** An answer that is no success. `message` is written for people. */
export class ApiError extends Error {
  constructor(status, message, requestId) {
    super(message);
    this.status = status;
    this.requestId = requestId;
  }
}

export class Api {
  #key = null; // in memory only

  useKey(key) {
    this.#key = key;
  }

  /** @returns the served models, as /v1/models lists them */
  async models() {
    return (await (await this.#ask("GET", "/v1/models")).json()).data;
  }

  /** @returns the text of /metrics, for operators */
  async metrics() {
    return (await this.#ask("GET", "/metrics")).text();
  }

  /** @returns the last requests that failed, for operators */
  async failures() {
    return (await (await this.#ask("GET", "/status/failures")).json()).failures;
  }

  /** @returns what a chat request takes and costs, without running it */
  async measure(body, signal) {
    const { stream, stream_options, ...measured } = body;
    return (await this.#ask("POST", "/v1/tokenize", measured, signal)).json();
  }

  /** The events of a streamed chat completion. Raises ApiError also for one in the stream. */
  async *chat(body, signal) {
    const response = await this.#ask("POST", "/v1/chat/completions", body, signal);
    const requestId = response.headers.get("x-request-id");
    for await (const data of events(response.body)) {
      if (data === "[DONE]") return;
      const event = JSON.parse(data);
      if (event.error) throw new ApiError(200, event.error.message, requestId);
      yield event;
    }
    throw new ApiError(200, "The connection ended before the answer did.", requestId);
  }

  async #ask(method, path, body, signal) {
    const headers = body === undefined ? {} : { "content-type": "application/json" };
    if (this.#key) headers.authorization = `Bearer ${this.#key}`;
    let response;
    try {
      response = await fetch(path, { method, headers, signal, body: body && JSON.stringify(body), cache: "no-store" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError(0, "The server does not answer. Is it still running?");
    }
    if (response.ok) return response;
    const said = await response.json().catch(() => null);
    throw new ApiError(
      response.status,
      said?.error?.message ?? `The server answered with status ${response.status}.`,
      response.headers.get("x-request-id"),
    );
  }
}

/** The data of each server-sent event in a stream of bytes. */
export async function* events(stream) {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const bytes of chunks(stream)) {
    const lines = (rest + decoder.decode(bytes, { stream: true })).split("\n");
    rest = lines.pop();
    for (const line of lines) if (line.startsWith("data: ")) yield line.slice(6).trimEnd();
  }
}

async function* chunks(stream) {
  const reader = stream.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
