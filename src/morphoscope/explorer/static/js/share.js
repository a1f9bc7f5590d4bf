// Handing a view on: its address, its rows, or to another program of this machine.

import { address, post } from "./api.js";
import { announce, h, replace, withinWindow } from "./dom.js";
import { question, shared } from "./route.js";

// values(): of the address at the time.
export function shareMenu(values) {
  const said = h("p", { class: "small muted", role: "status", style: { padding: "0.2rem 0.6rem" } });
  const item = (title, what, action) => h("button", { type: "button", onclick: action }, h("div", {}, title, h("div", {}, h("span", {}, what))));
  const download = (format) => () => {
    const link = h("a", { href: address("export", { format, ...question(shared(values())) }), download: "" });
    document.body.append(link);
    link.click();
    link.remove();
    menu.open = false;
  };
  const menu = h(
    "details",
    { class: "menu to-left" },
    h("summary", { class: "button" }, "Share"),
    h(
      "div",
      { class: "sheet" },
      item("Copy the address", "of what is shown now", async () => {
        try {
          await navigator.clipboard.writeText(location.href);
          replace(said, "Copied.");
        } catch {
          replace(said, location.href);
        }
        announce("Copied the address");
      }),
      item("Parquet", "the galaxies of this view", download("parquet")),
      item("CSV", "the galaxies of this view", download("csv")),
      item("VOTable", "the galaxies of this view", download("votable")),
      item("To TOPCAT, Aladin, …", "by SAMP, if a hub runs on this machine", async () => {
        replace(said, "Sending …");
        try {
          const { programs } = await post("samp", {}, question(shared(values())));
          replace(said, `Sent to ${programs.join(", ")}.`);
        } catch (error) {
          replace(said, error.message);
        }
      }),
      said,
    ),
  );
  menu.addEventListener("toggle", () => replace(said));
  return withinWindow(menu);
}
