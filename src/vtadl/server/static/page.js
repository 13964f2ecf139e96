// What every page does: requests that carry the form token, and messages.

export const csrf = document.querySelector('meta[name="csrf"]').content;

/** Send a request; the JSON of the answer, or an Error with the server's sentence. */
export async function send(method, address, body, headers = {}) {
  let answer;
  try {
    answer = await fetch(address, { method, body, headers: { "X-CSRF-Token": csrf, ...headers } });
  } catch {
    throw new Error(document.body.dataset.away);
  }
  if (answer.ok) return answer.status === 204 ? null : answer.json();
  const problem = await answer.json().catch(() => ({}));
  throw Object.assign(new Error(problem.detail || answer.statusText), { status: answer.status, answer });
}

/** A piece of a page. */
export async function fragment(address) {
  const answer = await fetch(address, { headers: { Accept: "text/html" } });
  if (!answer.ok) throw new Error(answer.statusText);
  const template = document.createElement("template");
  template.innerHTML = (await answer.text()).trim();
  return template.content;
}

let hiding;
/** Say something for some seconds. */
export function say(text) {
  const toast = document.getElementById("toast");
  toast.textContent = text;
  clearTimeout(hiding);
  hiding = setTimeout(() => (toast.textContent = ""), 6000);
}

/** Whether a key belongs to a field that is being filled in. */
export const typing = (event) =>
  event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input:not([type=range]), select, textarea");

/** Say what a part really was; null takes it back. */
export const label = (identifier, value) =>
  send("PUT", `/v1/inspections/${identifier}/label`, JSON.stringify({ label: value }), {
    "Content-Type": "application/json",
  });

export const KEYS = { g: "good", d: "defective", "?": "unsure", u: null };

const SHOWN = {
  moment: { year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit" },
  clock: { hour: "2-digit", minute: "2-digit" },
};
/** Write times as this place's clocks show them; Sweden writes the year first, as the server does. */
function localise(root) {
  for (const time of root.querySelectorAll("time[data-shown]"))
    time.textContent = new Date(time.dateTime).toLocaleString("sv-SE", SHOWN[time.dataset.shown]);
}
localise(document);
new MutationObserver((changes) => {
  for (const node of changes.flatMap((change) => [...change.addedNodes])) if (node.querySelectorAll) localise(node);
}).observe(document.body, { childList: true, subtree: true });

document.addEventListener("htmx:configRequest", (event) => (event.detail.headers["X-CSRF-Token"] = csrf));
document.addEventListener("htmx:responseError", (event) => {
  const problem = JSON.parse(event.detail.xhr.responseText || "{}");
  say(problem.detail || event.detail.xhr.statusText);
});
// What has data-opens opens the dialog of that id, whose own button sends it.
document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-opens]");
  if (opener) document.getElementById(opener.dataset.opens).showModal();
  const closer = event.target.closest("[data-closes]");
  if (closer) closer.closest("dialog").close();
});
