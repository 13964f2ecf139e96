// The first page: a picture by drop, choice, paste, sample or camera; one after the other, each with its verdict.

import { say, send } from "./page.js";
import { listen, showResult } from "./result.js";

const get = (identifier) => document.getElementById(identifier);
const result = get("result");
const drop = get("drop");

async function inspect(files) {
  for (const file of files) {
    result.setAttribute("aria-busy", "true");
    say(result.dataset.busy);
    try {
      const one = await post(file);
      await showResult(result, one.id);
      // On a narrow screen the verdict is below what was pressed.
      if (result.getBoundingClientRect().top > 0.6 * innerHeight) result.scrollIntoView();
      remember(one);
      say("");
    } catch (error) {
      say(error.message);
    } finally {
      result.removeAttribute("aria-busy");
    }
  }
}

/** Send a picture under a key of its own, so that a second try is never a second inspection. */
async function post(file) {
  const key = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16)).join("");
  const query = new URLSearchParams();
  for (const name of ["part", "batch"]) if (get(name).value) query.set(name, get(name).value);
  const address = `/v1/detectors/${encodeURIComponent(get("detector").value)}/inspections?${query}`;
  for (let tries = 0; ; tries++) {
    const form = new FormData();
    form.append("images", file, file.name || "picture.png");
    try {
      return (await send("POST", address, form, { "Idempotency-Key": key })).inspections[0];
    } catch (error) {
      if (error.status !== 503 || tries === 4) throw error;
      const seconds = Number(error.answer.headers.get("Retry-After")) || 1;
      await new Promise((resolve) => setTimeout(resolve, 1000 * Math.min(seconds, 10)));
    }
  }
}

function remember(one) {
  const button = document.createElement("button");
  button.className = `sample ${one.verdict || ""}`;
  const picture = document.createElement("img");
  Object.assign(picture, { src: `/v1/inspections/${one.id}/thumbnail`, alt: `${one.name}: ${result.querySelector(".verdict h2").textContent}` });
  button.append(picture);
  button.addEventListener("click", () => showResult(result, one.id));
  get("recent").prepend(button);
  while (get("recent").children.length > 8) get("recent").lastChild.remove();
  get("recent-box").hidden = false;
}

function start() {
  listen(result);
  get("choose").addEventListener("click", () => get("files").click());
  get("files").addEventListener("change", (event) => {
    inspect([...event.target.files]);
    event.target.value = "";
  });
  document.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    inspect([...event.dataTransfer.files]);
  });
  document.addEventListener("paste", (event) => inspect([...event.clipboardData.files]));
  get("detector").addEventListener("change", () => {
    for (const box of document.querySelectorAll("[data-detector]"))
      box.hidden = box.dataset.detector !== get("detector").value;
  });
  for (const sample of document.querySelectorAll("[data-src]"))
    sample.addEventListener("click", async () => {
      const blob = await (await fetch(sample.dataset.src)).blob();
      inspect([new File([blob], "sample.png", { type: blob.type })]);
    });
  startCamera();
}

function startCamera() {
  const video = get("video");
  const close = () => {
    for (const track of video.srcObject?.getTracks() || []) track.stop();
    video.srcObject = null;
    get("camera-box").hidden = true;
    get("camera").focus();
  };
  get("camera").addEventListener("click", async () => {
    try {
      video.srcObject = await navigator.mediaDevices.getUserMedia({
        video: { facingMode: "environment", width: { ideal: 1920 } },
      });
      get("camera-box").hidden = false;
      get("snap").focus();
    } catch {
      say(result.dataset.camera);
    }
  });
  get("camera-off").addEventListener("click", close);
  get("snap").addEventListener("click", () => {
    if (!video.videoWidth) return; // It has no picture yet.
    const canvas = document.createElement("canvas");
    Object.assign(canvas, { width: video.videoWidth, height: video.videoHeight });
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob((blob) => inspect([new File([blob], "camera.png", { type: "image/png" })]), "image/png");
  });
}

if (drop) start();
