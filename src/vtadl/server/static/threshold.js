// What another threshold would have done to the parts that people judged.

const box = document.getElementById("try");
const slider = document.getElementById("threshold");
if (slider) {
  const { good, defective } = JSON.parse(box.dataset.scores);
  const now = Number(box.dataset.threshold);
  const all = [...good, ...defective, now];
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const margin = 0.1 * (high - low || Math.abs(now) || 1);
  const at = (place) => low - margin + (place / 1000) * (high - low + 2 * margin);
  slider.value = (1000 * (now - low + margin)) / (high - low + 2 * margin);
  const show = (threshold) => {
    const share = (count, total) => (total ? `${count} / ${total}` : "–");
    document.getElementById("value").value = threshold.toPrecision(4);
    document.getElementById("rejected").value = share(good.filter((s) => s > threshold).length, good.length);
    document.getElementById("missed").value = share(defective.filter((s) => s <= threshold).length, defective.length);
  };
  slider.addEventListener("input", () => {
    const threshold = at(slider.value);
    show(threshold);
    const change = document.getElementById("change");
    if (change) {
      change.disabled = false;
      document.getElementById("chosen").value = threshold.toPrecision(6);
    }
  });
  show(now);
}
