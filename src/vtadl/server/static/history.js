// The history by keyboard: arrows choose an entry, one key corrects it, another takes that back.

import { KEYS, fragment, label, say, typing } from "./page.js";

const list = document.querySelector(".entries");

// Fields show this place's time; what is sent names its zone.
const filters = document.querySelector(".filters");
for (const field of filters.querySelectorAll("[data-moment]")) {
  const sent = filters.elements[field.dataset.moment];
  if (sent.value) {
    const at = new Date(sent.value);
    field.value = new Date(at - 60_000 * at.getTimezoneOffset()).toISOString().slice(0, 16);
  }
  field.addEventListener("change", () => (sent.value = field.value && new Date(field.value).toISOString()));
}

async function correct(entry, value) {
  const identifier = entry.dataset.inspection;
  try {
    await label(identifier, value);
    const fresh = await fragment(`/history/${identifier}?view=${list.dataset.view}`);
    const replacement = fresh.querySelector(".entry");
    entry.replaceWith(replacement);
    replacement.focus();
  } catch (error) {
    say(error.message);
  }
}

document.addEventListener("keydown", (event) => {
  if (!list || typing(event)) return;
  const entries = [...list.querySelectorAll(".entry")];
  const entry = event.target.closest(".entry");
  const place = entries.indexOf(entry);
  const row = list.dataset.view === "grid" ? getComputedStyle(list).gridTemplateColumns.split(" ").length : 1;
  const moves = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: row, ArrowUp: -row };
  if (event.key in moves && (entry || event.target === document.body)) {
    event.preventDefault();
    entries[Math.min(entries.length - 1, Math.max(0, place < 0 ? 0 : place + moves[event.key]))]?.focus();
  } else if (entry && event.key in KEYS) {
    event.preventDefault();
    correct(entry, KEYS[event.key]);
  } else if (entry && event.key === "Enter" && event.target === entry) {
    location.href = `/inspections/${entry.dataset.inspection}`;
  }
});
