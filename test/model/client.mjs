// What a client has who knows nothing but the events: for each table the whole feed, its rows, its units and its users,
// each a map from key to row. Events are applied strictly: what is created was not there, what is updated or deleted
// was. And what it ought to have, read from the table.

import { members } from './json.mjs';
import { expected, named, usersOf } from './values.mjs';

export const FLAG = { toUnit: 1, toUsers: 2, toRow: 4, toFeed: 8, resync: 16, control: 32, deleted: 64, updated: 128, created: 256, mark: 512 };

const ident = (name) => `"${name.replaceAll('"', '""')}"`;
const rowText = (map) => [...map].map(([name, value]) => `${JSON.stringify(name)}:${value}`).sort().join(',');

export function published(table) {
  const { columns, except } = table.options;
  return table.columns.filter((column) => table.options.keys.includes(column.name) || ((columns === undefined || columns.includes(column.name)) && !(except ?? []).includes(column.name)));
}

/** The key that the watch was made with, whatever the table's is by now; undefined where a column of it is gone. */
export function watchedKey(table) {
  const keys = table.options.keys.map((name) => table.columns.find((column) => column.name === name));
  return keys.includes(undefined) ? undefined : keys;
}

function keyOf(keys, row) {
  const parts = keys.map((column) => named(row[`k_${column.name}`], column.base));
  return parts.length === 1 ? parts[0] : parts.map(encodeURIComponent).join(',');
}

/** A view of a table: channel -> key -> row. */
class View {
  channels = new Map();

  map(channel) {
    let map = this.channels.get(channel);
    if (!map) this.channels.set(channel, (map = new Map()));
    return map;
  }

  difference(other) {
    for (const channel of new Set([...this.channels.keys(), ...other.channels.keys()])) {
      const [have, want] = [this.map(channel), other.map(channel)];
      for (const key of new Set([...have.keys(), ...want.keys()])) {
        if (have.get(key) !== want.get(key)) return `channel ${channel}, key ${key}:\n  the client has ${have.get(key)}\n  the table has  ${want.get(key)}`;
      }
    }
    return null;
  }
}

/** Reads what a client ought to have now; client: with plain settings, and all values as PostgreSQL's texts. */
export async function readView(client, table) {
  const view = new View();
  const { options } = table;
  const has = (name) => table.columns.some((column) => column.name === name);
  const unit = options.unitFunction ? `w.ask_${options.unitFunction}(t)` : options.unit && has(options.unit) ? ident(options.unit) : 'NULL';
  const users = options.usersFunction ? `w.ask_${options.usersFunction}(t)` : 'NULL';
  const columns = published(table);
  const keys = watchedKey(table);
  const { rows } = await client.query(`SELECT ${[...keys.map((column) => `${ident(column.name)} AS ${ident(`k_${column.name}`)}`),
    ...columns.map((column) => `${ident(column.name)} AS ${ident(`d_${column.name}`)}`),
    ...options.users.filter(has).map((name) => `${ident(name)} AS ${ident(`u_${name}`)}`),
    `${unit} AS unit`, `${users} AS users`].join(', ')} FROM w.${table.name} t`);
  const unitType = options.unit && !options.unitFunction ? table.columns.find((column) => column.name === options.unit)?.base ?? 'text' : 'text';
  for (const row of rows) {
    const key = keyOf(keys, row);
    const data = rowText(new Map(columns.map((column) => [column.name, expected(row[`d_${column.name}`], column.base)])));
    const who = [...options.users.filter(has).flatMap((name) => usersOf(row[`u_${name}`], table.columns.find((column) => column.name === name).base)), ...usersOf(row.users, 'text[]')];
    view.map('feed').set(key, data);
    view.map('row').set(key, data);
    if (row.unit !== null && row.unit !== '') view.map(`unit:${named(row.unit, unitType)}`).set(key, data);
    for (const user of who) view.map(`user:${user}`).set(key, data);
  }
  return view;
}

/** The channels that an event goes to, as the bridge's routing has them. */
function channelsOf(event) {
  const channels = [];
  if (event.flags & FLAG.toFeed) channels.push('feed');
  if (event.flags & FLAG.toRow) channels.push('row');
  if (event.flags & FLAG.toUnit && event.unit !== null) channels.push(`unit:${event.unit}`);
  if (event.flags & FLAG.toUsers) for (const user of event.to_users ?? event.users ?? []) channels.push(`user:${user}`);
  return channels;
}

export class EventError extends Error {}
const must = (condition, what) => {
  if (!condition) throw new EventError(what);
};

/** Applies an event; throws an EventError where it does not fit what the client has. */
export function apply(view, table, event) {
  const frame = JSON.parse(event.frame);
  const data = members(event.frame).get('data');
  const row = data === 'null' ? null : members(data);
  const text = row && rowText(row);
  const { deleted, created } = FLAG;
  const kind = event.flags & deleted ? 'deleted' : event.flags & created ? 'created' : 'updated';
  must(frame.type === `${table.options.feed}.${kind}` && frame.feed === table.options.feed, `its type is ${frame.type}`);
  must(frame.key === event.key && frame.unit === event.unit, `key and unit differ in frame and log: ${frame.key} ${event.key} ${frame.unit} ${event.unit}`);
  must((row === null) === (kind === 'deleted'), 'data of the wrong kind');
  must(!/\p{Cc}/u.test(event.frame.replace(/[\u007f-\u009f]/g, '')), 'a raw control byte');
  const names = published(table).map((column) => column.name);
  if (row) must(rowText(new Map(names.map((name) => [name, '']))) === rowText(new Map([...row.keys()].map((name) => [name, '']))), `columns ${[...row.keys()]} instead of ${names}`);
  for (const channel of channelsOf(event)) {
    const map = view.map(channel);
    must(map.has(event.key) === (kind !== 'created'), `${kind} ${event.key} in ${channel}, which ${map.has(event.key) ? 'has' : 'lacks'} it`);
    if (kind === 'updated') {
      const former = members(`{${map.get(event.key)}}`);
      for (const name of names) must(former.get(name) === row.get(name) || frame.changed.includes(name), `${name} changed from ${former.get(name)} to ${row.get(name)}, not told: ${frame.changed}`);
      must(frame.changed.every((name) => names.includes(name)), `changed names what is not published: ${frame.changed}`);
    }
    if (kind === 'deleted') map.delete(event.key);
    else map.set(event.key, text);
  }
  return channelsOf(event).length;
}
