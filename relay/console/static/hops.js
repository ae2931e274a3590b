// A connection test drawn: the stations from the relay to the shop's webservice, and each hop with its time.

import { announce, el, icon, svg } from "/console/static/dom.js";
import { language, ms, say } from "/console/static/say.js";

/** Between stations the hops that lead there. */
const ROAD = [
  { station: "agent", sign: "agents", hops: ["agent", "online", "published"] },
  { station: "store", sign: "server", hops: ["name", "tcp", "tls"] },
  { station: "shop", sign: "shop", hops: ["http", "webservice"] },
  { station: "key", sign: "tokens", hops: ["key", "permissions"] },
];
const ORDER = ROAD.flatMap(({ hops }) => hops);
const SIGNS = { passed: "check", failed: "cross", skipped: "skip", waiting: "skip" };

/** While the test is under way. */
export function drawWaiting(mode) {
  const steps = ORDER.map((name) => ({ name, status: "waiting", ms: null, detail: "", remedy: null }));
  announce(say("test.running"));
  return el("div.test.running", { "aria-busy": "true" }, drawRoad(steps, mode), el("p.verdict", {}, say("test.running")));
}

/** What it found. `accept(offer)` makes the change that would mend it. */
export function drawReport(report, mode, accept) {
  const failed = report.steps.find((step) => step.status === "failed");
  const took = report.steps.reduce((sum, step) => sum + (step.ms ?? 0), 0);
  const verdict = report.ok ? say("test.passed", { ms: ms(took) }) : say("test.failed", { hop: say(`hop.${failed.name}`) });
  announce(failed?.remedy ? `${verdict} ${failed.remedy[language]}` : verdict);
  return el(`div.test.${report.ok ? "ok" : "ko"}`, { "data-ok": String(report.ok), "data-code": failed?.code ?? "" },
    el("p.verdict", {}, icon(report.ok ? "check" : "warn"), verdict, report.shop && el("span.muted", {}, ` ${report.shop.name}${report.shop.version ? ` · PrestaShop ${report.shop.version}` : ""}`)),
    drawRoad(report.steps, mode),
    failed && drawRemedy(failed, report.offer, accept),
    drawSteps(report.steps, mode),
    report.notes.map((note) => el("p.notice.warn", {}, icon("warn"), note.remedy[language])),
    report.permissions && drawPermissions(report.permissions));
}

function drawRoad(steps, mode) {
  const found = Object.fromEntries(steps.map((step) => [step.name, step]));
  const road = mode === "cloud" ? ROAD.slice(1) : ROAD;
  const stretches = road.map(({ station, sign, hops }) => {
    const here = hops.map((name) => found[name]);
    const status = here.some((step) => step.status === "failed") ? "failed"
      : here.some((step) => step.status === "passed") ? "passed" : here[0].status;
    const timed = here.filter((step) => step.ms !== null && step.status !== "skipped");
    const spent = timed.length ? ms(timed.reduce((sum, step) => sum + step.ms, 0)) : "";
    return { station, sign, status, spent };
  });
  return el("ol.road", { role: "list", "aria-label": say("test.road") },
    el("li.station.passed", {}, el("span.sign", {}, icon("door")), el("span.station-name", {}, say("station.relay"))),
    stretches.map(({ station, sign, status, spent }) => el(`li.station.${status}`, {},
      el("span.stretch", {}, el("span.spent", {}, spent), drawStretch()),
      el("span.sign", {}, icon(status === "failed" ? "cross" : sign)),
      el("span.station-name", {}, say(`station.${station}`), el("span.unseen", {}, ` (${say(`status.${status}`)})`)))));
}

function drawStretch() {
  return svg("svg.line", { viewBox: "0 0 100 12", preserveAspectRatio: "none", "aria-hidden": "true" }, svg("path", { d: "M0 6H100" }));
}

function drawRemedy(failed, offer, accept) {
  const button = offer && accept && el("button.primary", { type: "button", onclick: () => accept(offer) }, offer.store_url ? say("test.offer_url", { url: offer.store_url }) : say("test.offer_key_place"));
  return el("div.remedy", { role: "alert" },
    el("h2", {}, icon("cross"), say(`hop.${failed.name}`)),
    failed.remedy && el("p", {}, failed.remedy[language]),
    failed.detail && el("p.muted", {}, el("code", {}, failed.detail)),
    button);
}

function drawSteps(steps, mode) {
  const way = steps.filter((step) => mode !== "cloud" || !["agent", "online", "published"].includes(step.name));
  const most = Math.max(...way.map((step) => step.ms ?? 0), 1);
  return el("ol.hops", { role: "list", "aria-label": say("test.hops") }, way.map((step) => el(`li.hop.${step.status}`, { "data-hop": step.name, "data-status": step.status },
    el("span.hop-sign", {}, icon(SIGNS[step.status], say(`status.${step.status}`))),
    el("span.hop-name", {}, say(`hop.${step.name}`)),
    bar(step.ms, most),
    el("span.hop-ms", {}, step.status === "skipped" ? "–" : step.ms === null ? "" : ms(step.ms)))));
}

function bar(spent, most) {
  const wide = spent === null ? 0 : Math.max(1.5, (spent / most) * 100);
  return svg("svg.bar", { viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" }, svg("rect", { width: wide.toFixed(1), height: 6 }));
}

function drawPermissions({ missing }) {
  const lacks = Object.entries(missing);
  if (!lacks.length) return null;
  return el("details.missing", {}, el("summary", {}, say("test.missing", { n: lacks.length })),
    el("ul", {}, lacks.map(([resource, methods]) => el("li", {}, el("code", {}, resource), ` ${methods.join(", ")}`))));
}
