// Light and dark: the system's choice until a person makes another one.

const { dataset } = document.documentElement;

export function isDark() {
  return dataset.theme ? dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

/** Makes `button` change between the two. */
export function changesTheme(button, changed = () => {}) {
  button.addEventListener("click", () => {
    dataset.theme = isDark() ? "light" : "dark";
    changed();
  });
}
