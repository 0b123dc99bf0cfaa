"use strict";
(function () {
  const margin = 10, room = 1180, character = 6.65;
  const byId = (id) => document.getElementById(id);
  const frames = Array.from(document.querySelectorAll(".frame"), (group) => {
    const rect = group.querySelector("rect");
    const title = group.querySelector("title").textContent;
    return {
      group, rect, title,
      text: group.querySelector("text"),
      // A name may hold a colon and a space; what follows it here does not.
      name: title.slice(0, title.lastIndexOf(": ")),
      x: parseFloat(rect.getAttribute("x")) - margin,
      width: parseFloat(rect.getAttribute("width")),
      y: parseFloat(rect.getAttribute("y")),
    };
  });
  if (frames.length === 0) return;
  const byGroup = new Map(frames.map((frame) => [frame.group, frame]));
  // Coordinates are rounded to hundredths.
  const tolerance = 0.02;

  function fitting(name, width) {
    const letters = Array.from(name), count = Math.floor(Math.max(width - 6, 0) / character);
    if (letters.length <= count) return name;
    return count < 3 ? "" : letters.slice(0, count - 1).join("") + "…";
  }

  function place(frame, x, width) {
    frame.rect.setAttribute("x", margin + x);
    frame.rect.setAttribute("width", width);
    frame.text.setAttribute("x", margin + x + 3);
    frame.text.textContent = fitting(frame.name, width);
  }

  function zoom(target) {
    const left = target.x, right = target.x + target.width, scale = room / target.width;
    for (const frame of frames) {
      const isBelow = frame.y >= target.y && frame !== target;
      const holds = frame.x <= left + tolerance && frame.x + frame.width >= right - tolerance;
      const isInside = frame.x >= left - tolerance && frame.x + frame.width <= right + tolerance;
      const isCaller = isBelow && holds;
      const isShown = isCaller || (!isBelow && isInside);
      frame.group.classList.toggle("hidden", !isShown);
      frame.group.classList.toggle("around", isCaller);
      if (isCaller) place(frame, 0, room);
      else if (isShown) place(frame, (frame.x - left) * scale, frame.width * scale);
    }
    byId("reset").classList.toggle("hidden", target === frames[0]);
  }

  // What is matched within what is matched counts once: boxes are looked at from left to right,
  // callers before what they call.
  function matchedShare(matched) {
    const order = matched.slice().sort((a, b) => a.x - b.x || b.width - a.width || b.y - a.y);
    let end = -1, sum = 0;
    for (const frame of order) {
      if (frame.x < end - tolerance) continue;
      sum += frame.width;
      end = frame.x + frame.width;
    }
    return sum / room;
  }

  function search(pattern) {
    const matched = frames.slice(1).filter((frame) => pattern && pattern.test(frame.name));
    for (const frame of frames) frame.group.classList.toggle("match", matched.includes(frame));
    const percent = (100 * matchedShare(matched)).toFixed(2);
    byId("matched").textContent = pattern ? "matched: " + percent + " %" : " ";
    byId("search").textContent = pattern ? "reset search" : "search";
  }

  let isSearching = false;
  function toggleSearch() {
    let pattern = null;
    if (!isSearching) {
      const answer = window.prompt("Search for functions (a regular expression):", "");
      if (!answer) return;
      try {
        pattern = new RegExp(answer, "u");
      } catch (error) {
        byId("matched").textContent = error.message;
        return;
      }
    }
    isSearching = pattern !== null;
    search(pattern);
  }

  document.addEventListener("click", (event) => {
    const group = event.target.closest(".frame");
    if (group) zoom(byGroup.get(group));
  });
  document.addEventListener("mouseover", (event) => {
    const group = event.target.closest(".frame");
    byId("details").textContent = group ? byGroup.get(group).title : " ";
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") zoom(frames[0]);
    if (event.key === "f" && event.ctrlKey) {
      event.preventDefault();
      toggleSearch();
    }
  });
  byId("reset").addEventListener("click", () => zoom(frames[0]));
  byId("search").addEventListener("click", toggleSearch);
})();
