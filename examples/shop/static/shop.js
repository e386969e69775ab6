"use strict";

// What this page cost: the server says so in a Server-Timing header.
function showCost() {
  const [page] = performance.getEntriesByType("navigation");
  const show = (fact, text) => { document.querySelector(`[data-fact="${fact}"]`).textContent = text; };
  for (const { name, description } of page.serverTiming ?? []) show(name, description);
  show("wait", `${(page.responseStart - page.requestStart).toFixed(1)} ms`);
}

// What the feed shows, and the position in the stream after it, outlive the page: the next one goes
// on there, and a sale between the two is not missed.
const feed = document.getElementById("feed");
const memory = { sales: [], position: "", ...JSON.parse(sessionStorage.getItem("feed")) };

function remember(position) {
  memory.position = position;
  sessionStorage.setItem("feed", JSON.stringify(memory));
}

function showSale(sale, isNew) {
  const item = document.createElement("li");
  const link = document.createElement("a");
  link.href = `/books/${sale.id}`;
  link.textContent = sale.title;
  item.append(`${sale.buyer} bought `, link, ` for € ${sale.price}`); // text, never HTML
  item.classList.toggle("new", isNew);
  feed.querySelector(".quiet")?.remove();
  feed.prepend(item);
  while (feed.children.length > 8) feed.lastElementChild.remove();
}

function listen() {
  const light = document.getElementById("feed-state");
  const position = feed.dataset.cursor || memory.position;
  const query = position ? `?last_event_id=${encodeURIComponent(position)}` : "";
  const source = new EventSource(feed.dataset.url + query);
  const live = (on) => { light.classList.toggle("on", on); light.title = on ? "live" : "reconnecting"; };
  source.onopen = () => live(true);
  source.onerror = () => live(false);
  source.addEventListener("sale", (event) => {
    const { data } = JSON.parse(event.data);
    memory.sales = [...memory.sales, data].slice(-8);
    remember(event.lastEventId);
    showSale(data, true);
  });
  source.addEventListener("job", (event) => {
    remember(event.lastEventId);
    showJob(JSON.parse(event.data).data);
  });
  source.addEventListener("reset", (event) => remember(event.lastEventId));
}

function showJob(job) {
  const card = document.getElementById("job");
  if (card?.dataset.job !== job.id) return;
  if (job.state === "finished" || job.state === "failed") location.reload();
  card.querySelector("progress").value = job.progress;
  card.querySelector("p").textContent = job.note;
}

function countDown() {
  const place = document.getElementById("retry");
  const left = place?.querySelector("b");
  if (!left) return;
  const timer = setInterval(() => {
    left.textContent -= 1;
    if (left.textContent > 0) return;
    clearInterval(timer);
    place.textContent = "You can go on now.";
  }, 1000);
}

memory.sales.forEach((sale) => showSale(sale, false));
listen();
countDown();
addEventListener("load", () => setTimeout(showCost));
addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
