// A field may be called "dataset": inside a form, names of fields hide the form's own properties.
const PAGE = 50, FOLD = 20;
for (const form of document.querySelectorAll("form[data-table]")) {
  const table = document.getElementById(form.getAttribute("data-table"));
  const more = form.querySelector("button[data-more]");
  const fold = form.querySelector("input[data-fold]");
  const opened = new Set();
  let limit = PAGE;
  // Rows of one method with the same verdict and reason stand behind the first of them, until somebody asks for them.
  const equal = (row) => `${row.cells[0].textContent}|${row.querySelector("td.verdict").textContent}`;
  const lead = (row, others, key) => {
    row.querySelector("button.unfold")?.remove();
    if (!others.length) return;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "unfold";
    button.textContent = `and ${others.length} more`;
    button.setAttribute("aria-label", `Show ${others.length} more rows of ${row.cells[0].textContent} with this verdict`);
    button.addEventListener("click", () => { opened.add(key); update(); });
    row.cells[1].append(button);
  };
  const update = () => {
    const wanted = [...form.elements].filter((field) => field.name && field.value);
    const fits = (row, field) => field.type === "search"
      ? row.textContent.toLowerCase().includes(field.value.trim().toLowerCase())
      : row.dataset[field.name] === field.value;
    const rows = [...table.tBodies[0].rows];
    const groups = new Map();
    let found = 0, match = 0;
    for (const row of rows) {
      if (fold) lead(row, []);
      row.hidden = !wanted.every((field) => fits(row, field));
      const key = fold?.checked && !row.hidden ? equal(row) : "", group = key && !opened.has(key) && groups.get(key);
      row.classList.toggle("folded", Boolean(group));
      if (group) group.push(row); else if (key) groups.set(key, [row]);
      row.classList.toggle("later", !row.hidden && !group && found >= limit);
      match += !row.hidden;
      found += !row.hidden && !group;
    }
    if (fold) for (const [key, [first, ...others]] of groups) lead(first, opened.has(key) ? [] : others, key);
    more.hidden = found <= limit;
    const shown = Math.min(found, limit);
    form.querySelector("output").textContent = `${shown} of ${rows.length} rows` + (shown < match ? `, ${match} match` : "");
  };
  if (fold) fold.checked = fold.defaultChecked = table.tBodies[0].rows.length > FOLD;
  form.hidden = false;
  form.addEventListener("input", () => { limit = PAGE; update(); });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => { limit = PAGE; opened.clear(); setTimeout(update); });
  more.addEventListener("click", () => { limit = Infinity; update(); });
  table.addEventListener("sorted", update);
  update();
}

// Every column head sorts its table: numbers by value, other cells as text; pressed again, the other way.
for (const table of document.querySelectorAll("table[id]")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const descending = head.getAttribute("aria-sort") === "ascending";
      const value = (row) => row.cells[column].textContent.trim();
      const number = (text) => parseFloat(text.replace(/[^0-9.+-]*/, "").replace(/,/g, ""));
      const compare = (a, b) => {
        const [x, y] = [number(value(a)), number(value(b))];
        if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y) || value(a).localeCompare(value(b));
        return x - y;
      };
      const rows = [...table.tBodies[0].rows].sort((a, b) => (descending ? -1 : 1) * compare(a, b));
      table.tBodies[0].append(...rows);
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      table.dispatchEvent(new Event("sorted"));
    });
  });
}
