// JSON as text: what is compared are its tokens, so that no number loses digits and no doubled name is lost.

const TOKEN = /\s+|"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*|true|false|null|[{}[\],:]/gy;

export function tokens(text) {
  const found = [];
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < text.length) {
    const at = TOKEN.lastIndex;
    const match = TOKEN.exec(text);
    if (!match) throw new Error(`no JSON at ${at}: ${text.slice(at, at + 60)}`);
    if (!/^\s/.test(match[0])) found.push(match[0]);
  }
  return found;
}

// Two ways to write one string are the same string.
const plain = (token) => (token[0] === '"' ? JSON.stringify(JSON.parse(token)) : token);

/** One form of a JSON text, numbers as they are written. */
export const canonical = (text) => tokens(text).map(plain).join('');

/** The members of an object, in their order: name -> canonical text of the value. */
export function members(text) {
  const all = tokens(text);
  const found = new Map();
  if (all[0] !== '{') throw new Error(`no object: ${text.slice(0, 60)}`);
  let at = 1;
  while (all[at] !== '}') {
    const name = JSON.parse(all[at]);
    let depth = 0;
    let value = '';
    for (at += 2; depth > 0 || (all[at] !== ',' && all[at] !== '}'); at++) {
      if (all[at] === '{' || all[at] === '[') depth++;
      if (all[at] === '}' || all[at] === ']') depth--;
      value += plain(all[at]);
    }
    if (found.has(name)) throw new Error(`a name twice: ${name}`);
    found.set(name, value);
    if (all[at] === ',') at++;
  }
  return found;
}
