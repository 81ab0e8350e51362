// The package livefeed-client: how much a page loads, what it depends on, and that its types are those of its code.

import assert from 'node:assert/strict';
import { copyFile, readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import zlib from 'node:zlib';
import { minify } from 'terser';
import { Application, CLIENT, COMPILER } from './lib/package.mjs';

const MOST_BYTES = 6_000;
const ENTRIES = ['livefeed', 'react', 'tanstack-query'];

const source = (name) => readFile(path.join(CLIENT, name), 'utf8');

/** The modules that importing one of them loads. */
async function loaded(name, seen = new Map()) {
  if (seen.has(name)) return seen;
  const text = await source(name);
  seen.set(name, text);
  for (const [, from] of text.matchAll(/^(?:import|export) .*? from '(.+)';$/gm)) {
    assert.match(from, /^\.\//, `${name} imports ${from}`);
    await loaded(from.slice(2), seen);
  }
  return seen;
}

describe('the package', () => {
  let plain;
  before(async () => { plain = await Application.make({ only: (name) => name.endsWith('.js') || name === 'types.d.ts', at: 'client' }); });
  after(() => plain?.remove());

  it(`is less than ${MOST_BYTES} bytes, minified and gzipped, with nothing else to load`, async (t) => {
    const modules = await loaded('livefeed.js');
    let all = '';
    for (const text of modules.values()) all += (await minify(text, { module: true, ecma: 2020 })).code;
    const { length } = zlib.gzipSync(all, { level: 9 });
    t.diagnostic(`${[...modules.keys()].join(', ')}: ${length} bytes`);
    assert.ok(length < MOST_BYTES, `${length} bytes`);
    const about = JSON.parse(await source('package.json'));
    assert.equal(about.dependencies, undefined);
    assert.match(await readFile(path.join(CLIENT, '../Changes'), 'utf8'), new RegExp(`^${about.version.replaceAll('.', '\\.')} `, 'm'));
  });

  it('is typed throughout, and its .d.ts files are what the compiler makes of it', async () => {
    const files = ENTRIES.map((name) => `client/${name}.js`);
    const words = await plain.typescript({
      compilerOptions: { ...COMPILER, allowJs: true, checkJs: true, declaration: true, emitDeclarationOnly: true, outDir: 'out', rootDir: 'client' }, files });
    assert.equal(words, '');
    for (const name of await readdir(path.join(plain.folder, 'out'))) {
      if (process.env.LIVEFEED_WRITE_TYPES) await copyFile(path.join(plain.folder, 'out', name), path.join(CLIENT, name));
      assert.equal(await source(name), await plain.read('out', name), `client/${name} is not what the compiler makes of the code (LIVEFEED_WRITE_TYPES=1 writes it)`);
    }
  });

  it('is understood by TypeScript programs', async () => {
    const application = await Application.make();
    try {
      const words = await application.compile({
        'index.ts': `
          import { Livefeed, LivefeedError, type Event, type Status, type Trouble } from 'livefeed-client';
          import { useCall, useChannel, useCollection, useStatus, useValue } from 'livefeed-client/react';
          import { followQueries, patchRows } from 'livefeed-client/tanstack-query';
          import { QueryClient } from '@tanstack/react-query';
          type Card = { id: number; title: string };
          const live = new Livefeed('/', { token: async () => 'T' });
          const status: Status = live.status;
          live.onStatus((now: Status) => now === 'stale');
          const cards = live.collection<Card>('cards:unit:7');
          for (const card of cards.rows.values()) card.title.toUpperCase();
          cards.onChange((event) => event?.action.toUpperCase());
          live.subscribe('cards:unit:7', { snapshot: true, onEvent: (event: Event<Card>) => event.data?.title, onError: (trouble: Trouble) => trouble.ended }).unsubscribe();
          live.call('move_card', { id: 1 }, { idempotencyKey: 'k' }).catch((error: LivefeedError) => error.code);
          const rows: Card[] = useCollection<Card>('cards:unit:7').rows;
          const count: number | undefined = useValue<number>(null);
          useChannel<Card>('cards:unit:7', { onEvent: (event) => event.data?.title });
          const { call, pending } = useCall<{ id: number }, string>('move_card');
          const moved: Promise<string> = call({ id: 1 });
          const stop: () => void = followQueries(live, new QueryClient(), {
            'cards:unit:7': ['cards', 7], 'orders': { queryKey: (event) => ['order', event?.key], patch: patchRows() } });
          // @ts-expect-error a token is needed
          new Livefeed('/', {});
          // @ts-expect-error there is no such status
          status === 'connected';
          // @ts-expect-error a card has none
          cards.rows.get('1')?.colour;
          // @ts-expect-error its argument is an object with an id
          call({ name: 1 });
          export { rows, count, pending, moved, stop, useStatus };
        `,
      });
      assert.equal(words, '');
    } finally {
      await application.remove();
    }
  });
});
