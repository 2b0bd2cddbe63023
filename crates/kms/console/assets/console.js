// What a page can do besides: everything works without it.
"use strict";

// Names are copied with one click.
function offerCopy(root) {
  for (const place of root.querySelectorAll(".copy code, pre")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "quiet";
    button.textContent = document.body.dataset.copy;
    button.setAttribute("aria-describedby", place.id ||= `copied-${root.querySelectorAll("[id^=copied-]").length + 1}`);
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(place.textContent.trim());
      button.textContent = document.body.dataset.copied;
    });
    place.after(" ", button);
  }
}

// The exact time, as the reader's clock and language have it.
function nameTimes(root) {
  const format = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "long", timeStyle: "long" });
  for (const time of root.querySelectorAll("time[datetime]")) {
    time.title = format.format(new Date(time.dateTime));
  }
}

// The command beside a form says what was typed.
function fillCommands() {
  for (const place of document.querySelectorAll("[data-of]")) {
    const field = document.getElementById(place.dataset.of);
    const proposed = place.textContent;
    const fill = () => { place.textContent = field.value || proposed; };
    field?.addEventListener("input", fill);
    if (field) fill();
  }
}

// What is being done to a cluster is read again until it is done.
async function follow() {
  const live = document.getElementById("live");
  if (!live || !("live" in live.dataset)) return;
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const next = page.getElementById("live");
    if (answer.ok && next) {
      live.replaceWith(next);
      nameTimes(next);
      offerCopy(next);
    }
  } finally {
    setTimeout(follow, 2000);
  }
}

offerCopy(document);
nameTimes(document);
fillCommands();
setTimeout(follow, 2000);
