// Sends pictures of good parts, some at a time, then begins the training.

import { say, send } from "./page.js";

const AT_ONCE = 10;
const form = document.getElementById("new");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  const name = encodeURIComponent(form.elements.name.value);
  const files = [...form.elements.pictures.files];
  try {
    for (let start = 0; start < files.length; start += AT_ONCE) {
      const body = new FormData();
      for (const file of files.slice(start, start + AT_ONCE)) body.append("images", file, file.name);
      await send("POST", `/v1/trainings/${name}/pictures`, body);
      say(`${Math.min(start + AT_ONCE, files.length)} / ${files.length} ${form.dataset.sent}`);
    }
    const wanted = { preset: form.elements.preset.value, folder: form.elements.folder.value || null };
    await send("PUT", `/v1/trainings/${name}`, JSON.stringify(wanted), { "Content-Type": "application/json" });
    location.href = `/new/${name}`;
  } catch (error) {
    say(error.message);
    button.disabled = false;
  }
});
