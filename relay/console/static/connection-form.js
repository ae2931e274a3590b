// The connection form, as the connector has it: name, mode, agent, store URL, API key; and its test.

import { storesOf } from "/console/static/agents.js";
import { get, patch, post, TEST_PATIENCE_MS } from "/console/static/api.js";
import { shownOnce } from "/console/static/connections.js";
import { el } from "/console/static/dom.js";
import { drawReport, drawWaiting } from "/console/static/hops.js";
import { busy, clearComplaints, complain, field, heading } from "/console/static/parts.js";
import { say } from "/console/static/say.js";

const go = (address) => document.dispatchEvent(new CustomEvent("go", { detail: address }));

export async function openForm(place, { id = null, agent = null }) {
  const [agents, saved] = await Promise.all([get("/v1/agents?as=options"), id ? get(`/v1/connections/${id}`) : null]);
  const inputs = makeInputs(agents, saved, agent);
  const tested = el("div", { "aria-live": "polite" });
  const test = el("button", { type: "button", "data-action": "test" }, say("test"));
  const save = el("button.primary", { type: "submit" }, say(id ? "save" : "connections.create"));
  const form = el("form.card", {}, inputs.fields, el("div.form-foot", {}, save, test, el("a.button.quiet", { href: id ? `/console/connections/${id}` : "/console/connections" }, say("cancel"))));
  place.append(heading(id ? say("connections.edit") : say("connections.add"), { back: "/console/connections", backText: say("nav.connections") }), el("div.tried", {}, form, tested));

  async function tryIt() {
    if (!form.reportValidity()) return;
    clearComplaints(form);
    const wanted = inputs.values();
    tested.replaceChildren(drawWaiting(wanted.mode));
    try {
      const report = await busy(test, () => post("/v1/connections/test", { ...wanted, ...(id && { connection: id }) }, TEST_PATIENCE_MS));
      tested.replaceChildren(drawReport(report, wanted.mode, accept));
    } catch (error) {
      tested.replaceChildren();
      complain(form, error);
    }
  }

  function accept(offer) {
    inputs.take(offer);
    return tryIt();
  }

  test.addEventListener("click", tryIt);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    clearComplaints(form);
    try {
      const made = await busy(save, () => (id ? patch(`/v1/connections/${id}`, inputs.values()) : post("/v1/connections", inputs.values())));
      if (!id) shownOnce(made);
      go(`/console/connections/${made.id}`);
    } catch (error) {
      complain(form, error);
    }
  });
  return { refresh: inputs.offerStores, early: true };
}

/** The fields, and what is written in them. */
function makeInputs(agents, saved, agent) {
  const name = el("input", { type: "text", required: true, maxlength: "100", autocomplete: "off", value: saved?.name ?? "", "data-first": true });
  const mode = select([["on-premise", say("mode.on-premise")], ["cloud", say("mode.cloud")]], saved?.mode ?? "on-premise");
  const chosen = select([["", say("connections.choose_agent")], ...agents.map(({ value, label }) => [value, label])], saved?.agent ?? agent ?? "");
  const store = el("input", { type: "text", required: true, inputmode: "url", list: "published", autocomplete: "off", spellcheck: "false", placeholder: "http://shop.lan", value: saved?.store_url ?? "" });
  const key = el("input", { type: "password", required: !saved, autocomplete: "off", maxlength: "400", spellcheck: "false", placeholder: saved ? "••••••••" : "" });
  const published = el("datalist", { id: "published" });
  const offered = el("div.offered");
  const keyPlace = select([["basic", say("key_place.basic")], ["ws_key", say("key_place.ws_key")]], saved?.key_place ?? "basic");
  const authority = el("textarea", { rows: "3", spellcheck: "false", placeholder: "-----BEGIN CERTIFICATE-----", value: saved?.trust?.ca_pem ?? "" });
  const most = el("input", { type: "number", min: "1", max: "1024", value: saved ? String(saved.concurrency) : "" });
  const agentField = field("agent", say("connections.agent"), chosen);
  const storeField = field("store_url", say("connections.store_url"), store, say("connections.store_hint"));
  storeField.querySelector("input").after(published, offered);
  const fields = [
    field("name", say("name"), name), field("mode", say("connections.mode"), mode), agentField, storeField,
    field("api_key", say("connections.api_key"), key, say(saved ? "connections.key_kept" : "connections.key_hint")),
    el("details.further", {}, el("summary", {}, say("connections.further")),
      field("key_place", say("key_place"), keyPlace), field("trust", say("connections.authority"), authority, say("connections.authority_hint")),
      field("concurrency", say("connections.concurrency"), most)),
  ];

  async function offerStores() {
    const premises = mode.value === "on-premise";
    agentField.hidden = !premises;
    chosen.required = premises;
    const urls = premises && chosen.value ? storesOf(await get(`/v1/agents/${chosen.value}`)).map((each) => each.url) : [];
    const text = urls.join(" ");
    if (published.dataset.text === text) return;
    published.dataset.text = text;
    published.replaceChildren(...urls.map((url) => el("option", { value: url })));
    offered.replaceChildren(...urls.map((url) => el("button.small", { type: "button", onclick: () => (store.value = url) }, url)));
    if (!store.value && urls.length === 1) store.value = urls[0];
  }

  mode.addEventListener("change", offerStores);
  chosen.addEventListener("change", offerStores);
  return { fields, offerStores, values, take };

  function values() {
    return {
      name: name.value, mode: mode.value, agent: mode.value === "cloud" ? null : chosen.value || null, store_url: store.value,
      ...(key.value && { api_key: key.value }), key_place: keyPlace.value, ...(most.value && { concurrency: Number(most.value) }),
      trust: { ca_pem: authority.value.trim() || null, pinned_spki_sha256: saved?.trust?.pinned_spki_sha256 ?? null },
    };
  }

  function take(offer) {
    if (offer.store_url) store.value = offer.store_url;
    if (offer.key_place) keyPlace.value = offer.key_place;
  }
}

function select(options, value) {
  const node = el("select", {}, options.map(([key, label]) => el("option", { value: key }, label)));
  node.value = value;
  return node;
}
