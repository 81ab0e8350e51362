// The demo's page: one WebSocket for each of two people, what they may see kept
// as rows, and drawn. It shows the protocol bare: connect, subscribe, resume.

const RETRY_MS = { least: 300, most: 10_000 };
const LOG_LINES = 9;

const VERBS = {
  created: 'made', approved: 'approved', rejected: 'rejected', issued: 'issued', returned: 'returned', allocated: 'allocated storage to',
  sent_back: 'sent back', relocated: 'relocated', edited: 'edited', deleted: 'closed',
};

class Unit {
  rows = { requests: new Map(), crates: new Map(), notifications: new Map() };
  cursors = new Map(); // by channel: where to go on after a break
  delays = [];
  retry = RETRY_MS.least;

  constructor(session, element) {
    this.session = session;
    this.element = element;
    this.channels = [`requests:unit:${session.unit}`, `crates:unit:${session.unit}`, `notifications:user:${session.user}`];
    this.part('h2').textContent = session.name;
    this.part('.who').textContent = session.user;
    this.connect();
  }

  part(selector) { return this.element.querySelector(selector); }

  connect() {
    const url = new URL('ws', location.href);
    url.protocol = url.protocol.replace('http', 'ws');
    this.socket = new WebSocket(url, 'livefeed.v1');
    this.socket.onopen = () => this.send({ type: 'auth', token: this.session.token });
    this.socket.onmessage = (message) => this.receive(JSON.parse(message.data));
    this.socket.onclose = (event) => {
      this.live(false, event.code === 4401 ? 'token expired' : 'reconnecting');
      if (event.code === 4401 || event.code === 4403) return;
      setTimeout(() => this.connect(), Math.random() * this.retry);
      this.retry = Math.min(this.retry * 2, RETRY_MS.most);
    };
  }

  send(message) { this.socket.send(JSON.stringify(message)); }

  live(on, text) {
    this.part('.live').classList.toggle('on', on);
    this.part('.live').textContent = text;
  }

  receive(frame) {
    if (frame.id) return this.event(frame);
    switch (frame.type) {
      case 'welcome':
        this.retry = RETRY_MS.least;
        this.epoch = frame.epoch;
        // From where we were; the first time from the beginning of the log.
        for (const channel of this.channels) {
          this.send({ type: 'subscribe', ref: channel, channel, since: this.cursors.get(channel) ?? `${frame.epoch}-0` });
        }
        return this.live(true, 'live');
      case 'subscribed':
        if (frame.recovered) this.cursors.set(frame.channel, frame.cursor);
        else this.start(frame.channel, frame.cursor);
        return undefined;
      case 'resync':
        return this.start(frame.channel, frame.cursor);
      case 'status':
        return this.live(frame.live, frame.live ? 'live' : 'database away');
      default:
        return undefined;
    }
  }

  // Something was missed: what we hold may be stale.
  start(channel, cursor) {
    this.rows[channel.split(':')[0]].clear();
    this.cursors.set(channel, cursor);
    this.draw();
  }

  event(event) {
    for (const channel of event.channels) this.cursors.set(channel, `${this.epoch}-${event.id}`);
    const rows = this.rows[event.feed];
    if (event.type.endsWith('.deleted')) rows.delete(event.key);
    else rows.set(event.key, { ...event.data, fresh: event.id });
    this.delays.push(Date.now() - Date.parse(event.updated_at));
    this.delays.splice(0, this.delays.length - 20);
    this.log(event);
    this.draw(event);
  }

  log(event) {
    const line = document.createElement('li');
    const time = document.createElement('time');
    time.textContent = new Date(event.updated_at).toLocaleTimeString();
    const by = document.createElement('span');
    by.className = 'by';
    by.textContent = event.updated_by ?? '';
    const text = document.createElement('span');
    if (event.feed === 'notifications') {
      text.className = 'mine';
      text.textContent = `for ${this.session.user}: ${event.data?.body ?? 'a notification went'}`;
    } else {
      const what = event.data?.title ?? event.data?.label ?? '';
      text.textContent = `${VERBS[event.action] ?? event.action} ${event.type.split('.')[0]} ${event.key} ${what}`;
    }
    line.append(time, by, text);
    line.className = 'fresh';
    line.dataset.id = event.id;
    // Channels are replayed one after the other; ids say what came when.
    const older = [...this.part('.log').children].find((each) => Number(each.dataset.id) < event.id);
    this.part('.log').insertBefore(line, older ?? null);
    while (this.part('.log').children.length > LOG_LINES) this.part('.log').lastChild.remove();
  }

  draw(event) {
    const cell = (text) => Object.assign(document.createElement('td'), { textContent: text ?? '' });
    this.part('.requests').replaceChildren(...[...this.rows.requests.values()].sort((a, b) => b.id - a.id).map((row) => {
      const line = document.createElement('tr');
      const status = cell('');
      status.append(Object.assign(document.createElement('span'), { className: `pill ${row.status}`, textContent: row.status }));
      line.append(cell(row.id), cell(row.title), cell(row.request_type), status, cell(row.storage_id));
      if (row.fresh === event?.id) line.className = 'fresh';
      return line;
    }));
    this.part('.crates').replaceChildren(...[...this.rows.crates.values()].sort((a, b) => a.id - b.id).map((row) => {
      const item = document.createElement('li');
      item.append(row.label, ' ', Object.assign(document.createElement('small'), { textContent: `in store ${row.storage_id ?? 'none'}` }));
      if (row.fresh === event?.id) item.className = 'fresh';
      return item;
    }));
    this.part('.bell b').textContent = [...this.rows.notifications.values()].filter((row) => !row.read).length;
    const sorted = [...this.delays].sort((a, b) => a - b);
    const median = sorted[sorted.length >> 1];
    this.part('.latency').textContent = median >= 0 && median < 5000 ? `row changed to shown: ${Math.max(median, 1)} ms` : '';
  }
}

const sessions = await (await fetch('session.json')).json();
for (const session of sessions) {
  const element = document.getElementById('unit').content.cloneNode(true).firstElementChild;
  document.getElementById('units').append(element);
  new Unit(session, element);
}
