// Channel names as someone would write them who wants what is not his.

const SEPARATORS = [':', ',', '/', '\\', '.', ';', '|', ' ', '\t', '\n', '\r', '\0', '%00', '%2C', '%3A', '%2F', '*', '#', '?', '&', '=', '+', '-', '_', '%', '$', '{', '}', '[', ']',
  '(', ')', '\'', '"', '`', '~', '!', '@', '<', '>', '\u200b', '\u200d', '\u2060', '\ufeff', '\u202e', '\u00a0', '\u0301', '\u2028', '\uff1a', '\u2236', '\ua789', '\u02d0'];
const ALIKE = { 9: ['\uff19', '\u0669', '\u06f9', '\u2468', '\u2079', '\u2089', '\u096f', '\u{1d7d7}', '09', '+9', '-9', '9.0', '0x9', '9e0', '011', '\\x39', '\\u0039', '&#57;'],
  e: ['\u0435', '\u00e9', '\uff45'], r: ['\uff52', '\u0433'], u: ['\u03c5', '\uff55', '\u00fc'], s: ['\u0455', '\uff53'], i: ['\u0456', '\u0131', '\u0130'], n: ['\u0578'], t: ['\u0442'], q: ['\u051b'] };

/** What a person would try first. */
export function byHand(feed, own, other, keys) {
  const scoped = [own, other].flatMap((unit) => [`${feed}:unit:${unit}`, `${feed}:user:${unit}`, `${feed}:row:${unit}`]);
  const values = ['', '*', '%', '_', '.', '..', '**', '?', '+', '#', '>', '.*', '^.*$', '[0-9]', '{9}', '{7,9}', '(9)', 'null', 'NULL', 'undefined', 'true', '-1', '0', '%39', '%2539', '%25%33%39',
    '%c0%b9', '%00', '9%00', '7%00', '\0', '9\0', '7\0', '7\u00009', '7,9', '7;9', '7|9', '7&9', '7 9', '7:9', '7/9', '7/../9', '7%2C9', '7%3A9', '7%2F..%2F9', ' 9', '9 ', '\t9', '9\n', '09', '9.0', '9e0', '0x9', '+9', '-9', '[7,9]', '["9"]', '{"9":[]}', '9::text', '9\'--',
    '9\' OR \'1\'=\'1', '9; SELECT 1', '$1', '${9}', '{1}', '{unit}', '{user}', '\uff19', '\u0669', '\u2468', '9'.repeat(300), '9'.repeat(9000), '%39'.repeat(3000), other.repeat(2), `${other}%20`, `%${other}`];
  const heads = [feed, feed.toUpperCase(), `${feed[0].toUpperCase()}${feed.slice(1)}`, `public.${feed}`, `livefeed.${feed}`, `${feed}.`, ` ${feed}`, `${feed} `, `"${feed}"`, 'log', 'livefeed', '*', '', 'state', '$all'];
  const scopes = ['unit', 'Unit', 'UNIT', 'units', 'user', 'row', 'all', '*', '', 'unit_id', 'unit ', ' unit', 'feed', 'un%69t', 'unit%3A'];
  return [feed, `${feed}:`, `:${feed}`, `${feed}:*`, `${feed}:unit`, `${feed}:unit:`, `${feed}:unit:${other}:`, `${feed}::${other}`, `:${feed}:unit:${other}`, ':', '::', ':::', '', ' ', '\0',
    ...scoped, ...values.map((value) => `${feed}:unit:${value}`), ...values.map((value) => `${feed}:row:${value}`),
    ...heads.map((head) => `${head}:unit:${other}`), ...scopes.map((scope) => `${feed}:${scope}:${other}`),
    ...keys.flatMap((key) => [`${feed}:row:${key}`, `${feed}:row:${encodeURIComponent(key)}`, `${feed}:row:${key},`, `${feed}:row:,${key}`, `${feed}:row:${key.toUpperCase()}`]),
    ...scoped.flatMap((one) => scoped.flatMap((two) => [`${one},${two}`, `${one}\0${two}`, `${one} ${two}`, `${one}\n${two}`, `${one}&channel=${two}`, `${one}%26channel=${two}`]))];
}

/** One more, made from a name by chance. */
export function mutate(random, name) {
  const letters = [...name];
  for (let n = random.int(1, 4); n > 0; n--) {
    const at = random.int(0, letters.length);
    const letter = letters[at] ?? '9';
    const how = random.int(0, 11);
    const code = () => [...Buffer.from(letter)].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('');
    if (how === 0) letters[at] = code();
    else if (how === 1) letters[at] = code().toUpperCase();
    else if (how === 2) letters[at] = encodeURIComponent(code());
    else if (how === 3) letters.splice(at, 0, random.pick(SEPARATORS));
    else if (how === 4) letters[at] = random.pick(SEPARATORS);
    else if (how === 5) letters[at] = random.pick(ALIKE[letter] ?? [letter.toUpperCase()]);
    else if (how === 6) letters[at] = letter.toUpperCase();
    else if (how === 7) letters.splice(at, 1);
    else if (how === 8) letters.splice(at, 0, letter);
    else if (how === 9) letters.splice(at, 0, ...[...random.pick([',9', ':9', '\u00009', '|9', '9', '%2C9', ' 9', '*'])]);
    else if (how === 10) letters.splice(0, at);
    else letters.push(...(random.chance(0.03) ? '9'.repeat(random.int(1000, 30_000)) : '9'));
  }
  return letters.join('');
}
