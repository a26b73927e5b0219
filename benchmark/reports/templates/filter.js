// A field may be called "dataset": inside a form, names of fields hide the form's own properties.
for (const form of document.querySelectorAll("form[data-table]")) {
  const rows = [...document.getElementById(form.getAttribute("data-table")).tBodies[0].rows];
  const update = () => {
    const wanted = [...form.elements].filter((field) => field.name && field.value);
    const fits = (row, field) => field.type === "search"
      ? row.textContent.toLowerCase().includes(field.value.trim().toLowerCase())
      : row.dataset[field.name] === field.value;
    for (const row of rows) row.hidden = !wanted.every((field) => fits(row, field));
    form.querySelector("output").textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
  };
  form.hidden = false;
  form.addEventListener("input", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(update));
  update();
}
