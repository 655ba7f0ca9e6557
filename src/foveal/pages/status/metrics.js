// Prometheus' text format, as far as this server writes it.

const SAMPLE = /^(\w+)(?:\{(.*)\})? (\S+)/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

/** The numbers of one moment. */
export class Reading {
  #samples = new Map(); // by name: [{ labels, value }]

  constructor(text, seconds) {
    this.seconds = seconds;
    for (const line of text.split("\n")) {
      const [, name, labels, value] = SAMPLE.exec(line) ?? [];
      if (!name) continue;
      if (!this.#samples.has(name)) this.#samples.set(name, []);
      this.#samples.get(name).push({ labels: labelsIn(labels ?? ""), value: Number(value) });
    }
  }

  of(name) {
    return this.#samples.get(name) ?? [];
  }

  /** @returns {number | null} the sum of the samples of that name whose labels are meant; null where there are none */
  sum(name, isMeant = () => true) {
    const found = this.of(name).filter(({ labels }) => isMeant(labels));
    return found.length ? found.reduce((sum, { value }) => sum + value, 0) : null;
  }
}

/** How fast a counter grew between two readings. A server that was started anew began at zero again. */
export function rate(before, now, name, isMeant) {
  return growth(before, now, name, isMeant) / (now.seconds - before.seconds);
}

export function growth(before, now, name, isMeant) {
  const [old, current] = [before.sum(name, isMeant) ?? 0, now.sum(name, isMeant) ?? 0];
  return current >= old ? current - old : current;
}

export function share(reading, part, whole) {
  const all = reading.sum(whole);
  return all ? reading.sum(part) / all : null;
}

function labelsIn(text) {
  return Object.fromEntries([...text.matchAll(LABEL)].map(([, name, value]) => [name, value.replace(/\\(.)/g, "$1")]));
}
