// Light and dark: the system's choice until a person makes another one.

/** Makes `button` change between the two. */
export function changesTheme(button) {
  const { dataset } = document.documentElement;
  button.addEventListener("click", () => {
    dataset.theme = (dataset.theme ?? theSystems()) === "dark" ? "light" : "dark";
  });
}

function theSystems() {
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}
