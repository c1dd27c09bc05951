(function () {
  "use strict";
  var frames = JSON.parse(document.getElementById("frames").textContent);
  var box = document.getElementById("details");
  var on = null;
  function dump(hex) {
    var out = "";
    for (var i = 0; i < hex.length; i += 32) {
      var bytes = hex.slice(i, i + 32).match(/../g) || [];
      var text = bytes.map(function (b) {
        var c = parseInt(b, 16);
        return c > 31 && c < 127 ? String.fromCharCode(c) : ".";
      }).join("");
      out += (i / 2).toString(16).padStart(4, "0") + "  " + bytes.join(" ").padEnd(49) + text + "\n";
    }
    return out;
  }
  function show(g) {
    var f = frames[g.getAttribute("data-no")];
    if (!f) return;
    if (on) on.classList.remove("on");
    on = g;
    g.classList.add("on");
    box.querySelector("h2").textContent = "Frame " + g.getAttribute("data-no") + ", " + f.p + ", " + f.t + (f.w ? ", seen at " + f.w : "");
    box.querySelector("p").textContent = f.s;
    var table = box.querySelector("table");
    table.textContent = "";
    f.f.forEach(function (x) {
      var row = table.insertRow();
      row.insertCell().textContent = x[0];
      row.insertCell().textContent = x[1];
    });
    box.querySelector("pre").textContent = dump(f.d) + (f.d.length / 2 < f.n ? "... " + f.n + " bytes in all\n" : "");
    box.hidden = false;
  }
  function hide() {
    box.hidden = true;
    if (on) on.classList.remove("on");
    on = null;
  }
  document.querySelectorAll("g.frame").forEach(function (g) {
    g.addEventListener("click", function () { show(g); });
    g.addEventListener("keydown", function (e) {
      if (e.key === "Enter" || e.key === " ") { show(g); e.preventDefault(); }
    });
  });
  document.getElementById("close").addEventListener("click", hide);
  document.addEventListener("keydown", function (e) { if (e.key === "Escape") hide(); });
  var routine = document.getElementById("routine");
  if (routine) routine.addEventListener("change", function () {
    document.getElementById("diagram").classList.toggle("calm", !routine.checked);
  });
})();
