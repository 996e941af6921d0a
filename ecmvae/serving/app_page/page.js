// The time line follows the result as it plays, and a click on it goes there.
const resultVideo = () => document.querySelector("#result video");
const curves = () => document.querySelector("#timeline .timeline");

document.addEventListener("timeupdate", (event) => {
  if (curves() && event.target === resultVideo()) {
    const share = event.target.currentTime / Math.max(curves().dataset.seconds, 1e-3);
    curves().style.setProperty("--now", Math.min(share, 1));
  }
}, true);

document.addEventListener("click", (event) => {
  const lanes = event.target.closest("#timeline .lanes");
  if (lanes && resultVideo()) {
    const box = lanes.getBoundingClientRect();
    resultVideo().currentTime = (event.clientX - box.left) / box.width * curves().dataset.seconds;
  }
});

// Gradio gives the pictures of the examples no names that a screen reader could say.
new MutationObserver(() => {
  document.querySelectorAll(".gallery-item").forEach((item, index) => {
    if (!item.ariaLabel) item.ariaLabel = `Example video ${index + 1}`;
  });
}).observe(document, {childList: true, subtree: true});
