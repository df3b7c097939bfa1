import { log } from "local:demo/host";

class Tally {
  constructor(start) {
    this.size = start;
  }
  add(word) {
    this.size += word.length;
    return this.size;
  }
}

export const words = {
  counts(text) {
    const found = new Map();
    for (const word of text.toLowerCase().match(/[a-zäöü]+/g) ?? []) found.set(word, (found.get(word) ?? 0) + 1);
    log(`${found.size} words`);
    return [...found].sort(([a], [b]) => (a < b ? -1 : 1)).map(([word, times]) => ({ word, times }));
  },
  member(json, name) {
    let value;
    try {
      value = JSON.parse(json)[name];
    } catch (error) {
      throw error.name;
    }
    if (typeof value === "number") return { tag: "number", val: value };
    return value === undefined ? { tag: "none" } : { tag: "text", val: String(value) };
  },
  Tally,
};
