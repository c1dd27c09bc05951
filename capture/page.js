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
  var diagram = document.getElementById("diagram");
  var routine = document.getElementById("routine");
  var parts = diagram ? Array.prototype.slice.call(diagram.querySelectorAll("svg.part")) : [];
  function make(name, attributes) {
    var e = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (var k in attributes) e.setAttribute(k, attributes[k]);
    return e;
  }
  function span(s) {
    return s.toFixed(s < 10 ? 3 : 1) + " s";
  }
  function mark(g, gap) { // the note of the time that went by before a row
    var old = g.querySelector("g.gap");
    if (old) g.removeChild(old);
    if (gap <= 1.5) return gap > 0.2 ? 10 : 0;
    var note = make("g", { "class": "gap" });
    note.appendChild(make("line", { x1: 140, y1: -24, x2: diagram.getAttribute("data-text") - 20, y2: -24 }));
    note.appendChild(make("text", { x: 12, y: -20 })).textContent = span(gap) + " later";
    g.insertBefore(note, g.firstChild);
    return 32;
  }
  function layout() {
    var last = null;
    parts.forEach(function (svg) {
      var y = 0, tops = [], first = +svg.getAttribute("data-first");
      svg.querySelectorAll("g.frame, g.event").forEach(function (g) {
        var hide = routine && !routine.checked && g.classList.contains("k-routine");
        g.style.display = hide ? "none" : "";
        if (!hide) {
          var t = +g.getAttribute("data-t");
          y += mark(g, last === null ? 0 : t - last);
          last = t;
          g.setAttribute("transform", "translate(0," + (y + 11) + ")");
        }
        tops.push(y + 11);
        if (!hide) y += +g.getAttribute("data-h");
      });
      svg.querySelectorAll("rect.band").forEach(function (r) {
        var from = r.getAttribute("data-from") - first, to = r.getAttribute("data-to") - first, until = +r.getAttribute("data-to");
        var top = from >= 0 ? Math.min(tops[from], y) : 0;
        var end = until >= 0 && to < tops.length ? Math.min(tops[to], y) : y;
        r.setAttribute("y", top);
        r.setAttribute("height", Math.max(0, end - top));
      });
      svg.querySelectorAll("line.lane").forEach(function (l) { l.setAttribute("y2", y); });
      svg.setAttribute("height", y);
      svg.setAttribute("viewBox", "0 0 " + svg.getAttribute("width") + " " + y);
      svg.style.display = y ? "" : "none";
    });
  }
  if (routine) {
    routine.addEventListener("change", layout);
    if (!routine.checked) layout();
  }
})();
