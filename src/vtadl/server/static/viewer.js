// A picture with a heat map over it: zoom to single pixels, pan, places to jump to.

const MOST = 32;

export function startViewer(root) {
  const frame = root.querySelector(".stage-frame");
  const stage = root.querySelector(".stage");
  const [width, height] = [Number(root.dataset.width), Number(root.dataset.height)];
  const photo = root.querySelector(".photo");
  const heat = root.querySelector(".heat");
  const opacity = root.querySelector(".opacity");
  const shown = root.querySelector(".scale");
  let scale = 1, x = 0, y = 0, fitted = 1, isFitted = true;

  frame.style.aspectRatio = `${width} / ${height}`;
  stage.style.width = `${width}px`;
  stage.style.height = `${height}px`;
  for (const region of root.querySelectorAll(".region")) {
    const [left, top, right, bottom] = region.dataset.box.split(",").map(Number);
    Object.assign(region.style, {
      left: `${left}px`, top: `${top}px`, width: `${right - left}px`, height: `${bottom - top}px`,
    });
    region.addEventListener("click", () => show(left, top, right, bottom));
  }

  function draw() {
    const [w, h] = [frame.clientWidth, frame.clientHeight];
    // A picture smaller than its frame stays in the middle; a larger one leaves no gap.
    x = width * scale <= w ? (w - width * scale) / 2 : Math.min(0, Math.max(w - width * scale, x));
    y = height * scale <= h ? (h - height * scale) / 2 : Math.min(0, Math.max(h - height * scale, y));
    stage.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
    stage.style.setProperty("--edge", `${2 / scale}px`);
    for (const number of stage.querySelectorAll(".region span")) number.style.transform = `scale(${1 / scale})`;
    stage.classList.toggle("pixels", scale > 2);
    shown.value = `${Math.round(scale * 100)} %`;
  }
  function zoom(factor, cx = frame.clientWidth / 2, cy = frame.clientHeight / 2) {
    const next = Math.min(MOST, Math.max(Math.min(fitted, 1), scale * factor));
    x = cx - ((cx - x) * next) / scale;
    y = cy - ((cy - y) * next) / scale;
    scale = next;
    isFitted = false;
    draw();
  }
  function fit() {
    fitted = Math.min(frame.clientWidth / width, frame.clientHeight / height);
    scale = fitted;
    isFitted = true;
    draw();
  }
  function show(left, top, right, bottom) {
    const [w, h] = [frame.clientWidth, frame.clientHeight];
    scale = Math.min(MOST, 0.5 * Math.min(w / (right - left), h / (bottom - top)));
    scale = Math.max(scale, fitted);
    x = w / 2 - ((left + right) / 2) * scale;
    y = h / 2 - ((top + bottom) / 2) * scale;
    isFitted = false;
    draw();
  }
  function fade() {
    heat.style.opacity = opacity.value / 100;
    photo.style.filter = `grayscale(${Math.min(1, opacity.value / 50)})`;
  }

  const pointers = new Map();
  frame.addEventListener("pointerdown", (event) => {
    if (event.target.closest(".region")) return;
    frame.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, event);
  });
  frame.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const other = [...pointers.values()].find((one) => one.pointerId !== event.pointerId);
    if (other) {
      const distance = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY) || 1;
      const box = frame.getBoundingClientRect();
      const middle = [(event.clientX + other.clientX) / 2 - box.left, (event.clientY + other.clientY) / 2 - box.top];
      zoom(distance(event) / distance(before), ...middle);
    } else {
      x += event.clientX - before.clientX;
      y += event.clientY - before.clientY;
      isFitted = false;
      draw();
    }
    pointers.set(event.pointerId, event);
  });
  for (const kind of ["pointerup", "pointercancel"]) frame.addEventListener(kind, (e) => pointers.delete(e.pointerId));
  frame.addEventListener("wheel", (event) => {
    event.preventDefault();
    const box = frame.getBoundingClientRect();
    zoom(Math.exp(-event.deltaY / 400), event.clientX - box.left, event.clientY - box.top);
  }, { passive: false });
  frame.addEventListener("dblclick", fit);
  frame.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
    if (event.key === "+" || event.key === "=") zoom(1.5);
    else if (event.key === "-") zoom(1 / 1.5);
    else if (event.key === "0") fit();
    else if (moves[event.key]) { x += moves[event.key][0]; y += moves[event.key][1]; draw(); }
    else return;
    event.preventDefault();
  });
  root.querySelector(".zoom-in").addEventListener("click", () => zoom(1.5));
  root.querySelector(".zoom-out").addEventListener("click", () => zoom(1 / 1.5));
  root.querySelector(".fit").addEventListener("click", fit);
  opacity.addEventListener("input", fade);
  new ResizeObserver(() => (isFitted ? fit() : draw())).observe(frame);
  fit();
  fade();
}
