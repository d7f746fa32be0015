// Talk to the server: fetch episodes ahead of time, and send labels one after another until each is stored.

const KEPT_BEHIND = 2;

async function asked(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error((await answer.json()).error);
  return answer;
}

export async function queue() {
  return (await asked("queue")).json();
}

async function picture(path) {
  return createImageBitmap(await (await asked(path)).blob());
}

async function episode(id) {
  const path = `episodes/${encodeURIComponent(id)}`;
  const about = await (await asked(path)).json();
  const cameras = Object.keys(about.executed);
  const sheets = cameras.map((camera) => picture(`${path}/executed/${encodeURIComponent(camera)}`));
  const imagined = about.imagined ? picture(`${path}/imagined`) : null;
  const pictures = {};
  for (const [index, camera] of cameras.entries()) pictures[camera] = await sheets[index];
  return { about, pictures, imagined: await imagined, labels: about.labels };
}

/** Hold episodes, decoded and ready to be drawn; `ready` maps an id to one that is. */
export class Shelf {
  ready = new Map();
  #coming = new Map();

  /** Return an episode, at once where it was fetched ahead. */
  get(id) {
    if (!this.#coming.has(id)) {
      const coming = episode(id);
      this.#coming.set(id, coming);
      coming.then((one) => this.#coming.get(id) === coming && this.ready.set(id, one),
        () => this.#coming.delete(id));
    }
    return this.#coming.get(id);
  }

  /** Fetch these ahead, nearest first, and let go of all others but those shown last. */
  keep(ids, recent) {
    const wanted = new Set([...ids, ...recent.slice(-KEPT_BEHIND)]);
    for (const id of [...this.#coming.keys()]) {
      if (wanted.has(id)) continue;
      this.#coming.delete(id);
      const one = this.ready.get(id);
      this.ready.delete(id);
      if (one) for (const sheet of [...Object.values(one.pictures), one.imagined]) sheet?.close();
    }
    ids.reduce((before, id) => before.then(() => this.get(id)).catch(() => {}), Promise.resolve());
  }
}

/** Send labels in order. What the network loses is sent again; the server knows labels by their ids. */
export class Outbox {
  #waiting = [];
  #sending = false;
  #lost = false; // the last try did not reach the server

  constructor(stored, refused, trouble) {
    Object.assign(this, { stored, refused, trouble });
    addEventListener("beforeunload", (event) => this.#waiting.length && event.preventDefault());
  }

  get waiting() {
    return this.#waiting.length;
  }

  send(id, what, labels) {
    this.#waiting.push({ id, what, labels });
    if (!this.#sending) this.#run();
  }

  async #run() {
    this.#sending = true;
    while (this.#waiting.length) {
      const { id, what, labels } = this.#waiting[0];
      try {
        const answer = await fetch(`episodes/${encodeURIComponent(id)}/${what}`, {
          method: "POST",
          headers: { "Content-Type": "application/json" },
          body: JSON.stringify({ labels }),
        });
        const body = await answer.json();
        if (answer.ok) this.stored(id, body.labels, this.#waiting.slice(1).some((other) => other.id === id));
        else if (answer.status >= 500) throw new Error(body.error);
        else this.refused(id, body.error, labels);
        this.#waiting.shift();
        if (this.#lost && answer.ok) this.trouble("");
        this.#lost = false;
      } catch {
        this.#lost = true;
        this.trouble(`The server does not answer. ${this.#waiting.length} not stored yet; trying again …`);
        await new Promise((resolve) => setTimeout(resolve, 1000));
      }
    }
    this.#sending = false;
  }
}

/** Return a new label's id: sixteen hexadecimal digits. */
export function newId() {
  return [...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
