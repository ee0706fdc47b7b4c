"use strict";
// Pointing at marks, sorting, and copying. Without JavaScript the report shows the same data.
const rows = new Map([...document.querySelectorAll("#measured tr[data-i]")].map((row) => [row.dataset.i, row]));

function element(name, text, className) {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function copyButton(text, pre) {
  const button = element("button", "Copy", "copy");
  button.type = "button";
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(pre);
      button.textContent = "Selected: copy it with the keyboard";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  return button;
}

function show(index, figure) {
  document.querySelectorAll(".on").forEach((one) => one.classList.remove("on"));
  document.querySelectorAll(`[data-i="${index}"]`).forEach((one) => one.classList.add("on"));
  document.querySelectorAll(`.mark[data-i="${index}"]`).forEach((mark) => mark.parentNode.append(mark));
  const row = rows.get(index);
  const pre = row.querySelector("pre").cloneNode(true);
  const caption = figure.querySelector("figcaption");
  caption.classList.add("used");
  caption.replaceChildren(
    element("strong", row.dataset.name), element("p", row.dataset.numbers), pre, copyButton(pre.textContent, pre));
}

for (const svg of document.querySelectorAll("svg.plot")) {
  const figure = svg.closest("figure");
  const marks = [...svg.querySelectorAll(".mark")].sort((a, b) => a.dataset.x - b.dataset.x || b.dataset.y - a.dataset.y);
  const nearest = (event, reach) => {
    const matrix = svg.getScreenCTM();
    const distance = (mark) => {
      const at = new DOMPoint(mark.dataset.x, mark.dataset.y).matrixTransform(matrix);
      return Math.hypot(at.x - event.clientX, at.y - event.clientY);
    };
    const best = marks.reduce((a, b) => (distance(b) < distance(a) ? b : a));
    return distance(best) <= reach ? best.dataset.i : null;
  };
  let shown = null;
  const choose = (index) => {
    if (index !== null && index !== shown) show(shown = index, figure);
  };
  svg.addEventListener("pointermove", (event) => choose(nearest(event, 20)));
  svg.addEventListener("click", (event) => choose(nearest(event, 40)));
  svg.addEventListener("pointerleave", () => { shown = null; });
  svg.tabIndex = 0;
  svg.addEventListener("keydown", (event) => {
    const at = marks.findIndex((mark) => mark.classList.contains("on"));
    const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: marks.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    choose(marks[Math.min(Math.max(next, 0), marks.length - 1)].dataset.i);
  });
}
for (const caption of document.querySelectorAll("figcaption")) {
  caption.append(element("p", "Point at a mark or tap it, or use the arrow keys, to see what it is and the call that makes it.", "muted"));
}
for (const pre of document.querySelectorAll(".choice pre")) pre.after(copyButton(pre.textContent, pre));

const table = document.querySelector("#measured");
for (const heading of table ? table.tHead.rows[0].cells : []) {
  const button = element("span", heading.textContent);
  button.role = "button"; // not a <button>: browsers omit buttons from a heading that they repeat on paper
  button.tabIndex = 0;
  heading.replaceChildren(button);
  button.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    button.click();
  });
  button.addEventListener("click", () => {
    const falling = heading.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const value = (row) => row.cells[heading.cellIndex].dataset.v;
    const order = [...rows.values()].sort((a, b) =>
      heading.cellIndex ? value(a) - value(b) : value(a).localeCompare(value(b), undefined, { numeric: true }));
    table.tBodies[0].append(...(falling ? order.reverse() : order));
  });
}
