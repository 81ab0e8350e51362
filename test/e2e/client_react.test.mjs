// livefeed-client/react and livefeed-client/tanstack-query, with React and TanStack Query themselves, on a real bridge.

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import WebSocket from 'ws';
import { Cluster } from './lib/cluster.mjs';
import { Bridge } from './lib/bridge.mjs';
import { COMMANDS } from './lib/commands.mjs';
import { metric, settled } from './lib/metrics.mjs';
import { Application } from './lib/package.mjs';
import { until } from './lib/wait.mjs';

const TABLES = `${COMMANDS}
  CREATE FUNCTION open_requests(unit text) RETURNS jsonb LANGUAGE sql STABLE AS
    $$ SELECT to_jsonb(count(*)) FROM requests WHERE unit_id::text = unit AND status = 'Pending' $$;
  SELECT livefeed.expose_query('open_requests', 'open_requests(text)', 'unit', '{requests}');
  CREATE FUNCTION last_title(unit text) RETURNS jsonb LANGUAGE sql STABLE AS
    $$ SELECT to_jsonb(max(title)) FROM requests WHERE unit_id::text = unit $$;
  SELECT livefeed.expose_query('last_title', 'last_title(text)', 'unit', '{requests}');
`;

describe('with frameworks', () => {
  let cluster;
  let db;
  let bridge;
  let application;
  let live;

  before(async () => {
    application = await Application.make();
    cluster = await Cluster.start();
    db = await cluster.database(TABLES);
    bridge = await Bridge.start(db);
  });
  afterEach(async () => {
    live?.close();
    await db.write('DELETE FROM requests');
    await settled(bridge, db);
  });
  after(async () => {
    await bridge?.stop();
    await cluster?.remove();
    await application?.remove();
  });

  async function connect() {
    const { Livefeed } = await application.import('livefeed-client');
    live = new Livefeed(bridge.origin, { token: () => db.token('alice', { units: [7] }), WebSocket });
    return live;
  }

  const subscriptions = () => metric(bridge, 'livefeed_subscriptions');

  describe('React', () => {
    let React;
    let hooks;
    let act;
    let create;

    before(async () => {
      React = (await application.import('react')).default;
      const renderer = (await application.import('react-test-renderer')).default;
      ({ create } = renderer);
      act = async (work) => { // elsewhere changes come when they come
        globalThis.IS_REACT_ACT_ENVIRONMENT = true;
        try {
          await renderer.act(work);
        } finally {
          globalThis.IS_REACT_ACT_ENVIRONMENT = false;
        }
      };
      hooks = await application.import('livefeed-client/react');
    });

    /** Renders the component below a provider, twice over as development does; what it shows, as text. */
    async function render(component, client) {
      let root;
      const element = (child) => React.createElement(React.StrictMode, null, React.createElement(hooks.LivefeedProvider, { client }, child));
      await act(async () => { root = create(element(React.createElement(component))); });
      const rendered = {
        text: () => JSON.stringify(root.toJSON()),
        show: (child) => act(async () => root.update(element(React.createElement(child)))),
        unmount: () => act(async () => root.unmount()),
        shows: (wanted) => until(`${wanted} to be shown`, () => rendered.text()?.includes(wanted)).catch((error) => { error.message += `; it shows ${rendered.text()}`; throw error; }),
      };
      return rendered;
    }

    it('shows rows, a value and the status as they are now, and lets go of what is shown no more', async () => {
      await db.write(`INSERT INTO requests (id, unit_id, title) VALUES (1, 7, 'one')`);
      const Rows = () => {
        const { rows, loaded } = hooks.useCollection('requests:unit:7');
        return loaded ? `rows:${rows.map((row) => row.title).sort().join('+')} ` : 'loading ';
      };
      const Count = () => `count:${hooks.useValue('open_requests:unit:7')} `;
      const Both = () => React.createElement('p', null, React.createElement(Rows), React.createElement(Rows), React.createElement(Count), hooks.useStatus());
      const page = await render(Both, await connect());
      await page.shows('rows:one');
      await page.shows('count:1');
      await page.shows('live');
      assert.equal(await subscriptions(), 2);
      await db.write(`INSERT INTO requests (id, unit_id, title) VALUES (2, 7, 'two'); UPDATE requests SET title = 'uno' WHERE id = 1`);
      await page.shows('rows:two+uno');
      await page.shows('count:2');
      await page.show(() => hooks.useStatus());
      await until('the subscriptions to end', async () => await subscriptions() === 0);
      await page.unmount();
    });

    it('shows a value that is null as null', async () => {
      const page = await render(() => `title:${hooks.useValue('last_title:unit:7')} `, await connect());
      await page.shows('title:null ');
      await db.write(`INSERT INTO requests (id, unit_id, title) VALUES (1, 7, 'one')`);
      await page.shows('title:one ');
      await page.unmount();
    });

    it('hears a channel with the handlers of the last render, and moves with its name', async () => {
      const heard = [];
      const Ear = ({ channel, tag }) => {
        hooks.useChannel(channel, { onEvent: (event) => heard.push(`${tag} ${event.key}`) });
        return null;
      };
      const page = await render(() => React.createElement(Ear, { channel: 'requests:unit:7', tag: 'a' }), await connect());
      await until('the subscription', async () => await subscriptions() === 1);
      await db.write(`INSERT INTO requests (id, unit_id) VALUES (1, 7)`);
      await until('one', () => heard.length === 1);
      await page.show(() => React.createElement(Ear, { channel: 'requests:unit:7', tag: 'b' }));
      await db.write(`INSERT INTO requests (id, unit_id) VALUES (2, 7)`);
      await until('two', () => heard.length === 2);
      await page.show(() => React.createElement(Ear, { channel: null, tag: 'c' }));
      await until('none', async () => await subscriptions() === 0);
      assert.deepEqual(heard, ['a 1', 'b 2']);
      await page.unmount();
    });

    it('runs commands, and shows what became of the last', async () => {
      let run;
      const Button = () => {
        const { call, pending, error } = hooks.useCall('rename');
        run = call;
        return `${pending ? 'pending' : 'idle'} ${error?.code}`;
      };
      const page = await render(Button, await connect());
      await db.write(`INSERT INTO requests (id, unit_id) VALUES (1, 7)`);
      let answer;
      await act(async () => { answer = await run({ id: 1, title: 'x' }); });
      assert.deepEqual(answer, { id: 1, by: 'alice' });
      await page.shows('idle undefined');
      await act(() => assert.rejects(run({ id: 'x' }), { code: 'command_failed' }));
      await page.shows('idle command_failed');
      await page.unmount();
    });

    it('says where the provider is missing', async () => {
      const warn = console.error;
      console.error = () => {};
      try {
        await assert.rejects(() => act(async () => { create(React.createElement(() => hooks.useStatus())); }), /LivefeedProvider/);
      } finally {
        console.error = warn;
      }
    });
  });

  it('TanStack Query: queries under the keys of a feed are invalidated, patched or set', async () => {
    const { QueryClient, QueryObserver } = await application.import('@tanstack/react-query');
    const { followQueries, patchRows } = await application.import('livefeed-client/tanstack-query');
    const queryClient = new QueryClient({ defaultOptions: { queries: { staleTime: Infinity, retry: false } } });
    queryClient.mount();
    await db.write(`INSERT INTO requests (id, unit_id, title) VALUES (1, 7, 'one')`);
    let fetches = 0;
    const titles = async () => { fetches++; return (await db.query('SELECT title FROM requests ORDER BY id')).map(({ title }) => title); };
    const observer = new QueryObserver(queryClient, { queryKey: ['titles', 7], queryFn: titles });
    const leave = observer.subscribe(() => {});
    queryClient.setQueryData(['rows', { unit: 7 }], [{ id: 1, title: 'one' }]);
    queryClient.setQueryData(['rows', { unit: 8 }], 'of others');
    await connect();
    const stop = followQueries(live, queryClient, {
      'requests:unit:7': ['titles'],
      'open_requests:unit:7': ['open', 7],
    });
    const patched = followQueries(live, queryClient, { 'requests:unit:7': { queryKey: ['rows', { unit: 7 }], patch: patchRows() } });
    try {
      await until('the value', () => queryClient.getQueryData(['open', 7]) === 1);
      await until('what was fetched before is fetched again', () => fetches >= 2);
      const rows = () => queryClient.getQueryData(['rows', { unit: 7 }]);
      await until('the patches to follow, too', async () => {
        await db.write(`UPDATE requests SET title = title || '.' WHERE id = 1`);
        return rows()[0].title !== 'one';
      });
      await until('the titles to be fetched again', () => observer.getCurrentResult().data[0] !== 'one');
      fetches = 0;
      await db.write(`UPDATE requests SET title = 'uno' WHERE id = 1; INSERT INTO requests (id, unit_id, title) SELECT n, 7, 'r' || n FROM generate_series(2, 30) n`);
      await until('the patches', () => rows().length === 30);
      await until('the titles', () => observer.getCurrentResult().data.length === 30);
      assert.deepEqual(rows().slice(0, 2).map((row) => row.title), ['uno', 'r2']);
      assert.equal(observer.getCurrentResult().data[0], 'uno');
      assert.ok(fetches < 10, `a burst of 30 events is not ${fetches} fetches`);
      await db.write('DELETE FROM requests WHERE id = 1');
      await until('the row to go', () => rows().length === 29);
      await db.write(`UPDATE requests SET title = repeat('long ', 100000) WHERE id = 2`); // its event comes without data
      await until('the rows to be out of date', () => queryClient.getQueryState(['rows', { unit: 7 }]).isInvalidated);
      assert.equal(rows()[0].title, 'r2');
      assert.equal(queryClient.getQueryData(['rows', { unit: 8 }]), 'of others');
    } finally {
      stop();
      patched();
      leave();
      queryClient.clear();
      queryClient.unmount();
    }
    await until('no subscription', async () => await subscriptions() === 0);
  });
});
