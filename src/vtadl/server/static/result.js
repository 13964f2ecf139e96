// One inspection on a page: its viewer, and its corrections by button and by key.

import { KEYS, fragment, label, say, typing } from "./page.js";
import { startViewer } from "./viewer.js";

/** Show an inspection in a box; shown again after each correction. */
export async function showResult(box, identifier) {
  box.replaceChildren(await fragment(`/inspections/${identifier}?fragment=true`));
  startResult(box);
}

export function startResult(box) {
  const viewer = box.querySelector(".viewer");
  if (viewer) startViewer(viewer);
  for (const button of box.querySelectorAll("[data-label]"))
    button.addEventListener("click", () => correct(box, button.dataset.label || null));
}

async function correct(box, value) {
  const identifier = box.querySelector("[data-inspection]").dataset.inspection;
  try {
    await label(identifier, value);
    await showResult(box, identifier);
  } catch (error) {
    say(error.message);
  }
}

/** Corrections by key for whatever the box shows. */
export function listen(box) {
  document.addEventListener("keydown", (event) => {
    if (typing(event) || !box.querySelector("[data-inspection]") || !(event.key in KEYS)) return;
    event.preventDefault();
    correct(box, KEYS[event.key]);
  });
}
