// Who changed what, newest first.

import { get } from "/console/static/api.js";
import { el } from "/console/static/dom.js";
import { empty, heading, inParts, table, trouble } from "/console/static/parts.js";
import { known, say, wholeTime } from "/console/static/say.js";

export async function openAudit(place) {
  const subject = el("input", { type: "search", placeholder: say("audit.filter"), "aria-label": say("audit.filter"), spellcheck: "false" });
  const list = el("div"), more = el("div");
  place.append(heading(say("nav.audit"), { under: say("audit.about") }), el("div.filters", {}, subject), list, more);

  async function read() {
    const query = (cursor) => new URLSearchParams({ ...(subject.value.trim() && { subject: subject.value.trim() }), ...(cursor && { cursor }) });
    more.replaceChildren(await inParts((cursor) => get(`/v1/audit?${query(cursor)}`), draw));
  }

  function draw(items) {
    list.replaceChildren(items.length ? el("div.card", {}, table(say("nav.audit"), [
      [say("audit.at"), (each) => wholeTime(each.at)],
      [say("audit.action"), (each) => [known(`action.${each.action}`, each.action), each.details?.name && el("span.muted", {}, ` ${each.details.name}`)]],
      [say("audit.subject"), (each) => subjectOf(each.subject)],
      [say("audit.actor"), (each) => el("code", {}, each.actor)],
      [say("audit.source"), (each) => each.source],
    ], items)) : empty(say("audit.none")));
  }

  subject.addEventListener("change", () => read().catch((error) => list.replaceChildren(trouble(error))));
  await read();
  return { refresh: async () => {} };
}

function subjectOf(id) {
  const room = { agt: "agents", con: "connections" }[id.slice(0, 3)];
  return room ? el("a", { href: `/console/${room}/${id}` }, el("code", {}, id)) : el("code", {}, id);
}
