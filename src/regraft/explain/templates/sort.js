document.querySelectorAll("table.sortable").forEach(function (table) {
  table.querySelectorAll("thead th").forEach(function (head, column) {
    if (!head.dataset.kind) return;
    var button = document.createElement("button");
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", function () {
      var down = head.getAttribute("aria-sort") !== "descending";
      if (head.dataset.kind === "text" && !head.hasAttribute("aria-sort")) down = false;
      table.querySelectorAll("th[aria-sort]").forEach(function (one) { one.removeAttribute("aria-sort"); });
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      var body = table.tBodies[0];
      var rows = Array.from(body.rows);
      rows.sort(function (first, second) {
        var a = first.cells[column].dataset.value, b = second.cells[column].dataset.value;
        var order = head.dataset.kind === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true });
        return down ? -order : order;
      });
      body.append.apply(body, rows);
    });
  });
});
function openNamed() {
  var named = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (named && named.tagName === "DETAILS") named.open = true;
}
window.addEventListener("hashchange", openNamed);
openNamed();
