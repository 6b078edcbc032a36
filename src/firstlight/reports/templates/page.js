// Draws the figures and paints them in the style sheet's colours, again whenever the scheme or the room changes.
(function () {
  "use strict";
  var root = document.documentElement;
  var dark = window.matchMedia("(prefers-color-scheme: dark)"), narrow = window.matchMedia("(max-width: 600px)");
  var figures = JSON.parse(document.getElementById("figures").textContent);
  var button = document.querySelector("button.theme"), keys = document.querySelectorAll(".legend button");
  var colours = 10, chosen = null, hidden = {}, printing = false;

  function isDark() { return !printing && (chosen === null ? dark.matches : chosen === "dark"); }
  function copied(plain) { return JSON.parse(JSON.stringify(plain)); }
  function faint(hex) {
    var parts = [1, 3, 5].map(function (i) { return parseInt(hex.slice(i, i + 2), 16); });
    return "rgba(" + parts.join(",") + ",0.13)";
  }
  function shortened(word) {
    var most = narrow.matches ? 15 : 34;
    return word.length > most ? word.slice(0, most - 1) + "…" : word;
  }

  function painted(trace, variable) {
    var colour = variable("--s" + (trace.meta.style % colours)), copy = copied(trace);
    copy.visible = !hidden[trace.meta.style];
    if (trace.meta.band) { copy.fillcolor = faint(colour); copy.line.color = "rgba(0,0,0,0)"; return copy; }
    copy.line.color = colour;
    copy.marker.color = colour;
    ["error_x", "error_y"].forEach(function (bars) { if (copy[bars]) { copy[bars].color = colour; } });
    return copy;
  }
  function laidOut(layout, variable) {
    var copy = copied(layout), ink = variable("--ink"), soft = variable("--soft");
    copy.paper_bgcolor = copy.plot_bgcolor = "rgba(0,0,0,0)";
    copy.font = { family: getComputedStyle(document.body).fontFamily, size: narrow.matches ? 12 : 13, color: ink };
    copy.hoverlabel = { bgcolor: variable("--panel"), bordercolor: variable("--line"), font: { color: ink, size: 12 }, namelength: 40 };
    ["xaxis", "yaxis"].forEach(function (name) {
      var axis = copy[name];
      axis.gridcolor = variable("--grid");
      axis.linecolor = axis.tickcolor = soft;
      if (axis.title) { axis.title.font = { size: 13, color: soft }; }
      axis.fixedrange = narrow.matches;  // a finger on a chart scrolls the page
      if (name === "yaxis" && axis.ticktext) { axis.ticktext = axis.ticktext.map(shortened); }
    });
    (copy.shapes || []).forEach(function (shape) { shape.line.color = soft; });
    if (narrow.matches) { copy.margin.l = 40; copy.hovermode = "closest"; }
    copy.autosize = !printing;
    if (printing) { copy.width = 640; copy.height = Math.min(copy.height, 330); }
    return copy;
  }
  function draw() {
    root.dataset.theme = isDark() ? "dark" : "light";
    var sheet = getComputedStyle(root);
    function variable(name) { return sheet.getPropertyValue(name).trim(); }
    if (button) {
      button.textContent = isDark() ? "Light" : "Dark";
      button.setAttribute("aria-label", "Switch to " + (isDark() ? "light" : "dark") + " colours");
    }
    document.querySelectorAll(".chart").forEach(function (div) {
      var figure = figures[Number(div.dataset.figure)];
      var data = figure.data.map(function (trace) { return painted(trace, variable); });
      Plotly.react(div, data, laidOut(figure.layout, variable), { responsive: true, displayModeBar: false });
    });
  }
  function fit() { document.querySelectorAll(".chart").forEach(function (div) { Plotly.Plots.resize(div); }); }
  // One legend's key hides or shows its series in every chart.
  function toggle(style) {
    hidden[style] = !hidden[style];
    keys.forEach(function (key) { key.setAttribute("aria-pressed", String(!hidden[key.dataset.style])); });
    draw();
  }
  keys.forEach(function (key) { key.addEventListener("click", function () { toggle(key.dataset.style); }); });
  if (button) {
    button.hidden = false;
    button.addEventListener("click", function () { chosen = isDark() ? "light" : "dark"; draw(); });
  }
  dark.addEventListener("change", draw);
  narrow.addEventListener("change", draw);
  window.addEventListener("beforeprint", function () { printing = true; draw(); });
  window.addEventListener("afterprint", function () { printing = false; draw(); fit(); });
  draw();
})();
