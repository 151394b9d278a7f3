"use strict";
const dialog = document.querySelector("dialog");
const content = document.getElementById("content");
document.querySelector("table").addEventListener("click", (event) => {
  const button = event.target.closest("[data-opens]");
  if (!button) return;
  content.replaceChildren(document.getElementById(button.dataset.opens).content.cloneNode(true));
  dialog.showModal();
  dialog.scrollTop = 0;
  content.focus({ preventScroll: true });
});
// A click beside the dialog closes it, too.
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
// Arrows move between cells.
document.querySelector("table").addEventListener("keydown", (event) => {
  const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
  const cell = event.target.closest("td");
  if (!step || !cell) return;
  const rows = [...document.querySelectorAll("tbody tr")].filter((row) => row.querySelector("td"));
  const row = rows[rows.indexOf(cell.parentElement) + step[0]];
  const next = row && row.cells[cell.cellIndex + step[1]];
  const button = next && next.querySelector("button");
  if (button) { button.focus(); event.preventDefault(); }
});
