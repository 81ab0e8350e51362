// Three sides of the marketplace: a customer with an order on its way, the partner
// who brings it, and the office.

import { attempt, connect, copy, el, find, flash, follow, links, reconcile, sessions } from '../shared/dom.js';

const LISTED = 6;
const STILL_MS = 1500; // an order whose own channel tells no position for so long is where its value says; else that may be older
const money = (amount) => Number(amount).toFixed(2);
const pill = (element, status) => Object.assign(element, { className: `status pill ${status}`, textContent: status });

/** Anybody: a name, a bell, and whether the page is live. */
class Person {
  constructor(session, element) {
    this.session = session;
    this.element = element;
    element.prepend(copy('head'));
    this.part('h2').textContent = session.name;
    this.part('.who').textContent = session.role;
    this.live = connect(session.token, this.part('.live'));
    this.bell();
  }

  part(selector) { return find(selector, this.element); }

  /** Shows a query's value, and each new one. */
  show(channel, onValue) { return this.live.subscribe(channel, { onValue }); }

  bell() {
    const [bell, notices] = [this.part('.bell'), this.part('.notices')];
    bell.addEventListener('click', () => {
      notices.hidden = !notices.hidden;
      bell.setAttribute('aria-expanded', String(!notices.hidden));
    });
    find('.all', notices).addEventListener('click', () => attempt(() => this.live.call('mark_all_read')));
    this.show(`unread_count:user:${this.session.user}`, (count) => {
      find('b', bell).textContent = count;
      find('b', bell).classList.toggle('none', count === 0);
    });
    follow(this.live, `notifications:user:${this.session.user}`, (rows, event) => {
      const newest = rows.sort((a, b) => b.id - a.id).slice(0, LISTED);
      reconcile(find('ul', notices), newest, (row) => row.id,
        (row) => el('li', {}, el('span', {}, row.body), el('button', { class: 'small', onclick: () => attempt(() => this.live.call('mark_read', { id: row.id })) }, 'Read')),
        (line, row) => { line.classList.toggle('read', row.read); find('button', line).hidden = row.read; });
      if (event?.action === 'created') flash(bell);
    });
  }
}

/** An order as its customer and its partner see it: status, ETA, where it is, chat. */
class Order {
  constructor(person, id) {
    this.person = person;
    this.id = id;
    this.element = copy('order');
    person.element.append(this.element);
    this.movedAt = 0;
    // The location's and the chat's events come on the order's own channel.
    this.followed = follow(person.live, `orders:row:${id}`, ([row]) => this.order(row), { onEvent: (event) => event.feed === 'order_locations' && event.data && this.moved(event.data) });
    this.values = [
      person.show(`order_chat:row:${id}`, (messages) => messages && this.chat(messages)),
      person.show(`order_location:row:${id}`, (place) => place && Date.now() - this.movedAt > STILL_MS && this.locate(place)),
    ];
    this.part('.say').addEventListener('submit', async (event) => {
      event.preventDefault();
      if (await attempt(() => person.live.call('send_message', { order: id, body: event.target.elements.body.value }))) event.target.reset();
    });
  }

  part(selector) { return find(selector, this.element); }

  order(row) {
    this.element.hidden = !row;
    if (!row) return;
    this.part('.what').textContent = `No. ${row.id}: ${row.what}`;
    pill(this.part('.status'), row.status);
    this.part('.eta').textContent = row.eta && row.status !== 'Delivered' ? `expected ${new Date(row.eta).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' })}` : '';
    this.part('.partner').style.display = row.partner_id ? '' : 'none';
  }

  moved(place) {
    this.movedAt = Date.now();
    this.locate(place);
  }

  locate({ lat, lng }) {
    const partner = this.part('.partner');
    partner.classList.toggle('moves', Boolean(this.located)); // the first place is no way from anywhere
    partner.style.transform = `translate(${100 * lng}px, ${60 * (1 - lat)}px)`;
    partner.dataset.lat = lat;
    partner.dataset.lng = lng;
    this.located = true;
  }

  chat(messages) {
    const list = this.part('.chat');
    reconcile(list, messages, (message) => message.id,
      (message) => el('li', { class: String(message.sender) === this.person.session.user && 'mine' }, el('small', { class: 'faint' }, `${message.name} `), message.body));
    list.scrollTop = list.scrollHeight;
  }

  leave() {
    this.followed.close();
    for (const each of this.values) each.unsubscribe();
    this.element.remove();
  }
}

/** Shows one order at a time. */
function show(person, id) {
  if (person.shown?.id === id) return;
  person.shown?.leave();
  person.shown = id === undefined ? null : new Order(person, id);
}

class Customer extends Person {
  constructor(session, element) {
    super(session, element);
    this.show(`wallet:user:${session.user}`, (balance) => { this.part('.wallet').textContent = money(balance); });
    follow(this.live, 'menu', (rows) => reconcile(this.part('.buy select'), rows.sort((a, b) => a.price - b.price), (dish) => dish.what,
      (dish) => el('option', { value: dish.what }), (option, dish) => { option.textContent = `${dish.what}, ${money(dish.price)}`; }));
    follow(this.live, `orders:user:${session.user}`, (rows) => this.orders(rows.sort((a, b) => b.id - a.id)));
    this.part('.which').addEventListener('change', (event) => {
      this.chosen = true;
      show(this, Number(event.target.value));
    });
    this.part('.buy').addEventListener('submit', async (event) => {
      event.preventDefault();
      await attempt(() => this.live.call('place_order', { what: event.target.elements.what.value }));
    });
  }

  // The newest that is on its way, unless another was chosen by hand.
  orders(rows) {
    const chosen = this.shown?.id;
    const listed = rows.filter((row, at) => at < LISTED || row.id === chosen);
    reconcile(this.part('.which'), listed, (row) => row.id, (row) => el('option', { value: row.id }), (option, row) => { option.textContent = `No. ${row.id}: ${row.what}, ${row.status}`; });
    const best = rows.find((row) => ['Accepted', 'Picked Up'].includes(row.status)) ?? rows[0];
    const id = this.chosen ? chosen : best?.id;
    show(this, id);
    this.part('.which').value = id ?? '';
  }
}

const NEXT = { Accepted: 'Picked Up', 'Picked Up': 'Delivered' };

class Partner extends Person {
  constructor(session, element) {
    super(session, element);
    this.show(`partner_earnings:user:${session.user}`, (value) => {
      this.part('.earned').textContent = money(value.earned);
      this.part('.deliveries').textContent = value.deliveries;
    });
    this.show(`partner_queue:user:${session.user}`, (queue) => this.queue(queue));
  }

  queue(queue) {
    reconcile(this.part('.queue'), queue, (order) => order.id,
      (order) => el('li', {}, el('span', {}, `No. ${order.id}: ${order.what}`), el('span', { class: 'status pill' }),
        el('button', { class: 'small push', onclick: (event) => attempt(() => this.live.call('order_status', { order: order.id, status: event.currentTarget.textContent })) })),
      (line, order) => { pill(find('.pill', line), order.status); find('button', line).textContent = NEXT[order.status]; });
    this.part('.idle').hidden = queue.length > 0;
    show(this, queue[0]?.id);
  }
}

class Admin extends Person {
  constructor(session, element) {
    super(session, element);
    this.show('admin_dashboard', (figures) => {
      for (const name of ['new_orders', 'under_way', 'delivered']) this.part(`.${name}`).textContent = figures[name];
      this.part('.paid').textContent = money(figures.paid);
    });
    this.show('online', (people) => this.part('.online').replaceChildren(...people.map((person) => el('li', { class: 'pill' }, `${person.name} (${person.role})`))));
    follow(this.live, 'orders', (rows) => this.orders(rows.sort((a, b) => b.id - a.id).slice(0, LISTED)));
    follow(this.live, 'payments', (rows) => reconcile(this.part('.payments'), rows.sort((a, b) => b.id - a.id).slice(0, LISTED), (row) => row.id,
      (row) => el('li', {}, el('span', {}, row.order_id ? `for order ${row.order_id}` : 'top-up'), el('span', { class: 'push' }, money(row.amount)))));
  }

  orders(rows) {
    reconcile(this.part('.orders'), rows, (row) => row.id,
      (row) => el('li', {}, el('span', {}, `No. ${row.id}: ${row.what}`), el('span', { class: 'status pill' }),
        el('button', { class: 'small push', onclick: (event) => attempt(() => this.live.call('assign_order', { order: row.id, partner: Number(event.currentTarget.dataset.partner) })) })),
      (line, row) => {
        pill(find('.pill', line), row.status);
        const button = find('button', line);
        button.hidden = !['Placed', 'Accepted'].includes(row.status);
        button.dataset.partner = row.partner_id === 11 ? 12 : 11;
        button.textContent = row.partner_id === 11 ? 'Give to Pia' : 'Give to Paul';
      });
  }
}

const SIDES = { customer: Customer, partner: Partner, admin: Admin };

links('marketplace');
for (const session of await sessions()) {
  const element = copy(session.role);
  find('#people').append(element);
  new SIDES[session.role](session, element);
}
