"use strict";
// Sorting and filtering; everything else of a page works without a script.

function add(parent, tag, properties) {
  return parent.appendChild(Object.assign(document.createElement(tag), properties));
}

function readCell(row, column) {
  const text = row.cells[column]?.textContent.trim() ?? "";
  const number = Number.parseFloat(text);
  return { text, number: Number.isNaN(number) ? null : number };
}

function sortRows(table, head, column) {
  const isNumeric = head.classList.contains("n");
  const first = isNumeric ? "descending" : "ascending";
  const second = isNumeric ? "ascending" : "descending";
  const order = head.getAttribute("aria-sort") === first ? second : first;
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  const rows = [...table.tBodies[0].rows].map((row) => [readCell(row, column), row]);
  rows.sort(([a], [b]) => {
    if (!isNumeric) return sign * a.text.localeCompare(b.text, "en", { numeric: true });
    // A row without a number is the last one in either order.
    if (a.number === null || b.number === null) {
      return (a.number === null) - (b.number === null);
    }
    return sign * (a.number - b.number);
  });
  table.tBodies[0].append(...rows.map(([, row]) => row));
}

for (const table of document.querySelectorAll(".wide > table:not(.unsorted)")) {
  if (table.tBodies[0].rows.length < 2) continue;
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const text = head.textContent;
    // A button needs a name.
    if (!text.trim()) return;
    head.textContent = "";
    const button = add(head, "button", { type: "button", textContent: text });
    button.addEventListener("click", () => sortRows(table, head, column));
  });
}

for (const box of document.querySelectorAll("[data-filter]")) {
  // The rows of a table in a card are no items of their own.
  const items = [...box.querySelectorAll("tbody tr, .card")].filter((item) => {
    const outer = item.parentElement.closest("tbody tr, .card");
    return !box.contains(outer);
  });
  const bar = document.createElement("p");
  bar.className = "filter";
  const label = add(bar, "label", { textContent: `${box.dataset.filter} ` });
  const input = add(label, "input", { type: "search", autocomplete: "off" });
  const count = add(bar, "output", {});
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/);
    let shown = 0;
    for (const item of items) {
      const text = item.textContent.toLowerCase();
      item.hidden = !words.every((word) => text.includes(word));
      shown += !item.hidden;
    }
    count.textContent = input.value ? `${shown} of ${items.length}` : "";
  });
  box.prepend(bar);
}

// Mark the cell of the confusion matrix whose list is shown.
function markCell() {
  for (const link of document.querySelectorAll(".matrix td a")) {
    if (link.hash === location.hash) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}
addEventListener("hashchange", markCell);
markCell();

// A box that scrolls can be reached by the keyboard, and only such a box.
function markScrolling() {
  for (const box of document.querySelectorAll(".wide")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}
addEventListener("resize", markScrolling);
markScrolling();

// What is folded is printed all the same.
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  for (const details of opened) details.open = true;
});
addEventListener("afterprint", () => {
  for (const details of opened) details.open = false;
});
