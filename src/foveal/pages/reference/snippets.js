// A request that was tried, as a program with nothing to install. `request` is an immutable map of Swagger UI's.

export function python(request) {
  const { method, url, headers, body } = parts(request);
  const data = body && `    data=${JSON.stringify(body)}.encode(),\n`;
  return `from urllib.request import Request, urlopen

request = Request(
    ${JSON.stringify(url)},
    method=${JSON.stringify(method)},
    headers=${JSON.stringify(headers)},
${data})
print(urlopen(request).read().decode())
`;
}

export function javascript(request) {
  const { method, url, headers, body } = parts(request);
  const data = body && `  body: ${JSON.stringify(body)},\n`;
  return `const response = await fetch(${JSON.stringify(url)}, {
  method: ${JSON.stringify(method)},
  headers: ${JSON.stringify(headers)},
${data}});
console.log(await response.text());
`;
}

function parts(request) {
  const body = request.get("body");
  return {
    method: request.get("method").toUpperCase(),
    url: request.get("url"),
    headers: request.get("headers")?.toJS() ?? {},
    body: body === undefined ? "" : typeof body === "string" ? body : JSON.stringify(body),
  };
}
