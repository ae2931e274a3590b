// The page's language: its sentences, numbers and times.

export const language = document.documentElement.lang;
const response = await fetch(`/console/static/${language}.json`);
const catalogue = await response.json();
const plurals = new Intl.PluralRules(language);
const ago = new Intl.RelativeTimeFormat(language, { numeric: "auto", style: "short" });
const numbers = new Intl.NumberFormat(language, { maximumFractionDigits: 1 });
const whole = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "medium" });
const clock = new Intl.DateTimeFormat(language, { timeStyle: "medium" });
const STEPS = [["second", 60], ["minute", 60], ["hour", 24], ["day", 30], ["month", 12], ["year", Infinity]];

/** The sentence of that name; `{n}` in it picks its plural form and is replaced, as are the others. */
export function say(name, values = {}) {
  const form = "n" in values ? `${name}.${plurals.select(values.n)}` : name;
  const text = catalogue[form] ?? catalogue[`${name}.other`] ?? catalogue[name] ?? name;
  return text.replace(/\{(\w+)\}/g, (_, key) => {
    const value = values[key] ?? "";
    return typeof value === "number" ? numbers.format(value) : String(value);
  });
}

/** The sentence of that name if there is one. */
export function known(name, otherwise) {
  return catalogue[name] ?? otherwise;
}

export const number = (value) => numbers.format(value);
export const ms = (value) => (value >= 1000 ? `${numbers.format(value / 1000)} s` : `${numbers.format(value)} ms`);
/** 1.5 MB. */
export function size(bytes) {
  let amount = bytes;
  for (const unit of ["byte", "kilobyte", "megabyte", "gigabyte"]) {
    if (amount < 1000 || unit === "gigabyte") {
      return new Intl.NumberFormat(language, { style: "unit", unit, unitDisplay: "short", maximumFractionDigits: 1 }).format(amount);
    }
    amount /= 1000;
  }
  return "";
}

export const wholeTime = (seconds) => whole.format(new Date(seconds * 1000));
export const clockTime = (seconds) => clock.format(new Date(seconds * 1000));

/** "3 min. ago", in the page's language. */
export function since(seconds) {
  let amount = Math.min(0, Math.round(seconds - Date.now() / 1000));
  for (const [unit, most] of STEPS) {
    if (Math.abs(amount) < most) return ago.format(amount, unit);
    amount = Math.trunc(amount / most);
  }
  return "";
}

/** "3 h", without "ago". */
export function lasting(seconds) {
  let amount = Math.max(0, Math.round(Date.now() / 1000 - seconds));
  for (const [unit, most] of STEPS) {
    if (amount < most) return new Intl.NumberFormat(language, { style: "unit", unit, unitDisplay: "short" }).format(amount);
    amount = Math.trunc(amount / most);
  }
  return "";
}

/** A time that keeps itself up to date. */
export function time(seconds, shape = "since") {
  const node = document.createElement("time");
  node.dateTime = new Date(seconds * 1000).toISOString();
  node.title = wholeTime(seconds);
  node.dataset.at = seconds;
  node.dataset.shape = shape;
  node.textContent = shape === "since" ? since(seconds) : lasting(seconds);
  return node;
}

setInterval(() => {
  for (const node of document.querySelectorAll("time[data-at]")) {
    const text = node.dataset.shape === "since" ? since(Number(node.dataset.at)) : lasting(Number(node.dataset.at));
    if (node.textContent !== text) node.textContent = text;
  }
}, 5000);
