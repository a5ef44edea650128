// What pages gain by a script: buttons that copy, a list that is followed at once, a key for the search field.
"use strict";
document.documentElement.classList.add("scripted");
for (const button of document.querySelectorAll("button.copy")) {
  button.addEventListener("click", async () => {
    const text = document.getElementById(button.dataset.copies).textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(document.getElementById(button.dataset.copies));
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
}
const size = document.getElementById("size");
if (size) size.addEventListener("change", () => size.form.requestSubmit());
// A form without a condition does not name one in its address.
for (const form of document.querySelectorAll("form.query")) {
  form.addEventListener("submit", () => {
    const field = form.elements.field;
    if (field && !field.value) for (const name of ["field", "op", "value"]) form.elements[name].disabled = true;
    if (form.elements.q && !form.elements.q.value) form.elements.q.disabled = true;
  });
}
// Where facets stand above the records, they begin closed.
if (matchMedia("(max-width: 46rem)").matches) {
  for (const facet of document.querySelectorAll("details.facet")) facet.open = false;
}
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select, [contenteditable]");
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const field = document.getElementById("q") || document.querySelector("input[type=search]");
  if (field) { event.preventDefault(); field.focus(); }
});
