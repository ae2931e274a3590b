// Light or dark, and the language: chosen by a button, kept in a cookie that the server reads.

const YEAR_SECONDS = 365 * 24 * 3600;

export function listen() {
  document.querySelector('[data-action="theme"]').addEventListener("click", turn);
  for (const button of document.querySelectorAll("[data-language]")) {
    button.addEventListener("click", () => {
      keep("postern-language", button.dataset.language);
      location.reload();
    });
  }
}

function turn() {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const now = root.dataset.theme === "auto" ? (dark ? "dark" : "light") : root.dataset.theme;
  root.dataset.theme = now === "dark" ? "light" : "dark";
  keep("postern-theme", root.dataset.theme);
}

function keep(name, value) {
  const secure = location.protocol === "https:" ? "; Secure" : "";
  document.cookie = `${name}=${value}; Path=/console; Max-Age=${YEAR_SECONDS}; SameSite=Strict${secure}`;
}
