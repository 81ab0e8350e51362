// Two departments of the archive, each as one of its people sees it.

import { attempt, connect, copy, el, find, flash, follow, links, reconcile, sessions, time } from '../shared/dom.js';

const LOG_LINES = 6;
const TRAIL_LINES = 5;
const DELAYS = 20;
const STATUSES = ['Pending', 'Approved', 'Issued', 'Returned', 'Rejected'];

// What may be decided next, by what a request is now.
const DECISIONS = { Pending: ['approve', 'reject', 'send back'], Approved: ['allocate', 'issue'], Issued: ['return'] };

const VERBS = {
  created: 'made', approved: 'approved', rejected: 'rejected', issued: 'issued', returned: 'returned', allocated: 'allocated storage to',
  sent_back: 'sent back', relocated: 'relocated', edited: 'edited', deleted: 'closed',
};

class Unit {
  delays = [];

  constructor(session, element) {
    this.session = session;
    this.element = element;
    this.part('h2').textContent = session.name;
    this.part('.who').textContent = session.user;
    this.live = connect(session.token, this.part('.live'));
    const { unit, user } = session;
    const show = (channel, draw) => follow(this.live, channel, (rows, event) => { draw(rows, event); this.happened(event); });
    this.live.subscribe(`request_counts:unit:${unit}`, { onValue: (counts) => this.counts(counts) });
    this.storage = follow(this.live, `storage:unit:${unit}`, () => this.places()); // admins alone may see it
    show(`requests:unit:${unit}`, (rows, event) => this.requests(rows.sort((a, b) => b.id - a.id), event));
    show(`crates:unit:${unit}`, (rows, event) => this.crates(rows.sort((a, b) => a.id - b.id), event));
    show(`notifications:user:${user}`, (rows) => this.notices(rows.filter((row) => !row.read).length));
    follow(this.live, `audit_trail:unit:${unit}`, (rows) => this.trail(rows.sort((a, b) => b.id - a.id).slice(0, TRAIL_LINES)));
    this.part('.ask').addEventListener('submit', async (event) => {
      event.preventDefault();
      const { type, title } = event.target.elements;
      if (await attempt(() => this.live.call('ask', { unit, type: type.value, title: title.value }))) event.target.reset();
    });
  }

  part(selector) { return find(selector, this.element); }

  counts(counts) {
    this.part('.counts').replaceChildren(...STATUSES.map((status) => el('span', {}, el('b', {}, counts[status] ?? 0), status.toLowerCase())));
  }

  requests(rows, event) {
    const cells = () => ['id', 'title', 'type wide', 'status', 'store wide', 'acts'].map((name) => el('td', { class: name }));
    reconcile(this.part('.requests'), rows, (row) => row.id, () => el('tr', {}, cells()), (line, row) => {
      find('.id', line).textContent = row.id;
      find('.title', line).textContent = row.title;
      find('.type', line).textContent = row.request_type;
      find('.store', line).dataset.place = row.storage_id ?? '';
      if (line.dataset.status !== row.status) {
        line.dataset.status = row.status;
        find('.status', line).replaceChildren(el('span', { class: `pill ${row.status}` }, row.status));
        find('.acts', line).replaceChildren(...(DECISIONS[row.status] ?? []).map((what) => (
          el('button', { class: 'small', onclick: () => attempt(() => this.live.call('decide', { request: row.id, what })) }, what))));
      }
      if (event?.key === String(row.id)) flash(line);
    });
    this.places();
  }

  crates(rows, event) {
    reconcile(this.part('.crates'), rows, (row) => row.id, () => el('li', {}, el('span', {}), ' ', el('small', { class: 'store' })), (item, row) => {
      find('span', item).textContent = row.label;
      find('small', item).dataset.place = row.storage_id ?? '';
      if (event?.key === String(row.id)) flash(item);
    });
    this.places();
  }

  places() {
    for (const place of this.element.querySelectorAll('[data-place]')) place.textContent = this.storage.rows.get(place.dataset.place)?.code ?? place.dataset.place;
  }

  notices(count) {
    this.part('.bell b').textContent = count;
    this.part('.bell b').classList.toggle('none', count === 0);
  }

  trail(rows) {
    reconcile(this.part('.trail'), rows, (row) => row.id, (row) => el('li', {}, el('time', {}, time(row.at)), el('span', {}, `${row.who ?? ''} ${row.what}`)));
  }

  // One line for each event, and how long it took from the row's change to here.
  happened(event) {
    if (!event?.id) return;
    const text = event.feed === 'notifications'
      ? el('span', { class: 'mine' }, `for ${this.session.user}: ${event.data?.body ?? 'a notification went'}`)
      : el('span', {}, `${VERBS[event.action] ?? event.action} ${event.type.split('.')[0]} ${event.key} ${event.data?.title ?? event.data?.label ?? ''}`);
    const log = this.part('.log');
    log.prepend(el('li', { class: 'fresh' }, el('time', {}, time(event.updated_at)), el('span', { class: 'by' }, event.updated_by ?? ''), text));
    while (log.children.length > LOG_LINES) log.lastChild.remove();
    this.delays.push(Date.now() - Date.parse(event.updated_at));
    this.delays.splice(0, this.delays.length - DELAYS);
    const median = [...this.delays].sort((a, b) => a - b)[this.delays.length >> 1];
    this.part('.latency').textContent = median >= 0 && median < 5000 ? `row changed to shown: ${Math.max(median, 1)} ms` : '';
  }
}

links('records');
for (const session of await sessions()) {
  const element = copy('unit');
  find('#units').append(element);
  new Unit(session, element);
}
