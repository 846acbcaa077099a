// The console's only script: when the server says that something changed, parts of the page marked data-live are read again
// and put in place. Without it every page works the same and is as fresh as its last load.
"use strict";
(() => {
  document.addEventListener("keydown", (event) => {
    const menu = document.querySelector("details.menu[open]");
    if (event.key === "Escape" && menu) { menu.open = false; menu.querySelector("summary").focus(); }
  });

  const main = document.getElementById("main");
  const follow = main && main.dataset.follow;
  if (!follow || !window.EventSource || !window.fetch) return;
  const state = document.getElementById("live-state");
  const note = document.querySelector("[data-changed-note]");
  let busy = false, again = false, wasLive = false, waiting = 0, source;

  const say = (text) => { if (state && state.textContent !== text) state.textContent = text; };

  const untouched = (place) => !place.contains(document.activeElement) || document.activeElement === main;

  const keepOpen = (before, after) => {
    const was = before.querySelectorAll("details");
    after.querySelectorAll("details").forEach((one, number) => { if (was[number]) one.open = was[number].open; });
  };

  async function refresh() {
    if (busy) { again = true; return; }
    busy = true;
    try {
      const answer = await fetch(location.href, { headers: { "x-live": "1" }, credentials: "same-origin" });
      if (answer.redirected || answer.status === 401) { location.reload(); return; }
      if (!answer.ok) return;
      const next = new DOMParser().parseFromString(await answer.text(), "text/html");
      document.querySelectorAll("[data-live]").forEach((place) => {
        const fresh = next.querySelector('[data-live="' + place.dataset.live + '"]');
        if (!fresh) return;
        keepOpen(place, fresh);
        if (fresh.innerHTML === place.innerHTML || !untouched(place)) return;
        const known = new Set([...place.querySelectorAll("li[id]")].map((one) => one.id));
        place.innerHTML = fresh.innerHTML;
        if (known.size) place.querySelectorAll("li[id]").forEach((one) => { if (!known.has(one.id)) one.dataset.changed = ""; });
      });
    } catch (problem) {
      say("The page could not be refreshed; it tries again.");
    } finally {
      busy = false;
      if (again) { again = false; refresh(); }
    }
  }

  // a hidden page waits until somebody looks: it costs nothing, and keeps nobody signed in
  const soon = () => { clearTimeout(waiting); if (!document.hidden) waiting = setTimeout(refresh, 150); };

  function listen() {
    source = new EventSource("/events?follow=" + encodeURIComponent(follow));
    source.addEventListener("open", () => {
      wasLive = true;
      say("Live.");
      soon();  // what changed between the page's making and this moment, nobody told it
    });
    source.addEventListener("changed", (event) => {
      if (note && event.data === "material") note.hidden = false;
      soon();
    });
    source.addEventListener("time", soon);
    source.addEventListener("error", () => {
      if (source.readyState !== EventSource.CLOSED) { say("Not live: the connection was lost. It tries again."); return; }
      say("");  // the server does not follow this page, or nobody is signed in any more: the page itself says which
      if (wasLive) { wasLive = false; refresh(); }
    });
  }

  listen();
  window.addEventListener("pageshow", (event) => { if (event.persisted) { source.close(); listen(); refresh(); } });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) soon(); });
})();
