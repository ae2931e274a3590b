// The account's API tokens: made, shown once, and ended.

import { get, post, scopesWithin, session } from "/console/static/api.js";
import { el } from "/console/static/dom.js";
import { busy, card, clearComplaints, complain, confirmed, copyable, field, heading, inParts, table, trouble } from "/console/static/parts.js";
import { say, time } from "/console/static/say.js";

const DAY_SECONDS = 24 * 3600;

export async function openTokens(place) {
  const once = el("div"), list = el("div.card");
  const name = el("input", { type: "text", required: true, maxlength: "100", autocomplete: "off" });
  const scope = el("select", {}, scopesWithin().map((each) => el("option", { value: each }, say(`scope.${each}`))));
  const days = el("select", {}, ["", "7", "30", "90", "365"].map((each) => el("option", { value: each }, each ? say("tokens.days", { n: Number(each) }) : say("tokens.forever"))));
  const make = el("button.primary", { type: "submit" }, say("tokens.create"));
  const form = el("form.card", {}, el("h2", {}, say("tokens.add")), el("div.fields", {}, field("name", say("name"), name), field("scopes", say("tokens.scope"), scope), field("expires_at", say("expires"), days)), el("div.form-foot", {}, make));
  const more = el("div");
  place.append(heading(say("nav.tokens"), { under: say("tokens.about") }), once, list, more, form);

  async function read() {
    const foot = await inParts((cursor) => get(`/v1/tokens${cursor ? `?cursor=${encodeURIComponent(cursor)}` : ""}`), draw);
    more.replaceChildren(foot);
  }

  function draw(items) {
    list.replaceChildren(table(say("nav.tokens"), [
      [say("name"), (each) => [each.name, each.id === session.token && el("span.muted", {}, ` (${say("tokens.yours")})`)]],
      [say("tokens.scope"), (each) => say(`scope.${each.scope}`)],
      [say("created"), (each) => time(each.created_at)],
      [say("last_used"), (each) => (each.last_used_at ? time(each.last_used_at) : say("never_used"))],
      [say("expires"), (each) => (each.revoked_at ? say("state.revoked") : each.expires_at ? time(each.expires_at) : "–")],
      ["", (each) => !each.revoked_at && scopesWithin().includes(each.scope) && el("button.small.danger", { type: "button", "data-token": each.id, onclick: end(each) }, say("revoke"))],
    ], items));
  }

  const end = (each) => async ({ currentTarget: button }) => {
    const mine = each.id === session.token;
    if (!(await confirmed(say("tokens.revoke.ask", { name: each.name }), say(mine ? "tokens.revoke.mine" : "tokens.revoke.then"), say("revoke")))) return;
    await busy(button, () => post(`/v1/tokens/${each.id}/revoke`)).then(read).catch((error) => once.replaceChildren(trouble(error)));
  };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    clearComplaints(form);
    const until = days.value ? Math.floor(Date.now() / 1000) + Number(days.value) * DAY_SECONDS : null;
    try {
      const made = await busy(make, () => post("/v1/tokens", { name: name.value, scopes: [scope.value], expires_at: until }));
      once.replaceChildren(card(say("tokens.made", { name: made.name }), el("p.muted", {}, say("shown_once")), copyable(made.token, say("tokens.made", { name: made.name }), { secret: true })));
      form.reset();
      once.scrollIntoView({ block: "nearest" });
      await read();
    } catch (error) {
      complain(form, error);
    }
  });
  await read();
  return { refresh: async () => {}, everyMs: undefined };
}
