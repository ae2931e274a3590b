// The sign-in works without this. Who followed a link from elsewhere is signed in all the same: only now is the cookie sent.

import { listen } from "/console/static/theme.js";

listen();
const form = document.querySelector("form");
form.addEventListener("submit", () => {
  form.querySelector("button").disabled = true;
});
if (!document.getElementById("refused")) {
  const known = await fetch("/console/session", { cache: "no-store" });
  if (known.ok) location.replace(form.dataset.to);
}
