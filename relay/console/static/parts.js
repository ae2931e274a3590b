// The pieces that several pages share: headings, states, copyable texts, forms, tables in parts, questions.

import { announce, el, icon, svg } from "/console/static/dom.js";
import { known, say } from "/console/static/say.js";

/** The head of a page; its heading takes the focus when the page opens. */
export function heading(title, { back, backText, under, tools = [] } = {}) {
  return el("div.head", {},
    back && el("a.back", { href: back }, icon("back"), backText),
    el("div.head-line", {}, el("h1", { tabindex: "-1" }, title), el("div.tools", {}, tools)),
    under && el("p.muted", {}, under));
}

const STATE_ICONS = { online: "check", degraded: "warn", offline: "cross", revoked: "skip", never: "skip" };

/** A state as colour, sign and word. */
export function state(name) {
  return el(`span.state.${name}`, {}, icon(STATE_ICONS[name] ?? "skip"), say(`state.${name}`));
}

/** A text with a button that copies it. */
export function copyable(text, label, { block = false, secret = false } = {}) {
  const content = el(block ? "pre.code" : "code.code", block ? { tabindex: "0", role: "region", "aria-label": label } : {}, text);
  const button = el("button.copy", { type: "button", "aria-label": say("copy.this", { what: label }) }, icon("copy"), el("span", {}, say("copy")));
  button.addEventListener("click", () => copy(content, button));
  return el(`div.copyable${block ? ".block" : ""}${secret ? ".secret" : ""}`, {}, content, button);
}

async function copy(content, button) {
  const word = button.querySelector("span");
  try {
    await navigator.clipboard.writeText(content.textContent);
    button.classList.add("done");
    word.textContent = say("copied");
    announce(say("copied"));
    setTimeout(() => {
      button.classList.remove("done");
      word.textContent = say("copy");
    }, 2000);
  } catch {
    getSelection().selectAllChildren(content);
    announce(say("copy.by_hand"));
  }
}

/** A line of traffic: requests in each half minute. */
export function sparkline(series, label) {
  const wide = 120, high = 32, most = Math.max(...series, 1);
  const points = series.map((value, place) => [
    2 + (place * (wide - 4)) / Math.max(series.length - 1, 1), high - 3 - (value / most) * (high - 7),
  ]);
  const line = points.map(([x, y], place) => `${place ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
  const [x, y] = points.at(-1);
  return svg(`svg.spark${series.some(Boolean) ? "" : ".still"}`, { viewBox: `0 0 ${wide} ${high}`, role: "img", "aria-label": label },
    svg("path.area", { d: `${line}L${wide - 2} ${high - 1}L2 ${high - 1}Z` }),
    svg("path.line", { d: line }),
    svg("circle", { cx: x.toFixed(1), cy: y.toFixed(1), r: 2.4 }));
}

/** A field with its label, hint, and a place for what is wrong with it. */
export function field(name, label, input, hint = "") {
  const id = `f-${name}`;
  input.id = id;
  input.name ||= name;
  const wrong = el("p.wrong", { id: `${id}-wrong`, hidden: true });
  const help = hint && el("p.hint", { id: `${id}-hint` }, hint);
  input.setAttribute("aria-describedby", `${hint ? `${id}-hint ` : ""}${id}-wrong`);
  return el("div.field", { "data-field": name }, el("label", { for: id }, label), input, help, wrong);
}

/** Show what the relay says against a form, beside the fields that it names. */
export function complain(form, error) {
  clearComplaints(form);
  const named = (error.errors ?? []).filter((each) => form.querySelector(`[data-field="${CSS.escape(each.field)}"]`));
  for (const { field: name, message } of named) {
    const place = form.querySelector(`[data-field="${CSS.escape(name)}"]`);
    const wrong = place.querySelector(".wrong");
    wrong.textContent = message;
    wrong.hidden = false;
    place.querySelector("input, select, textarea").setAttribute("aria-invalid", "true");
  }
  if (named.length) {
    for (const details of form.querySelectorAll("details")) if (details.querySelector("[aria-invalid]")) details.open = true;
    form.querySelector("[aria-invalid]").focus();
  } else form.querySelector(".form-foot").before(trouble(error));
}

export function clearComplaints(form) {
  for (const wrong of form.querySelectorAll(".wrong")) wrong.hidden = true;
  for (const input of form.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
  for (const told of form.querySelectorAll(".notice.bad")) told.remove();
}

/** An error as a sentence. */
export function trouble(error) {
  const lost = error instanceof TypeError || error.name === "TimeoutError";
  return el("p.notice.bad", { role: "alert" }, icon("warn"), lost ? say("trouble.lost") : known(`trouble.${error.code}`, error.message));
}

/** Disable a button while what it does is under way. */
export async function busy(button, work) {
  button.disabled = true;
  button.setAttribute("aria-busy", "true");
  try {
    return await work();
  } finally {
    button.disabled = false;
    button.removeAttribute("aria-busy");
  }
}

/** Ask before something is ended for good; true if it is wanted. */
export function confirmed(question, detail, action) {
  return new Promise((resolve) => {
    const cancel = el("button", { type: "button", onclick: () => dialog.close() }, say("cancel"));
    const go = el("button.danger", { type: "button", onclick: () => dialog.close("yes") }, action);
    const dialog = el("dialog", { "aria-labelledby": "question" },
      el("h2", { id: "question" }, question), el("p", {}, detail), el("div.form-foot", {}, go, cancel));
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
    cancel.focus();
  });
}

/** Where there is nothing yet. */
export function empty(text, action) {
  return el("div.empty", {}, icon("door"), el("p", {}, text), action);
}

/** A definition list of facts; those without a value are left out. */
export function facts(...pairs) {
  return el("dl.facts", {}, pairs.filter(([, value]) => value !== null && value !== undefined && value !== false && value !== "")
    .map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

/** A card with a heading. */
export function card(title, ...content) {
  return el("section.card", {}, title && el("h2", {}, title), content);
}

/** A table that becomes cards where it is narrow. `columns` are [heading, cell(item)]. */
export function table(label, columns, items) {
  return el("table.records", { "aria-label": label },
    el("thead", {}, el("tr", {}, columns.map(([title]) => el("th", { scope: "col" }, title || el("span.unseen", {}, say("actions")))))),
    el("tbody", {}, items.map((item) => el("tr", {}, columns.map(([title, cell]) =>
      el("td", {}, title && el("span.column", { "aria-hidden": "true" }, title), el("span.cell", {}, cell(item))))))));
}

/** All parts of a list so far, and a button for more. `load(cursor)` answers a part; `put(items)` shows them all. */
export async function inParts(load, put) {
  const items = [];
  const button = el("button.more", { type: "button" }, say("more"));
  const foot = el("div.more-foot", { hidden: true }, button);
  let next = null;
  async function read() {
    const part = await load(next);
    items.push(...part.items);
    next = part.next;
    foot.hidden = next === null;
    put(items);
  }
  button.addEventListener("click", () => busy(button, read).catch((error) => foot.before(trouble(error))));
  await read();
  return foot;
}

export const requests = (count) => say("traffic.requests", { n: count });
