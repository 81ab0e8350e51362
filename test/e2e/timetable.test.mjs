// The timetable example: each point of its list, on its own schema, over real connections;
// its page in Chromium is timetable_page.test.mjs.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Client, isEvent } from './lib/client.mjs';
import { Example, call, refusedCall, value } from './lib/example.mjs';
import { mint, now } from './lib/token.mjs';
import { until } from './lib/wait.mjs';

// Ines plans for school 1, Henk is its head; Olga is both at school 2.

describe('timetable', () => {
  let app;
  let db;

  before(async () => {
    app = await Example.start('timetable', { probe: 'olga' });
    ({ db } = app);
    await db.write(`CREATE PROCEDURE work(job integer, steps integer) LANGUAGE plpgsql AS $$
      BEGIN FOR n IN 1..steps LOOP PERFORM advance_job(job); COMMIT; END LOOP; END $$`);
  });
  after(() => app?.stop());

  const as = (...who) => app.as(...who);
  async function job(total = 1000, title = 'A test') {
    const [{ id }] = await db.write(`SELECT start_job(1, 'ines', $1, $2) AS id`, [title, total]);
    await app.settled();
    return id;
  }
  const advance = (id, steps = 1) => db.write('SELECT advance_job($1, $2)', [id, steps]);
  const progressPage = (user, id) => as(user, `/ws/timetable/progress/${id}/`, 1);
  const at = (done) => (data) => data.done === done;
  async function plan() {
    const [{ id }] = await db.write(`INSERT INTO workflows (school_id, title) VALUES (1, 'A plan') RETURNING id`);
    const variants = await db.write(`INSERT INTO variants (workflow_id, name, conflicts, gaps) VALUES ($1, 'A', 0, 9), ($1, 'B', 1, 4) RETURNING id`, [id]);
    await app.settled();
    return [id, ...variants.map((variant) => variant.id)];
  }
  const reviewPage = (user, id) => as(user, `/ws/timetable/review/${id}/`, 2);

  it('progress of a running job: its present value on connect, at /ws/timetable/progress/{job_id}/', async () => {
    const id = await job();
    await advance(id, 250);
    const ines = await progressPage('ines', id);
    assert.deepEqual(await value(ines, `progress:row:${id}`), { state: 'Running', done: 250, total: 1000, percent: 25, step: 'assigning rooms' });
    const [{ count }] = await db.write('SELECT count(*) FROM generation_jobs WHERE id = $1', [id + 1000]);
    assert.equal(Number(count), 0);
    for (const [user, other] of [['olga', id], ['ines', id + 1000]]) {
      const client = await as(user, `/ws/timetable/progress/${other}/`);
      assert.equal((await client.next('error')).code, 'forbidden', 'another school\'s job, and one that is not there');
    }
  });

  it('progress of a running job: then each step', async () => {
    const id = await job(10);
    const pages = [await progressPage('ines', id), await progressPage('henk', id)];
    for (const page of pages) await value(page, `progress:row:${id}`, at(0));
    for (let done = 1; done <= 10; done++) {
      await advance(id);
      for (const page of pages) assert.equal((await value(page, `progress:row:${id}`, at(done))).percent, 10 * done);
    }
    assert.equal(pages[0].frames.filter(({ type }) => type === 'value').at(-1).data.state, 'Completed');
  });

  it('progress of a running job: thousands of updates do not flood a page: the latest wins', async () => {
    const STEPS = 3000;
    const id = await job(STEPS);
    const ines = await progressPage('ines', id);
    const began = performance.now();
    await db.write('CALL work($1, $2)', [id, STEPS]);
    const last = await value(ines, `progress:row:${id}`, at(STEPS));
    const ms = performance.now() - began;
    assert.equal(last.state, 'Completed');
    const seen = ines.frames.filter(({ type }) => type === 'value').map(({ data }) => data.done);
    assert.ok(seen.length < STEPS / 20 + ms / 50, `${seen.length} values for ${STEPS} steps in ${ms} ms`); // one in 50 ms at most, however long it takes
    assert.deepEqual(seen, [...seen].sort((a, b) => a - b), 'never an older one after a newer');
  });

  it('progress of a running job: a slow page that follows the feed itself is not cut off, and gets the latest', async () => {
    const FILLERS = 150; // of 120 kB: the kernel takes 4 to 10 MB for who does not read
    const id = await job();
    const other = await job();
    const [slow, quick] = [await as('ines'), await as('henk')];
    for (const client of [slow, quick]) await client.subscribe('generation_jobs:unit:1');
    slow.socket.pause();
    for (let n = 1; n <= FILLERS; n++) {
      await db.write(`UPDATE generation_jobs SET done = $2, step = repeat('.', 120000) WHERE id = $1`, [id, n]);
      await quick.next((frame) => frame.key === String(id) && frame.data.done === n);
    }
    await db.write('CALL work($1, 500)', [other]);
    await quick.next((frame) => frame.key === String(other) && frame.data.done === 500);
    slow.socket.resume();
    await slow.next((frame) => frame.key === String(other) && frame.data.done === 500);
    const steps = (key) => slow.events().filter((event) => event.key === String(key)).map(({ data }) => data.done);
    assert.deepEqual(steps(other), [500], 'of 500 steps the last alone');
    assert.equal(steps(id).at(-1), FILLERS);
    assert.ok(steps(id).length < FILLERS, `${steps(id).length} of ${FILLERS} fit into the kernel's buffers`);
    assert.equal(slow.closed, null);
  });

  it('`GET` polling of the same value where WebSocket is blocked', async () => {
    const id = await job();
    const channel = `progress:row:${id}`;
    const socket = await progressPage('ines', id);
    await value(socket, channel, at(0));
    for (const done of [100, 300, 1000]) {
      await advance(id, done - (await app.get('ines', `/state?channel=${channel}`)).body.data.done);
      const live = await value(socket, channel, at(done));
      const { status, body } = await until('the same by GET', async () => {
        const answer = await app.get('ines', `/state?channel=${channel}`);
        return answer.body.data.done === done && answer;
      });
      assert.equal(status, 200);
      assert.deepEqual([body.type, body.channel, body.data], ['value', channel, live]);
      assert.match(body.cursor, /^[0-9a-f]+-\d+$/);
    }
    const refused = await app.get('olga', `/state?channel=${channel}`);
    assert.deepEqual([refused.status, refused.body.error.code, refused.body.error.channel], [403, 'forbidden', channel]);
  });

  it('`GET` polling that waits (/poll) brings the same values, and each step of an import', async () => {
    const id = await job(300);
    const name = `poll-${id}`;
    await db.write('SELECT tell_import(1, $1, 0, 300)', [name]);
    await app.settled();
    const channels = `channel=progress:row:${id}&channel=imports:row:${name}`;
    const first = await app.get('ines', `/poll?${channels}&snapshot=1&wait=10`);
    const frames = [...first.body.frames];
    let { cursor } = first.body;
    const poll = async () => {
      const { status, body } = await app.get('ines', `/poll?${channels}&since=${cursor}&wait=10`);
      assert.equal(status, 200);
      frames.push(...body.frames);
      cursor = body.cursor;
    };
    const values = () => frames.filter(({ type }) => type === 'value').map(({ data }) => data.done);
    const steps = () => frames.filter(isEvent).map(({ data }) => data.done);
    for (const done of [1, 2, 3]) {
      await advance(id, 100);
      await db.write('SELECT tell_import(1, $1, $2, 3)', [name, done]);
      await until(`step ${done} to come`, async () => { await poll(); return values().at(-1) === 100 * done && steps().at(-1) === done; });
    }
    assert.deepEqual(frames.filter(({ type }) => type === 'snapshot').map(({ data }) => data[0].done), [0]);
    assert.deepEqual(steps(), [1, 2, 3], 'none twice, none missing');
    assert.deepEqual(values(), [...values()].sort((a, b) => a - b));
    const refused = await app.get('olga', `/poll?channel=progress:row:${id}&wait=0`);
    assert.deepEqual([refused.status, refused.body.error.code], [403, 'forbidden']);
  });

  it('says why a socket is refused, where a bare 403 would leave its author guessing', async () => {
    const id = await job();
    const path = `/ws/timetable/progress/${id}/`;
    const open = (options) => Client.open(app.bridge, { path, welcome: false, ...options });
    const [key] = await db.query('SELECT kid, secret FROM livefeed.keys');
    const expired = mint('HS256', key.secret, { sub: 'ines', exp: now() - 3600 }, { kid: key.kid });
    for (const [what, options, message] of [
      ['a token that is over', { token: expired }, /expired/],
      ['no token at all', { token: 'no.token.atall' }, /token/],
      ['somebody who is no member of any school', { token: await app.tokenOf('nobody') }, /./],
    ]) {
      const client = await open(options);
      assert.equal(client.refused, null, `${what}: the handshake is accepted, so that a page can be told`);
      const error = await client.next('error');
      assert.equal(error.code, 'bad_token', what);
      assert.match(error.message, message, what);
      const { reason } = await client.close(4401);
      assert.ok(reason.length > 0, what);
    }
    const elsewhere = await open({ token: await app.tokenOf('olga') });
    const error = await elsewhere.next('error');
    assert.deepEqual([error.code, error.channel], ['forbidden', `progress:row:${id}`]);
    assert.ok(error.message.length > 0);
    assert.equal((await elsewhere.ask({ type: 'ping' })).type, 'pong', 'the session goes on');
    await elsewhere.leave();
    // The one thing that is refused in the handshake is another site's page; the log names it.
    const foreign = await open({ token: await app.tokenOf('ines'), headers: { Origin: 'https://elsewhere.example' } });
    assert.equal(foreign.refused, 403);
    await until('the log to name it', () => app.bridge.log.includes('https://elsewhere.example'));
  });

  it('the same for a job that has no table (`declare_feed` with `retain`, `publish`)', async () => {
    const tell = (name, done) => db.write('SELECT tell_import(1, $1, $2, 5)', [name, done]);
    await tell('rooms-1', 1);
    await tell('pupils-1', 4);
    await tell('rooms-1', 2);
    await app.settled();
    const ines = await as('ines', '/ws/timetable/import/rooms-1/', 1, { snapshot: 1 });
    const present = await ines.next('snapshot');
    assert.deepEqual([present.data, present.keys], [[{ id: 'rooms-1', done: 2, total: 5 }], ['rooms-1']], 'its present value on connect');
    for (const done of [3, 4, 5]) {
      await tell('rooms-1', done);
      const event = await ines.next(isEvent);
      assert.deepEqual([event.type, event.action, event.data.done], ['import.updated', done < 5 ? 'progressed' : 'completed', done], 'then each step');
    }
    const { body } = await until('the same by GET', async () => {
      const answer = await app.get('ines', '/state?channel=imports:row:rooms-1');
      return answer.body.data?.[0].done === 5 && answer;
    });
    assert.equal(body.type, 'snapshot');
    const henk = await as('henk');
    await henk.subscribe('imports:unit:1', { snapshot: true });
    const { keys } = await henk.next('snapshot');
    for (const name of ['rooms-1', 'pupils-1']) assert.ok(keys.includes(name), `${keys}`);
    assert.equal(await (await as('olga')).refusedSubscribe('imports:row:rooms-1'), 'forbidden');
    assert.equal(await henk.refusedSubscribe('imports:row:rooms-99'), 'forbidden');
  });

  it('workflow approved: the review page follows', async () => {
    const [id] = await plan();
    const [ines, henk] = [await reviewPage('ines', id), await reviewPage('henk', id)];
    const channel = `review_page:row:${id}`;
    for (const page of [ines, henk]) {
      const { title, status, variants } = await value(page, channel);
      assert.deepEqual([title, status, variants.map(({ name }) => name)], ['A plan', 'In Review', ['A', 'B']]);
    }
    assert.deepEqual(await call(henk, 'review', { workflow: id, verdict: 'approve' }), { status: 'Approved' });
    for (const page of [ines, henk]) {
      await value(page, channel, (data) => data.status === 'Approved' && data.reviewed_by === 'henk');
      const event = await page.next('workflow.updated');
      assert.deepEqual([event.action, event.updated_by, event.data.status], ['approved', 'henk', 'Approved']);
    }
    assert.match(await refusedCall(henk, 'review', { workflow: id, verdict: 'reject', comments: 'No' }), /decided already/);
  });

  it('workflow rejected, with comments: the review page follows', async () => {
    const [id] = await plan();
    const [ines, henk] = [await reviewPage('ines', id), await reviewPage('henk', id)];
    assert.match(await refusedCall(henk, 'review', { workflow: id, verdict: 'reject' }), /says why/);
    await call(henk, 'review', { workflow: id, verdict: 'reject', comments: 'Too many gaps' });
    for (const page of [ines, henk]) {
      await value(page, `review_page:row:${id}`, (data) => data.status === 'Rejected' && data.comments === 'Too many gaps');
      const event = await page.next('workflow.updated');
      assert.deepEqual([event.action, event.data.comments], ['rejected', 'Too many gaps']);
    }
    // Only the head of that school decides.
    const [other] = await plan();
    await refusedCall(ines, 'review', { workflow: other, verdict: 'approve' }, 'forbidden');
    assert.match(await refusedCall(await as('olga'), 'review', { workflow: other, verdict: 'approve' }), /only a head of the school/);
    const stranger = await as('olga', `/ws/timetable/review/${id}/`);
    assert.equal((await stranger.next('error')).code, 'forbidden');
  });

  it('variant selected: the review page follows, and one alone is selected', async () => {
    const [id, a, b] = await plan();
    const [ines, henk] = [await reviewPage('ines', id), await reviewPage('henk', id)];
    const chosen = (variant) => (data) => data.variants.filter(({ selected }) => selected).map((each) => each.id).join() === String(variant);
    const changes = (page) => page.events(`workflows:row:${id}`).map(({ type, action, key }) => [type, action, key]);
    await call(ines, 'select_variant', { variant: a });
    for (const page of [ines, henk]) await value(page, `review_page:row:${id}`, chosen(a));
    await call(ines, 'select_variant', { variant: b });
    for (const page of [ines, henk]) {
      await value(page, `review_page:row:${id}`, chosen(b));
      await page.caughtUp(db);
      assert.deepEqual(changes(page), [['variant.updated', 'selected', String(a)],
        ['variant.updated', 'unselected', String(a)], ['variant.updated', 'selected', String(b)]], 'on the workflow\'s own channel');
    }
    assert.match(await refusedCall(await as('olga'), 'select_variant', { variant: a }), /only a planner of the school/);
    await refusedCall(henk, 'select_variant', { variant: a }, 'forbidden');
    // All at once: one of them is the last.
    const movers = await Promise.all(Array.from({ length: 8 }, () => as('ines')));
    await Promise.all(movers.map((mover, n) => call(mover, 'select_variant', { variant: n % 2 ? a : b })));
    assert.equal((await db.write('SELECT FROM variants WHERE workflow_id = $1 AND selected', [id])).length, 1);
  });

  it('what a job makes goes into review; who asked for it may call it off', async () => {
    const ines = await as('ines');
    await ines.subscribe('workflows:unit:1');
    const { job: id } = await call(ines, 'generate', { school: 1, title: 'Winter term' });
    await advance(id, 1000);
    const made = await ines.next('workflow.created');
    assert.deepEqual([made.data.title, made.data.job_id, made.data.status], ['Winter term', id, 'In Review']);
    const page = await reviewPage('henk', made.key);
    assert.equal((await value(page, `review_page:row:${made.key}`)).variants.length, 3);
    const { job: second } = await call(ines, 'generate', { school: 1, title: 'Never' });
    const follower = await progressPage('henk', second);
    await call(ines, 'cancel', { job: second });
    await value(follower, `progress:row:${second}`, (data) => data.state === 'Cancelled');
    assert.match(await refusedCall(ines, 'generate', { school: 2, title: 'No' }), /only a planner of the school/);
    await refusedCall(await as('henk'), 'generate', { school: 1, title: 'No' }, 'forbidden');
  });
});
