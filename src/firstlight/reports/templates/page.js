(function () {
  "use strict";
  var root = document.documentElement, dark = window.matchMedia("(prefers-color-scheme: dark)");
  var chosen = null, figures = JSON.parse(document.getElementById("figures").textContent);
  var button = document.querySelector("button.theme");
  function isDark() { return chosen === null ? dark.matches : chosen === "dark"; }
  function colour(name) { return getComputedStyle(root).getPropertyValue(name).trim(); }
  function themed(layout) {
    var ink = colour("--ink"), grid = colour("--grid"), soft = colour("--soft"), copy = JSON.parse(JSON.stringify(layout));
    copy.paper_bgcolor = "rgba(0,0,0,0)"; copy.plot_bgcolor = "rgba(0,0,0,0)";
    copy.font = { family: getComputedStyle(document.body).fontFamily, size: 13, color: ink };
    copy.hoverlabel = { bgcolor: colour("--panel"), bordercolor: colour("--line"), font: { color: ink, size: 12 } };
    ["xaxis", "yaxis"].forEach(function (axis) {
      copy[axis].gridcolor = grid; copy[axis].linecolor = soft; copy[axis].tickcolor = soft;
    });
    (copy.shapes || []).forEach(function (s) { s.line.color = soft; });
    (copy.annotations || []).forEach(function (a) { a.font = { color: soft, size: 12 }; });
    return copy;
  }
  function draw() {
    root.dataset.theme = isDark() ? "dark" : "light";
    if (button) { button.textContent = isDark() ? "Light" : "Dark"; button.setAttribute("aria-label", "Switch to " + (isDark() ? "light" : "dark") + " colours"); }
    document.querySelectorAll(".chart").forEach(function (div) {
      var figure = figures[Number(div.dataset.figure)], layout = themed(figure.layout);
      var narrow = div.clientWidth < 520;
      if (narrow) { layout.margin.l = 44; layout.margin.r = 4; layout.legend.font.size = 11; layout.legend.y = -0.25; layout.height = 480; }
      Plotly.react(div, figure.data, layout, { responsive: true, displayModeBar: false });
    });
  }
  if (button) { button.hidden = false; button.addEventListener("click", function () { chosen = isDark() ? "light" : "dark"; draw(); }); }
  dark.addEventListener("change", draw);
  draw();
})();
