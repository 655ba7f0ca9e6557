// The API, drawn from /openapi.json by Swagger UI. A key that is given to it stays in memory.

import { byId } from "../shared/dom.js";
import { changesTheme, isDark } from "../shared/theme.js";
import { javascript, python } from "./snippets.js";

const { SwaggerUIBundle } = window;

/** Swagger UI asks the document's element for a class, not the system. */
function followTheme() {
  document.documentElement.classList.toggle("dark-mode", isDark());
}

SwaggerUIBundle({
  url: "/openapi.json",
  domNode: byId("reference"),
  docExpansion: "list",
  defaultModelsExpandDepth: -1,
  displayRequestDuration: true,
  requestSnippetsEnabled: true,
  requestSnippets: {
    generators: {
      curl_bash: { title: "curl", syntax: "bash" },
      python: { title: "Python", syntax: "python" },
      javascript: { title: "JavaScript", syntax: "javascript" },
    },
    languages: ["curl_bash", "python", "javascript"],
  },
  plugins: [{ fn: { requestSnippetGenerator_python: python, requestSnippetGenerator_javascript: javascript } }],
  tryItOutEnabled: true,
  validatorUrl: null, // which would be another host's
});

followTheme();
changesTheme(byId("theme"), followTheme);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", followTheme);
