/* Filters findings and sorts tables. The report is complete without it; it makes its own controls. */
"use strict";
for (const table of document.querySelectorAll("table.sortable, table.recipients")) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  [...table.tHead.rows[0].cells].forEach((cell, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...cell.childNodes);
    cell.append(button);
    button.addEventListener("click", () => {
      const down = cell.ariaSort === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      cell.ariaSort = down ? "descending" : "ascending";
      const numeric = cell.classList.contains("number");
      const key = row => row.cells[column].dataset.value ?? row.cells[column].innerText.trim();
      const size = text => Number.parseFloat(text.replaceAll(",", "")) *
        ({ kB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12 }[text.match(/[kMGT]B/)?.[0]] ?? 1) || 0;
      rows.sort((a, b) => (down ? -1 : 1) * (numeric ? size(key(a)) - size(key(b)) : key(a).localeCompare(key(b), "en")));
      body.append(...rows);
    });
  });
}
const findings = document.getElementById("findings");
const articles = [...findings.querySelectorAll("article.finding")];
if (articles.length > 3) {
  const label = document.createElement("label");
  const input = document.createElement("input");
  const told = document.createElement("span");
  input.type = "search";
  told.setAttribute("role", "status");
  label.className = "filter";
  label.append("Show only findings with ", input);
  findings.querySelector("h2").after(label, told);
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const article of articles) {
      const text = article.textContent.toLowerCase();
      article.hidden = !words.every(word => text.includes(word));
      shown += article.hidden ? 0 : 1;
    }
    told.textContent = words.length ? `${shown} of ${articles.length} shown` : "";
  });
}
