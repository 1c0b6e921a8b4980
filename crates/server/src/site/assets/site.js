// What pages can't do without a script: the viewer's time zone, copying, and what is live. Every page works without it.
"use strict";
(() => {
  document.documentElement.classList.add("scripted");
  const announcer = document.getElementById("announce");

  // The server writes times in this zone from the next page on.
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const told = document.cookie.match(/(?:^|; )countersign-zone=([^;]*)/)?.[1];
  if (zone && told !== encodeURIComponent(zone)) {
    document.cookie = `countersign-zone=${encodeURIComponent(zone)}; Path=/; SameSite=Lax; Max-Age=31536000`;
  }

  // Blocks of code get a button that copies them.
  for (const [place, code] of document.querySelectorAll(".code code").entries()) {
    code.id ||= `code-${place}`;
    const label = Object.assign(document.createElement("span"), { textContent: "Copy" });
    const button = Object.assign(document.createElement("button"), { type: "button", className: "button quiet small" });
    button.dataset.copyFrom = code.id;
    button.append(label);
    code.closest(".code").append(button);
  }

  // On a phone the places stand in a row that scrolls: the present one comes into it.
  document.querySelector(".side [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

  // Copy buttons: data-copy holds the text, data-copy-from the id of what holds it.
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy], [data-copy-from]");
    if (!button) return;
    const text = button.dataset.copy ?? document.getElementById(button.dataset.copyFrom).textContent;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = Object.assign(document.createElement("textarea"), { value: text, className: "unseen" });
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    const label = button.querySelector("span") ?? button;
    const before = label.textContent;
    label.textContent = "Copied";
    button.classList.add("copied");
    announcer.textContent = "Copied";
    setTimeout(() => {
      label.textContent = before;
      button.classList.remove("copied");
    }, 1500);
  });

  // Who reads one language reads it in every group of tabs, on the next page too.
  const tabs = [...document.querySelectorAll("[data-tab]")];
  const choose = (name) => {
    for (const tab of tabs) if (tab.dataset.tab === name) tab.checked = true;
  };
  if (tabs.length) choose(localStorage.getItem("countersign-tab"));
  for (const tab of tabs) {
    tab.addEventListener("change", () => {
      const before = tab.getBoundingClientRect().top;
      choose(tab.dataset.tab);
      localStorage.setItem("countersign-tab", tab.dataset.tab);
      scrollBy(0, tab.getBoundingClientRect().top - before);
    });
  }

  // Elements are told by their names: they are others once their part was drawn anew.
  const heading = (details) =>
    `${details.closest("[aria-labelledby]")?.getAttribute("aria-labelledby")} ${details.querySelector("summary").textContent}`;
  const named = (element) => ({ tag: element.localName, name: element.id || element.textContent });

  // A part that is live: <div id="…" data-live="/events">. Each event says only that something changed: the page is asked
  // for again, and the part is taken over from it, so that one place knows how it looks. What the viewer opened stays open.
  for (const part of document.querySelectorAll("[data-live]")) {
    const source = new EventSource(part.dataset.live);
    let asking = false;
    let again = false;
    const refresh = async () => {
      if (asking) {
        again = true;
        return;
      }
      asking = true;
      do {
        again = false;
        const answer = await fetch(location.href, { headers: { accept: "text/html" } });
        if (answer.redirected) return location.assign(answer.url);
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const fresh = page.getElementById(part.id);
        if (!fresh) return location.reload();
        // As it would look with what the viewer opened and closed: only then it can be told whether something changed.
        const seen = new Map([...part.querySelectorAll("details")].map((details) => [heading(details), details.open]));
        for (const details of fresh.querySelectorAll("details")) details.open = seen.get(heading(details)) ?? details.open;
        if (fresh.innerHTML !== part.innerHTML) {
          const focus = part.contains(document.activeElement) ? named(document.activeElement) : null;
          document.getElementById("icons").innerHTML = page.getElementById("icons").innerHTML;
          part.innerHTML = fresh.innerHTML;
          if (focus) [...part.querySelectorAll(focus.tag)].find((element) => named(element).name === focus.name)?.focus();
          const said = part.querySelector("[data-say]");
          if (said) announcer.textContent = said.textContent;
        }
        if (!("live" in fresh.dataset)) source.close();
      } while (again);
      asking = false;
    };
    source.addEventListener("change", refresh);
    source.addEventListener("leave", (event) => location.assign(event.data));
  }
})();
