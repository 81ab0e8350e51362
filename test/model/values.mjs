// Values of all kinds: how to write them in SQL, and how they have to look in an event, worked out from PostgreSQL's
// own text of them and not by the extension.

import { canonical } from './json.mjs';

const TEXTS = ['', 'a', 'Ärger', 'ﬀ', '😀 𝔘', 'a"b\\c', "it's", 'x\ny\tz\r', '\u0001\u001f\u007f', '\u2028\u2029', '\ufeff\ufffd', 'e\u0301',
  '\u{10ffff}', '  spaces  ', 'NULL', 'null', '%00', 'a,b', 'a:b', '{1,2}', '</script>', 'In Progress', '-', 'x'.repeat(3000)];
const IDS = ['7', '8', 'north wing', 'a:b', 'ü', '', '%2F', '13'];
const JSONS = ['null', '1', '"x"', '{}', '[]', '{"a":1,"b":[1.50,-0,1e5,null,true]}', '{ "a" : {"b" : [ {} , [] ] } }', '"\\u00e9\\n\\"\\\\"',
  '{"ä":"😀","":""}', '12345678901234567890.12345678901234567890', '[[[[[1]]]]]', '" , : "'];
const literal = (text) => text.length > 999 ? `repeat('${text[0]}', ${text.length})` : `E'${text.replace(/\\/g, '\\\\').replace(/'/g, "''").replace(/\n/g, '\\n').replace(/\r/g, '\\r')}'`;
const from = (list) => (random) => random.pick(list);
const quoted = (list) => (random) => literal(random.pick(list));
const number = (list) => (random) => (random.chance(60) ? String(random.below(1000)) : random.pick(list));

/** By the name that format_type gives it: SQL to write, and, in `small`, values that change into other types. */
const TYPES = {
  smallint: number(['-32768', '32767', '0']),
  integer: number(['-2147483648', '2147483647', '0', '-1']),
  bigint: number(['9007199254740991', '9007199254740992', '-9007199254740991', '-9007199254740992', '9223372036854775807', '(-9223372036854775808)']),
  numeric: number(["'NaN'", "'Infinity'", "'-Infinity'", '1.10', '-0.000001', '123456789012345678901234567890.123', '1e100', '0.00']),
  'double precision': number(["'NaN'", "'Infinity'", "'-Infinity'", "'-0'", '1e300', '1e-7', '0.1', '123456789.123456789']),
  real: number(["'NaN'", "'-Infinity'", '1.1', '1e30', "'-0'"]),
  boolean: from(['true', 'false']),
  text: quoted(TEXTS),
  'character varying': quoted(TEXTS),
  'character varying(40)': quoted(TEXTS.filter((text) => [...text].length <= 40)),
  'character(8)': quoted(TEXTS.filter((text) => [...text].length <= 8)),
  bytea: from(["''", "'\\x00ff10'", "'\\xdeadbeef00'", "decode(repeat('ab', 600), 'hex')"]),
  uuid: from(["'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", "'00000000-0000-0000-0000-000000000000'", "md5('x')::uuid"]),
  date: from(["'2024-02-29'", "'infinity'", "'-infinity'", "'0044-03-15 BC'", "'12345-01-01'", "'0001-01-01'", "'0001-12-31 BC'"]),
  'timestamp without time zone': from(["'2024-02-29 12:34:56.789012'", "'infinity'", "'-infinity'", "'0044-03-15 01:02:03 BC'", "'12345-01-01'", "'2000-01-01 00:00:00.1'", "'1999-12-31 23:59:59.999999'"]),
  'timestamp with time zone': from(["'2024-07-01 12:34:56.5+05:30'", "'infinity'", "'-infinity'", "'0044-03-15 01:02:03+00 BC'", "'12345-01-01 00:00+14'", "'1883-11-18 12:00:00-05'", "'2000-01-01 00:00:00.000001Z'"]),
  'time without time zone': from(["'03:04:05.678'", "'24:00:00'"]),
  interval: from(["'1 year 2 mons -3 days 04:05:06.7'", "'-1 day'", "'0'"]),
  inet: from(["'10.0.0.1/8'", "'::1'"]),
  json: quoted([...JSONS, '{"a":1,"a":2}', '"\\u0041"', '[1 ,\n2]']),
  jsonb: quoted(JSONS),
  'integer[]': from(["'{}'", "'{1,2,3}'", "'{NULL,-1}'", "'{{1,2},{3,4}}'", "'[2:3]={7,8}'"]),
  'bigint[]': from(["'{9007199254740993,1}'", "'{}'"]),
  'text[]': (random) => `ARRAY[${Array.from({ length: random.below(4) }, () => (random.chance(15) ? 'NULL' : literal(random.pick(random.chance(70) ? IDS : TEXTS)))).join(',')}]::text[]`,
  'numeric[]': from(["'{NaN,1.50,NULL}'", "'{}'"]),
  'timestamp with time zone[]': from(["'{2024-01-01 00:00:00+02,infinity}'"]),
  'jsonb[]': from([`ARRAY['{"a":[1]}', 'null']::jsonb[]`]),
  int4range: from(["'[1,5)'", "'empty'", "'(,)'"]),
  'kinds.mood': from(["'sad \"x\"'", "'ok'", "'In Progress'"]),
  'kinds.posint': number(['1', '2147483647', '-5']), // the last breaks its CHECK
  'kinds.labels': from(["'{x,y}'", "'{}'"]),
  'kinds.id': quoted(IDS),
};

export const PAYLOAD_TYPES = Object.keys(TYPES);
export const KEY_TYPES = ['integer', 'bigint', 'text', 'uuid', 'smallint', 'timestamp with time zone', 'kinds.id', 'numeric', 'bytea', 'date'];
/** What a column of that type may be altered to, with USING where it needs one. */
export const ALTERATIONS = {
  smallint: ['integer', 'bigint', 'numeric', 'text'], integer: ['bigint', 'numeric', 'text', 'double precision'], bigint: ['numeric', 'text'],
  'character varying(40)': ['text', 'character varying'], 'character varying': ['text'], json: ['jsonb', 'text'], jsonb: ['json', 'text'],
  date: ['timestamp without time zone', 'timestamp with time zone', 'text'], boolean: ['text'], uuid: ['text'], 'integer[]': ['text[]', 'bigint[]'],
  'kinds.mood': ['text'], 'kinds.posint': ['integer'], real: ['double precision'],
};

/** SQL of a random value; a key has a small choice, so that rows are met again. */
export function value(random, type, isKey = false) {
  if (isKey) {
    const n = random.below(24);
    if (type === 'uuid') return `md5('${n}')::uuid`;
    if (type === 'timestamp with time zone') return `'epoch'::timestamptz + ${n} * interval '1 day 0.001 s'`;
    if (type === 'date') return `'0001-01-10 BC'::date + ${n}`;
    if (type === 'bytea') return `'\\x${n.toString(16).padStart(4, '0')}'::bytea`;
    if (type === 'text') return random.chance(80) ? `'k${n}'` : literal(random.pick(TEXTS));
    if (type === 'kinds.id') return literal(random.pick(IDS));
    return type === 'bigint' && n > 20 ? `90071992547409${n}` : String(n);
  }
  if (random.chance(12)) return 'NULL';
  const make = TYPES[type] ?? (type.endsWith('[]') ? () => `'{}'` : undefined);
  if (!make) throw new Error(`no values of type ${type}`);
  return make(random);
}

// ---- how it has to look

const SAFE = 9007199254740991n;

function isoYear(text) {
  const bc = text.endsWith(' BC');
  const plain = bc ? text.slice(0, -3) : text;
  const dash = plain.indexOf('-');
  const year = bc ? 1 - Number(plain.slice(0, dash)) : Number(plain.slice(0, dash));
  const head = year >= 0 && year <= 9999 ? String(year).padStart(4, '0') : (year < 0 ? '-' : '+') + String(Math.abs(year)).padStart(6, '0');
  return head + plain.slice(dash);
}

function scalarText(text, type) {
  switch (type) {
    case 'date':
      return /infinity/.test(text) ? text : isoYear(text);
    case 'timestamp without time zone':
      return /infinity/.test(text) ? text : isoYear(text).replace(' ', 'T');
    case 'timestamp with time zone': // read in UTC
      return /infinity/.test(text) ? text : `${isoYear(text).replace(' ', 'T').replace(/\+00$/, '')}Z`;
    default:
      return text; // of bytea, in a key, too
  }
}

/** PostgreSQL's text of an array as nested arrays of texts and nulls. */
function parseArray(text) {
  let at = text.startsWith('[') ? text.indexOf('=') + 1 : 0;
  const item = () => {
    if (text[at] === '{') {
      const items = [];
      for (at++; text[at] !== '}'; ) {
        items.push(item());
        if (text[at] === ',') at++;
      }
      at++;
      return items;
    }
    if (text[at] === '"') {
      let found = '';
      for (at++; text[at] !== '"'; at++) found += text[at] === '\\' ? text[++at] : text[at];
      at++;
      return found;
    }
    const from = at;
    while (text[at] !== ',' && text[at] !== '}') at++;
    const found = text.slice(from, at);
    return found === 'NULL' ? null : found;
  };
  return item();
}

/** The JSON of a value, canonical, from the text that PostgreSQL writes of it under plain settings. */
export function expected(text, type) {
  if (text === null) return 'null';
  if (type.endsWith('[]')) {
    const render = (item) => (Array.isArray(item) ? `[${item.map(render).join(',')}]` : expected(item, type.slice(0, -2)));
    return render(parseArray(text));
  }
  switch (type) {
    case 'boolean':
      return text === 't' ? 'true' : 'false';
    case 'smallint':
    case 'integer':
      return text;
    case 'bigint': {
      const n = BigInt(text);
      return n > SAFE || n < -SAFE ? `"${text}"` : text;
    }
    case 'numeric':
    case 'real':
    case 'double precision':
      return /[a-z]{2}/i.test(text) ? `"${text}"` : text;
    case 'bytea':
      return JSON.stringify(Buffer.from(text.slice(2), 'hex').toString('base64'));
    case 'json':
    case 'jsonb':
      return canonical(text);
    default:
      return JSON.stringify(scalarText(text, type));
  }
}

/** The text of a value where it names something: in a key, a unit, a user. */
export const named = (text, type) => scalarText(text, type);

/** The users that a column names. */
export function usersOf(text, type) {
  if (text === null) return [];
  const found = type.endsWith('[]') ? parseArray(text).flat(9).map((item) => item && named(item, type.slice(0, -2))) : [named(text, type)];
  return found.filter((user) => user !== null && user !== '');
}
