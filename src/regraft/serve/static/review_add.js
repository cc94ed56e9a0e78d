// The dialog by which new photos come in, with their class.
import { ask, parts, photosForm, Refusal } from "./ask.js";
import { byId, counted, element, say } from "./elements.js";
import { show } from "./review_dialogs.js";

let names = [];

/** Let somebody add photos; returns whether any were. `reviewer` gives them their label. */
export async function addPhotos(classes, reviewer) {
  names = classes.map(({ name }) => name);
  byId("add-classes").replaceChildren(...names.map((name) => element("option", { value: name })));
  byId("add-form").reset();
  byId("add-photos").disabled = false;
  byId("add-said").replaceChildren();
  byId("add-said").dataset.added = "no";
  describe();
  byId("add-form").onsubmit = (event) => {
    event.preventDefault();
    upload([...byId("new-files").files], byId("new-class").value.normalize("NFC").trim(), reviewer);
  };
  await show(byId("add"));
  return byId("add-said").dataset.added === "yes";
}

export function prepareAdding() {
  byId("new-files").addEventListener("change", describe);
  byId("new-class").addEventListener("input", describe);
}

function describe() {
  const label = byId("new-class").value.normalize("NFC").trim();
  const number = byId("new-files").files.length;
  const which = names.includes(label) || !label ? "" : ` of a new class “${label}”`;
  byId("add-photos").textContent = `Add ${number ? counted(number, "photo") : "photos"}${which}`;
}

async function upload(files, label, reviewer) {
  const said = byId("add-said");
  byId("add-photos").disabled = true;
  let added = 0;
  const refused = [];
  const tell = (text) => said.replaceChildren(element("li", text), ...refused.map((one) => element("li", { className: "error", textContent: one })));
  try {
    for (const part of parts(files)) {
      tell(`Photo ${added + refused.length + 1} of ${files.length} …`);
      const query = new URLSearchParams({ label, reviewer });
      const request = { method: "POST", body: photosForm(part) };
      const found = await ask(`review/photos?${query}`, request, { takes: (body) => body?.refused });
      added += found.added.length;
      refused.push(...found.refused.map(({ file, error }) => `${file}: ${error}`));
      if (found.added.length) said.dataset.added = "yes";
    }
    tell(`${counted(added, "photo")} added${refused.length ? `; ${refused.length} refused:` : "."}`);
    byId("new-files").value = "";
    describe();
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    tell(`${counted(added, "photo")} added. ${error.message}`);
    if (error.status === 401) say(`${counted(added, "photo")} added. ${error.message}`, true); // the dialog is closed
  } finally {
    byId("add-photos").disabled = false;
  }
}
